"""Settings of any login API that speaks JSON or forms."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, SecretStr, model_validator

from tokenproxy.settings.base import HeaderName, HeaderText, HttpUrl, NonEmpty, Settings
from tokenproxy.settings.credential import Fields, NetworkCredential

_PLACEHOLDER = re.compile(r"\{(refresh_token|access_token)\}")


def placeholders(value: JsonValue) -> set[str]:
    """The names of the tokens that stand as `{name}` anywhere in `value`."""
    match value:
        case str():
            return set(_PLACEHOLDER.findall(value))
        case list():
            return set().union(*(placeholders(item) for item in value))
        case dict():
            return set().union(*(placeholders(item) for item in value.values()))
        case _:
            return set()


class JsonRequest(Settings):
    """One request of a login API.

    `{refresh_token}` and `{access_token}` may stand in the body, the form and the headers.
    """

    url: HttpUrl
    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    headers: dict[HeaderName, HeaderText] = Field(default_factory=dict)
    body: Annotated[JsonValue, Field(repr=False)] = None
    form: Annotated[dict[NonEmpty, SecretStr] | None, Field(repr=False)] = None
    fields: Fields = Fields()

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

    type: Literal["json"]
    login: JsonRequest
    renew: JsonRequest | None = None

    @model_validator(mode="after")
    def _login_needs_no_token(self) -> Self:
        if self.login.asks_for:
            raise ValueError("has a token in 'login', where there is none yet: put it in 'renew'")
        return self
