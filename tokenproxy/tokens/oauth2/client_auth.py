"""How a request tells which client sends it (RFC 6749 2.3, RFC 7523 2.2, RFC 8705 2).

| method                | in the Authorization header | in the form                        |
|-----------------------|-----------------------------|------------------------------------|
| `client_secret_basic` | id and secret, form-encoded | -                                  |
| `client_secret_post`  | -                           | `client_id`, `client_secret`       |
| `client_secret_jwt`   | -                           | an assertion signed with the secret|
| `private_key_jwt`     | -                           | an assertion signed with the key   |
| `tls_client_auth`     | -                           | `client_id`; the handshake proves  |
| `none`                | -                           | `client_id`                        |
"""

import base64
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote_plus

from tokenproxy.errors import ConfigError
from tokenproxy.settings.oauth2 import ClientAuth

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request bears to tell its client."""

    pairs: Pairs = field(default=(), repr=False)
    authorization: str | None = field(default=None, repr=False)


class Authenticate(Protocol):
    """One client's way."""

    def __call__(self, *, audience: str, now: float) -> Proof:
        """What the next request to `audience` bears; never the same assertion twice."""


def authentication(name: str, client_id: str | None, settings: ClientAuth) -> Authenticate:
    """The client's way, as the config has it.

    Raises:
        ConfigError: its key cannot be used.
    """
    secret = settings.secret.get_secret_value() if settings.secret is not None else ""
    named: Pairs = () if client_id is None else (("client_id", client_id),)
    match settings.chosen:
        case "client_secret_basic":
            return _Always(Proof(authorization=basic(client_id or "", secret)))
        case "client_secret_post":
            return _Always(Proof((*named, ("client_secret", secret))))
        case "client_secret_jwt":
            where = f"credentials.{name}.client_auth.secret"
            return _assertion(client_id or "", settings, secret, "HS256", where)
        case "private_key_jwt":
            key = settings.key.get_secret_value() if settings.key is not None else ""
            where = f"credentials.{name}.client_auth.key"
            return _assertion(client_id or "", settings, key, None, where)
        case "tls_client_auth" | "none":
            return _Always(Proof(named))


def basic(client_id: str, secret: str) -> str:
    """HTTP Basic with both parts form-encoded first (RFC 6749 2.3.1)."""
    both = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(both.encode()).decode()


@dataclass(frozen=True, slots=True)
class _Always:
    proof: Proof

    def __call__(self, *, audience: str, now: float) -> Proof:
        del audience, now
        return self.proof


def _assertion(
    client_id: str, settings: ClientAuth, key: str, algorithm: str | None, where: str
) -> Authenticate:
    try:
        from tokenproxy.tokens.oauth2.assertions import Signer  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError(
            f"{where} signs, which needs a package that is not installed: run "
            "pip install 'tokenproxy[crypto]'"
        ) from error
    signer = Signer(
        key, algorithm=settings.algorithm or algorithm, key_id=settings.key_id, where=where
    )

    def prove(*, audience: str, now: float) -> Proof:
        claims = {"iss": client_id, "sub": client_id, "aud": settings.audience or audience}
        return Proof(
            (
                ("client_id", client_id),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_assertion", signer.sign({**claims}, now)),
            )
        )

    return prove
