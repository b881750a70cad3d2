"""The last five minutes, made of looks at what only grows."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.admin.counting import served
from tokenproxy.admin.figures import BOUNDS, Figures
from tokenproxy.admin.history import STEP, STEPS, History, keep_looking, quantile
from tokenproxy.clock import Moment
from tokenproxy.tasks import cancelled, spawn

NOW = 1_764_000_000.0


def test_a_step_holds_what_came_since_the_last_look() -> None:
    figures, history = Figures(), History()
    figures(served(seconds=0.02))
    history.look(figures, NOW)
    history.look(figures, NOW + STEP)
    figures(served(status=502, replay="accepted", replayed=True))
    figures(served())
    history.look(figures, NOW + 2 * STEP)

    told = history.of("shop")

    assert (told["step"], told["until"]) == (5, NOW + 10)
    assert told["requests"][-3:] == [1, 0, 2]
    assert (told["errors"][-3:], told["replays"][-3:]) == ([0, 0, 1], [0, 0, 1])
    assert told["p50_ms"][-2] is None
    assert 10 <= told["p50_ms"][-1] <= told["p99_ms"][-1] <= 25  # the bounds of its bucket


@pytest.mark.parametrize("looks", [0, 1, STEPS - 1, STEPS, STEPS + 3])
def test_there_are_always_as_many_steps(looks: int) -> None:
    figures, history = Figures(), History()
    for look in range(looks):
        figures(served())
        history.look(figures, NOW + look * STEP)
    told = history.of("shop")
    for name in ("requests", "errors", "replays", "p50_ms", "p99_ms"):
        assert len(told[name]) == STEPS
    assert told["requests"] == [0] * max(0, STEPS - looks) + [1] * min(looks, STEPS)
    assert history.of("unheard of")["requests"] == [0] * STEPS


def test_a_look_that_is_late_or_early_counts_for_its_step() -> None:
    history = History()
    for late in (-0.01, 0.0, 0.3):
        history.look(Figures(), NOW + late)
        assert history.until == NOW


@given(st.lists(st.integers(0, 50), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1))
def test_a_larger_share_never_takes_less(counts: list[int]) -> None:
    found = [quantile(counts, share) for share in (0.01, 0.5, 0.9, 0.99, 1.0)]
    if not sum(counts):
        assert found == [None] * 5
    else:
        times = [time for time in found if time is not None]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= BOUNDS[-1]


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 0.0175), (1.0, 0.025)])
def test_within_a_bucket_times_are_taken_to_be_spread_evenly(share: float, seconds: float) -> None:
    counts = [0] * (len(BOUNDS) + 1)
    counts[BOUNDS.index(0.025)] = 10
    assert quantile(counts, share) == pytest.approx(seconds)


class Stepping:
    """A clock whose sleeps are over at once, and a little early or late."""

    def __init__(self, errors: list[float]) -> None:
        self._wall = NOW + 1.5
        self._errors = errors
        self.slept: list[float] = []

    def now(self) -> Moment:
        return Moment(self._wall, self._wall)

    async def sleep(self, seconds: float) -> None:
        if not self._errors:
            await asyncio.get_running_loop().create_future()
        self.slept.append(seconds)
        self._wall += seconds + self._errors.pop(0)


async def test_it_looks_once_a_step_however_the_timers_run() -> None:
    clock, history, figures = Stepping([-0.01, 0.02, -0.01]), History(), Figures()

    async def count() -> Figures:
        figures(served())
        return figures

    looking = spawn(keep_looking(history, count, clock), name="look")
    for _ in range(20):
        await asyncio.sleep(0)
    await cancelled(looking)

    assert [round(seconds, 2) for seconds in clock.slept] == [3.5, 5.01, 4.98]
    assert (history.until, sum(history.of("shop")["requests"])) == (NOW + 15, 3)
