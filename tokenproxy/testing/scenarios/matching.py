"""Whether what came is what was expected, and where not; plain functions.

| expected              | fits                                                     |
|-----------------------|----------------------------------------------------------|
| `$any`                | anything but null                                        |
| `{$regex: '^tea'}`    | text in which the pattern is found                       |
| `{$subset: {id: 1}}`  | an object that has these keys, and may have others       |
| `$$any`               | the text `$any`                                          |
| anything else         | the same and nothing more, at every depth                |
"""

import json
import re
from difflib import unified_diff
from typing import Any

ANY, SUBSET = "$any", "$subset"
_HEAD = 2  # lines of a diff that name its two files


def difference(expected: Any, got: Any) -> list[str]:
    """Lines with `-` for what is missing and `+` for what is there instead; none if it fits."""
    wanted, found = _lines(expected), _lines(fitted(expected, got))
    lines = list(unified_diff(wanted, found, lineterm="", n=2))[_HEAD:]
    return [line for line in lines if not line.startswith("@@")]


def fitted(expected: Any, got: Any) -> Any:
    """What came, with `expected` in the place of all that fits it."""
    match expected:
        case str():
            return expected if _is_said(expected, got) else got
        case {"$regex": str(pattern)} if len(expected) == 1:
            return expected if isinstance(got, str) and re.search(pattern, got) else got
        case {"$subset": dict(wanted)} if len(expected) == 1 and isinstance(got, dict):
            part = {key: got[key] for key in wanted if key in got}
            return {SUBSET: fitted(wanted, part)}
        case dict() if isinstance(got, dict):
            return {key: _at(expected, key, value) for key, value in got.items()}
        case list() if isinstance(got, list):
            pairs = [fitted(*pair) for pair in zip(expected, got, strict=False)]
            return pairs + got[len(pairs) :]
        case _:
            return got


def with_patterns(expected: Any) -> Any:
    """The same, once all patterns in it are known to be some. Raises ValueError."""
    match expected:
        case {"$regex": str(pattern)} if len(expected) == 1:
            _check_pattern(pattern)
        case dict() | list():
            for each in expected.values() if isinstance(expected, dict) else expected:
                with_patterns(each)
        case _:
            pass
    return expected


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise ValueError(f"has a '$regex' that is no pattern: {error}") from error


def _is_said(expected: str, got: Any) -> bool:
    if expected == ANY:
        return got is not None
    return bool(got == (expected[1:] if expected.startswith("$$") else expected))


def _at(expected: dict[str, Any], key: str, value: Any) -> Any:
    return fitted(expected[key], value) if key in expected else value


def _lines(value: Any) -> list[str]:
    """As JSON, which tells 1 from true."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
