"""What all settings share: frozen models, units, paths, secrets and URLs."""

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
)

from tokenproxy.units import parse_duration, parse_size

_VISIBLE = re.compile(r"[\x21-\x7e]+")


class Settings(BaseModel):
    """Frozen, closed to unknown keys, and silent about values in its errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )


def _resolved(path: Path, info: ValidationInfo) -> Path:
    """`~` expanded; a relative path is relative to the folder of the config file."""
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    try:
        return folder / path.expanduser()
    except RuntimeError as error:
        raise ValueError("has a '~' for which no home folder is known") from error


def _http_url(text: str) -> str:
    """An absolute http or https URL without userinfo or fragment."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("is not a valid URL") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("must be a full URL such as https://shop.example")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    if parts.fragment or "#" in text:
        raise ValueError("must not hold a fragment ('#')")
    if not _VISIBLE.fullmatch(text):
        raise ValueError("must be plain ASCII without spaces: percent-encode the rest")
    return text


def _is_token(text: SecretStr) -> SecretStr:
    """Contract 3.3.7: what goes into a header holds nothing but 0x21-0x7E."""
    if not _VISIBLE.fullmatch(text.get_secret_value()):
        raise ValueError("holds a character that no token may have (a space or line break?)")
    return text


def _not_empty(text: SecretStr) -> SecretStr:
    if not text.get_secret_value():
        raise ValueError("must not be empty")
    return text


_UNIT_SCHEMA: dict[str, Any] = {"type": ["string", "number"]}

Duration = Annotated[float, BeforeValidator(parse_duration), Field(json_schema_extra=_UNIT_SCHEMA)]
PositiveDuration = Annotated[Duration, Field(gt=0)]
Size = Annotated[int, BeforeValidator(parse_size), Field(json_schema_extra=_UNIT_SCHEMA)]
ConfigPath = Annotated[Path, AfterValidator(_resolved)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
NonEmpty = Annotated[str, Field(min_length=1)]
SecretText = Annotated[SecretStr, AfterValidator(_not_empty)]
TokenText = Annotated[SecretStr, AfterValidator(_not_empty), AfterValidator(_is_token)]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
FieldPath = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$")]

CredentialName = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
