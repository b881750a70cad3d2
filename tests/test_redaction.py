"""Secrets are found in what is about to be written, in all the forms that they have there."""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from typing import ClassVar
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.redaction import FEW, GONE, MASK, SHORTEST, Redactor
from tokenproxy.secret import Secret

SECRET = 'marker/of "ä\\ secret+%'
SECRETS = [Secret(SECRET)]
REDACT = Redactor(lambda: SECRETS)

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded in lower case": lambda text: re.sub(
        "%[0-9A-F]{2}", lambda found: found[0].lower(), quote(text, safe="")
    ),
    "of a form": quote_plus,
    "in a form": lambda text: urlencode({"password": text}),
    "in JSON": json.dumps,
    "in JSON of all characters": lambda text: json.dumps(text, ensure_ascii=False),
    "as Python shows it": repr,
    "escaped for a terminal": lambda text: text.encode("unicode_escape").decode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_each_form_is_taken_out(form: Callable[[str], str]) -> None:
    said = REDACT(f"before {form(SECRET)} after")
    assert "marker" not in said
    assert MASK in said
    assert said.startswith("before ")
    assert said.endswith(" after")


@given(user=st.text(max_size=12), secret=st.text(st.characters(codec="utf-8"), min_size=16))
def test_of_basic_credentials_less_than_a_byte_of_the_secret_is_left(
    user: str, secret: str
) -> None:
    pair = b64encode(f"{user}:{secret}".encode("utf-8", "replace")).decode()
    kept = [Secret(secret)]
    assert MASK in Redactor(lambda: kept)(f"Authorization: Basic {pair}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:pass-word-1@host.example/0", "redis://user:***@host.example/0"),
        ("http://pa%2Fssword-1@host.example", "http://***@host.example"),
        ("redis://host.example/0", "redis://host.example/0"),
    ],
)
def test_of_a_url_only_the_password_is_a_secret(url: str, shown: str) -> None:
    kept = [Secret(url)]
    assert Redactor(lambda: kept)(f"{url}") == shown


def test_a_key_is_found_by_each_of_its_lines() -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(f"{at}" * 64 for at in "abc") + "\n-----END"
    kept = [Secret(key)]
    said = Redactor(lambda: kept)(f"-----BEGIN PRIVATE KEY----- {'b' * 64}")
    assert said == f"-----BEGIN PRIVATE KEY----- {MASK}"


def test_a_short_secret_is_left_as_a_word() -> None:
    kept = [Secret("x" * (SHORTEST - 1))]
    assert MASK not in Redactor(lambda: kept)("x" * 100)


def test_one_that_is_part_of_another_does_not_break_it_up() -> None:
    kept = [Secret("abcdefgh"), Secret("abcdefgh-and-more-of-it")]
    assert Redactor(lambda: kept)("abcdefgh-and-more-of-it") == MASK


@pytest.mark.parametrize("number", [1, FEW, 10 * FEW])
def test_however_many_there_are_each_is_found(number: int) -> None:
    kept = [Secret(f"{at:06}-of-many") for at in range(number)]
    redact = Redactor(lambda: kept)
    for secret in kept:
        assert redact.finds(f"/items/{secret.reveal()}/x")
        assert redact(f"a {secret.reveal()} b") == f"a {MASK} b"
    assert not redact.finds("/items/000000")


@given(before=st.text(max_size=40), after=st.text(max_size=40))
def test_of_many_one_is_found_wherever_it_stands(before: str, after: str) -> None:
    assert MASK in OF_MANY(f"{before}000007-long-one-of-many{after}")


MANY = [Secret(f"{at:06}-long-one-of-many") for at in range(100)]
OF_MANY = Redactor(lambda: MANY)


def test_a_secret_is_known_for_as_long_as_it_lives_and_not_for_ever() -> None:
    kept = [Secret("the-1st-text"), Secret("the-1st-text")]
    redact = Redactor(lambda: kept)
    assert redact("the-1st-text") == MASK
    kept.pop()
    assert redact("the-1st-text") == MASK
    for number in range(2 * GONE):
        kept[0] = Secret(f"text-number-{number}")
        assert redact(f"of text-number-{number}") == f"of {MASK}"
    assert redact("the-1st-text") == "the-1st-text"


@pytest.mark.parametrize("word", ["production", "credential", "2026-11-24", "EU-WEST", "127.0.0.1"])
def test_what_stands_in_a_log_by_itself_is_left_there(word: str) -> None:
    kept = [Secret(word)]
    assert Redactor(lambda: kept)(f'{{"{word}": "{word}"}}') == f'{{"{word}": "{word}"}}'


@pytest.mark.parametrize("form", ["{0}", "{1}"])
def test_a_password_that_looks_like_a_url_is_none(form: str) -> None:
    password = "Pa55://word/ab+c"
    kept = [Secret(password)]
    told = form.format(password, b64encode(f"me:{quote_plus(password)}".encode()).decode())
    assert password not in Redactor(lambda: kept)(told)
    assert MASK in Redactor(lambda: kept)(told)


@given(st.text())
def test_text_without_a_secret_is_left_alone(text: str) -> None:
    kept = [Secret("not-to-be-found-in-any-text")]
    assert Redactor(lambda: kept)(text) == text


# -- cost -------------------------------------------------------------------------------------


class Searched(str):
    """A line that counts how often something is looked for in it."""

    __slots__ = ()
    searches: ClassVar[int] = 0

    def __contains__(self, needle: str) -> bool:  # type: ignore[override]
        Searched.searches += 1
        return super().__contains__(needle)


def searches(number: int, lines: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """In so many lines with none of so many tokens."""
    monkeypatch.setattr(Searched, "searches", 0)
    kept = [Secret(f"{at:06}-a-token-of-many-users") for at in range(number)]
    redact = Redactor(lambda: kept)
    for at in range(lines):
        line = Searched(f'{{"event": "request", "path": "/items/{at}", "status": 200}}')
        assert redact(line) == line
    return Searched.searches


def test_a_line_costs_no_more_where_there_are_many_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert searches(400, 10_000, monkeypatch) <= searches(1, 10_000, monkeypatch)


def test_secrets_are_gone_through_once_and_not_for_each_line() -> None:
    asked = 0
    kept = [Secret(f"{at:06}-a-token-of-many-users") for at in range(400)]

    def living() -> list[Secret]:
        nonlocal asked
        asked += 1
        return kept

    redact = Redactor(living)
    for at in range(10_000):
        redact(f"line {at}")
        redact.finds(f"/items/{at}")
    assert asked == 1
