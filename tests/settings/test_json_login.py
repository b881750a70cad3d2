from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.settings.written import read_credential, told_of_credential
from tokenproxy.settings.json_login import JsonLogin, JsonRequest, placeholders

URL = "https://shop.example/login"
BOTH = "has both 'body' and 'form': give one of them"
GET = "is a GET and cannot have a 'body' or 'form'"
TOO_EARLY = "has a token in 'login', where there is none yet: put it in 'renew'"


def request(**settings: Any) -> JsonRequest:
    return JsonRequest.model_validate({"url": URL, **settings})


def credential(login: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"type": "json", "login": {"url": URL, **login}, **settings}


def test_a_login_needs_nothing_but_its_url() -> None:
    read = read_credential(JsonLogin, credential({}))

    assert (read.login.method, read.login.body, read.login.form) == ("POST", None, None)
    assert read.login_fields.access_token == "access_token"
    assert read.renew is None


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "GET"},
        {"method": "PUT", "body": {"a": [1, None, True]}},
        {"method": "PATCH", "form": {"a": "b"}},
        {"body": ""},
        {"body": []},
        {"form": {}},
        {"fields": {"access_token": "data.0.token", "expires_in": "data.ttl"}},
        {"headers": {"X-Key": ""}},
    ],
)
def test_a_login_may_be_any_request(settings: dict[str, Any]) -> None:
    assert read_credential(JsonLogin, credential(settings)).login == request(**settings)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"body": {"a": "b"}, "form": {"a": "b"}}, f"login: {BOTH}"),
        ({"body": "", "form": {}}, f"login: {BOTH}"),
        ({"method": "GET", "body": {"a": "b"}}, f"login: {GET}"),
        ({"method": "GET", "form": {}}, f"login: {GET}"),
        ({"body": {"token": "{refresh_token}"}}, TOO_EARLY),
        ({"form": {"token": "{access_token}"}}, TOO_EARLY),
        ({"headers": {"Authorization": "Bearer {access_token}"}}, TOO_EARLY),
        ({"method": "post"}, "login.method: must be 'GET', 'POST', 'PUT' or 'PATCH'"),
        ({"method": "DELETE"}, "login.method: must be 'GET', 'POST', 'PUT' or 'PATCH'"),
        ({"url": "shop"}, "login.url: must be a full URL such as https://shop.example"),
        ({"form": {"": "x"}}, 'login.form."": must not be empty'),
        ({"form": {"n": 7}}, "login.form.n: must be text: put it in quotes"),
        ({"headers": {"a b": "x"}}, "login.headers.\"a…\": is no name: use letters, digits, '-'"),
        ({"headers": {"a": "x\r\ny"}}, "login.headers.a: holds a line break or control character"),
        ({"fields": {"access_token": "a..b"}}, "login.fields.access_token: must be names with"),
        ({"fields": {"token": "t"}}, "login.fields.token: is not a known key"),
    ],
)
def test_what_cannot_be_sent_is_told_as_that(settings: dict[str, Any], problem: str) -> None:
    problems = told_of_credential(credential(settings))

    assert [one.startswith(problem) for one in problems] == [True], problems


def test_the_same_goes_for_the_request_that_renews() -> None:
    renew = {"url": URL, "method": "GET", "body": "{refresh_token}"}

    assert told_of_credential(credential({}, renew=renew)) == [f"renew: {GET}"]


def test_a_renewal_may_carry_both_tokens() -> None:
    renew = {
        "url": URL,
        "body": {"a": [{"b": "x {refresh_token}"}]},
        "headers": {"Authorization": "Bearer {access_token}"},
    }

    read = read_credential(JsonLogin, credential({}, renew=renew)).renew

    assert read is not None
    assert read.asks_for == {"refresh_token", "access_token"}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("{refresh_token}", {"refresh_token"}),
        ("{access_token}{refresh_token}", {"access_token", "refresh_token"}),
        ({"a": {"b": ["{access_token}"]}}, {"access_token"}),
        ({"{refresh_token}": "a name is no value"}, set()),
        ("{token} {Refresh_Token} {{}} { refresh_token }", set()),
        ([1, 1.5, True, None], set()),
        ("", set()),
        ({}, set()),
        ([], set()),
    ],
)
def test_tokens_are_found_wherever_they_stand(body: Any, names: set[str]) -> None:
    assert placeholders(body) == names


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_a_token_is_found_beside_anything(value: Any) -> None:
    assert "refresh_token" in placeholders([value, {"x": [value, "a{refresh_token}b"]}])


def test_a_request_does_not_show_what_it_sends() -> None:
    marker = "s3cr3t-marker"

    shown = [
        repr(request(body={"password": marker})),
        repr(request(form={"password": marker})),
        repr(request(headers={"X-Key": marker})),
    ]

    assert not any(marker in one for one in shown)
