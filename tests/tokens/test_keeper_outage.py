"""When the issuer fails: few calls, nothing thrown away, and an end to it without a person."""

import asyncio

import pytest

from tests.tokens.acting import (
    DOUBT,
    DOWN,
    LIFE,
    LOGIN,
    RENEW,
    SLOW,
    WINDOW,
    Stage,
    Step,
    crowd,
    name,
    stage,
    state_of,
)
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.events import LoginRequired, RenewalFailed
from tokenproxy.secret import Secret
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.slot import State
from tokenproxy.tokens.token import Record, Token


async def requests(keeper: Keeper, scene: Stage, *, number: int, seconds: float) -> list[object]:
    """So many in so much time, evenly spread; what became of each."""
    tasks = []
    per_step = number // 100
    for _ in range(100):
        tasks += crowd(keeper, per_step)
        await scene.clock.advance(seconds / 100)
    await scene.clock.advance(20)  # whatever waits has been answered by then
    assert all(task.done() for task in tasks)
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("can_login", [True, False])
@pytest.mark.parametrize(
    ("failure", "delay"),
    [(DOWN, 0.0), (DOWN, 0.3), (SLOW, 10.0), (SLOW, 0.0), (SourceUnavailable("HTML"), 0.1)],
    ids=["refused connections", "500s", "hangs", "odd answers", "pages"],
)
async def test_ten_seconds_without_an_issuer_cost_eight_calls_at_most_and_pass_by_themselves(
    failure: Step, delay: float, can_login: bool, background: bool
) -> None:
    async with stage(background=background, source={"can_login": can_login}) as scene:
        scene.store.put(seeded(scene))
        keeper = await scene.keeper()
        scene.source.fail(failure)
        scene.source.delay = delay
        begun = scene.clock.now().steady

        outcomes = await requests(keeper, scene, number=1000, seconds=10)

        assert 1 <= len([call for call in scene.source.calls if call.at < begun + 10]) <= 8
        assert {type(outcome) for outcome in outcomes} == {SourceUnavailable}
        assert keeper.state in {State.UNAVAILABLE, State.RENEWING, State.EXPIRED}
        stored = scene.store.record.refresh
        assert stored is not None
        assert stored.reveal() == "refresh-0"

        scene.source.fail(None)
        scene.source.delay = 0
        await scene.clock.advance(60)
        assert (await keeper.get()).generation > 0
        recovered = scene.source.calls[-1]
        # A renewal still hanging as the outage ends may be followed by the one rescuing login.
        assert recovered.attempt is RENEW or (can_login and delay == 10)
        assert recovered.refresh == "refresh-0"


async def test_a_token_that_is_still_good_goes_on_being_used() -> None:
    async with stage(background=True) as scene:
        keeper = await scene.keeper()
        await scene.settle()
        scene.source.fail(DOWN)
        await scene.clock.advance(LIFE - WINDOW)
        for _ in range(int(WINDOW) - 1):
            await scene.clock.advance(1)
            assert name(keeper.peek()) == "access-1"
        assert state_of(keeper) is State.AGEING
        assert len(scene.source.calls) < 10


async def test_failures_in_a_row_are_further_and_further_apart_without_anybody_asking() -> None:
    async with stage(background=True, retries=0) as scene:
        scene.source.fail(SLOW)
        await scene.keeper()
        await scene.clock.advance(200)
        times = [round(call.at - 1000) for call in scene.source.calls]
        assert times == [0, 1, 3, 7, 15, 31, 63, 123, 183]
        assert [event.retry_in for event in scene.told(RenewalFailed)][:3] == [1, 2, 4]


@pytest.mark.parametrize(("retry_after", "pause"), [(5, 5), (120, 120), (86400, 300)])
@pytest.mark.parametrize("background", [True, False])
async def test_no_call_comes_before_the_time_that_the_issuer_named(
    retry_after: float, pause: float, background: bool
) -> None:
    async with stage(background=background, retries=0) as scene:
        scene.source.script = [SourceUnavailable("429", retriable=True, retry_after=retry_after)]
        keeper = await scene.keeper()
        keeper.renew_behind()
        await scene.clock.advance(pause - 0.1)
        with pytest.raises(SourceUnavailable) as caught:
            await keeper.get()
        assert caught.value.retry_after == pytest.approx(0.1)
        assert len(scene.source.calls) == 1

        await scene.clock.advance(0.2)
        assert name(await keeper.get()) == "access-1"


# -- refusals --------------------------------------------------------------------------------


def seeded(scene: Stage) -> Record:
    """What an earlier run left: a refresh token, and no access token that is still good."""
    gone = Token(Secret("access-0"), scene.clock.now().wall - 200, scene.clock.now().wall - 100)
    return Record(1, gone, Secret("refresh-0"))


async def test_a_refused_refresh_token_is_taken_out_of_the_store_and_the_login_takes_over() -> None:
    async with stage(source={"rotates": False}) as scene:
        scene.store.put(seeded(scene))
        keeper = await scene.keeper()
        scene.source.script = [SourceRefused("invalid_grant")]
        assert name(await keeper.get()) == "access-1"
        assert scene.source.asked == [RENEW, LOGIN]
        assert scene.store.record.refresh is None

        await scene.clock.advance(LIFE)
        await keeper.get()
        assert scene.source.asked == [RENEW, LOGIN, LOGIN]


async def test_a_refused_refresh_token_without_a_login_needs_a_person_and_one_call() -> None:
    async with stage(background=True, source={"can_login": False}) as scene:
        scene.store.put(seeded(scene))
        scene.source.fail(SourceRefused("invalid_grant"))
        keeper = await scene.keeper()
        await scene.clock.advance(3600)

        assert state_of(keeper) is State.LOGIN_REQUIRED
        assert scene.source.asked == [RENEW]
        assert scene.store.record.refresh is None
        assert scene.store.record.error == "invalid_grant"
        assert scene.told(LoginRequired) == [LoginRequired("shop", "invalid_grant")]


async def test_a_refused_refresh_token_is_not_sent_again_after_a_restart() -> None:
    async with stage(source={"can_login": False}) as scene:
        scene.store.put(seeded(scene))
        scene.source.fail(SourceRefused("invalid_grant"))
        for _ in range(3):
            keeper = await scene.keeper()
            with pytest.raises(SourceRefused):
                await keeper.get()
            await keeper.close()
        assert scene.source.asked == [RENEW]


async def test_a_refused_login_is_tried_again_when_the_store_has_changed() -> None:
    async with stage(background=True) as scene:
        scene.store.put(seeded(scene))
        scene.source.fail(SourceRefused("no"))
        keeper = await scene.keeper()
        await scene.clock.advance(3600)
        assert scene.source.asked == [RENEW, LOGIN]

        scene.source.fail(None)
        scene.store.put(Record(scene.store.record.generation + 1))  # as `logout` does
        await scene.settle()
        assert scene.source.asked == [RENEW, LOGIN, LOGIN]
        assert name(keeper.peek()) == "access-1"


async def test_what_looks_like_a_refusal_three_times_is_one() -> None:
    async with stage(background=True, source={"can_login": False}) as scene:
        scene.store.put(seeded(scene))
        scene.source.fail(DOUBT)
        keeper = await scene.keeper()
        await scene.clock.advance(2.9)
        assert state_of(keeper) is State.UNAVAILABLE
        await scene.clock.advance(3600)

        assert state_of(keeper) is State.LOGIN_REQUIRED
        assert [call.at - 1000 for call in scene.source.calls] == [0, 1, 3]
        assert len(scene.told(LoginRequired)) == 1


# -- the rescue ------------------------------------------------------------------------------


async def test_a_refresh_that_goes_on_failing_is_rescued_by_the_login() -> None:
    """A server may answer 500 for ever to the refresh token of a user who was made anew."""
    async with stage() as scene:
        scene.store.put(seeded(scene))
        keeper = await scene.keeper()
        scene.source.always = {RENEW: DOWN}
        keeper.renew_behind()
        await scene.clock.advance(4.4)
        assert LOGIN not in scene.source.asked
        await scene.clock.advance(0.2)
        keeper.renew_behind()
        await scene.clock.advance(0.5)

        assert name(keeper.peek()) == "access-1"
        assert scene.source.asked == [RENEW] * 5 + [LOGIN]


async def test_a_rescue_is_tried_once_in_five_minutes() -> None:
    async with stage(background=True, retries=0) as scene:
        scene.store.put(seeded(scene))
        scene.source.fail(SLOW)
        await scene.keeper()
        await scene.clock.advance(650)
        logins = [call.at - 1000 for call in scene.source.calls if call.attempt is LOGIN]
        assert len(logins) == 3
        assert logins[1] - logins[0] >= 300
        assert logins[2] - logins[1] >= 300


async def test_a_refused_rescue_neither_discards_the_refresh_token_nor_is_repeated() -> None:
    async with stage(background=True, retries=0) as scene:
        scene.store.put(seeded(scene))
        scene.source.always = {RENEW: SLOW, LOGIN: SourceRefused("wrong password")}
        keeper = await scene.keeper()
        await scene.clock.advance(1000)

        assert scene.source.asked.count(LOGIN) == 1
        assert state_of(keeper) is State.UNAVAILABLE
        assert scene.told(LoginRequired) == []
        scene.source.fail(None)
        await scene.clock.advance(60)
        assert name(keeper.peek()) == "access-1"
        assert scene.source.calls[-1].refresh == "refresh-0"


async def test_there_is_no_rescue_while_a_token_is_good() -> None:
    async with stage(background=True, retries=0) as scene:
        await scene.keeper()
        await scene.settle()
        scene.source.fail(SLOW)
        await scene.clock.advance(LIFE - 1)
        assert scene.source.asked.count(LOGIN) == 1  # the first one


# -- a lost answer ---------------------------------------------------------------------------


async def test_a_rotated_answer_that_was_lost_is_asked_for_again_and_the_refusal_settles_it() -> (
    None
):
    async with stage(background=True) as scene:
        scene.store.put(seeded(scene))
        scene.source.script = [SLOW, SourceRefused("token_not_valid")]
        keeper = await scene.keeper()
        await scene.clock.advance(2)

        assert name(keeper.peek()) == "access-1"
        assert scene.source.asked == [RENEW, RENEW, LOGIN]
        await scene.clock.advance(LIFE - WINDOW - 2)
        assert scene.source.asked == [RENEW, RENEW, LOGIN]


async def test_a_store_that_is_away_for_a_moment_costs_nobody_a_token() -> None:
    async with stage() as scene:
        scene.store.needs_lock = True
        keeper = await scene.keeper()
        scene.store.failing = {"lock"}
        waiting = crowd(keeper, 5)
        await scene.clock.advance(0.3)
        assert not any(task.done() for task in waiting)
        scene.store.failing = set()
        await scene.clock.advance(0.2)
        assert {name(task.result()) for task in waiting} == {"access-1"}
        assert len(scene.source.calls) == 1
