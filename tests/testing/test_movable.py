import asyncio
import math
from typing import Self

import pytest

from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import MovableClock, running

HOUR = 3600.0


def test_time_goes_on_by_itself_and_can_be_put_forward() -> None:
    clock = MovableClock()
    before = clock.now()
    clock.advance(HOUR)
    after = clock.now()
    assert after.wall - before.wall >= HOUR
    assert after.steady - before.steady >= HOUR


def test_time_cannot_be_put_back() -> None:
    with pytest.raises(ValueError, match="time cannot go back by 5 seconds"):
        MovableClock().advance(-5)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf])
def test_time_goes_on_by_a_finite_number_only(seconds: float) -> None:
    clock = MovableClock()
    with pytest.raises(ValueError, match="name a finite number"):
        clock.advance(seconds)
    assert repr(clock) == "MovableClock(ahead=0.0)"


async def test_who_sleeps_is_woken_when_the_clock_has_been_put_that_far() -> None:
    clock = MovableClock()
    asleep = spawn(clock.sleep(HOUR), name="asleep")
    await asyncio.sleep(0)
    clock.advance(HOUR / 2)
    await clock.sleep(0.01)
    assert not asleep.done()
    clock.advance(HOUR / 2)
    await asleep


async def test_a_sleep_ends_by_itself() -> None:
    await MovableClock().sleep(0.001)


async def test_who_is_cancelled_is_woken_no_more() -> None:
    clock = MovableClock()
    asleep = spawn(clock.sleep(HOUR), name="asleep")
    await asyncio.sleep(0)
    await cancelled(asleep)
    clock.advance(HOUR)
    assert asleep.cancelled()


class Sleeper:
    """Sleeps in the thread that it is `running` in."""

    def __init__(self, clock: MovableClock) -> None:
        self.clock = clock
        self.told: list[str] = []

    async def __aenter__(self) -> Self:
        self._asleep = spawn(self._sleep(), name="asleep")
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._asleep

    async def _sleep(self) -> None:
        await self.clock.sleep(HOUR)
        self.told.append("woken")


def test_who_sleeps_in_another_thread_has_gone_on_when_it_returns() -> None:
    clock = MovableClock()
    with running(Sleeper(clock)) as sleeper:
        clock.advance(HOUR)
        assert sleeper.told == ["woken"]
    assert repr(clock) == "MovableClock(ahead=3600.0)"
