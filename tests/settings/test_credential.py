"""Where a credential's password and tokens may be sent."""

from typing import Any

import pytest

from tests.settings.written import read, told_of_credential

LOGIN = {"username": "anna", "password": "p"}
SIMPLE = {"type": "simplejwt", **LOGIN}
OAUTH2 = {"type": "oauth2", "grant": "client_credentials", "client_id": "c"}
SECRET = {"client_auth": {"secret": "s"}}
FIELDS = {"access_token": "a"}


def endpoints(url: str) -> list[tuple[dict[str, Any], list[str]]]:
    return [
        ({**SIMPLE, "base_url": url}, ["base_url"]),
        ({**SIMPLE, "login_url": url, "refresh_url": url}, ["login_url", "refresh_url"]),
        ({**SIMPLE, "base_url": "https://a.example", "logout_url": url}, ["logout_url"]),
        (
            {"type": "json", "login": {"url": url}, "renew": {"url": url}},
            ["login.url", "renew.url"],
        ),
        ({**OAUTH2, **SECRET, "token_url": url}, ["token_url"]),
        ({**OAUTH2, **SECRET, "issuer": url, "revocation_url": url}, ["issuer", "revocation_url"]),
    ]


@pytest.mark.parametrize("url", ["http://a.example", "HTTP://a.example", "http://10.0.0.1/"])
def test_a_secret_goes_unencrypted_beyond_this_machine_by_leave_only(url: str) -> None:
    for settings, places in endpoints(url):
        assert told_of_credential(settings) == [
            f"would send its password or tokens unencrypted to '{place}': use https, or say "
            "'allow_insecure: true'"
            for place in places
        ]
        read({"credentials": {"c": {**settings, "allow_insecure": True}}})


@pytest.mark.parametrize(
    "url", ["https://a.example", "http://127.0.0.1:8000", "http://[::1]/", "http://a.localhost"]
)
def test_https_and_this_machine_need_no_leave(url: str) -> None:
    for settings, _ in endpoints(url):
        read({"credentials": {"c": settings}})
