"""The last line of defence: secrets are taken out of what is about to be written.

Nothing that is written should hold one in the first place. Where it does all the same, each
secret that is in use is found as it is, and in the forms in which HTTP, JSON and logs write it.
"""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, urlsplit

from tokenproxy.secret import Secret, births, living

MASK = "***"
SHORTEST = 8  # characters: a shorter secret is likely to be a word, or a part of one
GONE = 64  # secrets that are not in use any more, and are still looked for
LINE_OF_KEY = 16  # characters: a private key is also known by each line that is longer
FEW = 8  # needles that are looked for one by one; more of them, all at once
LONG = 16  # characters of a needle that may be one of many
PIECE = 5
STEP = LONG - PIECE + 1

_ESCAPE = re.compile("%[0-9A-F]{2}")
# Words, dates and versions stand in a log by themselves: to mask them would tell what they are.
_ORDINARY = re.compile("[A-Z]?[a-z_-]{1,15}|[A-Z_-]{1,15}|[0-9:.-]{1,12}")
_URL = re.compile("(?:https?|rediss?|unix|sentinel|socks[45][ah]?)://", re.IGNORECASE)


def parts(text: str) -> Iterator[str]:
    """What of a secret nobody may see: all of it; of a URL, its userinfo; of a key, its lines."""
    if _URL.match(text):
        yield from _userinfo(text)
        return
    if not _ORDINARY.fullmatch(text):
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
    for escaped in (quote(plain, safe=""), quote(plain), quote_plus(plain)):
        yield escaped
        yield _ESCAPE.sub(lambda found: found[0].lower(), escaped)


def forms(text: str) -> Iterator[str]:
    """All the forms that a secret can have in a log or an error."""
    yield from told(text)
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield text.encode("unicode_escape").decode()
    yield repr(text)[1:-1]
    plain = text.encode("utf-8", "surrogatepass")
    yield from _base64(plain)
    yield from _base64(quote_plus(plain).encode())  # RFC 6749 2.3.1


def _base64(content: bytes) -> Iterator[str]:
    """What is always the same of it, behind a user name of any length (RFC 7617)."""
    for before in range(3):
        first = -(-before * 8 // 6)
        last = (before + len(content)) * 8 // 6
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(before) + content).decode()[first:last]


class Redactor:
    """Finds the secrets that `living` gives, whichever these are at the moment."""

    def __init__(self, living: Callable[[], Iterable[Secret]] = living) -> None:
        self._living = living
        self._births = -1
        self._known: set[str] = set()
        self._told = _Needles()
        self._all = _Needles()

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
        """Take up new ones; those that are gone are forgotten once they are many."""
        now = births()
        if now != self._births:
            self._births = now
            in_use = {secret.reveal() for secret in self._living()}
            if len(self._known | in_use) > 2 * len(in_use) + GONE:
                self._known, self._told, self._all = set(), _Needles(), _Needles()
            self._take_up(in_use - self._known)
            self._known |= in_use

    def _take_up(self, texts: Iterable[str]) -> None:
        pieces = [piece for text in texts for piece in parts(text) if len(piece) >= SHORTEST]
        self._told.add(form for piece in pieces for form in told(piece))
        self._all.add(form for piece in pieces for form in forms(piece))


class _Needles:
    """Texts to look for, the longest first: what is a part of another must not break it up.

    Many long ones cost no more than few: a text that holds one has, at a multiple of `STEP`, one
    of the pieces with which they begin.
    """

    def __init__(self) -> None:
        self._long: list[str] = []
        self._short: list[str] = []
        self._pieces: set[str] = set()

    def add(self, needles: Iterable[str]) -> None:
        """Look for these, too."""
        new = {each for each in needles if len(each) >= SHORTEST}
        long = {each for each in new if len(each) >= LONG}
        self._long = sorted({*self._long, *long}, key=len, reverse=True)
        self._short = sorted({*self._short, *(new - long)}, key=len, reverse=True)
        self._pieces.update(needle[at : at + PIECE] for needle in long for at in range(STEP))

    def found(self, text: str) -> Iterator[str]:
        """Those that are in the text."""
        if len(self._long) <= FEW or self._may_hold_long(text):
            yield from (needle for needle in self._long if needle in text)
        yield from (needle for needle in self._short if needle in text)

    def _may_hold_long(self, text: str) -> bool:
        pieces = [text[at : at + PIECE] for at in range(0, len(text), STEP)]
        return not self._pieces.isdisjoint(pieces)


redact = Redactor()
