"""OAuth 2 credentials for an issuer of our own, and a stranger who must hear nothing."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tokenproxy.clock import Clock
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.testing import OAuth2Call, OAuth2Endpoint, OAuth2Issuer, Verdict
from tokenproxy.testing.serving import listening
from tokenproxy.tokens.endpoint import Endpoint, open_session
from tokenproxy.tokens.oauth2.client import TokenClient
from tokenproxy.tokens.sources.oauth2 import OAuth2Source
from tokenproxy.tokens.token import Granted, Record

Build = Callable[..., OAuth2Source]
Key = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)

SECRET = "demo-secret-of-at-least-32-bytes-for-HS256"
PASSWORD = "demo-password"
TOKEN = OAuth2Endpoint.TOKEN
CERT = {"cert": Path("client.pem")}


def pem(key: Key) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: Key) -> str:
    spki = PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(Encoding.PEM, spki).decode()


KEY = ec.generate_private_key(ec.SECP256R1())


def settings(issuer: OAuth2Issuer, grant: str, /, **keys: object) -> OAuth2:
    """Of a credential with that grant; None takes a key out."""
    own: dict[str, dict[str, object]] = {
        "refresh_token": {"refresh_token": "r"},
        "password": {"username": "demo", "password": PASSWORD},
        "jwt_bearer": {"key": pem(KEY), "claims": {"sub": "me"}},
        "token_exchange": {"subject_token": "demo-subject-token"},
    }
    told = {
        "type": "oauth2",
        "grant": grant,
        "issuer": issuer.issuer,
        "client_id": issuer.client_id,
        "client_auth": {"secret": SECRET},
        **own.get(grant, {}),
        **keys,
    }
    return OAuth2.model_validate({name: key for name, key in told.items() if key is not None})


@asynccontextmanager
async def building() -> AsyncIterator[Build]:
    """Sources: `build(issuer, grant, **keys)`."""
    async with open_session(tls=True) as session:

        def build(
            issuer: OAuth2Issuer, grant: str, /, *, clock: Clock | None = None, **keys: object
        ) -> OAuth2Source:
            wanted = settings(issuer, grant, **keys)
            clock = clock or issuer.clock
            endpoint = Endpoint("shop", session, wanted.refresh.timeout, clock)
            client = TokenClient("shop", wanted, endpoint, clock)
            return OAuth2Source("shop", wanted, client, clock)

        yield build


def an_issuer(**keys: Any) -> OAuth2Issuer:
    return OAuth2Issuer(**{"client_secret": SECRET, **keys})


def a_public_issuer(**keys: Any) -> OAuth2Issuer:
    return an_issuer(client_secret=None, **keys)


def last(issuer: OAuth2Issuer, endpoint: OAuth2Endpoint = TOKEN) -> OAuth2Call:
    return issuer.calls_to(endpoint)[-1]


def claims_of(assertion: str | None) -> dict[str, Any]:
    assert assertion is not None
    return jwt.decode(assertion, options={"verify_signature": False})


def record(granted: Granted) -> Record:
    return Record(1, granted.token, granted.refresh)


def is_accepted(issuer: OAuth2Issuer, granted: Granted) -> bool:
    return issuer.accepts(granted.token.access.reveal()) is Verdict.ACCEPTED


@asynccontextmanager
async def a_stranger() -> AsyncIterator[tuple[str, list[str]]]:
    """Another host: its URL, and the targets that somebody asked it for."""
    heard: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(request.path_qs)
        return web.json_response({"access_token": "stolen", "issuer": "stolen"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hear)
    async with listening(app) as url:
        yield url, heard
