"""A reference reading of requests, as strict as RFC 9112 lets anybody be; it is there to be right.

What it cannot read for certain it does not read at all. It looks at whole bytes, one message after
the other, so that no state is carried from one to the next.
"""

import re
from dataclasses import dataclass, field

from tests.wire import Field

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/1\.([01])" % TOKEN)
_FIELD = re.compile(rb"(%b):[ \t]*(.*?)[ \t]*" % TOKEN, re.DOTALL)
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
# Nobody here reads extensions: that a name or a value is missing changes nothing.
_EXTENSION = rb";(?:%b)?(?:=(?:%b|%b)?)?" % (TOKEN, TOKEN, _QUOTED)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:%b)*)" % _EXTENSION)
END = b"\r\n\r\n"


class Unreadable(Exception):
    """These bytes are no request."""


@dataclass
class Read:
    """One request. `framing` is `length`, `chunked` or `none`."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[Field] = field(default_factory=list)
    framing: str = "none"
    body: bytes = b""

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name]


def read(data: bytes) -> tuple[Read, bytes] | None:
    """The first request and what follows it; None while it is not whole. Raises Unreadable."""
    found = read_head(data)
    if found is None:
        return None
    head, rest = found
    body = _chunks(rest) if head.framing == "chunked" else _sized(head, rest)
    if body is None:
        return None
    head.body, rest = body
    return head, rest


def read_head(data: bytes) -> tuple[Read, bytes] | None:
    """The first request without its body, and what follows its head."""
    data = data.lstrip(b"\r\n")  # RFC 9112 2.2: empty lines, however they end
    end = data.find(END)
    if end < 0:
        return None
    first, *lines = data[:end].split(b"\r\n")
    found = _LINE.fullmatch(first)
    if found is None:
        raise Unreadable(first)
    head = Read(found[1], found[2], found[3], [_field(line) for line in lines])
    head.framing = _framing(head)
    return head, data[end + len(END) :]


def _field(line: bytes) -> Field:
    found = _FIELD.fullmatch(line)
    if found is None or _CONTROLS.search(found[2]):
        raise Unreadable(line)
    return found[1], found[2]


def _framing(head: Read) -> str:
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if not lengths and not codings:
        return "none"
    if len(lengths) + len(codings) > 1:
        raise Unreadable("several framings")
    if lengths:
        if not re.fullmatch(rb"[0-9]{1,19}", lengths[0]):
            raise Unreadable(lengths[0])
        return "length"
    if codings[0].lower() != b"chunked" or head.version == b"0":
        raise Unreadable(codings[0])
    return "chunked"


def _sized(head: Read, rest: bytes) -> tuple[bytes, bytes] | None:
    length = int(head.values(b"content-length")[0]) if head.framing == "length" else 0
    return (rest[:length], rest[length:]) if len(rest) >= length else None


def _chunks(rest: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        line, mark, after = rest.partition(b"\r\n")
        if not mark:
            return None
        found = _SIZE.fullmatch(line)
        if found is None:
            raise Unreadable(line)
        size = int(found[1], 16)
        if size == 0:
            behind = _trailers(after)
            return None if behind is None else (body, behind)
        if len(after) < size + 2:
            return None
        if after[size : size + 2] != b"\r\n":
            raise Unreadable("no line ends a chunk")
        body, rest = body + after[:size], after[size + 2 :]


def _trailers(rest: bytes) -> bytes | None:
    while True:
        line, mark, rest = rest.partition(b"\r\n")
        if not mark:
            return None
        if not line:
            return rest
        _field(line)
