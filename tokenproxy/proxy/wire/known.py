"""Heads that have come before, byte for byte: what they mean need not be worked out again.

Clients send the same fields with every request of theirs, and servers much the same head with
every answer. A head is remembered once it has been parsed, checked and judged; one that comes
again in one piece is taken for what it was. All that depends on more than its bytes (the target,
the token, the route's rules) is decided each time, as ever.

A memory is bounded: it holds a few hundred heads of the usual size, and begins anew when full.
"""

from collections.abc import Sequence
from typing import TypeVar

from tokenproxy.proxy.guard import Admission, Guard
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.request import Request
from tokenproxy.proxy.route import CompiledRoute, Matched
from tokenproxy.proxy.wire.inbound import MAX_LINE, Head
from tokenproxy.secret import Secret

LONGEST = 4096  # bytes of a head
MOST = 256  # heads
_WORDS = 3  # in a request line
_BLANK = 4  # bytes: the end of a line, and an empty line

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

    `length` is that of its body, which comes with it. `sent` are the lines that went to the
    upstream for them, by the route, with the token in it.
    """

    __slots__ = ("admission", "headers", "length", "sent")

    def __init__(self, headers: Sequence[Header], length: int, admission: Admission) -> None:
        self.headers = headers
        self.length = length
        self.admission = admission
        self.sent: dict[CompiledRoute, Sent] = {}


class KnownRequest:
    """A request with known fields, and the way that it takes: nothing of it is to be changed."""

    __slots__ = ("_head_out", "_sent", "fields", "head", "way")

    def __init__(self, head: Head, way: Matched, fields: KnownFields) -> None:
        self.head = head
        self.way = way
        self.fields = fields
        self._sent: Sent | None = None
        self._head_out = b""

    def head_out(self, sent: "Sent") -> bytes:
        """The head that the upstream gets, with those lines."""
        if self._sent is not sent:
            line = b"%b %b HTTP/1.1" % (self.head.request.method, self.way.target)
            self._sent, self._head_out = sent, line + sent.lines
        return self._head_out


class Sent:
    """What went to an upstream: the fields before the credential was put in, and all as bytes."""

    __slots__ = ("fields", "lines", "token")

    def __init__(self, fields: list[Header], token: Secret | None, lines: bytes) -> None:
        self.fields = fields
        self.token = token
        self.lines = lines


class Known:
    """What one listener remembers: requests, and fields that come with other targets, too.

    Its guard has let all of them in, and decides what is done with each.
    """

    __slots__ = ("fields", "guard", "requests")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.fields: Memory[KnownFields] = Memory()
        self.requests: Memory[KnownRequest] = Memory()

    def recognized(self, data: bytes, end: int) -> KnownRequest | None:
        """A request with known fields, where it may go on; it is known from now on."""
        start = data.find(b"\r\n")
        fields = self.fields.get(data[start + 2 : end])
        words = data[:start].split(b" ")
        if fields is None or len(words) != _WORDS or words[2] != b"HTTP/1.1" or end > MAX_LINE:
            return None
        method, target, _ = words
        way = self.guard.admit(fields.admission, method, target)
        if way is None or fields.length > way.route.takes_whole:
            return None
        request = Request(method, target, fields.headers, "1.1", fields.length > 0)
        known = KnownRequest(Head.plain(request, fields.length), way, fields)
        self.requests.keep(data[:end], known)
        return known

    def learn(self, head: Head, data: bytes, seen: int) -> int:
        """Remember the fields of a request that came alone and in one piece, the second time.

        `seen` is what this gave for the request before it, on the same connection.
        """
        start, end = data.find(b"\r\n"), data.find(b"\r\n\r\n") + _BLANK
        lines = data[start + 2 : end]
        told = hash(lines)  # an idle connection should cost little
        if told == seen:
            self._keep(head, data, start, end)
        return told

    def _keep(self, head: Head, data: bytes, start: int, end: int) -> None:
        request, length = head.request, head.length or 0
        line = b"%b %b HTTP/1.1" % (request.method, request.target)
        if not head.is_plain or len(data) != end + length or data[:start] != line:
            return
        admission = self.guard.admission(request.headers)
        if admission is not None:
            known = KnownFields(request.headers, length, admission)
            self.fields.keep(data[start + 2 : end], known)
