import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tokenproxy.settings.sources import AnyCredential
from tokenproxy.tokens import fingerprint
from tokenproxy.tokens.fingerprint import config_label, record_key

SETTINGS: TypeAdapter[AnyCredential] = TypeAdapter(AnyCredential)

ENCODABLE = st.characters(exclude_categories=["Cs"])
SIMPLEJWT = {
    "type": "simplejwt",
    "base_url": "https://shop.example",
    "username": "demo",
    "password": "one",
}
LOGIN = {"url": "https://shop.example/login", "body": {"user": "demo", "password": "one"}}
JSON = {"type": "json", "login": LOGIN}
OAUTH2 = {
    "type": "oauth2",
    "grant": "client_credentials",
    "token_url": "https://login.example/token",
    "client_id": "shop",
    "client_auth": {"secret": "one"},
}
COMMAND = {"type": "command", "argv": ["get-token", "--account", "a"]}


def _key(settings: dict[str, Any], name: str = "shop") -> str:
    return record_key(name, SETTINGS.validate_python(settings))


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _json(**login: Any) -> dict[str, Any]:
    return {"type": "json", "login": {"url": "https://shop.example/login", **login}}


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "static", "token": "t"},
        {"type": "file", "path": "/t"},
        COMMAND,
        SIMPLEJWT,
        JSON,
    ],
    ids=lambda settings: settings["type"],
)
def test_the_same_account_has_the_same_key_which_any_store_can_take(
    settings: dict[str, Any],
) -> None:
    assert _key(settings) == _key(json.loads(json.dumps(settings)))
    assert re.fullmatch(r"shop-[0-9a-f]{16}", _key(settings))
    assert _key(settings, "other") != _key(settings)


def test_a_key_stays_what_it_is_from_one_release_to_the_next() -> None:
    """Another one would forget all tokens, and with them every sign-in that a person made."""
    assert _key(SIMPLEJWT) == "shop-26894fd9c8b90da9"
    assert _key(JSON) == "shop-2a2af2582c020234"
    assert _key(COMMAND) == "shop-65496e022d807b9f"


@pytest.mark.parametrize(
    "other",
    [
        {**SIMPLEJWT, "username": "other"},
        {**SIMPLEJWT, "base_url": "https://else.example"},
        {**SIMPLEJWT, "base_url": "http://shop.example", "allow_insecure": True},
        {**SIMPLEJWT, "login_url": "https://shop.example/login"},
        {**SIMPLEJWT, "refresh_url": "https://shop.example/renew"},
        {**SIMPLEJWT, "sliding": True},
        JSON,
    ],
)
def test_another_account_or_url_is_another_record(other: dict[str, Any]) -> None:
    assert _key(other) != _key(SIMPLEJWT)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_json(body={"user": "a"}), _json(body={"user": "b"})),
        (_json(body={"user": "a"}), {**_json(body={"user": "a"}), "renew": {"url": "https://x"}}),
        (_json(body={"a": {"email": "a"}}), _json(body={"a": {"email": "b"}})),
        (_json(body={"params": ["db", "a", "p"]}), _json(body={"params": ["db", "b", "p"]})),
        (_json(form={"user": "a", "password": "p"}), _json(form={"user": "b", "password": "p"})),
        (_json(headers={"X-Tenant": "a"}), _json(headers={"X-Tenant": "b"})),
        (
            _json(headers={"Authorization": _basic("a", "p")}),
            _json(headers={"Authorization": _basic("b", "p")}),
        ),
        ({**COMMAND}, {**COMMAND, "argv": ["get-token", "--account", "b"]}),
        ({**COMMAND}, {**COMMAND, "argv": ["/bin/get-token", "--account", "a"]}),
        (
            {**COMMAND, "argv": ["sh", "-c", "gcloud auth print-access-token --account=a"]},
            {**COMMAND, "argv": ["sh", "-c", "gcloud auth print-access-token --account=b"]},
        ),
        ({**COMMAND, "env": {"AWS_PROFILE": "a"}}, {**COMMAND, "env": {"AWS_PROFILE": "b"}}),
        ({"type": "file", "path": "/a"}, {"type": "file", "path": "/b"}),
    ],
)
def test_what_names_an_account_tells_records_apart(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert _key(one) != _key(other)


def _proofs(secret: str) -> list[dict[str, Any]]:
    """One account of each kind that tells what names it, with all that may prove it."""
    return [
        {"type": "static", "token": secret},
        {**SIMPLEJWT, "password": secret},
        {**SIMPLEJWT, "refresh_token": secret},
        {**OAUTH2, "client_auth": {"secret": secret}},
        {**OAUTH2, "grant": "refresh_token", "refresh_token": secret},
        {**OAUTH2, "grant": "password", "username": "demo", "password": secret},
        {**OAUTH2, "grant": "jwt_bearer", "key": secret, "claims": {"sub": "demo"}},
        {**OAUTH2, "grant": "token_exchange", "subject_token": secret},
    ]


@pytest.mark.parametrize(
    ("one", "other"), list(zip(_proofs("s3cret"), _proofs("0ther"), strict=True)), ids=str
)
def test_a_changed_password_is_no_other_account(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert _key(one) == _key(other)


@pytest.mark.parametrize("settings", _proofs("MARKER"), ids=str)
def test_no_secret_goes_into_a_key_at_all(settings: dict[str, Any]) -> None:
    identity = fingerprint._identity(SETTINGS.validate_python(settings))
    assert "MARKER" not in json.dumps(identity)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["--secret-id", "alice"], ["--secret-id", "bob"]),
        (["--token-file", "/d/alice"], ["--token-file", "/d/bob"]),
        (["--auth-user=alice"], ["--auth-user=bob"]),
        (["http://login:8080/realms/alice/t"], ["http://login:8080/realms/bob/t"]),
    ],
    ids=str,
)
def test_no_word_of_a_command_is_taken_for_a_secret_that_names_nobody(
    one: list[str], other: list[str]
) -> None:
    command = {"type": "command", "argv": ["get", *one]}
    assert _key(command) != _key({**command, "argv": ["get", *other]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (_json(body={"auth": {"email": "a"}}), _json(body={"auth": {"email": "b"}})),
        (_json(headers={"X-Api-Key": "a"}), _json(headers={"X-Api-Key": "b"})),
        (
            {**_json(), "renew": {"url": "https://x", "body": {"client_id": "a"}}},
            {**_json(), "renew": {"url": "https://x", "body": {"client_id": "b"}}},
        ),
        ({**OAUTH2, "extra": {"tenant": "a"}}, {**OAUTH2, "extra": {"tenant": "b"}}),
        (OAUTH2, {**OAUTH2, "client_id": "other"}),
        (OAUTH2, {**OAUTH2, "scope": "a b"}),
        (OAUTH2, {**OAUTH2, "audience": "x"}),
        (OAUTH2, {**OAUTH2, "resource": "https://x"}),
        (OAUTH2, {**OAUTH2, "token_url": "https://x"}),
        ({**SIMPLEJWT}, {**SIMPLEJWT, "username_field": "email"}),
    ],
    ids=str,
)
def test_whatever_may_name_an_account_tells_records_apart(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert _key(one) != _key(other)


@pytest.mark.parametrize(
    "change",
    [{"password": "other"}, {"refresh": {"timeout": 3}}, {"tls": {"verify": False}}],
    ids=str,
)
def test_a_label_tells_of_any_change_of_the_settings(change: dict[str, Any]) -> None:
    one, other = SETTINGS.validate_python(SIMPLEJWT), SETTINGS.validate_python(SIMPLEJWT | change)
    assert config_label("shop-1", one) == config_label("shop-1", one)
    assert config_label("shop-1", one) != config_label("shop-1", other)
    assert config_label("shop-1", one) != config_label("shop-2", one)
    assert re.fullmatch(r"[0-9a-f]{16}", config_label("shop-1", one))


@given(st.text(ENCODABLE, min_size=1))
def test_no_user_name_is_too_strange(user: str) -> None:
    assert re.fullmatch(r"shop-[0-9a-f]{16}", _key({**SIMPLEJWT, "username": user}))
