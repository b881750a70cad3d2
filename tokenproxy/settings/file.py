"""Settings of a token that another program keeps in a file."""

from typing import Literal, Self

from pydantic import model_validator

from tokenproxy.settings.base import ConfigPath, FieldPath
from tokenproxy.settings.credential import Credential


class File(Credential):
    """Contract 1.1, `file`: `field` is a dotted path into a JSON file."""

    type: Literal["file"]
    path: ConfigPath
    format: Literal["text", "json"] = "text"
    field: FieldPath | None = None

    @model_validator(mode="after")
    def _field_needs_json(self) -> Self:
        if self.format == "text" and self.field is not None:
            raise ValueError("has a 'field', which needs 'format: json'")
        return self
