"""One renewal: what is tried, in which order, and how often.

A refused renewal goes to the login that the config holds. One that merely failed does not,
except once in five minutes while no token is good (contract 3.3.6): a server may answer 500
for ever to the refresh token of a user who was deleted and made anew.
"""

from collections.abc import Callable
from random import Random

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.tokens.backoff import retry_pause
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record


class Renewal:
    """Run once. Afterwards `renew_refused` and `login_refusal` tell what must not be tried again.

    `retries` is how often a passing failure is tried again at once; `patience`, in seconds, is
    the longest pause for that: past it the renewal has failed.
    """

    def __init__(
        self,
        source: Source,
        *,
        retries: int,
        patience: float,
        login_refusal: SourceRefused | None,
        may_rescue: Callable[[], bool],
        clock: Clock,
        random: Random,
    ) -> None:
        self._source = source
        self._retries = retries
        self._patience = patience
        self._may_rescue = may_rescue
        self._clock = clock
        self._random = random
        self.login_refusal = login_refusal
        self.renew_refused = False

    async def run(self, record: Record) -> Granted:
        """A new token. Raises SourceUnavailable or SourceRefused."""
        attempts = self._source.attempts(record)
        if Attempt.RENEW not in attempts:
            return await self._login(record, possible=Attempt.LOGIN in attempts)
        try:
            return await self._try(Attempt.RENEW, record)
        except SourceRefused:
            self.renew_refused = True
            if Attempt.LOGIN not in attempts:
                raise
        except SourceUnavailable as failure:
            if Attempt.LOGIN not in attempts or self.login_refusal or not self._may_rescue():
                raise
            return await self._rescue(record, failure)
        return await self._login(record, possible=True)

    async def _login(self, record: Record, *, possible: bool) -> Granted:
        if not possible:
            raise SourceRefused(self._source.helpless)
        if self.login_refusal is not None:
            raise self.login_refusal
        try:
            return await self._try(Attempt.LOGIN, record)
        except SourceRefused as refusal:
            self.login_refusal = refusal
            raise

    async def _rescue(self, record: Record, failure: SourceUnavailable) -> Granted:
        """Log in beside a refresh token that nobody has refused: it is kept if that fails."""
        try:
            return await self._login(record, possible=True)
        except SourceRefused:
            raise failure from None

    async def _try(self, attempt: Attempt, record: Record) -> Granted:
        tries = 0
        while True:
            tries += 1
            try:
                return await self._source.fetch(attempt, record)
            except SourceUnavailable as failure:
                pause = retry_pause(tries, failure.retry_after, self._random)
                if not failure.retriable or tries > self._retries or pause > self._patience:
                    raise
                await self._clock.sleep(pause)
