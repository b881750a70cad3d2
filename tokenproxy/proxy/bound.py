"""Tokens that are bound to a key: each send of a request bears a proof of its own (RFC 9449).

An API may want its latest nonce in the proof: it says so in a 401 with `use_dpop_nonce`, and
tells the nonce. That is no rejection of the token (contract 3.3.9).
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokenproxy.clock import Clock
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.inject import Injector
from tokenproxy.secret import Secret
from tokenproxy.settings.injection import HeaderInjection
from tokenproxy.tokens.slot import Held

if TYPE_CHECKING:
    from tokenproxy.tokens.oauth2.dpop import Nonces, Prover

UNAUTHORIZED = 401
WANTS_NONCE = re.compile(rb'error\s*=\s*"?use_dpop_nonce\b', re.IGNORECASE)
MAX_KEYS = 4096  # that are kept loaded; more than there are credentials


class Bound:
    """Puts bound tokens into requests, and keeps the nonces of the APIs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._injector = Injector((HeaderInjection(value="DPoP {token}"),))
        self._provers: dict[Secret, Prover] = {}
        self._nonces: Nonces | None = None

    def apply(
        self,
        headers: Sequence[Header],
        target: bytes,
        held: Held,
        *,
        key: Secret,
        method: str,
        origin: str,
    ) -> tuple[list[Header], bytes]:
        """The request with the token and a new proof in it; `origin` is the upstream's.

        Raises:
            ValueError: the token holds what may not be sent (contract 3.3.7).
            SourceUnavailable: the key cannot be used.
        """
        token = held.token.access.reveal()
        fields, target = self._injector.apply(headers, target, token)
        url = origin + target.decode("ascii")
        proof = self._prover(key).proof(
            method,
            url,
            now=self._clock.now().wall,
            token=token,
            nonce=self._known_nonces().get(url),
        )
        fields = [field for field in fields if field[0].lower() != b"dpop"]
        fields.append((b"DPoP", proof.encode("ascii")))
        return fields, target

    def learn(self, headers: Sequence[Header], origin: str) -> None:
        """Take in the nonce of an answer from that origin, if it tells one."""
        for name, value in headers:
            if name.lower() == b"dpop-nonce":
                self._known_nonces().learn(origin, value.decode("latin-1"))

    def _prover(self, key: Secret) -> "Prover":
        from tokenproxy.tokens.oauth2.dpop import Prover  # noqa: PLC0415 - an extra

        prover = self._provers.get(key)
        if prover is None:
            if len(self._provers) >= MAX_KEYS:
                self._provers.clear()
            prover = self._provers[key] = Prover(key)
        return prover

    def _known_nonces(self) -> "Nonces":
        from tokenproxy.tokens.oauth2.dpop import Nonces  # noqa: PLC0415 - an extra

        if self._nonces is None:
            self._nonces = Nonces()
        return self._nonces


def wants_nonce(status: int, headers: Sequence[Header]) -> bool:
    """Whether an answer asks for the same request with the nonce that it tells (RFC 9449 9)."""
    if status != UNAUTHORIZED:
        return False
    names = {name.lower() for name, _ in headers}
    return b"dpop-nonce" in names and any(
        name.lower() == b"www-authenticate" and WANTS_NONCE.search(value) for name, value in headers
    )
