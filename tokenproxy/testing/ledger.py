"""The issuer's books: which token belongs to which session, and what it is still good for.

A session begins with a login. What a token is judged by, in simplejwt's order:

| found                                                      | verdict       |
|------------------------------------------------------------|---------------|
| not signed by this issuer                                  | `INVALID`     |
| `exp` reached, or out when `expire_access` was called      | `EXPIRED`     |
| session ended, or a refresh token that has been replaced   | `BLACKLISTED` |
| a refresh token where an access token belongs, or converse | `WRONG_TYPE`  |
| a sliding token to renew, its `refresh_exp` reached        | `REFRESH_OVER`|
| its user is not active                                     | `INACTIVE`    |
| its user is gone                                           | `DELETED`     |

A sliding token is both kinds at once: renewed, it keeps its `jti` and `refresh_exp`, the one
that it replaces stays good, and after its `exp` it cannot be renewed any more.
"""

import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any
from uuid import uuid4

import jwt

_READ_ONLY_SIGNATURE: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
_USER_ID = "1"  # a string, as simplejwt 5.5 writes it


class Verdict(Enum):
    """What an issuer thinks of a token; the value is what simplejwt says about it."""

    ACCEPTED = "Token is valid"
    INVALID = "Token is invalid"
    EXPIRED = "Token is expired"
    BLACKLISTED = "Token is blacklisted"
    WRONG_TYPE = "Token has wrong type"
    REFRESH_OVER = "Token 'refresh_exp' claim has expired"
    INACTIVE = "User is inactive"
    DELETED = "User not found"


class User(Enum):
    """The state of the one account that there is."""

    ACTIVE = Verdict.ACCEPTED
    INACTIVE = Verdict.INACTIVE
    DELETED = Verdict.DELETED


@dataclass(frozen=True, slots=True)
class Terms:
    """What an issuer grants; lives are in seconds. `opaque` tokens tell nothing of themselves."""

    access_life: float
    refresh_life: float
    rotate: bool
    reuse_kills_session: bool
    sliding: bool
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """What a login gives, and a renewal that rotates."""

    access: str
    refresh: str


@dataclass(frozen=True, slots=True)
class Single:
    """What a renewal without rotation gives, and every answer about a sliding token."""

    access: str


Grant = Pair | Single


@dataclass(frozen=True, slots=True)
class _Entry:
    """A token that is out: its session, and how many times all had been ended before it."""

    session: int
    expiries: int
    revocations: int


class Ledger:
    """All that one issuer has ever granted; `now` is the issuer's own time of day."""

    def __init__(self, terms: Terms, now: Callable[[], float]) -> None:
        self.user = User.ACTIVE
        self.reused = 0
        self._terms = terms
        self._now = now
        self._key = secrets.token_hex(32)
        self._entries: dict[str, _Entry] = {}
        self._opaque: dict[str, dict[str, Any]] = {}
        self._replaced: set[str] = set()
        self._ended: set[int] = set()
        self._sessions = itertools.count(1)
        self._expiries = 0
        self._revocations = 0

    @property
    def terms(self) -> Terms:
        """What it grants from now on."""
        return self._terms

    def change(self, **terms: Any) -> None:
        """Grant on other terms from now on."""
        self._terms = replace(self._terms, **terms)

    def login(self) -> Grant:
        """A new session."""
        session = next(self._sessions)
        if self._terms.sliding:
            _, end = span(self._now(), self._terms.refresh_life)
            return Single(self._sliding(session, jti=uuid4().hex, refresh_exp=end))
        return Pair(self._access(session), self._refresh(session))

    def renew(self, token: str) -> Grant | Verdict:
        """What `token` is exchanged for, or why it is not; a reuse has its consequences here."""
        verdict = self.refresh_verdict(token)
        if verdict is not Verdict.ACCEPTED:
            self._note_reuse(token, verdict)
            return verdict
        session = self._entries[token].session
        if self._terms.sliding:
            claims = self._claims(token)
            new = self._sliding(session, jti=claims["jti"], refresh_exp=claims["refresh_exp"])
            return Single(new)
        if not self._terms.rotate:
            return Single(self._access(session))
        self._replaced.add(token)
        return Pair(self._access(session), self._refresh(session))

    def access_verdict(self, token: str) -> Verdict:
        """Whether an API is to take `token`."""
        return self._verdict(token, "sliding" if self._terms.sliding else "access")

    def refresh_verdict(self, token: str) -> Verdict:
        """Whether `token` may be exchanged for new ones."""
        if not self._terms.sliding:
            return self._verdict(token, "refresh")
        verdict = self._verdict(token, "sliding")
        if verdict is Verdict.ACCEPTED and self._claims(token)["refresh_exp"] <= self._now():
            return Verdict.REFRESH_OVER
        return verdict

    def expire_access(self) -> None:
        """No access token (or sliding token) that is out now is taken any more."""
        self._expiries += 1

    def revoke(self) -> None:
        """No token at all that is out now is taken any more."""
        self._expiries += 1
        self._revocations += 1

    def end(self, token: str) -> None:
        """The session of `token` is over, and with it all that came from it."""
        if token in self._entries:
            self._ended.add(self._entries[token].session)

    def _note_reuse(self, token: str, verdict: Verdict) -> None:
        if verdict is Verdict.BLACKLISTED and token in self._replaced:
            self.reused += 1
            if self._terms.reuse_kills_session:
                self._ended.add(self._entries[token].session)

    def _verdict(self, token: str, kind: str) -> Verdict:
        try:
            claims = self._claims(token)
        except jwt.InvalidTokenError:
            return Verdict.INVALID
        if claims["exp"] <= self._now() or self._was_expired(token, claims["token_type"]):
            return Verdict.EXPIRED
        if self._is_blacklisted(token):
            return Verdict.BLACKLISTED
        if claims["token_type"] != kind:
            return Verdict.WRONG_TYPE
        return self.user.value

    def _was_expired(self, token: str, kind: str) -> bool:
        return kind != "refresh" and self._entries[token].expiries < self._expiries

    def _is_blacklisted(self, token: str) -> bool:
        entry = self._entries[token]
        over = entry.session in self._ended or entry.revocations < self._revocations
        return over or token in self._replaced

    def _claims(self, token: str) -> dict[str, Any]:
        """The claims of a token of ours, whatever the time; else `jwt.InvalidTokenError`."""
        if token in self._opaque:
            return self._opaque[token]
        return jwt.decode(token, self._key, algorithms=["HS256"], options=_READ_ONLY_SIGNATURE)

    def _access(self, session: int) -> str:
        return self._issue(session, "access", self._terms.access_life, jti=uuid4().hex)

    def _refresh(self, session: int) -> str:
        return self._issue(session, "refresh", self._terms.refresh_life, jti=uuid4().hex)

    def _sliding(self, session: int, *, jti: str, refresh_exp: float) -> str:
        life = self._terms.access_life
        return self._issue(session, "sliding", life, jti=jti, refresh_exp=refresh_exp)

    def _issue(self, session: int, kind: str, life: float, *, jti: str, **more: float) -> str:
        iat, exp = span(self._now(), life)
        claims = {"token_type": kind, "exp": exp, "iat": iat, "jti": jti, **more}
        token = self._written({**claims, "user_id": _USER_ID})
        self._entries[token] = _Entry(session, self._expiries, self._revocations)
        return token

    def _written(self, claims: dict[str, Any]) -> str:
        if not self._terms.opaque:
            return jwt.encode(claims, self._key, algorithm="HS256")
        token = secrets.token_urlsafe(24)
        self._opaque[token] = claims
        return token


def span(now: float, life: float) -> tuple[float, float]:
    """`iat` and `exp` of a token that is issued `now`.

    Whole seconds, as simplejwt cuts them; only a life with a fraction keeps it (RFC 7519 2 lets
    a NumericDate have one), or it would last anything from nothing to a second more.
    """
    if life != int(life):
        return now, now + life
    issued = int(now)
    return issued, issued + int(life)
