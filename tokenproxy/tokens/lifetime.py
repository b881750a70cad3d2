"""How long a token is good for: `expires_in`, else a JWT's `exp` and `iat`, else `default_ttl`.

A JWT is read without checking its signature, on purpose: the token is the API's to judge, the
issuer's keys may be unknown here, and a forged `exp` could do no more than make us renew early
or late.

`exp` and `iat` are the issuer's time, in whole seconds, and its clock may be off:

| `iat` against our clock      | the token ends at                                             |
|------------------------------|---------------------------------------------------------------|
| between request and answer   | `exp`: the clocks agree                                       |
| anywhere else, `exp` ahead   | the earlier of `exp` and its life counted from the request    |
| anywhere else, `exp` past    | its life counted from the request: the issuer's clock is slow |
| missing, or not before `exp` | `exp` if that is ahead; else the JWT names no life            |

Life that is counted from the request is shortened by up to a second, which is what the issuer
may have rounded away; an `expires_in` of few and whole seconds too: a token that was made in the
middle of a second often ends at the beginning of one, and a longer life has a window in which
that does no harm. An issuer does not hand out dead tokens: where one that was minted just
now would be over by this reckoning (its life was shorter than the request took), its life is
counted from the answer. A token that was not minted for this request (a file's, a command's)
has only its `exp`, and may well be over.
"""

import math
from dataclasses import dataclass

import jwt

MAX_LIFE = 10 * 366 * 86400.0  # ten years: beyond that a number is a mistake, not a date
MIN_LIFE = 0.001  # what a clock of this century can tell apart
SHORT_LIFE = 8.0  # seconds; a quarter of more is wider than what is rounded away
ROUNDED_AWAY = 1.0  # NumericDate is mostly whole seconds (RFC 7519 2)


@dataclass(frozen=True, slots=True)
class Asked:
    """When a token was asked for and when it came, in seconds since the epoch."""

    sent: float
    received: float


def expiry(
    access: str, *, expires_in: object, asked: Asked, minted: bool, default_ttl: float | None
) -> float | None:
    """When `access` stops being good, in seconds since the epoch; None if nobody knows.

    `minted` says that the token was made for this request, and not handed out again; such a
    token always ends after `asked.received`.
    """
    if (named := positive(expires_in)) is not None:
        is_rounded = named <= SHORT_LIFE and named.is_integer()
        ends = _counted(_at_least(named) if is_rounded else named, asked)
    elif (read := _jwt_expiry(access, asked, minted=minted)) is not None:
        ends = read
    elif default_ttl is not None:
        ends = asked.received + max(default_ttl, MIN_LIFE)
    else:
        return None
    return min(ends, asked.received + MAX_LIFE)


def positive(value: object) -> float | None:
    """A number above zero, in any form that issuers send; None for what counts as absent."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _at_least(life: float) -> float:
    """What is left of a life whose beginning was rounded down."""
    return life - min(ROUNDED_AWAY, life / 2)


def _counted(life: float, asked: Asked) -> float:
    """The end of a life that began with the request, or, if it is over by then, the answer."""
    life = max(life, MIN_LIFE)
    ends = asked.sent + life
    return ends if ends > asked.received else asked.received + life


def _jwt_expiry(access: str, asked: Asked, *, minted: bool) -> float | None:
    claims = _claims(access)
    exp, iat = positive(claims.get("exp")), positive(claims.get("iat"))
    if exp is None or not minted:
        return exp
    if iat is None or exp <= iat:
        return exp if exp > asked.received else None
    if math.floor(asked.sent) <= iat <= asked.received < exp:
        return exp
    life = exp - iat
    counted = _counted(_at_least(life), asked)
    return min(exp, counted) if exp > asked.received else counted


def _claims(access: str) -> dict[str, object]:
    try:
        return jwt.decode(access, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}
