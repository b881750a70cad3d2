"""Proofs that whoever sends a token holds the key it is bound to (RFC 9449).

Each proof is good for one request: it names its method and URL, the token, the server's latest
nonce, and has an identifier of its own.
"""

import base64
import hashlib
import json
import secrets
from urllib.parse import urlsplit, urlunsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret

ALGORITHM = "ES256"  # the one that every server knows (RFC 9449 5.1 tells which others)
JTI_BYTES = 16  # RFC 9449 4.2 wants at least 96 bits
MAX_NONCE = 1024  # characters; a header of ours must not grow with what a server says


def new_key() -> Secret:
    """A private key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Secret(pem.decode("ascii"))


class Prover:
    """Makes proofs with one key.

    Raises:
        SourceUnavailable: what should be its PEM is none.
    """

    def __init__(self, key: Secret) -> None:
        try:
            loaded = load_pem_private_key(key.reveal().encode(), password=None)
        except ValueError as error:
            raise SourceUnavailable("the stored DPoP key cannot be read: sign in again") from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise SourceUnavailable("the stored DPoP key is of another kind: sign in again")
        self._key = loaded
        numbers = loaded.public_key().public_numbers()
        self._jwk = {
            "crv": "P-256",
            "kty": "EC",
            "x": _coordinate(numbers.x),
            "y": _coordinate(numbers.y),
        }

    @property
    def thumbprint(self) -> str:
        """`dpop_jkt`: the SHA-256 thumbprint of the public key (RFC 7638 3)."""
        members = json.dumps(self._jwk, sort_keys=True, separators=(",", ":"))
        return _base64url(hashlib.sha256(members.encode()).digest())

    def proof(
        self,
        method: str,
        url: str,
        *,
        now: float,
        token: str | None = None,
        nonce: str | None = None,
    ) -> str:
        """The value of a DPoP header for one request; `now` in seconds since the epoch."""
        claims: dict[str, str | int] = {
            "jti": secrets.token_urlsafe(JTI_BYTES),
            "htm": method,
            "htu": _bare(url),
            "iat": int(now),
        }
        if token is not None:
            claims["ath"] = _base64url(hashlib.sha256(token.encode()).digest())
        if nonce is not None:
            claims["nonce"] = nonce
        headers = {"typ": "dpop+jwt", "jwk": self._jwk}
        return jwt.encode(claims, self._key, ALGORITHM, headers=headers)


class Nonces:
    """The latest nonce of each origin (RFC 9449 8.2): one server's is wrong for another."""

    def __init__(self) -> None:
        self._latest: dict[str, str] = {}

    def get(self, url: str) -> str | None:
        """What a proof for that URL has to hold."""
        return self._latest.get(_origin(url))

    def learn(self, url: str, nonce: str | None) -> None:
        """Take in the DPoP-Nonce header of an answer, if it had one."""
        if nonce and len(nonce) <= MAX_NONCE and nonce.isascii() and nonce.isprintable():
            self._latest[_origin(url)] = nonce


def _bare(url: str) -> str:
    """Without query and fragment (RFC 9449 4.2)."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", "", ""))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _coordinate(number: int) -> str:
    return _base64url(number.to_bytes(32, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
