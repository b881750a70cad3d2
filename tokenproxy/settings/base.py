"""What all settings share: frozen models, units, paths, secrets and URLs."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationInfo,
)
from pydantic_core import CoreSchema, core_schema
from yarl import URL

from tokenproxy.units import parse_duration, parse_size

TCHARS = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 5.6.2, token: a field or a method

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_NAME = r"[A-Za-z0-9_-]{1,63}"  # RFC 1035 2.3.4; with '_', which some networks have
_HOST = re.compile(rf"{_NAME}(\.{_NAME})*\.?")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")  # RFC 9110 5.5: no controls


class Settings(BaseModel):
    """Frozen, closed to unknown keys, and silent about values in its errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )


class Several(ValueError):
    """More than one thing is wrong with a value; each sentence is told on its own."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = tuple(sentences)


def refuse(wrong: Sequence[str]) -> None:
    """Raise ValueError with all that is wrong, if anything is."""
    if wrong:
        raise Several(wrong)


@dataclass(frozen=True, slots=True)
class Shaped:
    """A pattern that a text must match whole, with the sentence for one that does not."""

    pattern: str
    sentence: str

    def check(self, text: str) -> str:
        """The text itself, or ValueError with the sentence."""
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.sentence)
        return text

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}


def is_loopback(host: str) -> bool:
    """Whether a host name stands for this machine: `localhost`, `*.localhost`, 127/8, ::1."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def one_is_a_list_of_one(value: Any) -> Any:
    """For keys that take a list: what stands alone is a list of itself; nothing stays nothing."""
    return value if value is None or isinstance(value, (list, tuple)) else [value]


def _number(value: Any) -> Any:
    if isinstance(value, bool):  # to pydantic, and to Python, true is 1
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic reports ValueErrors
    return value


def _resolved(path: Path, info: ValidationInfo) -> Path:
    """`~` expanded; a relative path is relative to the folder of the config file."""
    folder: Path = (info.context or {}).get("folder", Path.cwd())
    try:
        return folder / path.expanduser()
    except RuntimeError as error:
        raise ValueError("has a '~' for which no home folder is known") from error


def http_url(text: str) -> str:
    """An absolute http or https URL without userinfo or fragment."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
        URL(text, encoded=True)  # as requests will have it
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
    if not _is_host(host):
        raise ValueError("has a host that is neither a name nor an address")
    return text


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST.fullmatch(host) is not None
    try:
        return ipaddress.ip_address(host).version == 6  # noqa: PLR2004 - IPv6, as it is called
    except ValueError:
        return False


def http_url_base(text: str) -> str:
    """An absolute http or https URL that more path is put behind."""
    url = http_url(text)
    if "?" in url:
        raise ValueError("must not hold a query ('?')")
    return url


def _is_token(text: SecretStr) -> SecretStr:
    """Contract 3.3.7: what goes into a header holds nothing but 0x21-0x7E."""
    if not _VISIBLE.fullmatch(text.get_secret_value()):
        raise ValueError("holds a character that no token may have (a space or line break?)")
    return text


def _not_empty(text: SecretStr) -> SecretStr:
    if not text.get_secret_value():
        raise ValueError("must not be empty")
    return text


def _is_field_value(text: SecretStr) -> SecretStr:
    if not _FIELD_VALUE.fullmatch(text.get_secret_value()):
        raise ValueError("holds a line break or control character, which no header may have")
    return text


_UNIT_SCHEMA: dict[str, Any] = {"type": ["string", "number"]}

Duration = Annotated[float, BeforeValidator(parse_duration), Field(json_schema_extra=_UNIT_SCHEMA)]
PositiveDuration = Annotated[Duration, Field(gt=0)]
Size = Annotated[int, BeforeValidator(parse_size), Field(json_schema_extra=_UNIT_SCHEMA)]
ConfigPath = Annotated[Path, AfterValidator(_resolved)]
HttpUrl = Annotated[str, AfterValidator(http_url)]
HttpUrlBase = Annotated[str, AfterValidator(http_url_base)]
NonEmpty = Annotated[str, Field(min_length=1)]
SecretText = Annotated[SecretStr, AfterValidator(_not_empty)]
TokenText = Annotated[SecretStr, AfterValidator(_not_empty), AfterValidator(_is_token)]
Whole = Annotated[int, BeforeValidator(_number)]
Positive = Annotated[Whole, Field(ge=1)]
Number = Annotated[float, BeforeValidator(_number)]
HeaderText = Annotated[SecretStr, AfterValidator(_is_field_value)]
HeaderName = Annotated[str, Shaped(TCHARS, "is no name: use letters, digits, '-' and '_'")]
FieldPath = Annotated[
    str, Shaped(r"[^.]+(\.[^.]+)*", "must be names with dots between them, as in data.accessToken")
]
CredentialName = Annotated[
    str,
    Shaped(
        r"[a-z0-9_-]{1,64}",  # it begins the name of a file, and of a key in a store
        "is no name for a credential: use lower-case letters, digits, '_' and '-', 64 at most",
    ),
]
