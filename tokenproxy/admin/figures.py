"""What has been counted: plain integers and fixed buckets, since every request comes by here.

`Figures` observes events. Those of several processes are added up with `add`; each event is told
in one process alone, so that nothing is counted twice.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from tokenproxy.events import Event, LoginRequired, RenewalFailed, RequestServed, TokenRenewed

METHODS = {
    method: method
    for method in (
        "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
    )
}  # fmt: skip # RFC 9110 9.3 and RFC 5789: the usual nine
OTHER = "other"  # what a caller makes up must not become a series of its own
FIRST_SERVER_ERROR = 500

# Seconds. From a millisecond, which is what a local upstream takes, to the longest time-outs.
BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip


def _empty() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


@dataclass(slots=True)
class Histogram:
    """Times by bucket: `counts[i]` is of those up to `BOUNDS[i]`, the last of all beyond."""

    counts: list[int] = field(default_factory=_empty)
    total: float = 0.0

    def note(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def add(self, other: Self) -> None:
        """Those of another, too."""
        self.counts = [
            ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)
        ]
        self.total += other.total


@dataclass(slots=True)
class RouteFigures:
    """One route's: `answers` by method and status; `errors` are our own answers and every 5xx."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=Histogram)
    upstream: Histogram = field(default_factory=Histogram)
    replays: Counter[str] = field(default_factory=Counter)
    errors: int = 0
    in_flight: int = 0

    @property
    def requests(self) -> int:
        """How many have been answered."""
        return self.answers.total()

    @property
    def replayed(self) -> int:
        """How many have been sent once more."""
        return self.replays["accepted"] + self.replays["rejected_again"]

    def add(self, other: Self) -> None:
        """Those of another process, too."""
        self.answers.update(other.answers)
        self.seconds.add(other.seconds)
        self.upstream.add(other.upstream)
        self.replays.update(other.replays)
        self.errors += other.errors
        self.in_flight += other.in_flight


class _Routes(dict[str, RouteFigures]):
    """By the route's name, each from its first request on."""

    def __missing__(self, name: str) -> RouteFigures:
        self[name] = found = RouteFigures()
        return found


class _Times(dict[str, Histogram]):
    """By a credential's name."""

    def __missing__(self, name: str) -> Histogram:
        self[name] = found = Histogram()
        return found


@dataclass(slots=True)
class Figures:
    """All that one process has counted, or several: `errors` by code, `renewals` by outcome."""

    routes: dict[str, RouteFigures] = field(default_factory=_Routes)
    errors: Counter[str] = field(default_factory=Counter)
    renewals: Counter[tuple[str, str]] = field(default_factory=Counter)
    renewal_seconds: dict[str, Histogram] = field(default_factory=_Times)

    def __call__(self, event: Event) -> None:
        """Count what is to be counted."""
        if type(event) is RequestServed:
            self._served(event)
        else:
            self._renewal(event)

    def _renewal(self, event: Event) -> None:
        match event:
            case TokenRenewed(credential, seconds=seconds):
                self._tried(credential, "ok", seconds)
            case RenewalFailed(credential, seconds=seconds):
                self._tried(credential, "unavailable", seconds)
            case LoginRequired(credential, seconds=float() as seconds):
                self._tried(credential, "refused", seconds)
            case _:
                pass

    def _served(self, event: RequestServed) -> None:
        """What every request pays for: so what `note` does stands here once more."""
        route, seconds, upstream = self.routes[event.route], event.seconds, event.upstream_seconds
        route.answers[METHODS.get(event.method, OTHER), event.status] += 1
        times = route.seconds
        times.counts[bisect_left(BOUNDS, seconds)] += 1
        times.total += seconds
        if upstream is not None:
            times = route.upstream
            times.counts[bisect_left(BOUNDS, upstream)] += 1
            times.total += upstream
        if event.replay is not None:
            route.replays[event.replay] += 1
        if event.code is not None:
            self.errors[event.code] += 1
            route.errors += 1
        elif event.status >= FIRST_SERVER_ERROR:
            route.errors += 1

    def _tried(self, credential: str, outcome: str, seconds: float | None) -> None:
        self.renewals[credential, outcome] += 1
        if seconds is not None:
            self.renewal_seconds[credential].note(seconds)

    def add(self, other: Self) -> None:
        """Those of another process, too."""
        for name, route in other.routes.items():
            self.routes[name].add(route)
        self.errors.update(other.errors)
        self.renewals.update(other.renewals)
        for name, times in other.renewal_seconds.items():
            self.renewal_seconds[name].add(times)

    def with_in_flight(self, in_flight: Counter[str]) -> Self:
        """These, and as many requests under way."""
        for name, count in in_flight.items():
            if name or count:
                self.routes[name].in_flight = count
        return self

    def at_rest(self) -> Self:
        """These, and none under way: of a process that has ended."""
        for route in self.routes.values():
            route.in_flight = 0
        return self


def merged(parts: Iterable[Figures]) -> Figures:
    """All of them added up."""
    total = Figures()
    for part in parts:
        total.add(part)
    return total
