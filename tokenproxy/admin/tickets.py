"""What lets a browser that was sent to an issuer come back: once, in time, and no other browser.

| what comes back                         | what it gets                             |
|-----------------------------------------|------------------------------------------|
| a state, from the browser it was for    | what was begun; it is good no more       |
| that state, from another browser        | nothing; the right one may still come    |
| that state, after ten minutes                | nothing; it is forgotten                 |
| any other state                         | nothing                                  |

Whoever leads a person's browser here with an answer of their own (login CSRF, RFC 6749 10.12) knows
a state, but has put no cookie into that browser. A cookie has the name of its state's digest, so
that two sign-ins of one browser do not spoil each other.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tokenproxy.clock import Moment
from tokenproxy.tokens.oauth2.code import PATIENCE

MOST = 32  # that wait; the oldest makes room for one more
SECRET_BYTES = 24
COOKIE = "tokenproxy-sign-in-"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cookie:
    """What the browser keeps meanwhile."""

    name: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Ticket(Generic[T]):
    what: T
    secret: str = field(repr=False)
    ends: Moment


class Tickets(Generic[T]):
    """Those that are good, by the cookie's name; each stands for something that was begun."""

    def __init__(self) -> None:
        self._good: dict[str, _Ticket[T]] = {}

    def issue(self, state: str, what: T, now: Moment) -> Cookie:
        """One for this state; the browser that begins gets the cookie."""
        self._drop_late(now)
        while len(self._good) >= MOST:
            del self._good[next(iter(self._good))]
        cookie = Cookie(cookie_name(state), secrets.token_urlsafe(SECRET_BYTES))
        self._good[cookie.name] = _Ticket(what, cookie.value, now.after(PATIENCE))
        return cookie

    def take(self, state: str, cookies: Mapping[str, str], now: Moment) -> T | None:
        """What was begun with that state, if this is the browser that began."""
        self._drop_late(now)
        name = cookie_name(state)
        ticket = self._good.get(name)
        if ticket is None or not _equal(cookies.get(name, ""), ticket.secret):
            return None
        del self._good[name]
        return ticket.what

    def keep(self, is_good: Callable[[T], bool]) -> None:
        """Forget all else."""
        self._good = {name: each for name, each in self._good.items() if is_good(each.what)}

    def _drop_late(self, now: Moment) -> None:
        self._good = {name: each for name, each in self._good.items() if now.until(each.ends) > 0}


def cookie_name(state: str) -> str:
    """The name of the cookie that goes with a state; it tells nothing of it."""
    return COOKIE + hashlib.sha256(state.encode(errors="replace")).hexdigest()[:32]


def _equal(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())
