"""`${NAME}`, `${NAME:-fallback}`, `${file:/path}` and `$$` in values (contract 1).

They are replaced after YAML has been read, and what is put in is read by nobody again: neither
a quote nor a `$` in a password can change the config.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokenproxy.config.document import Document, Mistake, Where
from tokenproxy.files import read_anything

MAX_FILE = 1 << 20  # bytes; a secret is a few, and a certificate chain some KB

_REFERENCE = re.compile(r"\$(?:\$|\{([^}]*)(\}?))")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(rf"({_NAME.pattern})(?::-(.*))?", re.DOTALL)
_FILE = "file:"


Read = Callable[[Path, int], bytes]


@dataclass(frozen=True, slots=True)
class Outside:
    """What may be read: variables, and files relative to the config's folder.

    `opened` is given each file that was asked for, and `named` each variable, whether it is there
    or not. `read` is given a path and how many bytes there may be.
    """

    environment: Mapping[str, str]
    folder: Path
    opened: list[Path] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    read: Read = read_anything


def interpolated(document: Document, outside: Outside) -> Document:
    """The same document with all references replaced; one that cannot be is a mistake in it."""
    mistakes = list(document.mistakes)
    data = _walk(document.data, (), outside, mistakes)
    return replace(document, data=data, mistakes=tuple(mistakes))


def _walk(data: Any, where: Where, outside: Outside, mistakes: list[Mistake]) -> Any:
    match data:
        case dict():
            return {
                key: _walk(item, (*where, key), outside, mistakes) for key, item in data.items()
            }
        case list():
            return [
                _walk(item, (*where, index), outside, mistakes) for index, item in enumerate(data)
            ]
        case str():
            text, wrong = interpolate(data, outside)
            mistakes += [Mistake(where, what) for what in wrong]
            return text
        case _:
            return data


def interpolate(text: str, outside: Outside) -> tuple[str, list[str]]:
    """The text with its references replaced, and a sentence for each that could not be.

    A reference that fails stays as it is written.
    """
    wrong: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        try:
            return _value(match, outside)
        except ValueError as error:
            wrong.append(str(error))
            return match[0]

    return _REFERENCE.sub(replaced, text), wrong


def _value(match: re.Match[str], outside: Outside) -> str:
    inner, closed = match[1], match[2]
    if inner is None:
        return "$"
    if not closed:
        raise ValueError("has a '${' that is never closed by '}': write '$$' for a dollar sign")
    if inner.startswith(_FILE):
        return _read(inner.removeprefix(_FILE), outside)
    variable = _VARIABLE.fullmatch(inner)
    if variable is None:
        raise ValueError(
            "has a '${…}' that is none of ${NAME}, ${NAME:-fallback} and ${file:/path}: "
            "write '$$' for a dollar sign"
        )
    outside.named.append(variable[1])
    return _variable(variable[1], variable[2], outside.environment)


def _variable(name: str, fallback: str | None, environment: Mapping[str, str]) -> str:
    """As in a shell: `:-` also stands in for a variable that is empty."""
    value = environment.get(name)
    if fallback is not None:
        plain = _plain(fallback)  # a mistake there is told whether or not it is needed
        return value or plain
    if value is None:
        raise ValueError(f"needs the environment variable {name}, which is not set")
    return value


def _plain(fallback: str) -> str:
    parts = fallback.split("$$")
    if any("${" in part for part in parts):
        raise ValueError("has a '${' inside of a fallback, which must be plain text")
    return "$".join(parts)


def _read(name: str, outside: Outside) -> str:
    """The text of a file without its last newline."""
    if not name:
        raise ValueError("has a '${file:}' that names no file")
    data = _bytes(name, outside)
    if len(data) > MAX_FILE:
        raise ValueError(f"names a file of more than 1 MiB: {name}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"names a file that is not UTF-8 text: {name}") from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _bytes(name: str, outside: Outside) -> bytes:
    try:
        path = outside.folder / Path(name).expanduser()
        outside.opened.append(path)
        return outside.read(path, MAX_FILE)
    except FileNotFoundError:
        raise ValueError(f"names a file that does not exist: {name}") from None
    except OSError as error:
        raise ValueError(f"names a file that cannot be read: {name} ({error.strerror})") from None
    except (ValueError, RuntimeError):  # a NUL in the name; a '~' without a home
        raise ValueError("has a '${file:…}' whose name cannot be a file's") from None
