"""The last five minutes of each route, in steps of five seconds, for charts.

What is counted only grows, so a step is the difference of two looks at it: requests pay nothing
for this.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tokenproxy.admin.figures import BOUNDS, Figures, RouteFigures
from tokenproxy.clock import Clock

STEP = 5  # seconds
STEPS = 60
MILLISECONDS = 1000
MEDIAN, SLOWEST = 0.5, 0.99
_DIGITS = 3  # of a millisecond


@dataclass(slots=True)
class _Look:
    """What had been counted by then."""

    requests: int = 0
    errors: int = 0
    replays: int = 0
    times: Sequence[int] = (0,) * (len(BOUNDS) + 1)

    @classmethod
    def at(cls, route: RouteFigures) -> "_Look":
        return cls(route.requests, route.errors, route.replayed, tuple(route.seconds.counts))


def _looks() -> deque[_Look]:
    return deque([_Look()], maxlen=STEPS + 1)


@dataclass(slots=True)
class History:
    """Looks at figures; `until` is when the last step ended, in seconds since the epoch."""

    until: int = 0
    _routes: dict[str, deque[_Look]] = field(default_factory=dict)

    def look(self, figures: Figures, now: float) -> None:
        """A step is over."""
        self.until = round(now / STEP) * STEP
        for name, route in figures.routes.items():
            self._routes.setdefault(name, _looks()).append(_Look.at(route))

    def of(self, route: str) -> dict[str, Any]:
        """The steps of a route, oldest first; nothing happened before there were any."""
        steps = list(pairwise(self._routes.get(route, ())))
        before = STEPS - len(steps)
        return {
            "step": STEP,
            "until": self.until,
            "requests": [0] * before + [new.requests - old.requests for old, new in steps],
            "errors": [0] * before + [new.errors - old.errors for old, new in steps],
            "replays": [0] * before + [new.replays - old.replays for old, new in steps],
            "p50_ms": [None] * before + [_within(step, MEDIAN) for step in steps],
            "p99_ms": [None] * before + [_within(step, SLOWEST) for step in steps],
        }


def step_before(now: float) -> int:
    """When the last step ended, in whole seconds."""
    return int(now // STEP) * STEP


async def keep_looking(
    history: History, figures: Callable[[], Awaitable[Figures]], clock: Clock
) -> None:
    """Look whenever a step is over, until cancelled."""
    while True:
        left = STEP - clock.now().wall % STEP
        await clock.sleep(left if left > STEP / 2 else left + STEP)
        history.look(await figures(), clock.now().wall)


def _within(step: tuple[_Look, _Look], share: float) -> float | None:
    old, new = step
    counts = [after - before for before, after in zip(old.times, new.times, strict=True)]
    found = quantile(counts, share)
    return None if found is None else round(found * MILLISECONDS, _DIGITS)


def quantile(counts: Sequence[int], share: float) -> float | None:
    """The time within which that share of requests was answered, as the buckets tell it.

    Within a bucket they are taken to be spread evenly; what is beyond the last bound counts as
    that bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    below, lower = 0, 0.0
    for count, bound in zip(counts, BOUNDS, strict=False):
        if count and below + count >= wanted:
            return lower + (bound - lower) * (wanted - below) / count
        below, lower = below + count, bound
    return BOUNDS[-1]
