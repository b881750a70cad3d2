"""Makes settings of plain data, or finds all that is wrong with its shape.

pydantic does not ask a model's own validators while one of its fields is wrong, so one mistake
would hide another. A second look, with what is wrong left out, finds those; what only follows
from the leaving out is left out, too. A misspelt `type` hides all of its mapping: it is looked
at as if it had the type that was likely meant.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tokenproxy.config.document import Document, Mistake, Where
from tokenproxy.config.explain import foreign_key, sentence, unknown_key, unknown_type
from tokenproxy.config.locate import Locator, Place
from tokenproxy.settings.base import Several

_TYPE = "type"  # tells the kinds of credentials and stores apart
M = TypeVar("M", bound=BaseModel)
_UNKNOWN_TYPES = {"union_tag_invalid", "union_tag_not_found"}


@dataclass(frozen=True, slots=True)
class _Finding:
    """One of pydantic's errors.

    `meant` is the key that an unknown one stands for, and `meant_type` a type.
    """

    kind: str
    mistake: Mistake
    meant: Where | None = None
    meant_type: str | None = None


def validate(document: Document, folder: Path, model: type[M]) -> tuple[M | None, list[Mistake]]:
    """The settings, or what is wrong; what the document knows to be wrong is not said again."""
    settings, findings = _look(document.data, folder, model)
    data, misspelt = _retyped(document.data, findings)
    if misspelt:
        _, findings = _look(data, folder, model)
    known = {mistake.where for mistake in document.mistakes}
    wrong = known | {finding.mistake.where for finding in findings}
    if wrong:
        _, more = _look(_without(data, wrong), folder, model)
        findings += _independent(more, wrong | _meant(findings))
    meant = _meant(findings)
    told = [finding for finding in findings if not _follows(finding, data, meant)] + misspelt
    return settings, [finding.mistake for finding in told if finding.mistake.where not in known]


def _look(data: Any, folder: Path, model: type[M]) -> tuple[M | None, list[_Finding]]:
    try:
        return model.model_validate(data, context={"folder": folder}), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    locator = Locator(model)
    return None, [finding for detail in details for finding in _findings(detail, locator, data)]


def _findings(detail: ErrorDetails, locator: Locator, data: Any) -> list[_Finding]:
    kind, place, context = detail["type"], locator.place(detail["loc"], data), detail.get("ctx", {})
    if kind == "extra_forbidden":
        return [_unknown_key(kind, place)]
    if kind in _UNKNOWN_TYPES:
        where = (*place.where, _TYPE)
        words, guess = unknown_type(_at(data, where), place.types)
        return [_Finding(kind, Mistake(where, words), meant_type=guess)]
    if isinstance(several := context.get("error"), Several):
        return [_Finding(kind, Mistake(place.where, words)) for words in several.sentences]
    return [_Finding(kind, Mistake(place.where, sentence(kind, context, _at(data, place.where))))]


def _unknown_key(kind: str, place: Place) -> _Finding:
    words, guess = unknown_key(str(place.where[-1]), place.keys)
    if guess is not None:
        return _Finding(kind, Mistake(place.where, words), (*place.where[:-1], guess))
    if place.owners:
        words = foreign_key(place.type, place.owners)
    return _Finding(kind, Mistake(place.where, words))


def _retyped(data: Any, findings: Iterable[_Finding]) -> tuple[Any, list[_Finding]]:
    """The data with the types that were likely meant, and the findings that this settles."""
    settled = [finding for finding in findings if finding.meant_type is not None]
    types = {finding.mistake.where: finding.meant_type for finding in settled}
    return _changed(data, types, set()), settled


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
    return _changed(data, {}, {_key_of(where) for where in wrong})


def _changed(data: Any, put: Mapping[Where, Any], dropped: set[Where]) -> Any:
    def copy(value: Any, where: Where) -> Any:
        if where in put:
            return put[where]
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
    """What is no consequence: one names a key that was left out, or something in it was."""
    dropped = [_key_of(where) for where in wrong]

    def follows(mistake: Mistake) -> bool:
        depth = len(mistake.where)
        names = {where[depth] for where in dropped if where[:depth] == mistake.where != where}
        return any(_names(mistake.what, str(name)) for name in names)

    return [
        finding
        for finding in more
        if finding.kind == "value_error" and not follows(finding.mistake)
    ]


def _names(words: str, key: str) -> bool:
    """Whether a sentence speaks of a key: `'format'`, or with a value, `'format: json'`."""
    return re.search(rf"'{re.escape(key)}(?:'|: )", words) is not None
