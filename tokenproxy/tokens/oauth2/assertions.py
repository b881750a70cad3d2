"""Signed statements of who one is (RFC 7523), and the keys that sign them."""

import secrets
from collections.abc import Mapping

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import JsonValue

from tokenproxy.errors import ConfigError

LIFE = 120  # seconds; enough for a clock that is a minute off, too short to be worth stealing
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)


class Signer:
    """Signs JWTs with one key; each gets an identifier (`jti`) of its own.

    Raises:
        ConfigError: the key cannot be read, or does not fit the algorithm.
    """

    def __init__(self, key: str, *, algorithm: str | None, key_id: str | None, where: str) -> None:
        self._headers = {} if key_id is None else {"kid": key_id}
        symmetric = algorithm is not None and algorithm.startswith("HS")
        self._key: PrivateKey | str = key if symmetric else _read(key, where)
        self._algorithm = algorithm or _usual(self._key, where)
        self._check(where)

    def sign(self, claims: Mapping[str, JsonValue], now: float) -> str:
        """A JWT with these claims, good from `now` on (seconds since the epoch) for `LIFE`."""
        issued = int(now)  # not rounded up: it must not lie ahead (RFC 7519 4.1.6)
        stamped = {
            **claims,
            "iat": issued,
            "exp": issued + LIFE,
            "jti": secrets.token_urlsafe(24),
        }
        return jwt.encode(stamped, self._key, self._algorithm, headers=self._headers)

    def _check(self, where: str) -> None:
        try:
            self.sign({}, 0)
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{where} cannot sign with the algorithm {self._algorithm}: check both"
            ) from error


def _read(pem: str, where: str) -> PrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{where} is no private key in PEM format without a password: name its file, as in "
            "${file:/run/secrets/key.pem}"
        ) from error
    if not isinstance(key, PrivateKey):
        raise ConfigError(f"{where} is a key of a kind that signs no JWT: use RSA, EC or Ed25519")
    return key


def _usual(key: PrivateKey | str, where: str) -> str:
    """The algorithm that such a key is mostly used with."""
    match key:
        case str():
            return "HS256"
        case rsa.RSAPrivateKey():
            return "RS256"
        case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
            return _CURVES[key.curve.name]
        case ec.EllipticCurvePrivateKey():
            raise ConfigError(f"{where} is on a curve that JWTs do not know: use P-256")
        case ed25519.Ed25519PrivateKey() | ed448.Ed448PrivateKey():
            return "EdDSA"
