"""What a keeper promises to requests: a good token, one renewal, and an answer in time."""

import asyncio

import pytest

from tests.tokens.acting import (
    DOWN,
    LIFE,
    LOGIN,
    RENEW,
    WINDOW,
    FussyStore,
    crowd,
    name,
    stage,
    state_of,
)
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.events import LoginRequired, RenewalFailed, TokenRejected, TokenRenewed
from tokenproxy.tasks import spawn
from tokenproxy.tokens.slot import Rejection, State
from tokenproxy.tokens.token import Granted, Record, Token

# -- getting a token -------------------------------------------------------------------------


async def test_the_first_who_asks_gets_a_token_and_the_next_ones_get_the_same() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        assert keeper.peek() is None

        first = await keeper.get()

        assert name(first) == "access-1"
        assert keeper.peek() is first
        assert await keeper.get() is first
        assert scene.source.asked == [LOGIN]


async def test_200_who_wait_cost_one_call() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        scene.source.gate.clear()
        waiting = crowd(keeper, 200)
        await scene.settle()
        scene.source.gate.set()

        assert {name(held) for held in await asyncio.gather(*waiting)} == {"access-1"}
        assert scene.source.asked == [LOGIN]


async def test_two_keepers_on_one_store_cost_one_call() -> None:
    async with stage() as scene:
        keepers = [await scene.keeper(), await scene.keeper()]
        waiting = [task for keeper in keepers for task in crowd(keeper, 50)]

        assert {name(held) for held in await asyncio.gather(*waiting)} == {"access-1"}
        assert scene.source.asked == [LOGIN]


async def test_a_token_that_another_process_stores_is_used_at_once_by_those_who_wait() -> None:
    """They wait for a token, not for our own turn at the lock."""
    async with stage() as scene:
        keeper = await scene.keeper()
        async with scene.store.lock():
            waiting = crowd(keeper, 3)
            await scene.settle()
            scene.store.put(_record(scene.source.grant()))
            await scene.settle()
            assert [name(task.result()) for task in waiting] == ["access-1"] * 3
        await scene.settle()
        assert scene.source.asked == []


async def test_whoever_asks_as_a_renewal_ends_does_not_spin_until_it_has_settled() -> None:
    """The loop must get to run the callback that settles it."""
    async with stage() as scene:
        keeper = await scene.keeper()
        late: list[asyncio.Task[object]] = []

        def ask_at_the_end(*_: object) -> None:
            late.append(spawn(keeper.get(), name="late"))

        first = spawn(keeper.get(), name="first")
        await asyncio.sleep(0)
        task = keeper._flight._task
        assert task is not None
        task.remove_done_callback(keeper._flight._settle)
        task.add_done_callback(ask_at_the_end)
        task.add_done_callback(keeper._flight._settle)

        assert name(await first) == "access-1"
        await scene.settle()
        await asyncio.gather(*late)
        assert len(late) == len(scene.source.calls) == 1


async def test_stored_before_used() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        scene.store.gate.clear()
        waiting = crowd(keeper, 3)
        await scene.clock.advance(5)

        assert not any(task.done() for task in waiting)
        assert keeper.peek() is None

        scene.store.gate.set()
        assert {name(held) for held in await asyncio.gather(*waiting)} == {"access-1"}
        assert stored_name(scene.store.record.token) == "access-1"


async def test_whoever_waits_too_long_is_told_so_and_the_renewal_goes_on() -> None:
    async with stage(wait=15) as scene:
        keeper = await scene.keeper()
        scene.source.gate.clear()
        waiting = crowd(keeper, 2)
        await scene.clock.advance(14.9)
        assert not any(task.done() for task in waiting)
        await scene.clock.advance(0.2)

        for task in waiting:
            with pytest.raises(SourceUnavailable, match="still being fetched") as caught:
                await task
            assert caught.value.retry_after == 1.0
        assert state_of(keeper) is State.RENEWING

        scene.source.gate.set()
        await scene.settle()
        assert name(keeper.peek()) == "access-1"
        assert scene.source.asked == [LOGIN]


async def test_with_no_patience_at_all_a_request_still_sets_the_renewal_off() -> None:
    async with stage(wait=0) as scene:
        keeper = await scene.keeper()
        with pytest.raises(SourceUnavailable):
            await keeper.get()
        await scene.settle()
        assert name(keeper.peek()) == "access-1"


async def test_while_cooling_off_a_request_is_told_when_to_come_back_and_costs_nothing() -> None:
    async with stage(retries=0) as scene:
        keeper = await scene.keeper()
        scene.source.fail(DOWN)
        for _ in range(10):
            with pytest.raises(SourceUnavailable, match="issuer is down") as caught:
                await keeper.get()
            assert caught.value.retry_after == 1.0
        assert keeper.peek() is None
        keeper.renew_behind()
        assert scene.source.asked == [LOGIN]
        assert scene.told(RenewalFailed) == [RenewalFailed("shop", "the issuer is down", 1.0)]


async def test_a_refused_login_is_told_to_everybody_and_not_sent_again() -> None:
    async with stage(background=True) as scene:
        scene.source.fail(SourceRefused("wrong password"))
        keeper = await scene.keeper()
        for _ in range(5):
            with pytest.raises(SourceRefused, match="wrong password"):
                await keeper.get()
            await scene.clock.advance(600)
        assert scene.source.asked == [LOGIN]
        assert state_of(keeper) is State.LOGIN_REQUIRED
        assert scene.told(LoginRequired) == [LoginRequired("shop", "wrong password")]


# -- ahead of need ---------------------------------------------------------------------------


async def test_an_ageing_token_is_renewed_once_behind_those_who_go_on_using_it() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        first = await keeper.get()
        scene.source.gate.clear()
        await scene.clock.advance(LIFE - WINDOW)

        assert [keeper.peek() for _ in range(5)] == [first] * 5
        assert [await keeper.get() for _ in range(5)] == [first] * 5
        assert state_of(keeper) is State.AGEING
        await scene.settle()
        scene.source.gate.set()
        await scene.settle()

        assert name(keeper.peek()) == "access-2"
        assert scene.source.asked == [LOGIN, RENEW]


@pytest.mark.parametrize("how", ["peek", "get", "renew_behind"])
async def test_every_way_of_asking_sets_off_the_renewal_that_is_due(how: str) -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        await keeper.get()
        await scene.clock.advance(LIFE - WINDOW)
        if how == "get":
            await keeper.get()
        else:
            getattr(keeper, how)()
        await scene.settle()
        assert scene.source.asked == [LOGIN, RENEW]


async def test_a_fresh_token_is_left_alone() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        await keeper.get()
        await scene.clock.advance(LIFE - WINDOW - 1)
        keeper.peek()
        keeper.renew_behind()
        await scene.settle()
        assert scene.source.asked == [LOGIN]


async def test_past_its_end_a_token_is_waited_for() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        await keeper.get()
        await scene.clock.advance(LIFE)
        assert keeper.peek() is None
        assert state_of(keeper) is State.EXPIRED
        assert name(await keeper.get()) == "access-2"


async def test_the_background_renews_with_no_traffic_at_start_and_ahead_of_need() -> None:
    async with stage(background=True) as scene:
        keeper = await scene.keeper()
        await scene.settle()
        assert name(keeper.peek()) == "access-1"
        for _ in range(3):
            await scene.clock.advance(LIFE - WINDOW)
        assert [call.at for call in scene.source.calls] == [1000, 1075, 1150, 1225]
        assert len(scene.told(TokenRenewed)) == 4


async def test_without_background_nothing_is_asked_until_somebody_does() -> None:
    async with stage(background=False) as scene:
        keeper = await scene.keeper()
        await scene.clock.advance(1000)
        await keeper.get()
        await scene.clock.advance(1000)
        assert scene.source.asked == [LOGIN]


async def test_a_life_that_nobody_knows_lasts_until_it_is_rejected() -> None:
    async with stage(source={"life": None}, background=True) as scene:
        keeper = await scene.keeper()
        await scene.clock.advance(100_000)
        assert scene.source.asked == [LOGIN]
        held = await keeper.get()
        assert keeper.rejected(held.generation) is Rejection.RENEW
        await scene.settle()
        assert scene.source.asked == [LOGIN, RENEW]


# -- rejections ------------------------------------------------------------------------------


async def test_a_rejected_token_is_replaced_once_for_all_who_were_rejected() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        old = await keeper.get()
        await scene.clock.advance(10)

        assert {keeper.rejected(old.generation) for _ in range(10)} == {Rejection.RENEW}
        newer = await asyncio.gather(*(keeper.replaced(old.generation) for _ in range(10)))

        assert {name(held) for held in newer} == {"access-2"}
        assert scene.source.asked == [LOGIN, RENEW]
        assert len(scene.told(TokenRejected)) == 1


async def test_late_rejections_leave_a_newer_token_alone() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        old = await keeper.get()
        await scene.clock.advance(10)
        keeper.rejected(old.generation)
        newer = await keeper.replaced(old.generation)
        await scene.clock.advance(50)

        assert {keeper.rejected(old.generation) for _ in range(10)} == {Rejection.NEWER}

        assert keeper.peek() is newer
        assert await keeper.replaced(old.generation) is newer
        assert scene.source.asked == [LOGIN, RENEW]
        assert len(scene.told(TokenRejected)) == 1


async def test_an_api_that_always_says_no_costs_one_renewal_per_min_interval() -> None:
    async with stage(background=True, min_interval=10) as scene:
        keeper = await scene.keeper()
        await scene.settle()
        await scene.clock.advance(20)
        before = len(scene.source.calls)
        for request in range(1000):  # in ten seconds
            held = keeper.peek()
            assert held is not None
            if keeper.rejected(held.generation) is Rejection.RENEW:
                assert await keeper.replaced(held.generation) is not None
            if request % 100 == 0:
                await scene.clock.advance(0.999)
        assert len(scene.source.calls) == before + 1


async def test_a_rejection_is_answered_in_the_background_though_nobody_waits() -> None:
    async with stage(background=True) as scene:
        keeper = await scene.keeper()
        await scene.clock.advance(10)
        keeper.rejected(1)
        await scene.settle()
        assert name(keeper.peek()) == "access-2"


@pytest.mark.parametrize("error", [DOWN, SourceRefused("no")])
async def test_where_the_renewal_fails_there_is_no_newer_token(error: Exception) -> None:
    async with stage(retries=0) as scene:
        keeper = await scene.keeper()
        await keeper.get()
        await scene.clock.advance(10)
        scene.source.fail(error)
        assert keeper.rejected(1) is Rejection.RENEW
        assert await keeper.replaced(1) is None


# -- clocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("jump", [7200.0, -3600.0, 30.0, 90.0])
async def test_a_clock_that_was_set_or_stood_costs_at_most_one_renewal_more(
    jump: float, background: bool
) -> None:
    async with stage(background=background) as scene:
        keeper = await scene.keeper()
        await keeper.get()
        await scene.settle()
        scene.clock.jump(wall=jump)

        held = keeper.peek() or await keeper.get()
        await scene.clock.advance(31)

        assert held.expires.wall > scene.clock.now().wall - 31
        assert len(scene.source.calls) <= 2
        assert keeper.peek() is not None


async def test_after_a_sleep_longer_than_its_life_no_dead_token_is_used() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        await keeper.get()
        scene.clock.jump(wall=LIFE)
        assert keeper.peek() is None
        assert name(await keeper.get()) == "access-2"


async def test_a_clock_set_back_makes_no_token_live_longer() -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        await keeper.get()
        scene.clock.jump(wall=-3600)
        await scene.clock.advance(LIFE)
        assert keeper.peek() is None


# -- a whole life ----------------------------------------------------------------------------


async def test_the_states_of_a_life() -> None:
    async with stage(retries=0) as scene:
        keeper = await scene.keeper()
        assert state_of(keeper) is State.EMPTY
        scene.source.fail(DOWN)
        keeper.renew_behind()
        assert state_of(keeper) is State.RENEWING
        await scene.settle()
        assert state_of(keeper) is State.UNAVAILABLE
        await scene.clock.advance(1)
        assert state_of(keeper) is State.EMPTY
        scene.source.fail(None)
        await keeper.get()
        assert state_of(keeper) is State.FRESH
        await scene.clock.advance(LIFE - WINDOW)
        assert state_of(keeper) is State.AGEING
        await scene.clock.advance(WINDOW)
        assert state_of(keeper) is State.EXPIRED
        scene.source.fail(SourceRefused("no"))
        with pytest.raises(SourceRefused):
            await keeper.get()
        assert state_of(keeper) is State.LOGIN_REQUIRED


def _record(granted: Granted) -> Record:
    return Record(1, token=granted.token, refresh=granted.refresh)


def stored_name(token: Token | None) -> str | None:
    return None if token is None else token.access.reveal()


async def test_whoever_waits_for_the_lock_leaves_it_alone_once_another_has_renewed() -> None:
    async with stage(background=True) as scene:
        holder = scene.stores.open("shop")
        async with holder.lock():
            keepers = [await scene.keeper(store=FussyStore(scene.stores)) for _ in range(3)]
            await scene.settle()
            assert all(keeper._flight._task is not None for keeper in keepers)
            await holder.save(_record(scene.source.grant()), after=0, lease=None)
            await scene.settle()
            assert {name(keeper.peek()) for keeper in keepers} == {"access-1"}
            assert all(keeper._flight._task is None for keeper in keepers)
        assert scene.source.calls == []
