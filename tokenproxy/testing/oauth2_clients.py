"""How a request tells the OAuth 2 double which client sends it, and whether that is true.

| shown                                         | `method`                                  |
|-----------------------------------------------|-------------------------------------------|
| Basic, both parts form-decoded (RFC 6749 2.3) | `client_secret_basic`                     |
| `client_secret` in the form                   | `client_secret_post`                      |
| `client_assertion`, by its `alg`              | `client_secret_jwt`, `private_key_jwt`    |
| `client_id` in the form, or nothing at all    | `none`                                    |

No network. An assertion counts once (RFC 7523 3): its `jti` is noted when it is taken.
"""

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

import jwt

from tokenproxy.settings.oauth2 import AuthMethod
from tokenproxy.testing.answers import Refused

ASYMMETRIC = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
SYMMETRIC = ("HS256", "HS384", "HS512")
_NO_TIMES: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows; `proof` is the secret or the assertion."""

    client_id: str | None
    method: AuthMethod
    proof: str | None = field(default=None, repr=False)


def shown(authorization: str | None, form: Mapping[str, str]) -> Shown | Refused:
    """What it shows, or the complaint: there must be one way only (RFC 6749 2.3)."""
    named = form.get("client_id")
    ways: list[Shown] = []
    if authorization is not None:
        ways.append(_basic(authorization))
    if "client_secret" in form:
        ways.append(Shown(named, "client_secret_post", form["client_secret"]))
    if "client_assertion" in form:
        ways.append(_asserted(form["client_assertion"]))
    if len(ways) > 1:
        return Refused(400, {"error": "invalid_request"})
    return ways[0] if ways else Shown(named, "none")


class Assertions:
    """Signed statements, and which of them have been taken already."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(
        self, assertion: str, key: str | None, audiences: Collection[str], now: float
    ) -> dict[str, Any] | None:
        """The claims of a statement that is signed with `key`, current, ours and new.

        Without a key any signature will do.
        """
        try:
            claims = _claims(assertion, key, audiences)
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        jti = claims["jti"]
        if not claims["iat"] <= now < claims["exp"] or jti in self._taken:
            return None
        self._taken.add(jti)
        return claims


@dataclass(frozen=True, slots=True)
class Client:
    """The one client that the double knows. With `method` no other way is taken."""

    client_id: str
    secret: str | None = field(default=None, repr=False)
    key: str | None = None  # public, as PEM
    method: AuthMethod | None = None

    def is_shown(
        self, by: Shown, assertions: Assertions, audiences: Collection[str], now: float
    ) -> bool:
        """Whether it is this client that shows itself so."""
        if by.client_id != self.client_id or not self._takes(by.method):
            return False
        match by.method:
            case "client_secret_basic" | "client_secret_post":
                return self.secret is not None and by.proof == self.secret
            case "client_secret_jwt" | "private_key_jwt":
                key = self.secret if by.method == "client_secret_jwt" else self.key
                if key is None or by.proof is None:
                    return False
                claims = assertions.take(by.proof, key, audiences, now)
                return claims is not None and claims.get("iss") == self.client_id
            case "tls_client_auth" | "none":
                return True

    def _takes(self, method: AuthMethod) -> bool:
        if self.method is None:
            return method != "none" or (self.secret is None and self.key is None)
        if self.method == "tls_client_auth":  # the handshake proves it: the form looks the same
            return method == "none"
        return method == self.method


def _basic(authorization: str) -> Shown:
    word, _, coded = authorization.partition(" ")
    try:
        text = base64.b64decode(coded, validate=True).decode() if word == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    client_id, _, secret = text.partition(":")
    return Shown(unquote_plus(client_id), "client_secret_basic", unquote_plus(secret))


def _asserted(assertion: str) -> Shown:
    try:
        symmetric = jwt.get_unverified_header(assertion)["alg"] in SYMMETRIC
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except (jwt.PyJWTError, KeyError):
        return Shown(None, "private_key_jwt", assertion)
    return Shown(
        claims.get("sub"), "client_secret_jwt" if symmetric else "private_key_jwt", assertion
    )


def _claims(assertion: str, key: str | None, audiences: Collection[str]) -> dict[str, Any]:
    algorithms = SYMMETRIC if key is not None and "PUBLIC KEY" not in key else ASYMMETRIC
    wanted: Any = {
        **_NO_TIMES,
        "require": ["aud", "exp", "iat", "iss", "jti", "sub"],
        "verify_signature": key is not None,
        "verify_aud": True,
    }
    return jwt.decode(
        assertion, key or "", algorithms=algorithms, audience=list(audiences), options=wanted
    )
