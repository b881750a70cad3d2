from typing import Any

import pytest

from tokenproxy.config.document import dotted
from tokenproxy.config.references import warnings


def warned(credential: dict[str, Any]) -> list[str]:
    routes = [{"upstream": "https://shop.example", "credential": "c"}]
    found = warnings({"credentials": {"c": credential}, "routes": routes})
    assert all("unencrypted: use https" in warning.what for warning in found)
    return [dotted(warning.where) for warning in found]


@pytest.mark.parametrize(
    ("credential", "places"),
    [
        ({"type": "simplejwt", "base_url": "http://a.example"}, ["base_url"]),
        (
            {"login_url": "http://a.example/l", "refresh_url": "http://a.example/r"},
            ["login_url", "refresh_url"],
        ),
        (
            {"login": {"url": "http://a.example"}, "renew": {"url": "HTTP://a.example"}},
            ["login.url", "renew.url"],
        ),
        ({"issuer": "http://a.example", "token_url": "https://a.example"}, ["issuer"]),
        ({"token_url": "http://10.0.0.1/"}, ["token_url"]),
    ],
)
def test_a_secret_that_goes_unencrypted_beyond_this_machine_is_warned_of(
    credential: dict[str, Any], places: list[str]
) -> None:
    assert warned(credential) == [f"credentials.c.{place}" for place in places]


@pytest.mark.parametrize(
    "url", ["https://a.example", "http://127.0.0.1:8000", "http://[::1]/", "http://a.localhost"]
)
def test_https_and_this_machine_are_no_reason_for_a_warning(url: str) -> None:
    assert warned({"base_url": url, "token_url": url, "login": {"url": url}}) == []
