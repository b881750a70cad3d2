"""PyYAML's complaints in words that say what to do.

Its own are not passed on: they quote the file, and what they quote may be a password.
"""

import re

import yaml
from yaml.reader import ReaderError

from tokenproxy.config.document import Unreadable

_QUOTE_IT = "put the value in quotes"
_ANYTHING_ELSE = "is not valid YAML: check the indentation, colons and quotes here"

# What PyYAML says (its context, then its problem), and what we say.
_WORDS = {
    re.compile(r"flow node expected the node content, but found '<stream end>'"): (
        "ends inside of a '{' or '[' that is never closed"
    ),
    re.compile(r"'\\t'"): "holds a tab where YAML wants spaces: indent and align with spaces",
    re.compile(r"cannot start any token"): (
        f"begins a value with a character that YAML keeps for itself (@, ` or %): {_QUOTE_IT}"
    ),
    re.compile(r"could not find expected ':'"): (
        "is not 'key: value': is the ':' or the space after it missing?"
    ),
    re.compile(r"mapping values are not allowed"): (
        f"has a ':' where none may stand: {_QUOTE_IT}, or check the indentation here and the "
        "space after the ':' on the line before"
    ),
    re.compile(r"sequence entries are not allowed"): (
        "has a '- ' where no list can begin: start the list on a line of its own"
    ),
    re.compile(r"quoted scalar found unexpected"): "opens a quote that is never closed",
    re.compile(r"double-quoted scalar"): (
        "has a '\\' in double quotes that begins no escape: use single quotes, or write '\\\\'"
    ),
    re.compile(r"flow (mapping|sequence)"): (
        "opens a '{' or '[' that is not closed, or that holds a value which needs quotes: "
        '"${NAME}"'
    ),
    re.compile(r"alias"): (f"begins a value with '*', which YAML takes for an alias: {_QUOTE_IT}"),
    re.compile(r"anchor"): f"begins a value with '&', which YAML takes for an anchor: {_QUOTE_IT}",
    re.compile(r"\btag\b"): f"begins a value with '!', which YAML takes for a tag: {_QUOTE_IT}",
    re.compile(r"block scalar"): (
        f"begins a value with '|' or '>', which YAML takes for a block of text: {_QUOTE_IT}"
    ),
    re.compile(r"single document"): "begins a second document: a config is one, without '---'",
    re.compile(r"directive|YAML document"): "begins with '%', which YAML takes for a directive",
    re.compile(r"expected <block end>"): (
        "does not fit what stands above it: check the indentation and the quotes"
    ),
    re.compile(r"expected the node content"): (
        f"has a character that cannot begin a value: {_QUOTE_IT}"
    ),
}

# Where these begin tells more than where PyYAML noticed.
_BEGAN = re.compile(r"quoted scalar|flow (mapping|sequence)|simple key")


def explain(error: yaml.YAMLError, text: str) -> Unreadable:
    """The mistake that `error` speaks of, with its line."""
    if isinstance(error, yaml.MarkedYAMLError):
        said = f"{error.context or ''} {error.problem or ''}"
        return Unreadable(_words(said), _marked_line(error, said))
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Unreadable("holds a control character, which YAML does not allow", line)
    return Unreadable(_ANYTHING_ELSE)


def _words(said: str) -> str:
    return next(
        (words for pattern, words in _WORDS.items() if pattern.search(said)), _ANYTHING_ELSE
    )


def _marked_line(error: yaml.MarkedYAMLError, said: str) -> int | None:
    began = error.context_mark if _BEGAN.search(said) else None
    mark = began or error.problem_mark or error.context_mark
    return None if mark is None else int(mark.line) + 1
