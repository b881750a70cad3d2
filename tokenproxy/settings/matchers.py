"""Which answers say that the token was rejected: `refresh_on` (contract 1.3)."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag

from tokenproxy.settings.base import (
    FieldPath,
    HeaderName,
    NonEmpty,
    Settings,
    Whole,
    one_is_a_list_of_one,
)


def _scalar(value: Any) -> Any:
    if value is not None and not isinstance(value, (str, int, float)):
        raise ValueError("must be text, a number, true, false or null")
    return value


def _listed(value: Any) -> Any:
    return [None] if value is None else one_is_a_list_of_one(value)


Status = Annotated[Whole, Field(ge=100, le=599)]
JsonScalar = Annotated[str | int | float | bool | None, BeforeValidator(_scalar)]
JsonScalars = Annotated[tuple[JsonScalar, ...], Field(min_length=1), BeforeValidator(_listed)]


class Matcher(Settings):
    """An answer that must match whole: its status, and all else that is named here."""

    status: Status
    header: dict[HeaderName, NonEmpty] = Field(default_factory=dict)
    body_contains: NonEmpty | None = None
    json_fields: Annotated[dict[FieldPath, JsonScalars], Field(alias="json")] = Field(
        default_factory=dict
    )

    @property
    def reads_body(self) -> bool:
        """Whether the answer's head alone cannot decide."""
        return self.body_contains is not None or bool(self.json_fields)


def _kind(value: Any) -> str:
    return "matcher" if isinstance(value, dict | Matcher) else "status"


StatusOrMatcher = Annotated[
    Annotated[Status, Tag("status")] | Annotated[Matcher, Tag("matcher")], Discriminator(_kind)
]
RefreshOn = Annotated[tuple[StatusOrMatcher, ...], BeforeValidator(one_is_a_list_of_one)]
