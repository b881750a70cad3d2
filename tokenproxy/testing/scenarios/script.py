"""What a scenario file may hold: its steps, and what is expected of each."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from tokenproxy.settings.base import TCHARS, Duration, NonEmpty, Positive, Settings, Shaped, Whole
from tokenproxy.testing.scenarios.matching import with_patterns
from tokenproxy.testing.scenarios.stage import (
    AnyDouble,
    ApiDouble,
    ApiMove,
    Headers,
    IssuerMove,
    OAuth2Double,
    SimpleJwtDouble,
)

Count = Annotated[Whole, Field(ge=0)]
State = Literal["empty", "fresh", "ageing", "expired", "renewing", "unavailable", "login_required"]


Expected = Annotated[Any, AfterValidator(with_patterns)]
Method = Annotated[str, Shaped(TCHARS, "must be a method such as GET")]


def _is_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must begin with '/', as in GET /items")
    if not path.isprintable():
        raise ValueError("holds a control character: percent-encode it")
    return path


class Request(Settings):
    """One request to the proxy; a path begins behind the route's own."""

    method: Method = "GET"
    path: Annotated[str, AfterValidator(_is_path)]
    route: NonEmpty | None = Field(default=None, alias="as")
    headers: Headers = Field(default_factory=dict)
    json_: Any = Field(default=None, alias="json")
    body: str | None = None


def _written(value: Any) -> Any:
    """`GET /items` as the mapping that it is short for."""
    if not isinstance(value, str):
        return value
    method, _, path = value.partition(" ")
    return {"method": method, "path": path.strip()}


AnyRequest = Annotated[Request, BeforeValidator(_written, json_schema_input_type=str | Request)]


class SeenByIssuer(Settings):
    """Calls that the issuer got during a step, and refresh tokens that came twice."""

    logins: Count | None = None
    refreshes: Count | None = None
    reused: Count | None = None


class SeenByApi(Settings):
    """What the API got during a step; all but `requests` is of the last request."""

    requests: Count | None = None
    authorized: bool | None = None
    headers: dict[NonEmpty, Expected] = Field(default_factory=dict)
    body: str | None = None


class Expect(Settings):
    """What must have happened when a step is over."""

    renewals: Count | None = None
    credentials: dict[NonEmpty, State] = Field(default_factory=dict)
    issuer: SeenByIssuer = SeenByIssuer()
    api: SeenByApi = SeenByApi()


class ExpectAnswer(Expect):
    """The same, and what every answer must be."""

    status: Whole | None = None
    headers: dict[NonEmpty, Expected] = Field(default_factory=dict)
    json_: Expected = Field(default=None, alias="json")
    body: Expected = None
    replayed: bool | None = None


class Step(Settings):
    """One thing that happens."""

    expect: Expect = Expect()


class RequestStep(Step):
    """A request and its answer."""

    request: AnyRequest
    expect: ExpectAnswer = ExpectAnswer()


class Parallel(Settings):
    """The same request many times at once; what is expected holds for each answer."""

    times: Positive
    request: AnyRequest
    expect: ExpectAnswer = ExpectAnswer()


class ParallelStep(Step):
    """Many requests and their answers; `expect` may stand inside `parallel`, beside it, or both."""

    parallel: Parallel
    expect: ExpectAnswer = ExpectAnswer()


class AdvanceStep(Step):
    """So much time passes at once."""

    advance: Duration


class IssuerStep(Step):
    """The issuer's double is moved."""

    issuer: IssuerMove


class ApiStep(Step):
    """The API's double is moved."""

    api: ApiMove


class RefreshStep(Step):
    """A person has a credential renewed."""

    refresh: NonEmpty


_KINDS = ("request", "parallel", "advance", "issuer", "api", "refresh")


def _kind(value: Any) -> str:
    """By the key that is there; what is no step at all is told to be none by the first kind."""
    keys = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
    return next((kind for kind in _KINDS if kind in keys), _KINDS[0])


AnyStep = Annotated[
    Annotated[RequestStep, Tag("request")]
    | Annotated[ParallelStep, Tag("parallel")]
    | Annotated[AdvanceStep, Tag("advance")]
    | Annotated[IssuerStep, Tag("issuer")]
    | Annotated[ApiStep, Tag("api")]
    | Annotated[RefreshStep, Tag("refresh")],
    Discriminator(_kind),
]


def _config(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        folder: Path = (info.context or {}).get("folder", Path())
        return folder / value
    if value is not None and not isinstance(value, (dict, Path)):
        raise ValueError("must be a config, or the name of a file that holds one")
    return value


class Scenario(Settings):
    """One test."""

    name: NonEmpty
    config: Annotated[Any, AfterValidator(_config)] = None
    issuer: AnyDouble = SimpleJwtDouble()
    api: ApiDouble = ApiDouble()
    steps: Annotated[tuple[AnyStep, ...], Field(min_length=1)]

    @field_validator("steps")
    @classmethod
    def _of_its_issuer(
        cls, steps: tuple[AnyStep, ...], info: ValidationInfo
    ) -> tuple[AnyStep, ...]:
        moves = [step.issuer for step in steps if isinstance(step, IssuerStep)]
        if not isinstance(info.data.get("issuer"), OAuth2Double):
            return steps
        if any(move.password or (move.fail_next and move.fail_next.to) for move in moves):
            raise ValueError("must leave 'password' and 'to' out: an oauth2 issuer has neither")
        return steps
