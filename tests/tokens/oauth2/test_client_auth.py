import base64
from typing import Any
from urllib.parse import unquote_plus

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokens.oauth2.asking import KEY, SECRET, claims_of, pem, public_pem
from tokenproxy.errors import ConfigError
from tokenproxy.settings.oauth2 import ClientAuth
from tokenproxy.tokens.oauth2.client_auth import (
    ASSERTION_TYPE,
    Authenticate,
    Proof,
    authentication,
    basic,
)

AUDIENCE, NOW = "https://issuer.example/token", 1_800_000_000.9


def way(**keys: Any) -> Authenticate:
    return authentication("shop", "me", ClientAuth.model_validate(keys))


def proof(**keys: Any) -> Proof:
    return way(**keys)(audience=AUDIENCE, now=NOW)


def assertion(**keys: Any) -> str:
    pairs = proof(**keys).pairs
    assert pairs[:2] == (("client_id", "me"), ("client_assertion_type", ASSERTION_TYPE))
    [(name, value)] = pairs[2:]
    assert name == "client_assertion"
    return value


@pytest.mark.parametrize(
    ("client_id", "secret", "coded"),
    [
        ("me", "word", "me:word"),
        ("a:b", "c:d", "a%3Ab:c%3Ad"),
        ("a b", "+%&=/", "a+b:%2B%25%26%3D%2F"),
        ("é", "☃", "%C3%A9:%E2%98%83"),
    ],
)
def test_basic_is_form_encoded_and_then_base64(client_id: str, secret: str, coded: str) -> None:
    """RFC 6749 2.3.1."""
    word, _, text = basic(client_id, secret).partition(" ")
    assert (word, base64.b64decode(text).decode()) == ("Basic", coded)


@settings(deadline=None)  # a machine may be busy
@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_basic_can_be_read_back_whatever_it_holds(client_id: str, secret: str) -> None:
    header = basic(client_id, secret)
    assert header.isascii()
    parts = base64.b64decode(header.removeprefix("Basic ")).decode().split(":")
    assert [unquote_plus(part) for part in parts] == [client_id, secret]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"secret": "s"}, Proof(authorization=basic("me", "s"))),
        (
            {"method": "client_secret_post", "secret": "s"},
            Proof((("client_id", "me"), ("client_secret", "s"))),
        ),
        ({"method": "tls_client_auth"}, Proof((("client_id", "me"),))),
        ({"method": "none"}, Proof((("client_id", "me"),))),
        ({}, Proof((("client_id", "me"),))),
    ],
    ids=["basic", "post", "tls", "none", "default"],
)
def test_a_proof_that_does_not_change(keys: dict[str, str], expected: Proof) -> None:
    assert proof(**keys) == expected


def test_a_client_without_a_name_says_nothing() -> None:
    assert authentication("shop", None, ClientAuth())(audience="x", now=0) == Proof()


@pytest.mark.parametrize(
    ("keys", "key", "algorithm"),
    [
        ({"method": "client_secret_jwt", "secret": SECRET}, SECRET, "HS256"),
        ({"key": pem(KEY)}, public_pem(KEY), "ES256"),
    ],
    ids=["secret", "key"],
)
def test_an_assertion_says_who_to_whom_and_for_how_long(
    keys: dict[str, str], key: str, algorithm: str
) -> None:
    """RFC 7523 3."""
    told = assertion(**keys)
    unchecked: Any = {"verify_exp": False, "verify_iat": False}
    claims = jwt.decode(told, key, algorithms=[algorithm], audience=AUDIENCE, options=unchecked)
    assert len(claims.pop("jti")) >= 24
    assert claims == {
        "iss": "me",
        "sub": "me",
        "aud": AUDIENCE,
        "iat": 1_800_000_000,
        "exp": 1_800_000_120,
    }


def test_an_assertion_may_be_made_out_to_another_audience() -> None:
    assert claims_of(assertion(key=pem(KEY), audience="https://i.example"))["aud"] == (
        "https://i.example"
    )


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_secret_signs_with_the_algorithm_that_was_chosen(algorithm: str) -> None:
    secret = SECRET * 2
    told = assertion(method="client_secret_jwt", secret=secret, algorithm=algorithm)
    assert jwt.get_unverified_header(told)["alg"] == algorithm


def test_a_key_may_be_named() -> None:
    assert jwt.get_unverified_header(assertion(key=pem(KEY), key_id="k1"))["kid"] == "k1"
    assert "kid" not in jwt.get_unverified_header(assertion(key=pem(KEY)))


def test_no_two_assertions_are_the_same() -> None:
    prove = way(key=pem(KEY))
    told = [dict(prove(audience=AUDIENCE, now=NOW).pairs)["client_assertion"] for _ in range(3)]
    assert len({claims_of(one)["jti"] for one in told}) == 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"key": "MARKER"},
            "credentials.shop.client_auth.key is no private key in PEM format without a "
            "password: name its file, as in ${file:/run/secrets/key.pem}",
        ),
        (
            {"key": pem(KEY), "algorithm": "RS256"},
            "credentials.shop.client_auth.key cannot sign with the algorithm RS256: check both",
        ),
        (
            {"method": "client_secret_jwt", "secret": "\udcff"},
            "credentials.shop.client_auth.secret cannot sign with the algorithm HS256: check both",
        ),
    ],
    ids=["no key", "another algorithm", "a secret that is no text"],
)
def test_what_cannot_sign_is_a_mistake_in_the_config(keys: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        way(**keys)
    assert str(caught.value) == message


def test_a_proof_does_not_show_itself() -> None:
    for keys in ({"secret": "MARKER"}, {"method": "client_secret_post", "secret": "MARKER"}):
        assert "MARKER" not in repr(proof(**keys))
        assert basic("me", "MARKER").split()[1] not in repr(proof(**keys))
