"""Which calls one renewal makes, in which order, and how often."""

from random import Random

import pytest

from tests.tokens.acting import (
    DOUBT,
    DOWN,
    LOGIN,
    RENEW,
    SLOW,
    NoJitter,
    ScriptedSource,
    Step,
)
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.tasks import spawn
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.renewal import Refusals, Renewal
from tokenproxy.tokens.source import Attempt
from tokenproxy.tokens.token import Granted, Record, Token

STORED = Record(3, Token(Secret("access-0"), 1.0), Secret("refresh-0"))
BARE = Record()
REFUSED = SourceRefused("refused")
BUSY = SourceUnavailable("429", retriable=True, retry_after=7)
MUCH_TOO_BUSY = SourceUnavailable("429", retriable=True, retry_after=16)


class Run:
    """One renewal on a clock that runs until it has ended."""

    def __init__(self, *script: Step, can_login: bool = True, **changes: bool) -> None:
        self.clock = ManualClock()
        self.source = ScriptedSource(self.clock, can_login=can_login)
        self.source.script = list(script)
        self.refusals = Refusals()
        self.forgotten: list[str] = []
        self.rescues = 0
        self.rescue_is_due = changes.get("rescue", False)
        self.retries = 3 if changes.get("retry", True) else 0
        self.renewal = self.again()

    def again(self, random: Random | None = None) -> Renewal:
        return Renewal(
            self.source,
            retries=self.retries,
            patience=15,
            refusals=self.refusals,
            may_rescue=self.may_rescue,
            forget=self.forget,
            clock=self.clock,
            random=random or NoJitter(),
        )

    async def forget(self, refusal: SourceRefused) -> None:
        assert self.source.calls[-1].attempt is RENEW
        self.forgotten.append(str(refusal))

    def may_rescue(self) -> bool:
        self.rescues += 1
        return self.rescue_is_due

    async def on(self, record: Record) -> Granted | Exception:
        self.renewal = self.again()
        task = spawn(self.renewal.run(record), name="run")
        await self.clock.advance(100)
        assert task.done()
        error = task.exception()
        assert error is None or isinstance(error, Exception)
        return error or task.result()

    @property
    def calls(self) -> list[tuple[Attempt, float]]:
        return [(call.attempt, call.at - 1000) for call in self.source.calls]


@pytest.mark.parametrize(
    ("record", "can_login", "script", "asked"),
    [
        (BARE, True, [], [LOGIN]),
        (STORED, True, [], [RENEW]),
        (STORED, False, [], [RENEW]),
        (STORED, True, [REFUSED], [RENEW, LOGIN]),
    ],
)
async def test_the_refresh_token_comes_first_and_a_refused_one_goes_to_the_login(
    record: Record, can_login: bool, script: list[Step], asked: list[Attempt]
) -> None:
    run = Run(*script, can_login=can_login)
    assert isinstance(await run.on(record), Granted)
    assert run.source.asked == asked
    assert bool(run.forgotten) is (script == [REFUSED])


@pytest.mark.parametrize(
    ("record", "can_login", "script", "asked", "message"),
    [
        (BARE, False, [], [], "sign in again"),
        (BARE, True, [REFUSED], [LOGIN], "refused"),
        (STORED, False, [REFUSED], [RENEW], "refused"),
        (STORED, True, [REFUSED, SourceRefused("wrong password")], [RENEW, LOGIN], "wrong"),
    ],
)
async def test_a_refusal_that_leaves_nothing_to_try_is_one_call_each(
    record: Record, can_login: bool, script: list[Step], asked: list[Attempt], message: str
) -> None:
    run = Run(*script, can_login=can_login)
    outcome = await run.on(record)
    assert isinstance(outcome, SourceRefused)
    assert message in str(outcome)
    assert run.source.asked == asked


async def test_a_refused_login_is_never_sent_again_until_it_is_forgotten() -> None:
    run = Run(REFUSED)
    for _ in range(3):
        assert isinstance(await run.on(BARE), SourceRefused)
    assert run.source.asked == [LOGIN]
    run.refusals.forget()
    assert isinstance(await run.on(BARE), Granted)


async def test_what_a_renewal_was_refused_with_is_never_sent_again_though_the_login_fails() -> None:
    """A sliding token is renewed with itself: there is no refresh token to take away."""
    run = Run(REFUSED, SLOW)
    assert await run.on(STORED) is SLOW
    assert isinstance(await run.on(STORED), Granted)
    assert run.source.asked == [RENEW, LOGIN, LOGIN]


async def test_another_refresh_token_is_tried_though_an_older_one_was_refused() -> None:
    run = Run(REFUSED, REFUSED)
    await run.on(STORED)
    await run.on(Record(4, refresh=Secret("by hand")))
    assert run.source.asked == [RENEW, LOGIN, RENEW]


# -- trying again ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "retry", "times"),
    [
        (DOWN, True, [0, 0.5, 1.5, 3.5]),
        (DOWN, False, [0]),
        (SLOW, True, [0]),
        (DOUBT, True, [0]),
        (BUSY, True, [0, 7, 14, 21]),
        (MUCH_TOO_BUSY, True, [0]),
    ],
)
@pytest.mark.parametrize("record", [BARE, STORED])
async def test_what_may_pass_is_tried_again_by_and_by_and_not_before_its_time(
    record: Record, failure: SourceUnavailable, retry: bool, times: list[float]
) -> None:
    run = Run(*[failure] * 9, can_login=record is BARE, retry=retry)
    assert await run.on(record) is failure
    assert run.calls == [(LOGIN if record is BARE else RENEW, at) for at in times]


async def test_one_answer_among_failures_settles_it() -> None:
    run = Run(DOWN, BUSY)
    assert isinstance(await run.on(STORED), Granted)
    assert run.calls == [(RENEW, 0), (RENEW, 0.5), (RENEW, 7.5)]


# -- the rescue ------------------------------------------------------------------------------


async def test_a_renewal_that_merely_failed_does_not_go_to_the_login() -> None:
    run = Run(SLOW)
    assert await run.on(STORED) is SLOW
    assert run.source.asked == [RENEW]
    assert run.rescues == 1


async def test_where_a_rescue_is_due_the_login_is_tried_after_a_pause() -> None:
    run = Run(SLOW, rescue=True)
    assert isinstance(await run.on(STORED), Granted)
    assert run.calls == [(RENEW, 0), (LOGIN, 0.5)]
    assert not run.forgotten


async def test_a_refused_rescue_is_a_failure_like_the_first_and_not_repeated() -> None:
    run = Run(SLOW, REFUSED, SLOW, rescue=True)
    assert await run.on(STORED) is SLOW
    assert await run.on(STORED) is SLOW
    assert run.source.asked == [RENEW, LOGIN, RENEW]
    assert not run.forgotten
    assert run.rescues == 1


async def test_a_rescue_that_fails_is_a_failure_that_refuses_nothing() -> None:
    later = SourceUnavailable("later")
    run = Run(SLOW, later, rescue=True)
    assert await run.on(STORED) is later
    assert run.refusals == Refusals()


async def test_a_rescue_heeds_the_time_that_the_issuer_named() -> None:
    run = Run(BUSY, rescue=True, retry=False)
    assert isinstance(await run.on(STORED), Granted)
    assert run.calls == [(RENEW, 0), (LOGIN, 7)]


async def test_a_rescue_that_would_have_to_wait_too_long_is_not_used_up() -> None:
    run = Run(MUCH_TOO_BUSY, rescue=True)
    assert await run.on(STORED) is MUCH_TOO_BUSY
    assert run.rescues == 0


async def test_without_a_login_there_is_no_rescue() -> None:
    run = Run(SLOW, can_login=False, rescue=True)
    assert await run.on(STORED) is SLOW
    assert run.rescues == 0
