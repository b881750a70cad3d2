"""A token that is given as it is."""

from tokenproxy.clock import Clock
from tokenproxy.secret import Secret
from tokenproxy.settings.static import Static
from tokenproxy.tokens.lifetime import Asked, expiry
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record, Token


class StaticSource(Source):
    """Contract 1.1, `static`: asking again brings nothing new."""

    renewable = False
    persistent = False

    def __init__(self, settings: Static, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        """The config is all there is."""
        return (Attempt.LOGIN,)

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        """The token from the config."""
        now = self._clock.now().wall
        access = self._settings.token.get_secret_value()
        expires_at = expiry(
            access,
            expires_in=None,
            asked=Asked(now, now),
            minted=False,
            default_ttl=self._settings.refresh.default_ttl,
        )
        return Granted(Token(Secret(access), now, expires_at))
