from typing import Any

import pytest
from pydantic import JsonValue, ValidationError

from tokenproxy.settings.credential import Fields
from tokenproxy.settings.json_login import JsonLogin, placeholders

URL = "https://shop.example/token"


def settings(login: dict[str, Any] | None = None, **renew: Any) -> JsonLogin:
    given = {"type": "json", "login": {"url": URL, **(login or {})}}
    return JsonLogin.model_validate({**given, "renew": {"url": URL, **renew}})


def test_tokens_are_found_wherever_they_may_stand() -> None:
    body: JsonValue = {"{refresh_token}": "a", "b": ["<{access_token}>", {"c": 1, "d": None}]}

    assert placeholders(body) == {"access_token"}
    renewed = settings(body=body, headers={"X": "{refresh_token}"}).renew
    assert renewed is not None
    assert renewed.asks_for == {"access_token", "refresh_token"}


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("refreshtoken", "refresh_token"),
        ("refresh", "refresh_token"),
        ("refresh-token", "refresh_token"),
        ("Refresh_Token", "refresh_token"),
        (" refresh_token ", "refresh_token"),
        ("refreshToken", "refresh_token"),
        ("accesstoken", "access_token"),
        ("access", "access_token"),
        ("token", "access_token"),
    ],
)
@pytest.mark.parametrize(
    "place", [{"body": {"a": ["{}"]}}, {"form": {"a": "{}"}}, {"headers": {"X-A": "Bearer {}"}}]
)
def test_a_misspelt_name_in_braces_is_told_with_the_one_that_was_meant(
    place: dict[str, Any], word: str, meant: str
) -> None:
    filled = _filled(place, f"{{{word}}}")

    with pytest.raises(ValidationError, match=f"did you mean '{{{meant}}}'"):
        settings(**filled)


def _filled(value: Any, text: str) -> Any:
    match value:
        case dict():
            return {key: _filled(item, text) for key, item in value.items()}
        case list():
            return [_filled(item, text) for item in value]
        case _:
            return value.replace("{}", text)


@pytest.mark.parametrize(
    "text", ["{user}", "{}", "{1}", "{tenant}", "{session}", "{refresh_token}", '{"token": 1}', "{"]
)
def test_other_braces_are_text(text: str) -> None:
    settings(body=[text], form=None, headers={"X-A": "{name}"})


@pytest.mark.parametrize("word", ["refresh_token", "access_token", "refresh"])
def test_an_url_holds_no_token(word: str) -> None:
    with pytest.raises(ValidationError, match="cannot hold a token"):
        settings(url=f"{URL}?t={{{word}}}")


def test_a_renewal_has_the_fields_of_the_login_unless_it_names_its_own() -> None:
    named = {"fields": {"access_token": "data.access"}}

    assert settings().login_fields == settings().renewal_fields == Fields()
    assert settings(named).renewal_fields == Fields(access_token="data.access")
    assert settings(named, fields={"access_token": "b"}).renewal_fields == Fields(access_token="b")
    assert settings(named, fields={}).renewal_fields == Fields()
