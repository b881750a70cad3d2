import asyncio

import pytest

from tokenproxy.tasks import Bell, cancelled, done_within, spawn
from tokenproxy.testing import ManualClock


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def stubborn(told: list[str]) -> None:
    try:
        await forever()
    finally:
        await asyncio.sleep(0)
        told.append("tidied up")


async def test_a_task_is_named_by_who_starts_it() -> None:
    task = spawn(asyncio.sleep(0, "done"), name="nap")
    assert task.get_name() == "nap"
    assert await task == "done"


async def test_cancelled_waits_until_all_have_tidied_up() -> None:
    told: list[str] = []
    tasks = [spawn(stubborn(told), name=f"{n}") for n in range(3)]
    await asyncio.sleep(0)

    await cancelled(*tasks, None)

    assert told == ["tidied up"] * 3
    assert all(task.cancelled() for task in tasks)


async def test_cancelled_leaves_alone_what_has_ended() -> None:
    done = spawn(asyncio.sleep(0, "done"), name="done")
    await done
    await cancelled(done, None)
    assert done.result() == "done"


async def test_cancelled_does_not_raise_what_a_task_ends_with() -> None:
    async def spiteful() -> None:
        try:
            await forever()
        finally:
            raise ZeroDivisionError

    task = spawn(spiteful(), name="spiteful")
    await asyncio.sleep(0)
    await cancelled(task)
    assert isinstance(task.exception(), ZeroDivisionError)


# -- done_within -----------------------------------------------------------------------------


async def test_what_is_done_is_done_without_waiting() -> None:
    clock = ManualClock()
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    assert await done_within(future, 5, clock.sleep)
    assert clock.sleepers == 0


async def test_what_gets_done_in_time_ends_the_wait() -> None:
    clock, future = ManualClock(), asyncio.get_running_loop().create_future()
    waiting = spawn(done_within(future, 5, clock.sleep), name="waiting")
    await clock.advance(4.9)
    future.set_result(None)
    assert await waiting
    await clock.settle()
    assert clock.sleepers == 0


async def test_what_does_not_get_done_in_time_is_left_as_it_is() -> None:
    clock, future = ManualClock(), asyncio.get_running_loop().create_future()
    waiting = spawn(done_within(future, 5, clock.sleep), name="waiting")
    await clock.advance(5)
    assert not await waiting
    assert not future.done()


async def test_whoever_leaves_cancels_neither_the_future_nor_others_who_wait() -> None:
    clock, future = ManualClock(), asyncio.get_running_loop().create_future()
    leaving, staying = (spawn(done_within(future, 5, clock.sleep), name=n) for n in "ab")
    await clock.settle()
    await cancelled(leaving)
    await clock.settle()
    assert clock.sleepers == 1
    future.set_result(None)
    assert await staying


async def test_a_future_that_fails_is_done_and_its_error_is_its_owners() -> None:
    clock, future = ManualClock(), asyncio.get_running_loop().create_future()
    future.set_exception(ZeroDivisionError())
    assert await done_within(future, 5, clock.sleep)
    with pytest.raises(ZeroDivisionError):
        await future


# -- Bell ------------------------------------------------------------------------------------


async def test_a_ring_wakes_all_who_wait_and_nobody_who_comes_later() -> None:
    bell = Bell()
    first, second = bell.next_ring, bell.next_ring
    bell.ring()
    later = bell.next_ring
    assert first.done()
    assert second.done()
    assert not later.done()


async def test_a_ring_that_nobody_waits_for_is_not_kept() -> None:
    bell = Bell()
    bell.ring()
    assert not bell.next_ring.done()


async def test_a_listener_who_broke_the_bell_does_not_stop_it_from_ringing() -> None:
    bell = Bell()
    bell.next_ring.cancel()
    bell.ring()
    assert not bell.next_ring.done()


def test_a_bell_can_be_made_and_rung_where_no_loop_runs() -> None:
    Bell().ring()
