import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenproxy.clock import Clock
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import ManualClock

START = 1_800_000_000.0


def is_a_clock(clock: Clock) -> Clock:
    return clock


async def nap(clock: ManualClock, seconds: float, done: Callable[[float], None]) -> None:
    await clock.sleep(seconds)
    done(clock.now().steady)


def test_time_stands_still_until_it_is_moved() -> None:
    clock = is_a_clock(ManualClock(wall=START, steady=5))
    assert clock.now() == clock.now()
    assert (clock.now().wall, clock.now().steady) == (START, 5)


async def test_advancing_moves_both_clocks_exactly() -> None:
    clock = ManualClock(wall=START, steady=5)
    for _ in range(1000):
        await clock.advance(0.125)
    assert (clock.now().wall, clock.now().steady) == (START + 125, 130)


async def test_a_sleeper_sleeps_until_its_deadline_and_not_longer() -> None:
    clock = ManualClock(steady=0)
    woken: list[float] = []
    task = spawn(nap(clock, 30, woken.append), name="nap")
    await clock.advance(29.75)
    assert (woken, clock.sleepers) == ([], 1)
    await clock.advance(0.25)
    assert (woken, clock.sleepers) == ([30], 0)
    assert task.done()


async def test_sleepers_wake_in_the_order_of_their_deadlines_each_at_its_own() -> None:
    clock = ManualClock(steady=0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now().steady))

    tasks = [spawn(sleeper(*row), name=row[0]) for row in [("c", 3), ("a", 1), ("b", 2), ("a2", 1)]]
    await clock.advance(10)
    await asyncio.gather(*tasks)
    assert woken == [("a", 1), ("a2", 1), ("b", 2), ("c", 3)]


async def test_what_a_wake_sets_off_happens_before_the_next_wake() -> None:
    clock = ManualClock(steady=0)
    told: list[str] = []

    async def first() -> None:
        await clock.sleep(1)
        for _ in range(20):  # a chain of awaits, as a renewal is
            await asyncio.sleep(0)
        told.append("the first is through")

    async def second() -> None:
        await clock.sleep(1.001)
        told.append("the second wakes")

    tasks = [spawn(second(), name="second"), spawn(first(), name="first")]
    await clock.advance(2)
    await asyncio.gather(*tasks)
    assert told == ["the first is through", "the second wakes"]


async def test_a_sleeper_that_sleeps_again_is_woken_again_within_one_advance() -> None:
    clock = ManualClock(steady=0)
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await clock.sleep(10)
            ticks.append(clock.now().steady)

    task = spawn(ticker(), name="ticker")
    await clock.advance(35)
    assert ticks == [10, 20, 30]
    await cancelled(task)


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = spawn(clock.sleep(1), name="nap")
    await clock.settle()
    assert clock.sleepers == 1
    await cancelled(task)
    assert clock.sleepers == 0
    await clock.advance(2)


async def test_a_sleeper_cancelled_as_it_is_woken_disturbs_nobody() -> None:
    clock = ManualClock(steady=0)
    woken: list[float] = []
    trouble: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: trouble.append(what))
    doomed = spawn(clock.sleep(1), name="doomed")
    other = spawn(nap(clock, 1, woken.append), name="other")
    await clock.settle()
    clock.jump(steady=1)
    await cancelled(doomed)
    await other
    assert (woken, trouble) == ([1], [])


async def test_a_test_can_wait_for_sleepers_to_come_and_go() -> None:
    clock = ManualClock()
    await clock.until_sleepers(0)
    waiting = spawn(clock.until_sleepers(2), name="waiting")
    first = spawn(clock.sleep(1), name="first")
    await clock.settle()
    assert not waiting.done()
    second = spawn(clock.sleep(2), name="second")
    await waiting
    waiting = spawn(clock.until_sleepers(1), name="waiting")
    await cancelled(first)
    await waiting
    await clock.advance(2)
    await second


def test_a_clock_shows_what_it_shows() -> None:
    assert repr(ManualClock(wall=5, steady=1)) == "ManualClock(wall=5, steady=1, sleepers=0)"


@pytest.mark.parametrize("seconds", [0, -1])
async def test_no_time_to_sleep_only_lets_others_run(seconds: float) -> None:
    clock = ManualClock()
    told: list[str] = []
    asyncio.get_running_loop().call_soon(told.append, "others ran")
    await clock.sleep(seconds)
    assert told == ["others ran"]


async def test_setting_the_time_of_day_wakes_nobody() -> None:
    clock = ManualClock(wall=START, steady=0)
    task = spawn(clock.sleep(30), name="nap")
    await clock.settle()
    clock.jump(wall=7200)
    clock.jump(wall=-3600)
    await clock.settle()
    assert (clock.now().wall, clock.now().steady) == (START + 3600, 0)
    assert clock.sleepers == 1
    await clock.advance(30)
    await task


async def test_a_process_that_was_held_up_finds_all_that_is_overdue_at_once() -> None:
    clock = ManualClock(wall=START, steady=0)
    woken: list[float] = []
    tasks = [spawn(nap(clock, n, woken.append), name="nap") for n in (2, 1, 9)]
    await clock.settle()
    clock.jump(steady=5)
    await clock.settle()
    assert woken == [5, 5]
    assert clock.now().wall == START
    await clock.advance(4)
    await asyncio.gather(*tasks)


async def test_the_steady_clock_never_goes_back() -> None:
    clock = ManualClock(steady=5)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.jump(steady=-1)
    with pytest.raises(ValueError, match="cannot go back"):
        await clock.advance(-1)
    assert clock.now().steady == 5


@settings(deadline=None)  # a machine may be busy
@given(st.lists(st.integers(1, 50), max_size=8), st.lists(st.integers(0, 30), max_size=5))
def test_however_time_is_cut_every_sleeper_wakes_at_its_deadline(
    naps: list[int], steps: list[int]
) -> None:
    async def scene() -> None:
        clock = ManualClock(steady=0)
        woken: list[float] = []
        tasks = [spawn(nap(clock, n, woken.append), name="nap") for n in naps]
        for step in steps:
            await clock.advance(step)
        assert woken == sorted(n for n in naps if n <= sum(steps))
        await cancelled(*tasks)
        assert clock.sleepers == 0

    asyncio.run(scene())
