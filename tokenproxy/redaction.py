"""The last line of defence: secrets are taken out of what is about to be written.

Nothing that is written should hold one in the first place. Where it does all the same, each
secret that is in use is found as it is, and in the forms in which HTTP, JSON and logs write it.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, urlsplit

from tokenproxy.secret import Secret, births, living

MASK = "***"
SHORTEST = 8  # characters: a shorter secret is likely to be a word, or a part of one
LINE_OF_KEY = 16  # characters: a private key is also known by each line that is longer
FEW = 8  # needles that are looked for one by one; more of them, all at once
LONG = 16  # characters of a needle that may be one of many
PIECE = 5
STEP = LONG - PIECE + 1

_ESCAPE = re.compile("%[0-9A-F]{2}")


def parts(text: str) -> Iterator[str]:
    """What of a secret nobody may see: all of it; of a URL, its userinfo; of a key, its lines."""
    if "://" in text:
        yield from _userinfo(text)
        return
    yield text
    if "\n" in text:
        for line in text.splitlines():
            if len(line) > LINE_OF_KEY and not line.startswith("-----"):
                yield line


def _userinfo(url: str) -> Iterator[str]:
    try:
        found = urlsplit(url)
    except ValueError:
        yield url
        return
    word = found.password if found.password is not None else found.username
    if word is not None:
        yield word
        yield unquote(word)


def told(text: str) -> Iterator[str]:
    """The forms that a secret can have in a request's target."""
    plain = text.encode("utf-8", "surrogatepass")
    yield text
    for escaped in (quote(plain, safe=""), quote_plus(plain)):
        yield escaped
        yield _ESCAPE.sub(lambda found: found[0].lower(), escaped)


def forms(text: str) -> Iterator[str]:
    """All the forms that a secret can have in a log or an error."""
    yield from told(text)
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield text.encode("unicode_escape").decode()
    yield repr(text)[1:-1]
    yield from _base64(text.encode("utf-8", "surrogatepass"))


def _base64(content: bytes) -> Iterator[str]:
    """What is always the same of it, behind a user name of any length (RFC 7617)."""
    for before in range(3):
        encoded = b64encode(bytes(before) + content).decode()
        first = -(-before * 8 // 6)
        last = (before + len(content)) * 8 // 6
        yield encoded[first:last]


class Redactor:
    """Finds the secrets that `living` gives, whichever these are at the moment."""

    def __init__(self, living: Callable[[], Iterable[Secret]] = living) -> None:
        self._living = living
        self._births = -1
        self._told = _Needles(())
        self._all = _Needles(())

    def __call__(self, text: str) -> str:
        """The text with `***` for each secret in it."""
        self._look_again()
        for needle in self._all.found(text):
            text = text.replace(needle, MASK)
        return text

    def finds(self, text: str) -> bool:
        """Whether what callers have said holds a secret, as they can have said it."""
        self._look_again()
        return next(self._told.found(text), None) is not None

    def _look_again(self) -> None:
        """Take up new ones; those that are gone are forgotten with the next new one."""
        now = births()
        if now != self._births:
            self._births = now
            known = {secret.reveal() for secret in self._living()}
            pieces = [piece for text in known for piece in parts(text) if len(piece) >= SHORTEST]
            self._told = _Needles(form for piece in pieces for form in told(piece))
            self._all = _Needles(form for piece in pieces for form in forms(piece))


class _Needles:
    """Texts to look for, the longest first: what is a part of another must not break it up.

    Many long ones cost no more than few: a text that holds one has, at a multiple of `STEP`, one
    of the pieces with which they begin.
    """

    def __init__(self, needles: Iterable[str]) -> None:
        wanted = sorted({each for each in needles if len(each) >= SHORTEST}, key=len)[::-1]
        self._long = [each for each in wanted if len(each) >= LONG]
        self._short = wanted[len(self._long) :]
        self._pieces = frozenset(
            needle[at : at + PIECE] for needle in self._long for at in range(STEP)
        )

    def found(self, text: str) -> Iterator[str]:
        """Those that are in the text."""
        if len(self._long) <= FEW or self._may_hold_long(text):
            yield from (needle for needle in self._long if needle in text)
        yield from (needle for needle in self._short if needle in text)

    def _may_hold_long(self, text: str) -> bool:
        pieces = [text[at : at + PIECE] for at in range(0, len(text), STEP)]
        return not self._pieces.isdisjoint(pieces)


redact = Redactor()
