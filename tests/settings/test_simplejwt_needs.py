from typing import Any

import pytest
from pydantic import ValidationError

from tokenproxy.settings.simplejwt import SimpleJwt

LOGIN = {"username": "anna", "password": "p"}
BASE = {"base_url": "https://shop.example"}
TOGETHER = "needs 'username' and 'password' together"
NOBODY = "needs 'username' and 'password', or a 'refresh_token'"
NO_URL = "needs a 'base_url', or 'login_url' and 'refresh_url'"
NO_LOGIN_URL = "needs a 'login_url' beside its 'refresh_url' to sign in with"


def settings(**keys: Any) -> SimpleJwt:
    return SimpleJwt.model_validate({"type": "simplejwt", **keys})


def told(**keys: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        settings(**keys)
    [error] = caught.value.errors()
    return list(error["ctx"]["error"].sentences)


@pytest.mark.parametrize(
    "keys",
    [
        {**BASE, **LOGIN},
        {**BASE, "refresh_token": "r"},
        {"refresh_url": "https://shop.example/r", "refresh_token": "r"},
        {"refresh_url": "https://a/r", "login_url": "https://a/l", **LOGIN},
    ],
)
def test_a_login_or_a_refresh_token_and_where_to_send_it_is_enough(keys: dict[str, Any]) -> None:
    settings(**keys)


@pytest.mark.parametrize(
    ("keys", "sentences"),
    [
        ({}, [NOBODY, NO_URL]),
        (BASE, [NOBODY]),
        ({**BASE, "username": "anna"}, [TOGETHER]),
        ({"password": "p"}, [TOGETHER, NO_URL]),
        ({"refresh_url": "https://a/r", **LOGIN}, [NO_LOGIN_URL]),
        ({"refresh_url": "https://a/r", "username": "anna"}, [TOGETHER, NO_LOGIN_URL]),
        ({"refresh_token": "r"}, [NO_URL]),
    ],
)
def test_all_that_is_missing_is_told(keys: dict[str, Any], sentences: list[str]) -> None:
    assert told(**keys) == sentences


def test_a_base_url_holds_no_query() -> None:
    with pytest.raises(ValidationError, match="must not hold a query"):
        settings(base_url="https://shop.example?tenant=1", **LOGIN)
