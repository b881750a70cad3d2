"""Durations and sizes as people write them: `500ms`, `24h`, `64KiB`, `10MiB`."""

import math
import re
from collections.abc import Mapping
from fractions import Fraction

_NUMBER_AND_UNIT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")
_MOST = 1 << 53  # seconds or bytes: whole numbers are exact in a float up to here
_LONGEST = 40  # characters: no sensible number is longer, and long ones are slow to read

_SECONDS = {
    "": Fraction(1),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86400),
}
_BYTES = {
    "": Fraction(1),
    "B": Fraction(1),
    "KiB": Fraction(1 << 10),
    "MiB": Fraction(1 << 20),
    "GiB": Fraction(1 << 30),
    "kB": Fraction(1000),
    "KB": Fraction(1000),
    "MB": Fraction(1000**2),
    "GB": Fraction(1000**3),
}


def parse_duration(value: object) -> float:
    """Seconds in `value`: a number of seconds, or a text such as `500ms`, `1.5h`.

    Raises:
        ValueError: it is negative, not finite, or not a duration at all.
    """
    amount = _amount(value, _SECONDS)
    if amount is None:
        raise ValueError("must be a duration such as 500ms, 30s, 5m or 24h")
    return float(amount)


def parse_size(value: object) -> int:
    """Whole bytes in `value`: a number of bytes, or a text such as `64KiB`, `10MiB`.

    Raises:
        ValueError: it is negative, not finite, or not a size at all.
    """
    amount = _amount(value, _BYTES)
    if amount is None:
        raise ValueError("must be a size such as 512, 64KiB or 10MiB")
    return int(amount)


def _amount(value: object, units: Mapping[str, Fraction]) -> Fraction | None:
    amount = _read(value, units) if isinstance(value, str) else _plain_number(value)
    return amount if amount is not None and 0 <= amount <= _MOST else None


def _read(text: str, units: Mapping[str, Fraction]) -> Fraction | None:
    match = _NUMBER_AND_UNIT.fullmatch(text.strip())
    if match is None or len(match[1]) > _LONGEST or match[2] not in units:
        return None
    return Fraction(match[1]) * units[match[2]]


def _plain_number(value: object) -> Fraction | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return Fraction(value) if isinstance(value, int) or math.isfinite(value) else None


def format_duration(seconds: float) -> str:
    """`seconds` in the unit that reads best: `250ms`, `42s`, `5m`, `3h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    for unit in ("d", "h", "m"):
        if seconds >= 2 * _SECONDS[unit]:
            return f"{seconds / float(_SECONDS[unit]):.0f}{unit}"
    return f"{seconds:.0f}s"
