"""The certificates and keys that settings name: read once, and so a part of the config."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tokenproxy.settings.tls import ListenerTls, Tls


def named_files(value: Any) -> Iterator[Path]:
    """The files that any `tls` in there names, however deep."""
    match value:
        case Tls() | ListenerTls():
            paths = (getattr(value, name) for name in type(value).model_fields)
            yield from (path for path in paths if isinstance(path, Path))
        case BaseModel():
            for name in type(value).model_fields:
                yield from named_files(getattr(value, name))
        case Mapping():
            for item in value.values():
                yield from named_files(item)
        case list() | tuple():
            for item in value:
                yield from named_files(item)
        case _:
            pass


def contents(value: Any) -> Mapping[Path, bytes | None]:
    """What is in them now, as digests; None where one cannot be read."""
    return {path: _digest(path) for path in named_files(value)}


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
