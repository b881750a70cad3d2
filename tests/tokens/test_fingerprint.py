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
from tokenproxy.tokens.fingerprint import record_key

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
    assert _key(SIMPLEJWT) == "shop-dbbc2e9a940953ea"
    assert _key(JSON) == "shop-d1bb01f1e566cb9a"
    assert _key(COMMAND) == "shop-7262ad5ceec6a094"


@pytest.mark.parametrize(
    "other",
    [
        {**SIMPLEJWT, "username": "other"},
        {**SIMPLEJWT, "base_url": "https://else.example"},
        {**SIMPLEJWT, "base_url": "http://shop.example"},
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
        (_json(body={"user": "a"}), {**_json(body={"user": "a"}), "renew": {"url": "http://x"}}),
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
    """One account of each kind, with all that may prove it."""
    return [
        {"type": "static", "token": secret},
        {**SIMPLEJWT, "password": secret},
        {**SIMPLEJWT, "refresh_token": secret},
        _json(body={"user": "demo", "password": secret, "a": [{"client_secret": secret}]}),
        _json(body={"user": "demo", "Passwort": secret, "PIN": secret, "otp_code": secret}),
        _json(form={"user": "demo", "api_key": secret}),
        _json(headers={"X-Api-Key": secret, "X-Auth-Token": secret}),
        _json(headers={"Authorization": f"Bearer {secret}"}),
        _json(headers={"authorization": _basic("demo", secret)}),
        _json(headers={"Authorization": f"Basic {secret}"}),
        _json(headers={"Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}),
        {**COMMAND, "env": {"PASSWORD": secret, "API_KEY": secret}},
        {**COMMAND, "argv": ["get", "--password", secret, "--client-secret", secret, "a"]},
        {**COMMAND, "argv": ["get", f"--password={secret}", f"API_KEY={secret}"]},
        {**COMMAND, "argv": ["sh", "-c", f"curl -d password={secret} https://shop.example"]},
        {**COMMAND, "argv": ["curl", "-d", f'{{"password": "{secret}"}}']},
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
    assert base64.b64encode(b"demo:MARKER").decode() not in json.dumps(identity)


@given(st.text(ENCODABLE, min_size=1), st.text())
def test_no_user_name_is_too_strange(user: str, header: str) -> None:
    assert re.fullmatch(r"shop-[0-9a-f]{16}", _key({**SIMPLEJWT, "username": user}))
    assert fingerprint._basic_user(_basic(user.replace(":", ""), "p:p")) == user.replace(":", "")
    fingerprint._basic_user("Basic " + header)  # whatever it is
