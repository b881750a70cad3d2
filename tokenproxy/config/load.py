"""Reads a config and checks all of it, before anything starts (contract 1).

A file becomes plain data with line numbers (`yamlfile`), `${…}` is replaced in it
(`interpolate`), its shape is checked by pydantic (`validate`) and what its parts say about each
other by `references`. Each of these notes mistakes and goes on, so that all are told in one go.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tokenproxy.config import references
from tokenproxy.config.document import (
    Document,
    Mistake,
    Unreadable,
    dotted,
    problems,
    read_mapping,
)
from tokenproxy.config.interpolate import Outside, Read, interpolated
from tokenproxy.config.model import Config
from tokenproxy.config.process import Process
from tokenproxy.config.validate import validate
from tokenproxy.config.yamlfile import read_yaml
from tokenproxy.errors import ConfigError, Problem
from tokenproxy.files import read_anything

MAX_FILE = 4 << 20  # bytes; thousands of routes, read in a few seconds

_VARIABLE = "TOKENPROXY_CONFIG"
_OF_ADMIN = ("admin", "allow_remote")
_NAMES = ("tokenproxy.yaml", "config.yaml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid config, and what is allowed in it but hardly meant.

    `lines` has each of its nodes by the dotted name, with its line where it has one, and `reads`
    are the files that its `${file:…}` name; `variables` those that its `${…}` name.
    """

    config: Config
    warnings: tuple[Problem, ...] = ()
    file: Path | None = None
    lines: Mapping[str, int | None] = field(default_factory=dict, repr=False)
    reads: tuple[Path, ...] = ()
    variables: tuple[str, ...] = ()

    def placed(self, error: ConfigError) -> ConfigError:
        """The same with file and lines: for what only shows when the config is put to use."""
        found = [
            replace(problem, file=self.file, line=self._line(problem.path))
            for problem in error.problems
        ]
        return ConfigError(sorted(found, key=lambda problem: problem.line or 0))

    def _line(self, path: str) -> int | None:
        """Of the node itself where it is written, else of the innermost one around it."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path) if path else None


def load_config(
    source: Path | str | Mapping[str, Any],
    *,
    environment: Mapping[str, str],
    opened: list[Path] | None = None,
    read: Read = read_anything,
) -> Loaded:
    """The config in a YAML file, or the same as a mapping.

    Relative paths are relative to the file's folder, or to the working directory for a mapping.
    `${…}` is replaced in a mapping's texts as it is in a file's: a value that is not to be
    looked at is wrapped in pydantic's `SecretStr`. `opened` is given the files that are named by
    `${file:…}`, also where there are mistakes, and `read` reads these and the config itself.

    Raises:
        ConfigError: every mistake that it has, in the order of the file.
    """
    if isinstance(source, Mapping):
        file, folder = None, Path.cwd()
    else:
        file = Path(source)
        folder = file.absolute().parent
    outside = Outside(environment, folder, [] if opened is None else opened, read=read)
    document = interpolated(_document(source, file, read), outside)
    loaded = _checked(document, file, folder)
    return replace(loaded, reads=tuple(outside.opened), variables=tuple(outside.named))


def load_admin(file: Path, *, environment: Mapping[str, str]) -> str | None:
    """The `admin` of a config file, whatever mistakes the rest of it has.

    A program that is served by an earlier state of the file listens there all the same.

    Raises:
        ConfigError: every mistake of the file, where `admin` itself cannot be read.
    """
    outside = Outside(environment, file.absolute().parent, [])
    document = interpolated(_document(file, file), outside)
    asked = {key: document.data[key] for key in _OF_ADMIN if key in document.data}
    with contextlib.suppress(ValidationError):
        return Process.model_validate(asked).admin
    return load_config(file, environment=environment).config.admin


def read_document(file: Path) -> Document:
    """The document that a YAML file holds, a mapping at its root. Raises ConfigError."""
    return _document(file, file)


def _document(source: Any, file: Path | None, read: Read = read_anything) -> Document:
    try:
        document = read_mapping(source) if file is None else read_yaml(_text(file, read))
        return _rooted(document)
    except Unreadable as error:
        problem = Problem("", error.what, error.line, file)
    raise ConfigError([problem])


def _checked(document: Document, file: Path | None, folder: Path) -> Loaded:
    config, wrong = validate(document, folder, Config)
    found = [*document.mistakes, *wrong, *_crossed(document)]
    if config is None or found:
        raise ConfigError(problems(document, found, file))
    warnings = problems(document, references.warnings(document.data), file)
    lines = {dotted(where): line for where, line in document.lines.items()}
    return Loaded(config, tuple(warnings), file, lines)


def _crossed(document: Document) -> list[Mistake]:
    known = {mistake.where for mistake in document.mistakes}
    return [wrong for wrong in references.mistakes(document.data) if wrong.where not in known]


def _rooted(document: Document) -> Document:
    """The document itself, if it is a mapping at its root."""
    match document.data:
        case dict():
            return document
        case None:
            raise Unreadable("is empty: see config.example.yaml for what belongs here")
        case list():
            raise Unreadable("is a list: it must begin with a key such as 'routes:', without '- '")
        case _:
            raise Unreadable(
                "holds no 'key: value' lines: is the space after a ':' missing?",
                document.lines.get(()),
            )


def _text(file: Path, read: Read) -> str:
    data = _bytes(file, read)
    if len(data) > MAX_FILE:
        raise Unreadable("is larger than 4 MiB: that is no config")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
    raise Unreadable("is not UTF-8 text: save it as UTF-8", line)


def _bytes(file: Path, read: Read) -> bytes:
    try:
        return read(file, MAX_FILE)
    except FileNotFoundError:
        what = "does not exist"
    except IsADirectoryError:
        what = "is a folder: name the file in it"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    except ValueError:
        what = "cannot be a file's name"
    raise Unreadable(what)


def find_config(environment: Mapping[str, str], folder: Path) -> Path:
    """`$TOKENPROXY_CONFIG`, else `tokenproxy.yaml`, else `config.yaml` in `folder`.

    Raises:
        ConfigError: none of them is there.
    """
    named = environment.get(_VARIABLE)
    if named:
        return folder / Path(named)
    for name in _NAMES:
        if (folder / name).exists():
            return folder / name
    raise ConfigError(
        "there is no tokenproxy.yaml or config.yaml here: name a file with -c FILE or "
        f"${_VARIABLE}, or begin with a copy of config.example.yaml"
    )
