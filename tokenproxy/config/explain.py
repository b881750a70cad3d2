"""What is wrong with a value, in words for the person who wrote it.

pydantic's own speak of Python's types and repeat what was given; these name what to write, and
never the value, which may be a secret.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

_IN_QUOTES = "must be text: put it in quotes"
_EMPTY = "must not be empty"
_MAPPING = "must be a mapping ('key: value' lines)"
_LIST = "must be a list (lines that begin with '- ', or [one, two])"
_BOOLEAN = "must be true or false"
_NUMBER = "must be a number"
_WHOLE = "must be a whole number"

_SENTENCES = {
    "string_too_short": _EMPTY,
    "string_unicode": "must be text without lone surrogates",
    "too_short": _EMPTY,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "tuple_type": _LIST,
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "must be a finite number",
    "path_type": "must be a path",
    "none_required": "must be null",
    "missing": "is missing",
}
_LIMITS = {
    "greater_than_equal": ("ge", "must be at least"),
    "greater_than": ("gt", "must be more than"),
    "less_than_equal": ("le", "must be at most"),
    "less_than": ("lt", "must be less than"),
}
_TEXTUAL = {"string_type", "path_type"}


def sentence(kind: str, context: Mapping[str, Any], value: Any) -> str:
    """What pydantic's error of that `kind` means; `value` is only looked at for its type."""
    if value is None and kind in _SENTENCES.keys() | _TEXTUAL and kind != "missing":
        return f"is empty: {_said(kind, value)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"{words} {context[key]}"
    return _said(kind, value)


def _said(kind: str, value: Any) -> str:
    if kind not in _TEXTUAL:
        said = _SENTENCES.get(kind, "is not what belongs here")
        return f"{said}, not {_kind_of(value)}" if said in {_MAPPING, _LIST} and value else said
    if isinstance(value, (dict, list)):
        return f"must be text, not {_kind_of(value)}"
    return _IN_QUOTES if value is not None else "must be text"


def _kind_of(value: Any) -> str:
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool() | int() | float():
            return "a number or true or false"
        case _:
            return "text"


def unknown_key(key: str, known: Iterable[str]) -> tuple[str, str | None]:
    """The sentence for a key that no model has, and the key that was likely meant."""
    guess = closest(key, known)
    return f"is not a known key{did_you_mean(guess)}", guess


def foreign_key(its: str | None, types: Sequence[str]) -> str:
    """The sentence for a key that only things of other types have."""
    *others, last = types
    named = f"the types {', '.join(others)} and {last}" if others else f"'type: {last}'"
    return f"belongs to {named}, and this is 'type: {its}'"


def unknown_type(given: Any, types: Iterable[str]) -> tuple[str, str | None]:
    """The sentence for a `type` that is not there, or none of those that there are, and a guess."""
    choice = f"must be one of {', '.join(types)}"
    if given is None:
        return f"is missing: {choice}", None
    guess = closest(str(given), types)
    return choice + did_you_mean(guess), guess


def did_you_mean(guess: str | None) -> str:
    """The end of a sentence."""
    return "" if guess is None else f" (did you mean '{guess}'?)"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that somebody who wrote `word` most likely meant."""
    return next(iter(get_close_matches(word.lower(), list(known), n=1)), None)
