"""A token that is given as it is."""

from tokenproxy.clock import Clock
from tokenproxy.secret import Secret
from tokenproxy.settings.static import Static
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record, Token


class StaticSource(Source):
    """Contract 1.1, `static`: as given, also past its `exp`: whether it is good, the API says."""

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
        access = self._settings.token.get_secret_value()
        return Granted(Token(Secret(access), self._clock.now().wall))
