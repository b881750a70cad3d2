from typing import Any

import pytest

from tokenproxy.secret import Secret
from tokenproxy.settings.oauth2 import ACCESS_TOKEN_TYPE, OAuth2
from tokenproxy.tokens.oauth2 import grants

CLIENT = {"client_id": "c", "token_url": "https://a.example/token"}
SIGNED = {"client_auth": {"secret": "s"}}
WANTS: dict[str, Any] = {
    "scope": "a b",
    "audience": "api",
    "resource": ["urn:a", "https://b.example/?x"],
    "extra": {"tenant": "t", "prompt": ""},
}
WANTED = (
    ("audience", "api"),
    ("resource", "urn:a"),
    ("resource", "https://b.example/?x"),
    ("tenant", "t"),
    ("prompt", ""),
)


def settings(grant: str, **keys: Any) -> OAuth2:
    return OAuth2.model_validate({"type": "oauth2", "grant": grant, **CLIENT, **keys})


def exchange(**keys: Any) -> OAuth2:
    return settings("token_exchange", subject_token="config's", **keys)


PASSWORD = settings("password", username="u", password="p w")
CREDENTIALS = settings("client_credentials", **SIGNED)


def test_what_is_not_given_is_not_wanted() -> None:
    assert grants.wanted(CREDENTIALS) == ()


def test_everything_that_is_wanted_is_named_in_this_order() -> None:
    wanting = settings("client_credentials", **SIGNED, **WANTS)
    assert grants.wanted(wanting) == (("scope", "a b"), *WANTED)
    assert grants.wanted(wanting, with_scope=False) == WANTED


def test_a_renewal_asks_for_what_was_granted() -> None:
    wanting = settings("refresh_token", refresh_token="first", **WANTS)
    assert grants.renewal(wanting, Secret("later")) == (
        ("grant_type", "refresh_token"),
        ("refresh_token", "later"),
        *WANTED,
    )


@pytest.mark.parametrize(
    ("form", "pairs"),
    [
        (grants.client_credentials(CREDENTIALS), (("grant_type", "client_credentials"),)),
        (
            grants.password(PASSWORD),
            (("grant_type", "password"), ("username", "u"), ("password", "p w")),
        ),
        (
            grants.jwt_bearer(CREDENTIALS, "a.b.c"),
            (
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", "a.b.c"),
            ),
        ),
        (
            grants.token_exchange(exchange(), "file's"),
            (
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", "file's"),
                ("subject_token_type", ACCESS_TOKEN_TYPE),
            ),
        ),
        (
            grants.token_exchange(exchange(actor_token="x", requested_token_type="urn:r"), "s"),
            (
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("subject_token", "s"),
                ("subject_token_type", ACCESS_TOKEN_TYPE),
                ("actor_token", "x"),
                ("actor_token_type", ACCESS_TOKEN_TYPE),
                ("requested_token_type", "urn:r"),
            ),
        ),
        (
            grants.device_code("d"),
            (
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("device_code", "d"),
            ),
        ),
        (
            grants.authorization_code("c", "http://127.0.0.1:1/callback", "v"),
            (
                ("grant_type", "authorization_code"),
                ("code", "c"),
                ("redirect_uri", "http://127.0.0.1:1/callback"),
                ("code_verifier", "v"),
            ),
        ),
    ],
    ids=[
        "client_credentials",
        "password",
        "jwt_bearer",
        "token_exchange",
        "token_exchange with an actor",
        "device_code",
        "authorization_code",
    ],
)
def test_a_form_holds_this(
    form: tuple[tuple[str, str], ...], pairs: tuple[tuple[str, str], ...]
) -> None:
    assert form == pairs


def test_pairs_without_a_value_are_left_out() -> None:
    assert grants.optional(a="1", b=None, c="") == (("a", "1"), ("c", ""))
