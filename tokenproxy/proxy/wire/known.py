"""Heads that have come before, byte for byte: what they mean need not be worked out again.

Clients send the same fields with every request of theirs, and servers much the same head with
every answer. A head is remembered once it has been parsed, checked and judged; one that comes
again in one piece is taken for what it was. All that depends on more than its bytes (the target,
the token, the route's rules) is decided each time, as ever.

A memory is bounded: it holds a few hundred heads of the usual size, and begins anew when full.
"""

from collections.abc import Sequence
from typing import TypeVar

from tokenproxy.proxy.guard import Admission
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.route import CompiledRoute, Matched
from tokenproxy.proxy.wire.inbound import Head
from tokenproxy.secret import Secret

LONGEST = 4096  # bytes of a head
MOST = 256  # heads

T = TypeVar("T")


class Memory(dict[bytes, T]):
    """Heads by their bytes."""

    def keep(self, head: bytes, meaning: T) -> None:
        """Remember one."""
        if len(head) <= LONGEST:
            if len(self) >= MOST:
                self.clear()
            self[head] = meaning


class KnownFields:
    """The fields of a request in HTTP/1.1 that is not a caller's last.

    `length` is that of its body, which comes with it. `open` are the places of those that come with
    another value each time, which nothing is decided by. `sent` is what went to the upstream for
    all of them, by the route.
    """

    __slots__ = ("admission", "headers", "length", "open", "sent")

    def __init__(
        self,
        headers: Sequence[Header],
        length: int,
        admission: Admission,
        places: Sequence[int] = (),
    ) -> None:
        self.headers = headers
        self.length = length
        self.admission = admission
        self.open = places
        self.sent: dict[CompiledRoute, Sent] = {}

    def filled(self, values: Sequence[bytes]) -> Sequence[Header]:
        """With these values for those that are open."""
        return _filled(self.headers, self.open, values) if values else self.headers


class KnownRequest:
    """A request with known fields, and the way that it takes: nothing of it is to be changed.

    `values` are those of the fields that are open.
    """

    __slots__ = ("_head_out", "_sent", "fields", "head", "values", "way")

    def __init__(
        self, head: Head, way: Matched, fields: KnownFields, values: Sequence[bytes] = ()
    ) -> None:
        self.head = head
        self.way = way
        self.fields = fields
        self.values = values
        self._sent: Sent | None = None
        self._head_out = b""

    def head_out(self, sent: "Sent") -> bytes:
        """The head that the upstream gets, with those lines."""
        if self._sent is not sent:
            line = b"%b %b HTTP/1.1" % (self.head.request.method, self.way.target)
            self._sent, self._head_out = sent, line + sent.with_values(self.values)
        return self._head_out

    def note(self, fields: Sequence[Header], rendered: list[Header], token: Secret | None) -> None:
        """Remember what is sent: the fields before the credential was put in, and with it.

        Where a field that is open does not go on as it came, nothing is remembered.
        """
        headers, places = self.head.request.headers, self.fields.open
        before = [_place(headers[at], fields) for at in places]
        after = [_place(headers[at], rendered) for at in places]
        if None not in before and None not in after:
            pieces = _lines_around(after, rendered)
            self.fields.sent[self.way.route] = Sent(list(fields), before, token, pieces)


class Sent:
    """What went to an upstream: the fields before the credential was put in, and all as bytes.

    Where values are open, the bytes are in pieces that they stand between.
    """

    __slots__ = ("_fields", "_pieces", "_places", "token")

    def __init__(
        self,
        fields: list[Header],
        places: Sequence[int | None],
        token: Secret | None,
        pieces: list[bytes],
    ) -> None:
        self.token = token
        self._fields = fields
        self._places = places
        self._pieces = pieces

    def with_values(self, values: Sequence[bytes]) -> bytes:
        """All lines, with these values for those that are open."""
        pieces = self._pieces
        if not values:
            return pieces[0]
        parts = [part for pair in zip(pieces, values, strict=False) for part in pair]
        parts.append(pieces[-1])
        return b"".join(parts)

    def fields(self, values: Sequence[bytes]) -> Sequence[Header]:
        """The fields before the credential was put in, likewise."""
        return _filled(self._fields, self._places, values) if values else self._fields


def _filled(
    fields: Sequence[Header], places: Sequence[int | None], values: Sequence[bytes]
) -> list[Header]:
    filled = list(fields)
    for at, value in zip(places, values, strict=True):
        if at is not None:
            filled[at] = fields[at][0], value
    return filled


def _place(field: Header, fields: Sequence[Header]) -> int | None:
    """Where it stands, the very same: not one that has its name and value."""
    return next((at for at, other in enumerate(fields) if other is field), None)


def _lines_around(places: Sequence[int | None], fields: list[Header]) -> list[bytes]:
    """The lines of these fields, cut where the values stand that are open."""
    pieces, line = [], b""
    for at, (name, value) in enumerate(fields):
        line += b"\r\n%b: " % name
        if at in places:
            pieces.append(line)
            line = b""
        else:
            line += value
    return [*pieces, line + b"\r\n\r\n"]
