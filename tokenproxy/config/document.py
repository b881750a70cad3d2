"""A config as it was written: plain data, and the line of each of its nodes."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenproxy.errors import Problem

MAX_DEPTH = 64  # a login body may nest; nobody can read more than this
MAX_NODES = 200_000  # thousands of routes; aliases of aliases can ask for billions

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CUT = re.compile(r"[\w.-]*")

Where = tuple[str | int, ...]
"""The keys and list indices that lead to a node; empty for the whole document."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a node; `line` where it is not the line that the node begins on."""

    where: Where
    what: str
    line: int | None = None


class Unreadable(Exception):
    """The text holds no document at all: one mistake hides all others."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data: dict, list, str, int, float, bool, None (and what else a mapping held).

    `lines` has every node in the order of the file, with its line where it has one.
    """

    data: Any
    lines: Mapping[Where, int | None]
    mistakes: tuple[Mistake, ...] = ()

    def nearest(self, where: Where) -> Where:
        """The node itself where it is written, else the innermost one around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return where

    def at(self, where: Where) -> Any:
        """The data of a node; None where there is no such node."""
        data = self.data
        for step in where:
            try:
                data = data[step]
            except (LookupError, TypeError):
                return None
        return data


@dataclass(slots=True)
class Builder:
    """Collects the lines and mistakes of a document, and keeps it within its limits."""

    lines: dict[Where, int | None] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def visit(self, where: Where, line: int | None = None) -> None:
        """Note a node. Raises Unreadable where there are too many, or too deep."""
        if len(where) > MAX_DEPTH:
            raise Unreadable(f"nests deeper than {MAX_DEPTH} levels", line)
        if len(self.lines) >= MAX_NODES:
            raise Unreadable(f"holds more than {MAX_NODES} values (do its aliases multiply?)", line)
        self.lines.setdefault(where, line)

    def mistake(self, where: Where, what: str, line: int | None = None) -> None:
        """Note what is wrong."""
        self.mistakes.append(Mistake(where, what, line))

    def document(self, data: Any) -> Document:
        """All of it."""
        return Document(data, self.lines, tuple(self.mistakes))


def read_mapping(mapping: Mapping[str, Any]) -> Document:
    """The document that a mapping is; it has no lines.

    Raises:
        Unreadable: it is endless (it holds itself), or nests too deep.
    """
    builder = Builder()
    return builder.document(_copy(builder, (), mapping))


def _copy(builder: Builder, where: Where, value: Any) -> Any:
    builder.visit(where)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                builder.mistake(where, "has a key that is not text")
        named = {key: item for key, item in value.items() if isinstance(key, str)}
        return {key: _copy(builder, (*where, key), item) for key, item in named.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(builder, (*where, index), item) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        builder.mistake(where, "must be a finite number")
    return value


def dotted(where: Where) -> str:
    """The node's name in messages, `routes.0.upstream`.

    A key that is no plain word is quoted, and cut where its first word ends: in
    `{password:hunter2}` the space that makes a value of it is missing.
    """
    return ".".join(_shown(step) for step in where)


def _shown(step: str | int) -> str:
    if isinstance(step, int) or _PLAIN_KEY.fullmatch(step):
        return str(step)
    word = _CUT.match(step)
    start = word[0] if word else ""
    return json.dumps(start if start == step else f"{start}…", ensure_ascii=False)


def problems(document: Document, mistakes: list[Mistake], file: Path | None) -> list[Problem]:
    """Each mistake once, in the order of the file, with its place."""
    order = {where: index for index, where in enumerate(document.lines)}

    def place(mistake: Mistake) -> tuple[int, int]:
        return _line(document, mistake) or 0, order.get(document.nearest(mistake.where), 0)

    return [
        Problem(dotted(mistake.where), mistake.what, _line(document, mistake), file)
        for mistake in dict.fromkeys(sorted(mistakes, key=place))
    ]


def _line(document: Document, mistake: Mistake) -> int | None:
    return mistake.line or document.lines.get(document.nearest(mistake.where))
