from typing import Any

import pytest

from tokenproxy.config.document import dotted
from tokenproxy.config.references import mistakes, warnings


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


# -- workers without a store that they share -------------------------------------------------------


def not_shared(workers: object, store: str, kind: str = "simplejwt") -> list[str]:
    data = {"workers": workers, "store": {"type": store}, "credentials": {"c": {"type": kind}}}
    return [dotted(mistake.where) for mistake in mistakes(data)]


@pytest.mark.parametrize("workers", [2, "2", "auto"])
@pytest.mark.parametrize("kind", ["simplejwt", "json", "oauth2", "command"])
def test_workers_need_a_store_that_they_share(workers: object, kind: str) -> None:
    assert not_shared(workers, "memory", kind) == ["workers"]


@pytest.mark.parametrize(
    ("workers", "store", "kind"),
    [
        (1, "memory", "simplejwt"),
        (None, "memory", "simplejwt"),
        (4, "file", "simplejwt"),
        (4, "redis", "oauth2"),
        ("auto", "memory", "static"),
        (4, "memory", "file"),
    ],
)
def test_workers_that_share_their_tokens_or_keep_none_are_fine(
    workers: object, store: str, kind: str
) -> None:
    assert not_shared(workers, store, kind) == []


@pytest.mark.parametrize(
    "data",
    [
        {"workers": [2], "store": {"type": "memory"}, "credentials": {"c": {"type": "oauth2"}}},
        {"workers": 2, "store": "memory", "credentials": {"c": {"type": "oauth2"}}},
        {"workers": 2, "store": {"type": "memory"}, "credentials": {"c": ["oauth2"]}},
        {"workers": 2, "store": {"type": "memory"}, "credentials": {"c": {"type": ["oauth2"]}}},
        {"workers": 2, "store": {"type": "memory"}, "credentials": []},
    ],
)
def test_what_has_another_shape_is_left_to_those_who_look_at_shapes(data: dict[str, Any]) -> None:
    assert mistakes(data) == []
