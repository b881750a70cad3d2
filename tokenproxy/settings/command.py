"""Settings of a token that a command prints."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from tokenproxy.settings.base import NonEmpty
from tokenproxy.settings.credential import Credential, Fields


class Command(Credential):
    """Contract 1.1, `command`: `argv` is run as it is, by no shell; `env` is added to ours."""

    type: Literal["command"]
    argv: Annotated[tuple[NonEmpty, ...], Field(min_length=1, repr=False)]
    format: Literal["text", "json", "exec_credential"] = "text"
    fields: Fields = Fields()
    env: dict[NonEmpty, SecretStr] = Field(default_factory=dict)
