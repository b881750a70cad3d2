"""What went wrong is known to all who share a record, and to who comes after a restart."""

import pytest

from tests.tokens.acting import (
    DOUBT,
    DOWN,
    LOGIN,
    RENEW,
    FussyStore,
    ScriptedSource,
    Stage,
    ended,
    leave,
    name,
    stage,
    state_of,
)
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.events import LoginRequired
from tokenproxy.secret import Secret
from tokenproxy.tasks import spawn
from tokenproxy.tokens.slot import Held, Rejection, State
from tokenproxy.tokens.source import Attempt
from tokenproxy.tokens.token import LOST, MOST_OTHERS, Record, Setback, Token, Unusable

NO = SourceRefused("the issuer refused (401)")
LATER = SourceUnavailable("too many", retry_after=300)


async def another(scene: Stage, config: str = "") -> object:
    """What one more process gets when it asks."""
    keeper = await scene.keeper(store=FussyStore(scene.stores), config=config)
    try:
        return name(await keeper.get())
    except (SourceUnavailable, SourceRefused) as error:
        return error
    finally:
        await keeper.close()


async def test_a_refused_login_is_not_sent_again_by_other_processes_or_after_a_restart() -> None:
    async with stage() as scene:
        scene.source.fail(NO)
        outcomes = [await another(scene) for _ in range(4)]
        assert scene.source.asked == [LOGIN]
        assert {str(outcome) for outcome in outcomes} == {str(NO)}
        assert len(scene.told(LoginRequired)) == 4


async def test_a_refused_login_is_sent_again_once_the_config_is_another() -> None:
    async with stage() as scene:
        scene.source.fail(NO)
        await another(scene, config="the old password")
        scene.source.fail(None)
        assert await another(scene, config="the new password") == "access-1"
        assert await another(scene, config="the old password") == "access-1"
        assert scene.source.asked == [LOGIN, LOGIN]


async def test_a_record_of_our_own_that_is_saved_late_is_no_reason_to_try_again() -> None:
    async with stage(background=True) as scene:
        scene.store.failing = {"save"}
        scene.source.fail(NO)
        await scene.keeper()
        await scene.clock.advance(10)
        scene.store.failing = set()
        await scene.clock.advance(600)
        assert scene.source.asked == [LOGIN]


async def test_nobody_asks_before_the_issuer_said() -> None:
    async with stage(wait=0.1) as scene:
        scene.source.fail(LATER)
        for _ in range(4):
            outcome = await another(scene)
            assert isinstance(outcome, SourceUnavailable)
            assert 0 < (outcome.retry_after or 0) <= 300
            await scene.clock.advance(60)
        assert scene.source.asked == [LOGIN]
        scene.source.fail(None)
        await scene.clock.advance(70)
        assert await another(scene) == "access-1"


async def test_an_outage_costs_eight_processes_no_more_calls_than_one() -> None:
    async with stage(background=True) as scene:
        scene.source.fail(DOWN)
        for _ in range(8):
            await scene.keeper(store=FussyStore(scene.stores))
        await scene.clock.advance(10)
        assert len(scene.source.calls) <= 8
        scene.source.fail(None)
        await scene.clock.advance(60)
        assert {state_of(keeper) for keeper in scene.keepers} == {State.FRESH}
        assert scene.source.granted == 1


async def test_a_clock_that_was_set_back_makes_nobody_wait_longer_than_any_pause_is() -> None:
    async with stage(background=True) as scene:
        scene.source.fail(LATER)
        keeper = await scene.keeper()
        await scene.clock.advance(1)
        scene.clock.jump(wall=-7200)
        scene.source.fail(None)
        await scene.clock.advance(361)
        assert state_of(keeper) is State.FRESH


async def test_three_doubts_of_any_processes_are_a_refusal_for_all() -> None:
    async with stage(source={"can_login": False}) as scene:
        scene.store.put(Record(1, refresh=Secret("first")))
        scene.source.fail(DOUBT)
        for _ in range(4):
            await another(scene)
            await scene.clock.advance(60)
        assert scene.source.asked == [RENEW] * 3
        assert isinstance(await another(scene), SourceRefused)


async def test_a_login_because_renewals_fail_is_tried_once_in_five_minutes_by_all_together() -> (
    None
):
    async with stage() as scene:
        scene.store.put(Record(1, refresh=Secret("first")))
        scene.source.fail(DOWN)
        for _ in range(10):
            one_more = spawn(another(scene), name="one more")
            await scene.clock.advance(29)
            assert one_more.done()
        assert scene.source.asked.count(LOGIN) == 1


async def test_a_refused_refresh_token_is_forgotten_before_the_login_is_tried() -> None:
    async with stage() as scene:
        scene.store.put(Record(1, refresh=Secret("first")))
        scene.source.script = [NO]
        keeper = await scene.keeper()
        waiting = spawn(keeper.get(), name="waiting")
        scene.source.delay = 5
        await scene.clock.advance(6)  # refused; the login is under way, and never answered
        await leave(waiting)
        await keeper.close()
        scene.source.delay = 0
        assert await another(scene) == "access-1"
        assert scene.source.asked == [RENEW, LOGIN, LOGIN]


async def test_a_new_refresh_token_that_comes_with_an_unusable_access_token_is_kept() -> None:
    async with stage(source={"can_login": False}) as scene:
        scene.store.put(Record(1, refresh=Secret("first")))
        scene.source.script = [Unusable("unusable", Secret("second"))]
        await another(scene)
        await scene.clock.advance(5)
        assert await another(scene) == "access-1"
        assert [call.refresh for call in scene.source.calls] == ["first", "second"]


async def test_a_first_refresh_token_is_not_sent_again_where_the_record_was_lost() -> None:
    async with stage(source={"can_login": False, "seed": "R0"}) as scene:
        scene.store.put(LOST)
        assert isinstance(await another(scene), SourceRefused)
        assert scene.source.calls == []


async def test_where_the_record_was_lost_the_configs_login_is_used() -> None:
    async with stage(source={"seed": "R0"}) as scene:
        scene.store.put(LOST)
        assert await another(scene) == "access-1"
        assert scene.source.asked == [LOGIN]


@pytest.mark.parametrize("later", [True, False])
async def test_of_two_records_that_both_were_saved_last_the_later_renewal_wins(
    later: bool,
) -> None:
    async with stage() as scene:
        keeper = await scene.keeper()
        scene.store.failing = {"save"}
        assert name(await keeper.get()) == "access-1"
        now = scene.clock.now().wall
        theirs = Record(
            1,
            Token(Secret("theirs"), now, now + 300),
            Secret("their refresh"),
            renewed_at=now + (1 if later else -1),
        )
        scene.store.put(theirs)
        scene.store.failing = set()
        await scene.clock.advance(5)
        token = scene.store.record.token
        assert token is not None
        assert token.access.reveal() == ("theirs" if later else "access-1")


async def test_a_success_ends_the_setback_for_all() -> None:
    async with stage() as scene:
        of_another = Setback("refused", "another config", login_refused="no")
        ours = Setback("down", "", 3, 1, rescued_at=5.0)
        scene.store.put(Record(1, setback=ours, others=(of_another,)))
        assert await another(scene) == "access-1"
        assert scene.store.record.setback is None
        assert scene.store.record.others == ()


async def test_whoever_waits_hears_that_another_was_told_to_wait() -> None:
    async with stage() as scene:
        scene.source.fail(LATER)
        keeper, other = await scene.keeper(), await scene.keeper(store=FussyStore(scene.stores))
        outcomes = await ended(spawn(keeper.get(), name="one"), spawn(other.get(), name="two"))
        assert [type(outcome) for outcome in outcomes] == [SourceUnavailable] * 2
        assert scene.source.asked == [LOGIN]


# -- what a person has signed in for ---------------------------------------------------------


SIGNED_IN = Record(5, refresh=Secret("of a person"), renewed_at=1.0)


async def test_a_record_that_cannot_be_read_at_first_is_not_written_over() -> None:
    async with stage(background=True, source={"can_login": False}) as scene:
        scene.store.put(SIGNED_IN)
        scene.store.failing = {"load"}
        keeper = await scene.keeper()
        await scene.clock.advance(30)
        assert scene.store.record == SIGNED_IN
        scene.store.failing = set()
        await scene.clock.advance(30)
        assert state_of(keeper) is State.FRESH
        assert [call.refresh for call in scene.source.calls] == ["of a person"]


async def test_where_the_record_cannot_be_read_what_may_have_been_replaced_is_not_sent() -> None:
    async with stage(source={"can_login": False}) as scene:
        scene.store.put(SIGNED_IN)
        keeper = await scene.keeper()
        scene.store.failing = {"load"}
        waiting = spawn(keeper.get(), name="waiting")
        await scene.clock.advance(20)
        assert isinstance((await ended(waiting))[0], SourceUnavailable)
        assert scene.source.calls == []


async def test_a_failure_is_not_saved_over_tokens_that_we_do_not_know() -> None:
    async with stage(source={"can_login": False}) as scene:
        scene.store.put(SIGNED_IN)
        scene.source.fail(NO)
        keeper = await scene.keeper()
        theirs = Record(6, Token(Secret("theirs"), 1.8e9, 1.9e9), Secret("next"), renewed_at=2.0)
        scene.store.conflicts = [theirs]
        assert isinstance((await ended(spawn(keeper.get(), name="one")))[0], SourceRefused | Held)
        assert scene.store.record.means_the_same_as(theirs)
        assert name(await keeper.get()) == "theirs"


async def test_a_refusal_of_the_client_costs_no_refresh_token() -> None:
    async with stage(source={"can_login": False}) as scene:
        scene.store.put(SIGNED_IN)
        scene.source.fail(SourceRefused("invalid_client", of_the_client=True))
        assert isinstance(await another(scene, config="a mistyped secret"), SourceRefused)
        assert isinstance(await another(scene, config="a mistyped secret"), SourceRefused)
        assert scene.source.asked == [RENEW]
        scene.source.fail(None)
        assert await another(scene, config="the secret") == "access-1"
        assert scene.source.calls[-1].refresh == "of a person"


async def test_a_first_refresh_token_that_is_refused_leaves_what_was_there() -> None:
    async with stage(source={"can_login": False, "seed": "good"}) as scene:
        assert await another(scene, config="good") == "access-1"
        wrong = ScriptedSource(scene.clock, can_login=False, seed="wrong")
        wrong.fail(NO)
        for _ in range(2):
            keeper = await scene.keeper(wrong, FussyStore(scene.stores), config="wrong")
            assert isinstance((await ended(spawn(keeper.get(), name="it")))[0], SourceRefused)
            await keeper.close()
        assert [call.refresh for call in wrong.calls] == ["wrong"]
        await scene.clock.advance(101)
        assert await another(scene, config="good") == "access-2"
        assert [call.refresh for call in scene.source.calls] == ["good", "refresh-1"]


async def ended_with(scene: Stage, source: ScriptedSource) -> object:
    """What a process with that source gets, and is gone."""
    keeper = await scene.keeper(source, FussyStore(scene.stores))
    try:
        return (await ended(spawn(keeper.get(), name="it")))[0]
    finally:
        await keeper.close()


def refreshes(source: ScriptedSource) -> list[str | None]:
    return [call.refresh for call in source.calls]


async def test_a_first_refresh_token_that_was_replaced_is_not_sent_again_once_another_began() -> (
    None
):
    async with stage(source={"can_login": False, "seed": "first"}) as scene:
        assert await another(scene) == "access-1"
        second = ScriptedSource(scene.clock, can_login=False, seed="second")
        assert not isinstance(await ended_with(scene, second), BaseException)
        third = ScriptedSource(scene.clock, can_login=False, seed="third")
        assert not isinstance(await ended_with(scene, third), BaseException)
        assert refreshes(scene.source) == ["first"]

        await scene.clock.advance(101)
        assert isinstance(await another(scene), SourceRefused)
        assert isinstance(await ended_with(scene, second), SourceRefused)
        assert (refreshes(scene.source), refreshes(second)) == (["first"], ["second"])
        assert not isinstance(await ended_with(scene, third), BaseException)
        assert refreshes(third) == ["third", "refresh-1"]


async def test_who_comes_back_with_a_replaced_refresh_token_logs_in_where_the_config_can() -> None:
    async with stage(source={"seed": "first"}) as scene:
        assert await another(scene) == "access-1"
        second = ScriptedSource(scene.clock, seed="second")
        assert not isinstance(await ended_with(scene, second), BaseException)
        assert await another(scene) == "access-2"
        assert scene.source.asked == [RENEW, LOGIN]


async def test_a_first_refresh_token_that_no_answer_has_replaced_may_come_back() -> None:
    async with stage(source={"can_login": False, "seed": "first", "rotates": False}) as scene:
        assert await another(scene) == "access-1"
        second = ScriptedSource(scene.clock, can_login=False, seed="second")
        assert not isinstance(await ended_with(scene, second), BaseException)
        assert await another(scene) == "access-2"
        assert refreshes(scene.source) == ["first", "first"]


async def test_a_refused_login_stays_so_whatever_befalls_another_config() -> None:
    async with stage() as scene:
        scene.source.fail(NO)
        for _ in range(3):
            for config in ("one", "two", "three"):
                assert isinstance(await another(scene, config=config), SourceRefused)
        assert scene.source.asked == [LOGIN] * 3


async def test_of_the_setbacks_of_other_configs_the_latest_are_kept() -> None:
    async with stage() as scene:
        scene.source.fail(NO)
        configs = [f"config {count}" for count in range(MOST_OTHERS + 2)]
        for config in configs:
            await another(scene, config=config)
        for config in reversed(configs[1:]):
            await another(scene, config=config)
        assert len(scene.source.calls) == len(configs)
        await another(scene, config=configs[0])
        assert len(scene.source.calls) == len(configs) + 1


async def test_a_sign_in_without_a_refresh_token_does_not_keep_somebody_elses() -> None:
    async with stage(source={"can_login": False}) as scene:
        scene.store.put(SIGNED_IN)
        keeper = await scene.keeper()
        await keeper.adopt(scene.source.grant(refresh=None))
        assert scene.store.record.refresh is None
        assert name(await keeper.get()) == "access-1"


async def test_what_only_a_person_can_help_is_told_before_anybody_asks() -> None:
    async with stage(source={"can_login": False}) as scene:
        keeper = await scene.keeper()
        assert state_of(keeper) is State.LOGIN_REQUIRED
        await keeper.adopt(scene.source.grant())
        assert state_of(keeper) is State.FRESH
        await keeper.forget()
        assert state_of(keeper) is State.LOGIN_REQUIRED


async def test_a_refused_sliding_token_is_sent_once_by_all_together() -> None:
    async with stage() as scene:

        class Sliding(ScriptedSource):
            def attempts(self, record: Record) -> tuple[Attempt, ...]:
                return (RENEW, LOGIN) if record.token is not None else (LOGIN,)

        scene.source = Sliding(scene.clock)
        token = Token(Secret("slides"), scene.clock.now().wall - 99, scene.clock.now().wall + 1)
        scene.store.put(Record(1, token))
        scene.source.fail(NO)
        for _ in range(4):
            await scene.clock.advance(2)
            await another(scene)
        assert scene.source.asked == [RENEW, LOGIN]


async def test_what_a_later_setback_takes_back_is_unlearned() -> None:
    async with stage(background=True) as scene:
        scene.source.script = [NO]
        keeper = await scene.keeper()
        await scene.clock.advance(1)
        assert state_of(keeper) is State.LOGIN_REQUIRED
        scene.source.script = [SourceUnavailable("down")]
        forced = await scene.keeper(store=FussyStore(scene.stores), background=False)
        await ended(spawn(forced.refresh(), name="by hand"))
        await scene.clock.advance(10)
        assert state_of(keeper) is State.FRESH


async def test_a_setback_of_long_ago_says_nothing_about_today() -> None:
    async with stage(source={"can_login": False}) as scene:
        past = scene.clock.now().wall - 86400
        old = Setback("down", "", failures=20, doubts=2, not_before=past, pause=60)
        scene.store.put(Record(1, refresh=Secret("first"), setback=old))
        scene.source.script = [DOUBT]
        assert isinstance(await another(scene), SourceUnavailable)
        await scene.clock.advance(2)
        assert await another(scene) == "access-1"


async def test_a_clock_that_is_ahead_elsewhere_makes_nobody_wait_longer_than_was_meant() -> None:
    async with stage() as scene:
        ahead = scene.clock.now().wall + 3600
        scene.store.put(Record(1, setback=Setback("down", "", 1, not_before=ahead, pause=1.0)))
        keeper = await scene.keeper()
        assert state_of(keeper) is State.UNAVAILABLE
        await scene.clock.advance(1.1)
        assert name(await keeper.get()) == "access-1"


async def test_a_store_that_is_away_is_not_held_against_the_issuer() -> None:
    async with stage(background=True) as scene:
        scene.store.needs_lock = True
        scene.store.failing = {"lock"}
        keeper = await scene.keeper()
        await scene.clock.advance(150)
        scene.store.failing = set()
        await scene.clock.advance(5)
        assert state_of(keeper) is State.FRESH


async def test_a_change_that_could_not_be_read_is_read_later() -> None:
    async with stage(background=True, source={"can_login": False}) as scene:
        keeper = await scene.keeper()
        await scene.settle()
        scene.store.failing = {"load"}
        scene.stores.open("shop")._put(SIGNED_IN)
        await scene.settle()
        scene.store.failing = set()
        await scene.clock.advance(15)
        assert state_of(keeper) is State.FRESH


async def test_a_rejected_token_whose_renewal_is_refused_is_nobodys_any_more() -> None:
    async with stage(source={"can_login": False}, min_interval=0) as scene:
        scene.store.put(SIGNED_IN)
        keeper = await scene.keeper()
        held = await keeper.get()
        scene.source.fail(NO)
        await scene.clock.advance(20)
        assert keeper.rejected(held.generation) is Rejection.RENEW
        assert await keeper.replaced(held.generation) is None
        assert state_of(keeper) is State.LOGIN_REQUIRED
        assert scene.store.record.token is None
        await keeper.close()
        calls = len(scene.source.calls)
        assert isinstance(await another(scene), SourceRefused)
        assert len(scene.source.calls) == calls
