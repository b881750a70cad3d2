"""Who leaves cancels nobody; what is cut off settles; what is closed leaves nothing behind."""

import asyncio

import pytest

from tests.tokens.acting import LIFE, LOGIN, RENEW, crowd, name, stage
from tokenproxy.errors import SourceUnavailable
from tokenproxy.events import NotPersisted, RenewalFailed
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens.slot import State


async def test_one_who_leaves_cancels_nobody_else() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        scene.source.gate.clear()
        leaving, *staying = crowd(keeper, 5)
        await scene.settle()
        await cancelled(leaving)
        scene.source.gate.set()

        assert {name(held) for held in await asyncio.gather(*staying)} == {"access-1"}
        assert leaving.cancelled()
        assert scene.source.asked == [LOGIN]


async def test_where_all_have_left_the_renewal_settles_and_is_stored_all_the_same() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        scene.source.gate.clear()
        waiting = crowd(keeper, 5)
        await scene.settle()
        await cancelled(*waiting)
        scene.source.gate.set()
        await scene.settle()

        assert name(keeper.peek()) == "access-1"
        assert scene.store.record.generation == 1


async def test_whoever_leaves_a_replacement_leaves_it_going() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        await keeper.get()
        await scene.clock.advance(10)
        keeper.rejected(1)
        leaving = spawn(keeper.replaced(1), name="leaving")
        await asyncio.sleep(0)
        await cancelled(leaving)
        await scene.settle()
        assert name(keeper.peek()) == "access-2"


async def test_a_renewal_cancelled_before_its_first_step_settles() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        keeper.renew_behind()
        task = keeper._flight._task
        assert task is not None
        task.cancel()
        await scene.settle()

        assert keeper.state is State.EMPTY
        assert scene.source.asked == []
        assert name(await keeper.get()) == "access-1"


async def test_a_source_that_cancels_itself_is_asked_again_but_not_in_a_loop() -> None:
    async with stage(wait=3) as scene:
        keeper = await scene.keeper()
        scene.source.fail(asyncio.CancelledError())
        waiting = crowd(keeper, 3)
        await scene.clock.advance(3.5)

        for task in waiting:
            with pytest.raises(SourceUnavailable):
                await task
        assert len(scene.source.calls) <= 4


@pytest.mark.parametrize("where", ["source", "load", "lock", "unlock"])
async def test_a_fault_anywhere_in_a_renewal_leaves_nobody_waiting(where: str) -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        if where == "source":
            scene.source.fail(ZeroDivisionError("a secret"))
        else:
            scene.store.failing = {f"{where}: fault"}
        results = await asyncio.gather(*crowd(keeper, 5), return_exceptions=True)

        if where == "unlock":  # the token had been stored by then
            assert [name(keeper.peek())] == ["access-1"]
        else:
            assert {type(result) for result in results} == {SourceUnavailable}
        told = scene.told(RenewalFailed)
        assert len(told) == 1
        assert "ZeroDivisionError" in told[0].error
        assert "a secret" not in told[0].error

        scene.source.fail(None)
        scene.store.failing = set()
        await scene.clock.advance(2)
        assert name(await keeper.get()) == "access-1"


async def test_a_token_that_has_come_is_not_lost_to_a_fault_in_the_store() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        scene.store.failing = {"save: fault"}
        assert name(await keeper.get()) == "access-1"
        await scene.clock.advance(LIFE)
        await keeper.get()
        assert [call.refresh for call in scene.source.calls] == [None, "refresh-1"]
        [told] = scene.told(NotPersisted)
        assert "ZeroDivisionError" in told.error

        scene.store.failing = set()
        await scene.clock.advance(60)
        assert not keeper.not_persisted


# -- closing ---------------------------------------------------------------------------------


async def test_closing_lets_a_renewal_under_way_finish_and_be_stored() -> None:
    async with stage(background=True) as scene:
        keeper = await scene.keeper()
        scene.source.delay = 4
        await scene.settle()
        closing = spawn(keeper.close(5), name="closing")
        await scene.clock.advance(3.9)
        assert not closing.done()
        await scene.clock.advance(0.2)

        assert closing.done()
        assert scene.store.record.generation == 1


async def test_closing_cuts_off_what_takes_longer_than_its_grace_and_those_who_wait_are_told() -> (
    None
):
    async with stage() as scene:
        keeper = await scene.keeper()
        scene.source.delay = 10
        waiting = crowd(keeper, 3)
        await scene.settle()
        closing = spawn(keeper.close(5), name="closing")
        await scene.clock.advance(5)
        await closing

        for task in waiting:
            with pytest.raises(SourceUnavailable, match="ends"):
                await task
        assert scene.store.record.generation == 0


async def test_a_token_that_has_come_is_stored_though_closing_has_no_grace_left() -> None:
    """Else a rotated refresh token would be lost between its answer and its save."""
    async with stage() as scene:
        keeper = await scene.keeper()
        await keeper.get()
        await scene.clock.advance(LIFE)
        scene.store.gate.clear()
        keeper.renew_behind()
        await scene.settle()
        assert scene.source.asked == [LOGIN, RENEW]
        closing = spawn(keeper.close(0), name="closing")
        await scene.settle()
        assert not closing.done()
        scene.store.gate.set()
        await closing

        assert scene.store.record.generation == 2


async def test_closing_gives_up_a_wait_for_the_lock() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        async with scene.store.lock():
            keeper.renew_behind()
            await scene.settle()
            await keeper.close()
        assert scene.source.asked == []


async def test_a_renewal_does_not_outlive_one_who_closes_and_is_cancelled() -> None:
    async with stage(background=True) as scene:
        keeper = await scene.keeper()
        scene.source.delay = 100
        waiting = crowd(keeper, 3)
        await scene.settle()
        closing = spawn(keeper.close(50), name="closing")
        await scene.settle()
        await cancelled(closing)

        assert closing.cancelled()
        assert keeper._flight._task is None
        for task in waiting:
            with pytest.raises(SourceUnavailable, match="ends"):
                await task


async def test_one_who_is_cancelled_while_closing_still_has_a_token_that_has_come_stored() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        scene.store.gate.clear()
        keeper.renew_behind()
        await scene.settle()
        closing = spawn(keeper.close(50), name="closing")
        await scene.settle()
        closing.cancel()
        await scene.settle()
        assert not closing.done()
        scene.store.gate.set()
        await scene.settle()

        assert closing.cancelled()
        assert scene.store.record.generation == 1


async def test_one_who_is_cancelled_twice_while_closing_waits_for_no_save() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        scene.store.gate.clear()
        keeper.renew_behind()
        await scene.settle()
        closing = spawn(keeper.close(50), name="closing")
        for _ in range(2):
            await scene.settle()
            closing.cancel()
        await scene.settle()

        assert closing.cancelled()
        assert keeper._flight._task is None


async def test_a_closed_keeper_begins_nothing_and_gives_what_it_has() -> None:
    async with stage(background=True) as scene:
        keeper = await scene.keeper()
        held = await keeper.get()
        await keeper.close()
        await scene.clock.advance(LIFE - 1)

        assert keeper.peek() is held
        assert await keeper.get() is held
        keeper.renew_behind()
        keeper.rejected(held.generation)
        assert await keeper.replaced(held.generation) is None
        with pytest.raises(SourceUnavailable, match="ends"):
            await keeper.get()
        assert scene.source.asked == [LOGIN]


async def test_closing_twice_or_before_the_start_is_harmless() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        await keeper.close()
        await keeper.close()


async def test_nothing_is_pending_after_all_that_can_be_under_way_is_closed() -> None:
    """A renewal, its waiters, watches, the background and a save that is tried again."""
    async with stage(background=True) as scene:
        keeper = await scene.keeper()
        scene.store.failing = {"save"}
        await scene.settle()
        await scene.clock.advance(LIFE - 5)
        assert keeper.not_persisted
        scene.source.delay = 100
        await scene.clock.advance(10)
        waiting = crowd(keeper, 3)
        await scene.settle()
        await keeper.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        await scene.settle()
        assert asyncio.all_tasks() == {asyncio.current_task()}
