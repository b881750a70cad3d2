"""One renewal's calls: what is tried, in which order, and how often.

A refused renewal goes to the login that the config holds. One that merely failed does not,
except once in five minutes while no token is good (contract 3.3.6): a server may answer 500
for ever to the refresh token of a user who was deleted and made anew.

What has been refused is remembered, and never sent again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from tokenproxy.clock import LONG_AGO, Clock, Moment
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.tokens.backoff import retry_pause
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record


@dataclass(slots=True)
class Refusals:
    """What the source has refused: a login, and what a renewal was tried with.

    `login_at` is when it refused us, and not another process.
    """

    login: str | None = None
    login_at: Moment = LONG_AGO
    means: str | None = None

    def forget(self) -> None:
        """Things have changed: a login may work again."""
        self.login = None
        self.login_at = LONG_AGO


class Renewal:
    """Run once. Afterwards `attempt` is the last one that was made.

    `retries` is how often a passing failure is tried again at once; `patience`, in seconds, is
    the longest pause for that: past it the renewal has failed. `forget` is awaited as soon as
    the refresh token has been refused: whatever happens next, it must not be sent again.
    """

    def __init__(
        self,
        source: Source,
        *,
        retries: int,
        patience: float,
        refusals: Refusals,
        may_rescue: Callable[[], bool],
        forget: Callable[[SourceRefused], Awaitable[None]],
        clock: Clock,
        random: Random,
    ) -> None:
        self._source = source
        self._retries = retries
        self._patience = patience
        self._refusals = refusals
        self._may_rescue = may_rescue
        self._forget = forget
        self._clock = clock
        self._random = random
        self.attempt = Attempt.LOGIN

    async def run(self, record: Record) -> Granted:
        """A new token. Raises SourceUnavailable or SourceRefused."""
        attempts = self._source.attempts(record)
        can_login = Attempt.LOGIN in attempts
        if Attempt.RENEW not in attempts or self._refusals.means == record.means:
            return await self._login(record, possible=can_login)
        try:
            return await self._try(Attempt.RENEW, record)
        except SourceRefused as refusal:
            self._refusals.means = record.means
            await self._forget(refusal)
            if not can_login:
                raise
        except SourceUnavailable as failure:
            if not can_login:
                raise
            return await self._rescue(record, failure)
        return await self._login(record, possible=True)

    async def _login(self, record: Record, *, possible: bool) -> Granted:
        if not possible:
            raise SourceRefused(self._source.helpless)
        if self._refusals.login is not None:
            raise SourceRefused(self._refusals.login)
        try:
            return await self._try(Attempt.LOGIN, record)
        except SourceRefused as refusal:
            self._refusals.login = str(refusal)
            self._refusals.login_at = self._clock.now()
            raise

    async def _rescue(self, record: Record, failure: SourceUnavailable) -> Granted:
        """Log in beside a refresh token that nobody has refused: it is kept if that fails.

        An issuer that names a time is not asked before it, whatever it would be asked for.
        """
        pause = retry_pause(1, failure.retry_after, self._random)
        if self._refusals.login is not None or pause > self._patience or not self._may_rescue():
            raise failure
        await self._clock.sleep(pause)
        try:
            return await self._login(record, possible=True)
        except SourceRefused:
            raise failure from None

    async def _try(self, attempt: Attempt, record: Record) -> Granted:
        tries, self.attempt = 0, attempt
        while True:
            tries += 1
            try:
                return await self._source.fetch(attempt, record)
            except SourceUnavailable as failure:
                pause = retry_pause(tries, failure.retry_after, self._random)
                if not failure.retriable or tries > self._retries or pause > self._patience:
                    raise
                await self._clock.sleep(pause)
