"""A token in use: when its window begins, and when it ends, on both clocks.

The window is the time before its end in which a token is renewed: `before_expiry`, never more
than a quarter of its life, and less by a random share so that not all renew at once. A token
that the source gives again counts as newly obtained, with the life that is left: its window is
then a quarter of that, so that the source is asked more and more often, but never in a loop.
"""

from dataclasses import dataclass
from random import Random

from tokenproxy.clock import FOREVER, Moment
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tokens.token import Token

LARGEST_WINDOW = 1 / 4  # of a token's life (contract 1, `before_expiry`)


@dataclass(frozen=True, slots=True)
class Held:
    """A token in use. `generation` counts the tokens that one keeper has held.

    `dpop_key` is the private key that it is bound to (RFC 9449); None for a bearer token.

    `renew_from` begins the window; it and `expires` are FOREVER for a life that nobody knows.
    """

    generation: int
    token: Token
    obtained: Moment
    renew_from: Moment
    expires: Moment
    dpop_key: Secret | None = None

    def is_over(self, now: Moment) -> bool:
        """Whether its life has passed."""
        return now.until(self.expires) <= 0

    def is_due(self, now: Moment) -> bool:
        """Whether it is in its window, or past it."""
        return now.until(self.renew_from) <= 0


def hold(token: Token, generation: int, now: Moment, *, window: float) -> Held:
    """The token as one that is in use from `now`, with a window of so many seconds."""
    obtained = now.after(-max(0.0, now.wall - token.issued_at))
    if token.expires_at is None:
        return Held(generation, token, obtained, FOREVER, FOREVER)
    # A wall clock that was set back since then must not lengthen the token's life.
    left = min(token.expires_at - now.wall, life(token))
    expires = Moment(token.expires_at, now.steady + left)
    return Held(generation, token, obtained, expires.after(-window), expires)


def window(token: Token, settings: Refresh, random: Random) -> float:
    """How many seconds before its end a token is to be renewed."""
    longest = min(settings.before_expiry, life(token) * LARGEST_WINDOW)
    return longest * (1 - settings.jitter * random.random())


def life(token: Token) -> float:
    """How many seconds a token is good for from beginning to end; infinity if nobody knows."""
    if token.expires_at is None:
        return FOREVER.steady
    return max(0.0, token.expires_at - token.issued_at)
