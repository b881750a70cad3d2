"""Where tokens live between restarts."""

import base64
import binascii
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from tokenproxy.settings.base import (
    ConfigPath,
    NonEmpty,
    SecretText,
    Settings,
    one_is_a_list_of_one,
)

KEY_BYTES = 32  # AES-256
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix", "sentinel"})


def key_bytes(key: SecretStr) -> bytes:
    """The 32 bytes that an `encryption_key` stands for, in either alphabet of base64.

    Raises:
        ValueError: it stands for something else.
    """
    text = key.get_secret_value().translate(str.maketrans("-_", "+/"))
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != KEY_BYTES:
        raise ValueError(
            "must be 32 random bytes in base64: make one with 'openssl rand -base64 32'"
        )
    return decoded


def _is_key(key: SecretStr) -> SecretStr:
    key_bytes(key)
    return key


def _is_redis_url(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        _ = parts.hostname
    except ValueError as error:
        raise ValueError("is not a valid URL") from error
    if parts.scheme not in _REDIS_SCHEMES:
        raise ValueError(
            "must begin with redis://, rediss://, unix:// or sentinel:// "
            "(as in redis://127.0.0.1:6379/0)"
        )
    if parts.scheme == "sentinel" and not (parts.netloc and parts.path.strip("/")):
        raise ValueError("must name hosts and a master, as in sentinel://host:26379,host2/mymaster")
    return url


EncryptionKeys = Annotated[
    Annotated[
        tuple[Annotated[SecretText, AfterValidator(_is_key)], ...],
        Field(min_length=1),
    ]
    | None,
    BeforeValidator(one_is_a_list_of_one),
]


class MemoryStore(Settings):
    """Contract 1, `store: {type: memory}`: nothing outlives the process."""

    type: Literal["memory"]


class FileStore(Settings):
    """Contract 1, `store: {type: file}`: a folder; None is the platform's user state folder."""

    type: Literal["file"] = "file"
    path: ConfigPath | None = None
    encryption_key: EncryptionKeys = None


class KeyringStore(Settings):
    """Contract 1, `store: {type: keyring}`: the operating system's keyring."""

    type: Literal["keyring"]


class RedisStore(Settings):
    """Contract 1, `store: {type: redis}`: a Redis or Valkey, or a Sentinel that knows one."""

    type: Literal["redis"]
    url: Annotated[SecretText, AfterValidator(_is_redis_url)]
    prefix: NonEmpty = "tokenproxy:"
    encryption_key: EncryptionKeys = None


def _file_by_default(value: Any) -> Any:
    return {"type": "file", **value} if isinstance(value, dict) else value


AnyStore = Annotated[
    MemoryStore | FileStore | KeyringStore | RedisStore,
    Field(discriminator="type"),
    BeforeValidator(_file_by_default),
]
