"""Which answers say that the token was rejected: `refresh_on`, compiled (contract 1.3).

Most answers are decided by their status, with one look-up. An answer whose status has
matchers is decided by its head where no matcher reads bodies, and else by at most `MAX_BODY`
bytes of it, held back until then.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from tokenproxy.proxy.headers import Header
from tokenproxy.settings.matchers import JsonScalar, Matcher, RefreshOn

MAX_BODY = 64 << 10  # bytes, as they arrive and once more when unpacked

_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15  # zlib's names for the formats, with a 32 KiB window
_MISSING = object()


class Verdict(Enum):
    """What an answer's head says about the token that was sent."""

    REJECTED = auto()
    ACCEPTED = auto()
    NEEDS_BODY = auto()


@dataclass(frozen=True, slots=True)
class _Text:
    """A body, unpacked; `whole` where nothing of it is missing."""

    data: bytes
    whole: bool


class RefreshRules:
    """A route's `refresh_on`."""

    __slots__ = ("_matchers", "_statuses")

    def __init__(self, refresh_on: RefreshOn) -> None:
        self._statuses = frozenset(rule for rule in refresh_on if isinstance(rule, int))
        self._matchers: dict[int, list[_Compiled]] = {}
        for rule in refresh_on:
            if isinstance(rule, Matcher):
                self._matchers.setdefault(rule.status, []).append(_Compiled(rule))

    def by_head(self, status: int, headers: Sequence[Header]) -> Verdict:
        """Decide by the head; NEEDS_BODY asks for `by_body`."""
        if status in self._statuses:
            return Verdict.REJECTED
        matchers = self._matchers.get(status)
        if matchers is None:
            return Verdict.ACCEPTED
        fitting = [matcher for matcher in matchers if matcher.fits_head(headers)]
        if not all(matcher.reads_body for matcher in fitting):
            return Verdict.REJECTED
        if not fitting or _is_event_stream(headers):
            return Verdict.ACCEPTED
        return Verdict.NEEDS_BODY

    def by_body(
        self, status: int, headers: Sequence[Header], body: bytes, *, complete: bool
    ) -> bool:
        """Whether the answer rejects the token, after a NEEDS_BODY.

        `body` is as it arrived, its first MAX_BODY bytes; `complete` says that this is all.
        """
        text = _unpacked(headers, body[:MAX_BODY], complete=complete and len(body) <= MAX_BODY)
        matchers = self._matchers.get(status, [])
        return any(m.fits_head(headers) and m.fits_body(text) for m in matchers)


class _Compiled:
    """One matcher: all that it names must fit."""

    __slots__ = ("_contains", "_fields", "_headers", "reads_body")

    def __init__(self, matcher: Matcher) -> None:
        self.reads_body = matcher.reads_body
        self._headers = [
            (k.lower().encode(), v.lower().encode()) for k, v in matcher.header.items()
        ]
        self._contains = (matcher.body_contains or "").encode()
        self._fields = [(path.split("."), wanted) for path, wanted in matcher.json_fields.items()]

    def fits_head(self, headers: Sequence[Header]) -> bool:
        return all(
            any(name.lower() == wanted and part in value.lower() for name, value in headers)
            for wanted, part in self._headers
        )

    def fits_body(self, text: _Text) -> bool:
        return self._contains in text.data and (not self._fields or self._fits_json(text))

    def _fits_json(self, text: _Text) -> bool:
        if not text.whole:
            return False
        try:
            document = json.loads(text.data.decode("utf-8-sig", "replace"))
        except (ValueError, RecursionError):
            return False
        return all(
            any(_same(item, _at(document, path)) for item in wanted)
            for path, wanted in self._fields
        )


def _at(document: Any, path: list[str]) -> Any:
    """What stands at a dotted path, through objects by key and lists by index."""
    for step in path:
        if isinstance(document, dict):
            document = document.get(step, _MISSING)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return _MISSING
    return document


def _same(wanted: JsonScalar, found: Any) -> bool:
    """Equal as JSON, but for a number and its string; true is not 1, as it is to Python."""
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if {type(wanted), type(found)} in ({int, str}, {float, str}):
        return str(wanted) == str(found)
    return bool(wanted == found)


def _values(headers: Sequence[Header], wanted: bytes) -> list[bytes]:
    return [value.strip().lower() for name, value in headers if name.lower() == wanted]


def _is_event_stream(headers: Sequence[Header]) -> bool:
    types = _values(headers, b"content-type")
    return any(value.partition(b";")[0].strip() == b"text/event-stream" for value in types)


def _unpacked(headers: Sequence[Header], body: bytes, *, complete: bool) -> _Text:
    """The body without its Content-Encoding; one that cannot be read here is empty."""
    codings = [value for value in _values(headers, b"content-encoding") if value != b"identity"]
    match codings:
        case []:
            return _Text(body, complete)
        case [b"gzip" | b"x-gzip"]:
            return _inflated(body, _GZIP, complete=complete)
        case [b"deflate"]:
            # RFC 9110 8.4.1.2 means zlib's format; some servers send a bare deflate stream.
            return _inflated(body, _ZLIB if _is_zlib(body) else _RAW_DEFLATE, complete=complete)
        case _:
            return _Text(b"", whole=False)


def _is_zlib(body: bytes) -> bool:
    """RFC 1950 2.2: method 8, and the first two bytes are a multiple of 31."""
    return len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0  # noqa: PLR2004 - the RFC's own numbers


def _inflated(body: bytes, window: int, *, complete: bool) -> _Text:
    inflater = zlib.decompressobj(window)
    try:
        data = inflater.decompress(body, MAX_BODY + 1)  # the bound: a bomb stops here
    except zlib.error:
        return _Text(b"", whole=False)
    ended = complete and inflater.eof and not inflater.unused_data
    return _Text(data[:MAX_BODY], ended and len(data) <= MAX_BODY)
