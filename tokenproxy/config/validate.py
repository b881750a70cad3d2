"""Makes a Config of plain data, or finds all that is wrong with its shape.

pydantic does not ask a model's own validators while one of its fields is wrong, so one mistake
would hide another. A second look, with what is wrong left out, finds those; what only follows
from the leaving out is left out, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tokenproxy.config.document import Document, Mistake, Where
from tokenproxy.config.explain import sentence, unknown_key, unknown_type
from tokenproxy.config.locate import Locator
from tokenproxy.config.model import Config

_TYPE = "type"  # tells the kinds of credentials and stores apart
_UNKNOWN_TYPES = {"union_tag_invalid", "union_tag_not_found"}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One of pydantic's errors; `meant` is the key that an unknown one stands for."""

    kind: str
    mistake: Mistake
    meant: Where | None = None


def validate(document: Document, folder: Path) -> tuple[Config | None, list[Mistake]]:
    """The config, or what is wrong; what the document knows to be wrong is not said again."""
    config, findings = _look(document.data, folder)
    known = {mistake.where for mistake in document.mistakes}
    wrong = known | {finding.mistake.where for finding in findings}
    if wrong:
        _, more = _look(_without(document.data, wrong), folder)
        findings += _independent(more, wrong | _meant(findings))
    meant = _meant(findings)
    told = [finding for finding in findings if not _follows(finding, document.data, meant)]
    return config, [finding.mistake for finding in told if finding.mistake.where not in known]


def _look(data: Any, folder: Path) -> tuple[Config | None, list[_Finding]]:
    try:
        return Config.model_validate(data, context={"folder": folder}), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    locator = Locator(Config)
    return None, [_finding(detail, locator, data) for detail in details]


def _finding(detail: ErrorDetails, locator: Locator, data: Any) -> _Finding:
    kind, place = detail["type"], locator.place(detail["loc"], data)
    where = place.where
    if kind == "extra_forbidden":
        words, guess = unknown_key(str(where[-1]), place.keys)
        meant = None if guess is None else (*where[:-1], guess)
        return _Finding(kind, Mistake(where, words), meant)
    if kind in _UNKNOWN_TYPES:
        where = (*where, _TYPE)
        return _Finding(kind, Mistake(where, unknown_type(_at(data, where), place.types)))
    words = sentence(kind, detail.get("ctx", {}), _at(data, where))
    return _Finding(kind, Mistake(where, words))


def _at(data: Any, where: Where) -> Any:
    return Document(data, {}).at(where)


def _meant(findings: Iterable[_Finding]) -> set[Where]:
    return {finding.meant for finding in findings if finding.meant is not None}


def _follows(finding: _Finding, data: Any, meant: set[Where]) -> bool:
    """Whether it only follows from another: a key misspelt, or a list of nothing but mistakes."""
    where = finding.mistake.where
    if finding.kind == "too_short":
        return bool(Document(data, {}).at(where) != [])
    return finding.kind == "missing" and where in meant


def _without(data: Any, wrong: Iterable[Where]) -> Any:
    """A copy with the wrong keys left out; a list that has a wrong item goes as a whole."""
    dropped = {_key_of(where) for where in wrong}

    def copy(value: Any, where: Where) -> Any:
        if isinstance(value, dict):
            inner = {key: (*where, key) for key in value}
            return {key: copy(value[key], at) for key, at in inner.items() if at not in dropped}
        if isinstance(value, list):
            return [copy(item, (*where, index)) for index, item in enumerate(value)]
        return value

    return copy(data, ())


def _key_of(where: Where) -> Where:
    """The innermost key around a node; routes as a whole are never dropped."""
    while where and isinstance(where[-1], int):
        where = where[:-1]
    return where if len(where) > 1 else ()


def _independent(more: Iterable[_Finding], wrong: Iterable[Where]) -> list[_Finding]:
    """What is no consequence: a sentence that names a key left out beside it is one."""
    dropped = [_key_of(where) for where in wrong]

    def follows(mistake: Mistake) -> bool:
        names = [where[-1] for where in dropped if where and where[:-1] == mistake.where]
        return any(f"'{name}" in mistake.what for name in names)

    return [
        finding
        for finding in more
        if finding.kind == "value_error" and not follows(finding.mistake)
    ]
