import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.clock import FOREVER, LONG_AGO, Clock, Moment, SystemClock, system_random

seconds = st.floats(-1e6, 1e6)
moments = st.builds(Moment, st.floats(0, 4e9), st.floats(0, 1e9))
NOW = Moment(1_800_000_000.0, 1000.0)


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (NOW, 30),
        (NOW.after(10), 20),
        (NOW.after(40), -10),
        (Moment(NOW.wall + 7200, NOW.steady), -7170),  # somebody has set the time of day
        (Moment(NOW.wall - 3600, NOW.steady + 10), 20),  # and back: the steady clock holds
        (Moment(NOW.wall + 25, NOW.steady), 5),  # the machine slept
        (Moment(NOW.wall, NOW.steady + 25), 5),
    ],
)
def test_a_deadline_is_over_on_whichever_clock_gets_there_first(now: Moment, left: float) -> None:
    assert now.until(NOW.after(30)) == left


@given(moments, moments)
def test_since_is_until_the_other_way_round(one: Moment, other: Moment) -> None:
    assert one.since(other) == -one.until(other)


@given(moments, seconds)
def test_after_moves_both_clocks(now: Moment, seconds: float) -> None:
    later = now.after(seconds)
    assert (later.wall, later.steady) == (now.wall + seconds, now.steady + seconds)


@given(moments)
def test_forever_never_comes_and_long_ago_is_always_over(now: Moment) -> None:
    assert now.until(FOREVER) == math.inf
    assert now.until(LONG_AGO) == -math.inf


async def test_the_system_clock_shows_both_times_and_lets_them_pass() -> None:
    clock: Clock = SystemClock()
    before = clock.now()
    await clock.sleep(0.01)
    assert clock.now().since(before) >= 0.009
    assert before.wall > 1_700_000_000
    assert repr(clock) == "SystemClock()"


def test_chance_differs_from_process_to_process() -> None:
    assert system_random().random() != system_random().random()
