"""What a scenario says of the doubles: how they begin, and how they are moved."""

import re
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from tokenproxy.config.explain import closest, did_you_mean
from tokenproxy.settings.base import (
    Duration,
    HeaderName,
    NonEmpty,
    Number,
    Positive,
    PositiveDuration,
    Settings,
    Shaped,
)
from tokenproxy.testing.api import Api
from tokenproxy.testing.faults import NAMED, Fault, Status
from tokenproxy.testing.places import (
    ErrorInBody,
    Forbidden,
    InBasic,
    InCookie,
    InHeader,
    InQuery,
    Place,
    Rejection,
    Unauthorized,
)


def _is_known(name: str) -> str:
    if name not in NAMED:
        guess = did_you_mean(closest(name, NAMED))
        raise ValueError(f"must be one of {', '.join(NAMED)}{guess}")
    return name


FaultName = Annotated[str, AfterValidator(_is_known)]


class Account(Settings):
    """What issuers of both kinds have; as the arguments of the doubles."""

    username: NonEmpty = "demo"
    password: NonEmpty = "demo-password"
    access_life: PositiveDuration = 300.0
    refresh_life: PositiveDuration = 86_400.0
    rotate: bool = True
    reuse_kills_session: bool = False
    opaque: bool = False
    skew: Number = 0.0

    def options(self) -> dict[str, Any]:
        """Arguments for the double."""
        return self.model_dump(exclude={"type"}, exclude_unset=True)


class SimpleJwtDouble(Account):
    """`tokenproxy.testing.Issuer`."""

    type: Literal["simplejwt"] = "simplejwt"
    username_field: NonEmpty = "username"
    sliding: bool = False
    access_name: NonEmpty = "access"
    refresh_name: NonEmpty = "refresh"


class OAuth2Double(Account):
    """`tokenproxy.testing.OAuth2Issuer`."""

    type: Literal["oauth2"]
    client_id: NonEmpty = "demo-client"
    client_secret: NonEmpty | None = "demo-secret"


def _type_of(value: Any) -> Any:
    if isinstance(value, dict):
        return str(value.get("type", "simplejwt"))
    return str(getattr(value, "type", "simplejwt"))


AnyDouble = Annotated[
    Annotated[SimpleJwtDouble, Tag("simplejwt")] | Annotated[OAuth2Double, Tag("oauth2")],
    Discriminator(_type_of),
]


class Token(Settings):
    """Where the API wants its token: one of these."""

    header: NonEmpty | None = None
    word: str = "Bearer"
    query: NonEmpty | None = None
    cookie: NonEmpty | None = None
    basic: NonEmpty | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        named = [key for key in (self.header, self.query, self.cookie, self.basic) if key]
        if len(named) > 1:
            raise ValueError("must name one of 'header', 'query', 'cookie' and 'basic'")
        return self

    @property
    def place(self) -> Place:
        """The same for the double."""
        if self.query is not None:
            return InQuery(self.query)
        if self.cookie is not None:
            return InCookie(self.cookie)
        if self.basic is not None:
            return InBasic(self.basic)
        return InHeader(self.header or "Authorization", self.word)


_REJECTIONS: dict[str, Rejection] = {
    "unauthorized": Unauthorized(),
    "forbidden": Forbidden(),
    "error_in_body": ErrorInBody(),
}


_TEXT = Shaped(
    r"[^\x00-\x08\x0a-\x1f\x7f]*",  # RFC 9110 5.5
    "holds a line break or control character, which no header may have",
)
Headers = dict[HeaderName, Annotated[str, _TEXT]]


class Canned(Settings):
    """An answer to requests whose token is good."""

    status: Annotated[int, Field(ge=200, le=599)] = 200
    headers: Headers = Field(default_factory=dict)
    json_: Any = Field(default=None, alias="json")
    body: str | None = None


class ApiDouble(Settings):
    """`tokenproxy.testing.Api`; `answers` has them by `METHOD /path`."""

    token: Token = Token()
    rejection: Literal["unauthorized", "forbidden", "error_in_body"] = "unauthorized"
    rejects_early: bool = False
    answers: dict[NonEmpty, Canned] = Field(default_factory=dict)

    @field_validator("answers")
    @classmethod
    def _named(cls, answers: dict[str, Canned]) -> dict[str, Canned]:
        if not all(re.fullmatch("[A-Z]+ /.*", name) for name in answers):
            raise ValueError("must have names such as 'GET /prices'")
        return answers

    def options(self) -> dict[str, Any]:
        """Arguments for the double."""
        return {"wanted": self.token.place, "rejection": _REJECTIONS[self.rejection]}

    def prepare(self, api: Api) -> None:
        """What it is told once it runs."""
        api.rejects_early = self.rejects_early
        for name, canned in self.answers.items():
            method, _, path = name.partition(" ")
            body = None if canned.body is None else canned.body.encode()
            api.answer(
                method,
                path,
                status=canned.status,
                headers=canned.headers,
                json=canned.json_,
                body=body,
            )


class FailNext(Settings):
    """The next calls to the issuer, to one endpoint or to any, and how they end."""

    times: Positive = 1
    how: FaultName = Field(alias="with")
    to: Literal["login", "refresh"] | None = None
    retry_after: Annotated[int, Field(ge=0)] | None = None

    @property
    def fault(self) -> Fault:
        """The same for the double."""
        fault = NAMED[self.how]
        if isinstance(fault, Status) and self.retry_after is not None:
            field = ("Retry-After", str(self.retry_after))
            return replace(fault, headers=(*fault.headers, field))
        return fault


class IssuerMove(Settings):
    """What happens at the issuer."""

    expire: Literal[True] | None = None
    revoke: Literal[True] | None = None
    recover: Literal[True] | None = None
    fail_next: FailNext | None = None
    down: bool | None = None
    delay: Duration | None = None
    rotate: bool | None = None
    access_life: PositiveDuration | None = None
    user: Literal["active", "inactive", "deleted"] | None = None
    password: NonEmpty | None = None


class ApiMove(Settings):
    """What happens at the API."""

    rejects_all: bool | None = None
    rejects_early: bool | None = None
    down: bool | None = None
