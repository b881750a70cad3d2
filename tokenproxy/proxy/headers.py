"""Header rules, both ways (contract 3.1, RFC 9110 7.6).

Fields are `(name, value)` in bytes, in their order, with repeats and in their own spelling;
what no rule names goes on as it came. The credential is no business of this module: the
injector takes a caller's own away and puts ours in, last of all.

What happens to a field is decided by its name alone, once for each spelling: `NameTable`
remembers. The one exception is what a `Connection` field nominates, which is different from
message to message and nearly always nothing.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, TypeVar

from tokenproxy.settings import headers as settings
from tokenproxy.settings.headers import HeaderChanges

Header = tuple[bytes, bytes]
F = TypeVar("F")
NO_CHANGES = HeaderChanges()

HOP_BY_HOP = frozenset(name.encode() for name in settings.HOP_BY_HOP)
CLIENT_KEY = b"x-tokenproxy-key"
# RFC 9110 5.6.2: what names of fields and methods are made of.
TOKEN_CHARS = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_NEVER_NOMINATED = frozenset({b"content-length", b"host", b"transfer-encoding"})
# RFC 9110 7.6.3: the version as received; a field after the others extends their list.
_VIA, _VIA_OLD = (b"Via", b"1.1 tokenproxy"), (b"Via", b"1.0 tokenproxy")

_REMEMBERED_NAMES = 256  # callers use a few dozen; the rest are made up, and not worth keeping
_REMEMBERED_LENGTH = 64


class NameTable(dict[bytes, F]):
    """A rule over lower-case field names, its results remembered for each spelling.

    It holds a bounded number of short names, so that made-up ones cost time, not memory.
    """

    __slots__ = ("_rule",)

    def __init__(self, rule: Callable[[bytes], F]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, name: bytes) -> F:
        result = self._rule(name.lower())
        if len(self) >= _REMEMBERED_NAMES:
            self.clear()
        if len(name) <= _REMEMBERED_LENGTH:
            self[name] = result
        return result


def dashed(name: bytes) -> bytes:
    """The name as WSGI and CGI servers see it, who do not tell `_` from `-`; in lower case."""
    return name.lower().replace(b"_", b"-")


def nominated(connection: Iterable[bytes]) -> set[bytes]:
    """Lower-case names that `Connection` values nominate, as far as they may (RFC 9110 7.6.1).

    Content-Length, Transfer-Encoding and Host are needed to read the message at all.
    """
    names = {name.strip(b" \t").lower() for value in connection for name in value.split(b",")}
    return names - _NEVER_NOMINATED


class Fate(Enum):
    """What a field's name says of it; HOST is for requests, LOCATION and COOKIE for answers."""

    KEPT = auto()
    DROPPED = auto()
    CONNECTION = auto()
    HOST = auto()
    LOCATION = auto()
    COOKIE = auto()


# A global is found faster than a member of an enum.
_KEPT, _CONNECTION, _HOST = Fate.KEPT, Fate.CONNECTION, Fate.HOST


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent the request, as far as `forwarded: set` tells the upstream."""

    address: str | None  # without port or brackets; None on a unix socket
    scheme: str = "http"


class RequestRules:
    """What a route does to the header fields of requests, compiled.

    `authority` is the upstream's own Host, and `drops` are names in lower case, `-` for `_`; the
    rest are the route's settings, `changes` being its `headers`.
    """

    __slots__ = ("_fates", "_host", "_preserves_host", "_sets", "_sets_forwarded", "_via")

    def __init__(
        self,
        *,
        authority: bytes,
        forwarded: Literal["drop", "keep", "set"],
        via: bool,
        preserve_host: bool = False,
        changes: HeaderChanges = NO_CHANGES,
        drops: Collection[bytes] = (),
    ) -> None:
        self._host = (b"Host", authority)
        self._preserves_host = preserve_host
        self._sets_forwarded = forwarded == "set"
        self._sets = fields_set(changes)
        self._via = via
        changed = names_changed(changes).union(drops)
        keeps_forwarded = forwarded == "keep"

        def fate(name: bytes) -> Fate:
            dropped = dashed(name) in changed
            return Fate.DROPPED if dropped else _fate(name, keeps_forwarded=keeps_forwarded)

        self._fates = NameTable(fate)

    def to_upstream(
        self, headers: Sequence[Header], *, version: str, caller: Caller
    ) -> list[Header]:
        """The fields that go on, the Host first; the credential is not among them.

        `version` is the request's own ("1.0", "1.1"). Content-Length is kept as it came;
        Transfer-Encoding is left to who frames the body. Where the caller's Host is to be
        preserved and there is none (HTTP/1.0), it is the upstream's.
        """
        fates = self._fates
        kept = [self._host]
        connection: list[bytes] = []
        host = None
        for field in headers:
            fate = fates[field[0]]
            if fate is _KEPT:
                kept.append(field)
            elif fate is _CONNECTION:
                connection.append(field[1])
            elif fate is _HOST:
                host = field[1]
        if host and self._preserves_host:
            kept[0] = (b"Host", host)
        remove_nominated(kept, connection)
        if self._sets:
            kept += self._sets
        if self._sets_forwarded:
            kept += _forwarded_fields(caller, host)
        if self._via:
            kept.append(_VIA_OLD if version == "1.0" else _VIA)
        return kept


def _fate(name: bytes, *, keeps_forwarded: bool) -> Fate:
    if name == b"host":
        return Fate.HOST
    if name == b"connection":
        return Fate.CONNECTION
    if name == b"content-length":
        return Fate.KEPT
    name = dashed(name)
    if name in HOP_BY_HOP or name in {b"content-length", CLIENT_KEY}:
        return Fate.DROPPED
    if not keeps_forwarded and (name == b"forwarded" or name.startswith(b"x-forwarded-")):
        return Fate.DROPPED
    return Fate.KEPT


def answer_fate(name: bytes) -> Fate:
    """What becomes of a field of an answer, by its lower-case name and with no route's rules."""
    if name == b"connection":
        return Fate.CONNECTION
    if name == b"content-length":
        return Fate.KEPT
    name = dashed(name)
    return Fate.DROPPED if name in HOP_BY_HOP or name == b"content-length" else Fate.KEPT


_NOMINATES_NOTHING = frozenset({b"keep-alive", b"Keep-Alive", b"close", b"upgrade", b"Upgrade"})


def fields_set(changes: HeaderChanges) -> tuple[Header, ...]:
    """The fields that take the place of those of their name."""
    return tuple(
        (name.encode(), value.get_secret_value().encode()) for name, value in changes.set.items()
    )


def names_changed(changes: HeaderChanges) -> frozenset[bytes]:
    """What is not kept of the message's own: names in lower case, `-` for `_`."""
    return frozenset(name.encode() for name in changes.names)


def remove_nominated(kept: list[Header], connection: list[bytes]) -> None:
    """Take out of `kept` what the message's own Connection fields name.

    The Host put there by us is in no danger: it cannot be nominated.
    """
    if not connection or _NOMINATES_NOTHING.issuperset(connection):
        return
    names = nominated(connection)
    kept[:] = [field for field in kept if field[0].lower() not in names]


def _forwarded_fields(caller: Caller, host: bytes | None) -> list[Header]:
    """X-Forwarded-* and RFC 7239's Forwarded, saying the same."""
    scheme = caller.scheme.encode()
    address = None if caller.address is None else caller.address.partition("%")[0].encode()
    node = b"unknown" if address is None else b"[%b]" % address if b":" in address else address
    old = [
        (b"X-Forwarded-For", address),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Proto", scheme),
    ]
    pairs = [(b"for", node), (b"host", host), (b"proto", scheme)]
    new = b";".join(b"%b=%b" % (name, _quoted(value)) for name, value in pairs if value)
    return [(name, value) for name, value in old if value] + [(b"Forwarded", new)]


def _quoted(value: bytes) -> bytes:
    """A token as it is, anything else (`[::1]`, `localhost:8080`) as a quoted-string."""
    if not value.translate(None, TOKEN_CHARS):
        return value
    return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
