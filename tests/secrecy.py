"""What the program says while a test runs is searched for every secret that it held then.

Standard output and error, and all that is logged at debug. What tests call by an everyday word
cannot be told from the word: secrets of fewer than `SHORTEST` characters are not looked for.
"""

from collections.abc import Iterator

import pytest

from tokenproxy.secret import Secret

SHORTEST = 7
_seen: set[str] = set()
_plain = Secret.__init__


def _noting(self: Secret, value: str) -> None:
    _plain(self, value)
    if len(value) >= SHORTEST:
        _seen.add(value)


Secret.__init__ = _noting  # type: ignore[method-assign]


def begin() -> None:
    """Forget what an earlier test held."""
    _seen.clear()


def held() -> list[str]:
    """The secrets that this test has held so far."""
    return sorted(_seen)


def leaks(report: pytest.TestReport) -> Iterator[str]:
    """Where a secret shows, in what was written and logged meanwhile."""
    for title, text in report.sections:
        for value in held():
            if value in text:
                line = next(line for line in text.splitlines() if value.split("\n")[0] in line)
                yield f"{title}: {value!r} in {line!r}"
