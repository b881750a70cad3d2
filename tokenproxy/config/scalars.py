"""What a plain scalar means: the core schema of YAML 1.2.

YAML 1.1, which PyYAML follows by itself, makes a boolean of `no`, a number of `12:30` and a date
of `2024-01-01`; here all of them are text, as in every newer reader.
"""

import math
import re

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST = 300  # characters: reading digits takes quadratic time, and Python refuses 4,301

Scalar = str | int | float | bool | None


def resolve(text: str) -> Scalar:
    """The value of a plain scalar (YAML 1.2.2, 10.3.2).

    Raises:
        ValueError: it is infinite, not a number, or too long a number for any key.
    """
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> int | float | None:
    decimal, octal, hexadecimal = (rule.fullmatch(text) for rule in (_DECIMAL, _OCTAL, _HEX))
    real = _FLOAT.fullmatch(text)
    if _NO_NUMBER.fullmatch(text):
        raise ValueError("must be a finite number (or put it in quotes to make it text)")
    if not (decimal or octal or hexadecimal or real):
        return None
    if len(text) > _LONGEST:
        raise ValueError("is too long for a number: put it in quotes to make it text")
    if octal or hexadecimal:
        return int(text, 0)
    number = int(text) if decimal else float(text)
    if not math.isfinite(number):
        raise ValueError("is too large for a number: put it in quotes to make it text")
    return number
