"""Which answers say that the token was rejected: `refresh_on` (contract 1.3)."""

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator

from tokenproxy.settings.base import FieldPath, HeaderName, NonEmpty, Settings

Status = Annotated[int, Field(ge=100, le=599)]
JsonScalar = str | int | float | bool | None


class Matcher(Settings):
    """An answer that must match whole: its status, and all else that is named here."""

    status: Status
    header: dict[HeaderName, NonEmpty] = Field(default_factory=dict)
    body_contains: NonEmpty | None = None
    json_fields: Annotated[dict[FieldPath, tuple[JsonScalar, ...]], Field(alias="json")] = Field(
        default_factory=dict
    )

    @field_validator("json_fields", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: item if isinstance(item, list) else [item] for key, item in value.items()}

    @property
    def reads_body(self) -> bool:
        """Whether the answer's head alone cannot decide."""
        return self.body_contains is not None or bool(self.json_fields)


def _kind(value: Any) -> str:
    return "matcher" if isinstance(value, dict | Matcher) else "status"


StatusOrMatcher = Annotated[
    Annotated[Status, Tag("status")] | Annotated[Matcher, Tag("matcher")], Discriminator(_kind)
]
RefreshOn = tuple[StatusOrMatcher, ...]
