"""One mistake hides no other, and none is told that only follows from another."""

from pathlib import Path
from typing import Any

import pytest

from tokenproxy.config.document import dotted, read_mapping
from tokenproxy.config.model import Config
from tokenproxy.config.validate import validate

URL = "https://shop.example"


def told(credential: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    """The mistakes, by place, of a config with that credential."""
    document = read_mapping({"credentials": {"c": credential}, **more})
    config, mistakes = validate(document, Path(), Config)
    assert (config is None) is bool(mistakes)
    return [(dotted(m.where).removeprefix("credentials."), m.what) for m in mistakes]


def places(credential: dict[str, Any], **more: Any) -> list[str]:
    return sorted(place for place, _ in told(credential, **more))


def test_all_sentences_about_one_mapping_are_told() -> None:
    assert told({"type": "simplejwt", "username": "anna"}) == [
        ("c", "needs 'username' and 'password' together"),
        ("c", "needs a 'base_url', or 'login_url' and 'refresh_url'"),
    ]


def test_a_wrong_key_hides_what_is_missing_beside_it_no_more_than_its_name_says() -> None:
    """`b` is where `'base_url'` begins, and has nothing to do with it."""
    assert told({"type": "simplejwt", "username": "a", "password": "p", "b": 1}) == [
        ("c.b", "is not a known key"),
        ("c", "needs a 'base_url', or 'login_url' and 'refresh_url'"),
    ]


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        ({"type": "simplejwt", "username": "a", "password": "p", "base_url": 5}, ["c.base_url"]),
        ({"type": "simplejwt", "username": "a", "password": "p", "base_ur": URL}, ["c.base_ur"]),
        ({"type": "file", "path": "/a", "format": "jsn", "field": "x"}, ["c.format"]),
        (
            {
                "type": "oauth2",
                "grant": "client_credentials",
                "token_url": URL,
                "client_id": "a",
                "client_auth": {"secrt": "s"},
            },
            ["c.client_auth.secrt"],
        ),
    ],
)
def test_what_only_follows_is_not_told(credential: dict[str, Any], expected: list[str]) -> None:
    assert places(credential) == expected


def test_what_is_in_a_mapping_of_a_misspelt_type_is_told_all_the_same() -> None:
    credential = {"type": "simplejw", "base_ur": URL, "username": 5, "refresh": {"wiat": 1}}

    assert places(credential, store={"type": "flie", "pth": "/"}) == [
        "c.base_ur",
        "c.refresh.wiat",
        "c.type",
        "c.username",
        "store.pth",
        "store.type",
    ]


def test_a_type_that_nothing_is_like_is_told_alone() -> None:
    assert places({"type": "zzz", "base_ur": URL}) == ["c.type"]


@pytest.mark.parametrize(
    ("credential", "place", "said"),
    [
        (
            {"type": "static", "token": "t", "argv": ["a"]},
            "c.argv",
            "belongs to 'type: command', and this is 'type: static'",
        ),
        (
            {"type": "static", "token": "t", "password": "p"},
            "c.password",
            "belongs to the types simplejwt and oauth2, and this is 'type: static'",
        ),
        (
            {"type": "file", "path": "/", "fields": {}},
            "c.fields",
            "is not a known key (did you mean 'field'?)",
        ),
    ],
)
def test_a_key_of_another_type_is_told_as_such(
    credential: dict[str, Any], place: str, said: str
) -> None:
    assert told(credential) == [(place, said)]


def test_a_path_is_the_file_stores_own() -> None:
    said = "belongs to 'type: file', and this is 'type: memory'"

    found = told({"type": "static", "token": "t"}, store={"type": "memory", "path": "/x"})

    assert found == [("store.path", said)]
