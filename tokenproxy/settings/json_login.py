"""Settings of any login API that speaks JSON or forms."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, SecretStr, model_validator

from tokenproxy.settings.base import HeaderName, HeaderText, HttpUrl, NonEmpty, Settings
from tokenproxy.settings.credential import Fields, NetworkCredential

_TOKENS = ("refresh_token", "access_token")
_WORD = re.compile(r"\{\s*([A-Za-z][A-Za-z0-9_ -]*?)\s*\}")
_CLOSE = 0.55  # `token` alone is as far off as that


def placeholders(value: JsonValue) -> set[str]:
    """The names of the tokens that stand as `{name}` anywhere in `value`."""
    return {name for text in _texts(value) for name in _TOKENS if f"{{{name}}}" in text}


def _texts(value: JsonValue) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _texts(item)
        case dict():
            yield from _texts([*value.values()])
        case _:
            pass


def _meant(text: str) -> str | None:
    """The token that a `{word}` was meant to stand for, where it does not."""
    for found in _WORD.finditer(text):
        word = found[1].lower()
        guess: str | None = next(iter(get_close_matches(word, _TOKENS, 1, _CLOSE)), None)
        if guess is not None and found[0] != f"{{{guess}}}":
            return guess
    return None


def _spelt(text: str) -> None:
    guess = _meant(text)
    if guess is not None:
        raise ValueError(
            f"has a name in braces that no token stands for: did you mean '{{{guess}}}'?"
        )


def _spelt_secret(text: SecretStr) -> SecretStr:
    _spelt(text.get_secret_value())
    return text


def _spelt_body(body: JsonValue) -> JsonValue:
    for text in _texts(body):
        _spelt(text)
    return body


def _bears_no_token(url: str) -> str:
    if placeholders(url) or _meant(url):
        raise ValueError(
            "cannot hold a token: '{refresh_token}' and '{access_token}' may stand in the "
            "body, the form and the headers"
        )
    return url


class JsonRequest(Settings):
    """One request of a login API.

    `{refresh_token}` and `{access_token}` may stand in the body, the form and the headers.
    """

    url: Annotated[HttpUrl, AfterValidator(_bears_no_token), Field(repr=False)]
    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    headers: dict[HeaderName, Annotated[HeaderText, AfterValidator(_spelt_secret)]] = Field(
        default_factory=dict
    )
    body: Annotated[JsonValue, AfterValidator(_spelt_body), Field(repr=False)] = None
    form: Annotated[
        dict[NonEmpty, Annotated[SecretStr, AfterValidator(_spelt_secret)]] | None,
        Field(repr=False),
    ] = None
    fields: Fields | None = None

    @property
    def asks_for(self) -> set[str]:
        """The names of the tokens that this request carries."""
        texts: list[JsonValue] = [value.get_secret_value() for value in self.headers.values()]
        texts += [value.get_secret_value() for value in (self.form or {}).values()]
        return placeholders([self.body, *texts])

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.body is not None and self.form is not None:
            raise ValueError("has both 'body' and 'form': give one of them")
        if self.method == "GET" and (self.body is not None or self.form is not None):
            raise ValueError("is a GET and cannot have a 'body' or 'form'")
        return self


class JsonLogin(NetworkCredential):
    """Contract 1.1, `json`: without `renew`, `login` is done again."""

    endpoints = ("login.url", "renew.url")

    type: Literal["json"]
    login: JsonRequest
    renew: JsonRequest | None = None

    @property
    def login_fields(self) -> Fields:
        """Where the answer to `login` holds what."""
        return self.login.fields or Fields()

    @property
    def renewal_fields(self) -> Fields:
        """Where the answer to `renew` holds what: as that to `login`, unless it says otherwise."""
        own = None if self.renew is None else self.renew.fields
        return own or self.login_fields

    @model_validator(mode="after")
    def _login_needs_no_token(self) -> Self:
        if self.login.asks_for:
            raise ValueError("has a token in 'login', where there is none yet: put it in 'renew'")
        return self
