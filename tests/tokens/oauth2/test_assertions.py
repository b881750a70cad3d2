from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from pydantic import JsonValue

from tests.tokens.oauth2.asking import Key, pem, public_pem
from tokenproxy.errors import ConfigError
from tokenproxy.tokens.oauth2.assertions import LIFE, Signer

WHERE = "credentials.shop.key"
NO_KEY = (
    f"{WHERE} is no private key in PEM format without a password: name its file, as in "
    "${file:/run/secrets/key.pem}"
)
KINDS: dict[str, Key] = {
    "RSA": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
}


def signer(key: str, algorithm: str | None = None, key_id: str | None = None) -> Signer:
    return Signer(key, algorithm=algorithm, key_id=key_id, where=WHERE)


def told(key: str, algorithm: str | None = None) -> str:
    """The complaint about a key; it never shows the key."""
    with pytest.raises(ConfigError) as caught:
        signer(key, algorithm)
    message = str(caught.value)
    assert not any(line in message for line in key.splitlines() if line)
    return message


def read(assertion: str, key: Key, algorithm: str) -> dict[str, Any]:
    unchecked: Any = {"verify_exp": False, "verify_iat": False}
    return jwt.decode(assertion, public_pem(key), algorithms=[algorithm], options=unchecked)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("RSA", "RS256"),
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
        ("Ed25519", "EdDSA"),
        ("Ed448", "EdDSA"),
    ],
)
def test_a_key_signs_with_the_algorithm_that_is_usual_for_it(kind: str, algorithm: str) -> None:
    assertion = signer(pem(KINDS[kind])).sign({"iss": "me"}, 1_000.0)
    assert read(assertion, KINDS[kind], algorithm)["iss"] == "me"


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("RSA", name) for name in ("RS384", "RS512", "PS256", "PS384", "PS512")],
)
def test_a_key_signs_with_another_one_that_fits(kind: str, algorithm: str) -> None:
    assertion = signer(pem(KINDS[kind]), algorithm).sign({}, 1_000.0)
    assert read(assertion, KINDS[kind], algorithm)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("RSA", "ES256"),
        ("RSA", "EdDSA"),
        ("P-256", "RS256"),
        ("P-256", "PS256"),
        ("P-256", "ES384"),
        ("P-384", "ES256"),
        ("P-256", "EdDSA"),
        ("secp256k1", "ES256"),
        ("Ed25519", "RS256"),
        ("Ed25519", "ES256"),
    ],
)
def test_an_algorithm_that_does_not_fit_is_a_mistake(kind: str, algorithm: str) -> None:
    assert told(pem(KINDS[kind]), algorithm) == (
        f"{WHERE} cannot sign with the algorithm {algorithm}: check both"
    )


def test_a_curve_that_jwts_do_not_know_is_a_mistake() -> None:
    assert told(pem(KINDS["secp256k1"])) == (
        f"{WHERE} is on a curve that JWTs do not know: use P-256"
    )


@pytest.mark.parametrize(
    "key",
    [x25519.X25519PrivateKey.generate(), dsa.generate_private_key(1024)],
    ids=["X25519", "DSA"],
)
def test_a_key_that_signs_no_jwt_is_a_mistake(
    key: x25519.X25519PrivateKey | dsa.DSAPrivateKey,
) -> None:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    assert told(text) == f"{WHERE} is a key of a kind that signs no JWT: use RSA, EC or Ed25519"


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_with_a_password_is_a_mistake(form: PrivateFormat) -> None:
    locked = KINDS["RSA"].private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"word"))
    assert told(locked.decode()) == NO_KEY


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_both_usual_forms_of_a_key_are_read(form: PrivateFormat) -> None:
    text = KINDS["P-256"].private_bytes(Encoding.PEM, form, NoEncryption()).decode()
    assert read(signer(f"\n{text}\n\n").sign({}, 0.0), KINDS["P-256"], "ES256")


@pytest.mark.parametrize(
    "key",
    [
        "MARKER",
        "\x00",
        "\udcff",
        "/run/secrets/MARKER.pem",
        "-----BEGIN PRIVATE KEY-----\nMARKER\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nTUFSS0VS\n-----END PRIVATE KEY-----\n",
        pem(KINDS["P-256"])[:-40],
        public_pem(KINDS["P-256"]),
    ],
    ids=[
        "word",
        "NUL",
        "no text",
        "its path",
        "no base64",
        "no key inside",
        "cut off",
        "the public half",
    ],
)
def test_garbage_is_a_mistake(key: str) -> None:
    assert told(key) == NO_KEY


def test_times_are_whole_and_win_over_claims_and_never_lie_ahead() -> None:
    claims: dict[str, JsonValue] = {"sub": "me", "iat": 1, "exp": 2, "jti": "3", "nbf": 4}
    assertion = signer(pem(KINDS["P-256"])).sign(claims, 1_000.9)
    found = read(assertion, KINDS["P-256"], "ES256")
    assert found.pop("jti") != "3"
    assert found == {"sub": "me", "nbf": 4, "iat": 1_000, "exp": 1_000 + LIFE}


def test_each_has_an_identifier_of_its_own() -> None:
    one = signer(pem(KINDS["P-256"]))
    told = [read(one.sign({}, 0.0), KINDS["P-256"], "ES256")["jti"] for _ in range(20)]
    assert len(set(told)) == 20


@pytest.mark.parametrize(("key_id", "header"), [(None, {}), ("k1", {"kid": "k1"})])
def test_the_header_names_the_key_where_it_has_a_name(
    key_id: str | None, header: dict[str, str]
) -> None:
    assertion = signer(pem(KINDS["P-256"]), key_id=key_id).sign({}, 0.0)
    assert jwt.get_unverified_header(assertion) == {"alg": "ES256", "typ": "JWT", **header}


def test_a_signer_does_not_show_its_key() -> None:
    assert "PRIVATE" not in repr(signer(pem(KINDS["P-256"])))
