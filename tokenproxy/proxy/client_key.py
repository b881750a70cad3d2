"""The secret that callers present: `client_key` (contract 3.2).

| where                                              | counts                                   |
|----------------------------------------------------|------------------------------------------|
| `X-Tokenproxy-Key`                                 | always: it goes no further               |
| `Authorization`, as its Bearer value or its        | where the route writes its own over it   |
| Basic password                                     |                                          |

Where the route lets an Authorization through, one that holds the key is refused whatever else the
request presents: it would show the key to the upstream.
"""

import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from tokenproxy.proxy.headers import CLIENT_KEY, Header
from tokenproxy.secret import Secret


@dataclass(frozen=True, slots=True)
class Presented:
    """Where in a request the key stands."""

    by_name: bool
    by_authorization: bool

    def suffices(self, *, overwrites: bool) -> bool:
        """Whether a route may be used that overwrites an Authorization, or does not."""
        return (self.by_name or self.by_authorization) and (overwrites or not self.by_authorization)


class ClientKey:
    """The key, to compare with."""

    __slots__ = ("_secret",)

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def presented(self, headers: Sequence[Header]) -> Presented:
        """Where it stands in these fields; one that is there twice with two values counts not."""
        named = [value for name, value in headers if name.lower() == CLIENT_KEY]
        credentials = [value for name, value in headers if name.lower() == b"authorization"]
        return Presented(
            by_name=bool(named) and all(self._is_it(value) for value in named),
            by_authorization=any(self._is_it(_password(value)) for value in credentials),
        )

    def _is_it(self, value: bytes) -> bool:
        return hmac.compare_digest(value, self._secret.reveal().encode())


def _password(authorization: bytes) -> bytes:
    """The Bearer value (RFC 6750 2.1), or the Basic password (RFC 7617 2); else nothing."""
    scheme, _, value = authorization.partition(b" ")
    value = value.strip(b" ")
    match scheme.lower():
        case b"bearer":
            return value
        case b"basic":
            return _decoded(value).partition(b":")[2]
        case _:
            return b""


def _decoded(value: bytes) -> bytes:
    try:
        return binascii.a2b_base64(value)
    except binascii.Error:
        return b""
