from typing import Any

import pytest

from tests.settings.written import read_credential, told_of_credential
from tokenproxy.settings.simplejwt import SimpleJwt

SHOP = "https://shop.example"
LOGIN = {"username": "anna", "password": "pw"}
TOGETHER = "needs 'username' and 'password' together"
ONE_OF_THEM = "needs 'username' and 'password', or a 'refresh_token'"
NO_URL = "needs a 'base_url', or 'login_url' and 'refresh_url'"
NO_LOGIN_URL = "needs a 'login_url' beside its 'refresh_url' to sign in with"


def simplejwt(**settings: Any) -> SimpleJwt:
    return read_credential(SimpleJwt, {"type": "simplejwt", **settings})


@pytest.mark.parametrize(
    ("settings", "login", "refresh"),
    [
        ({"base_url": SHOP}, f"{SHOP}/api/token/", f"{SHOP}/api/token/refresh/"),
        ({"base_url": f"{SHOP}/"}, f"{SHOP}/api/token/", f"{SHOP}/api/token/refresh/"),
        ({"base_url": f"{SHOP}/v1"}, f"{SHOP}/v1/api/token/", f"{SHOP}/v1/api/token/refresh/"),
        (
            {"base_url": SHOP, "login_url": f"{SHOP}/in"},
            f"{SHOP}/in",
            f"{SHOP}/api/token/refresh/",
        ),
        ({"base_url": SHOP, "refresh_url": f"{SHOP}/re"}, f"{SHOP}/api/token/", f"{SHOP}/re"),
        ({"login_url": f"{SHOP}/in", "refresh_url": f"{SHOP}/re"}, f"{SHOP}/in", f"{SHOP}/re"),
    ],
)
def test_the_endpoints_are_djangos_unless_the_config_names_them(
    settings: dict[str, Any], login: str, refresh: str
) -> None:
    credential = simplejwt(**settings, **LOGIN)

    assert credential.login_endpoint == login
    assert credential.refresh_endpoint == refresh


def test_a_login_is_a_user_name_and_a_password() -> None:
    login = simplejwt(base_url=SHOP, **LOGIN).login

    assert login is not None
    assert (login[0], login[1].get_secret_value()) == ("anna", "pw")


@pytest.mark.parametrize("url", ["base_url", "refresh_url"])
def test_a_first_refresh_token_is_enough_to_begin_with(url: str) -> None:
    credential = simplejwt(refresh_token="r", **{url: SHOP})

    assert credential.login is None
    assert credential.refresh_token is not None


def test_a_login_and_a_refresh_token_may_stand_together() -> None:
    credential = simplejwt(base_url=SHOP, refresh_token="r", **LOGIN)

    assert credential.login is not None
    assert credential.refresh_token is not None


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"base_url": SHOP}, ONE_OF_THEM),
        ({"base_url": SHOP, "username": "anna"}, TOGETHER),
        ({"base_url": SHOP, "password": "pw"}, TOGETHER),
        ({"base_url": SHOP, "refresh_token": "r", "username": "anna"}, TOGETHER),
        (LOGIN, NO_URL),
        ({**LOGIN, "login_url": SHOP}, NO_URL),
        ({"refresh_token": "r"}, NO_URL),
        ({**LOGIN, "refresh_url": SHOP}, NO_LOGIN_URL),
        ({**LOGIN, "base_url": SHOP, "username_field": ""}, "username_field: must not be empty"),
        ({"base_url": SHOP, "username": "", "password": "p"}, "username: must not be empty"),
        ({"base_url": SHOP, "username": "a", "password": ""}, "password: must not be empty"),
        ({"base_url": SHOP, "refresh_token": ""}, "refresh_token: must not be empty"),
        ({**LOGIN, "base_url": SHOP, "sliding": "often"}, "sliding: must be true or false"),
        (
            {**LOGIN, "base_url": "shop.example"},
            "base_url: must be a full URL such as https://shop.example",
        ),
        (
            {"base_url": SHOP, "refresh_token": "r r"},
            "refresh_token: holds a character that no token may have (a space or line break?)",
        ),
        ({**LOGIN, "bse_url": SHOP}, "bse_url: is not a known key (did you mean 'base_url'?)"),
    ],
)
def test_what_cannot_begin_is_told_what_it_needs(settings: dict[str, Any], problem: str) -> None:
    assert told_of_credential({"type": "simplejwt", **settings}) == [problem]
