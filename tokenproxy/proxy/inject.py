"""Puts the credential into a request, last of all (contract 3.1, `inject`).

First everything of the caller's that stands in the same places is taken out, then ours is put
in, so exactly one credential leaves whatever the caller sends. What stands elsewhere stays
byte for byte.

A query is read as browsers and servers do today (WHATWG URL, 5.1): `&` separates, `+` and
`%xx` are decoded in names. `;` does not separate: it is data there, and to cut at it would
change other parameters' values.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from urllib.parse import quote, unquote_to_bytes

from tokenproxy.errors import ConfigError
from tokenproxy.proxy.headers import Header, NameTable, dashed
from tokenproxy.settings.injection import (
    BasicInjection,
    CookieInjection,
    HeaderInjection,
    Injection,
    QueryInjection,
)

_VISIBLE = re.compile(r"[\x21-\x7e]+")

Render = Callable[[str], bytes]


class _Rendered:
    """One token in all the forms it is sent in. No dataclass: it must have no `repr`."""

    __slots__ = ("crumbs", "fields", "pairs", "token")

    def __init__(self, token: str, fields: list[Header], pairs: bytes, crumbs: bytes) -> None:
        self.token = token
        self.fields = fields
        self.pairs = pairs
        self.crumbs = crumbs


class Injector:
    """A route's `inject`, compiled; with no settings at all it changes nothing.

    It keeps the token that it rendered last, since the next request nearly always has the same.
    """

    __slots__ = ("_cookies", "_drops", "_fields", "_queries", "_rendered", "header_names")

    def __init__(self, settings: Sequence[Injection]) -> None:
        self._fields: list[tuple[bytes, Render]] = []
        self._queries: list[bytes] = []
        self._cookies: list[bytes] = []
        for setting in settings:
            self._add(setting)
        self.header_names = frozenset(name.lower() for name, _ in self._fields)
        names = {dashed(name) for name, _ in self._fields}
        if len(names) < len(self._fields):
            raise ConfigError("'inject' names the same header twice: each can hold one credential")
        self._drops = NameTable(lambda name: dashed(name) in names)
        self._rendered: _Rendered | None = None

    def _add(self, setting: Injection) -> None:
        match setting:
            case HeaderInjection():
                self._fields.append((setting.header.encode(), _value(setting.value)))
            case BasicInjection():
                self._fields.append((b"Authorization", _basic(setting.basic.username)))
            case QueryInjection():
                self._queries.append(setting.query.encode())
            case CookieInjection():
                self._cookies.append(setting.cookie.encode())

    def apply(
        self, headers: Sequence[Header], target: bytes, token: str
    ) -> tuple[list[Header], bytes]:
        """The request with the credential in it; `headers` itself is left alone.

        Raises:
            ValueError: the token holds what may not be sent (contract 3.3.7).
        """
        rendered = self._rendered
        if rendered is None or rendered.token != token:
            rendered = self._rendered = self._render(token)
        fields, target = self.strip(headers, target)
        fields += rendered.fields
        if rendered.pairs:
            target = _with_pairs(target, rendered.pairs)
        if rendered.crumbs:
            _add_crumbs(fields, rendered.crumbs)
        return fields, target

    def strip(self, headers: Sequence[Header], target: bytes) -> tuple[list[Header], bytes]:
        """The request without anything of the caller's in the places of the credential.

        A header whose name only differs by `_` for `-` goes as well: WSGI servers merge them.
        """
        drops = self._drops
        fields = [field for field in headers if not drops[field[0]]]
        if self._cookies:
            fields = _without_crumbs(fields, self._cookies)
        return fields, self.strip_query(target)

    def strip_query(self, target: bytes) -> bytes:
        """The target without the parameters that hold the credential."""
        return _without_pairs(target, self._queries) if self._queries else target

    def finds_own(self, headers: Sequence[Header], target: bytes) -> bool:
        """Whether the caller has put anything in one of the places of the credential.

        To keep it, ask of the fields that go on: what `Connection` nominates is not among them.
        """
        return self.strip(headers, target) != ([*headers], target)

    def _render(self, token: str) -> _Rendered:
        if not _VISIBLE.fullmatch(token):
            raise ValueError("the token holds a character that no token may have")
        if self._cookies and ";" in token:
            raise ValueError("the token holds a ';', which would end its cookie")
        raw, quoted = token.encode(), quote(token, safe="").encode()
        pairs = [b"%b=%b" % (quote(name, safe="").encode(), quoted) for name in self._queries]
        crumbs = [b"%b=%b" % (name, raw) for name in self._cookies]
        fields = [(name, render(token)) for name, render in self._fields]
        return _Rendered(token, fields, b"&".join(pairs), b"; ".join(crumbs))


def _value(template: str) -> Render:
    parts = template.split("{token}")
    return lambda token: token.join(parts).encode()


def _basic(username: str) -> Render:
    """RFC 7617 2, in UTF-8 (2.1)."""
    return lambda token: b"Basic " + b64encode(f"{username}:{token}".encode())


def _without_pairs(target: bytes, names: list[bytes]) -> bytes:
    path, mark, query = target.partition(b"?")
    pairs = query.split(b"&")
    kept = [pair for pair in pairs if _pair_name(pair) not in names]
    if len(kept) == len(pairs):
        return target
    return path + mark + b"&".join(kept) if kept else path


def _pair_name(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" "))


def _with_pairs(target: bytes, pairs: bytes) -> bytes:
    _, mark, query = target.partition(b"?")
    return target + ((b"&" if query else b"") if mark else b"?") + pairs


def _without_crumbs(headers: list[Header], names: list[bytes]) -> list[Header]:
    """Without the cookies of these names; a Cookie field that this leaves empty goes too."""
    kept: list[Header] = []
    for field in headers:
        if field[0].lower() != b"cookie":
            kept.append(field)
            continue
        crumbs = field[1].split(b";")
        others = [crumb for crumb in crumbs if crumb.partition(b"=")[0].strip() not in names]
        if len(others) == len(crumbs):
            kept.append(field)
        elif value := b";".join(others).strip():
            kept.append((field[0], value))
    return kept


def _add_crumbs(headers: list[Header], crumbs: bytes) -> None:
    """At the end of the last Cookie field: RFC 6265 5.4 knows one, and some servers read one."""
    for index in range(len(headers) - 1, -1, -1):
        name, value = headers[index]
        if name.lower() == b"cookie":
            headers[index] = (name, value + b"; " + crumbs if value else crumbs)
            return
    headers.append((b"Cookie", crumbs))
