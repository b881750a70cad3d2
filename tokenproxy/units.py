"""Durations and sizes as people write them: `500ms`, `24h`, `64KiB`, `10MiB`."""

import math
import re

_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(_NUMBER + r"\s*(ms|s|m|h|d)?")
_SIZE = re.compile(_NUMBER + r"\s*(B|KiB|MiB|GiB|KB|MB|GB|kB)?")

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {
    "B": 1,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
}


def parse_duration(value: object) -> float:
    """Seconds in `value`: a number of seconds, or a text such as `500ms`, `1.5h`.

    Raises:
        ValueError: it is negative, not finite, or not a duration at all.
    """
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _SECONDS[match[2] or "s"]
    number = _plain_number(value)
    if number is None:
        raise ValueError("must be a duration such as 500ms, 30s, 5m or 24h")
    return number


def parse_size(value: object) -> int:
    """Bytes in `value`: a number of bytes, or a text such as `64KiB`, `10MiB`.

    Raises:
        ValueError: it is negative, not finite, or not a size at all.
    """
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match[1]) * _BYTES[match[2] or "B"])
    number = _plain_number(value)
    if number is None:
        raise ValueError("must be a size such as 512, 64KiB or 10MiB")
    return int(number)


def _plain_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def format_duration(seconds: float) -> str:
    """`seconds` in the unit that reads best: `250ms`, `42s`, `5m`, `3h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    for unit in ("d", "h", "m"):
        if seconds >= 2 * _SECONDS[unit]:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"
