"""The certificates and keys that settings name: read once, and so a part of the config."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tokenproxy.files import read_regular
from tokenproxy.settings.tls import ListenerTls, Tls

MAX_FILE = 16 << 20  # bytes; all authorities that browsers know are a quarter of one million


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


Contents = Mapping[Path, bytes | None]
"""What is in files, as digests; None where one cannot be read."""


def contents(value: Any) -> Contents:
    """What is in the files that are named in there now; it reads all of them."""
    return {path: _digest(path) for path in set(named_files(value))}


def theirs(value: Any, files: Contents) -> Contents:
    """The part of `files` that is named in there."""
    return {path: files.get(path) for path in named_files(value)}


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(read_regular(path, MAX_FILE)).digest()
    except (OSError, ValueError):
        return None
