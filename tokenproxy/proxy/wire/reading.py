"""Requests out of bytes: the parser of one connection, and what it cannot read.

| phase   | what comes next                      | until                                     |
|---------|--------------------------------------|-------------------------------------------|
| REQUEST | a request, or for a while nothing    | its first byte has come: then HEAD        |
| HEAD    | the rest of a head                   | it is whole: then BODY                    |
| BODY    | a body and its trailers, or just an  | it has come: then REQUEST                 |
|         | end                                  |                                           |
| NOTHING | nothing that anybody would read      | the connection ends                       |

The connection that the reader belongs to is told of each head, and says who gets the body. It is
told as well of what is no request, and which answer that has earned.
"""

import re
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

import httptools

from tokenproxy.proxy import framing
from tokenproxy.proxy.guard import REFUSED_METHOD
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.request import Denied, Request
from tokenproxy.proxy.wire.inbound import (
    HEAD_TOO_LARGE,
    MALFORMED,
    UNKNOWN_METHOD,
    VERSION,
    Head,
    refusal,
)
from tokenproxy.proxy.wire.sweep import NEVER

# The parser stops within `TRACK`, wherever the bytes are cut.
_NOT_FOR_US = re.compile(rb"(?:^|\n)(?:TRACK|PRI)(?: |\Z)", re.IGNORECASE)
_CONNECTION = frozenset({b"connection", b"proxy-connection"})


class Phase(Enum):
    """What comes next on a connection."""

    REQUEST = auto()
    HEAD = auto()  # the rest of one
    BODY = auto()
    NOTHING = auto()  # that anybody would read


# A global is found faster than a member of an enum.
_REQUEST, _HEAD, _BODY = Phase.REQUEST, Phase.HEAD, Phase.BODY


class Receiver(Protocol):
    """Who takes the body of a request; one that `closes` is the last on its connection."""

    closes: bool

    def body_came(self, piece: bytes) -> None:
        """Some of it has come."""

    def body_ended(self) -> None:
        """All of it has come."""

    def body_broke_off(self) -> None:
        """It will not come whole."""


R = TypeVar("R", bound=Receiver)
R_co = TypeVar("R_co", bound=Receiver, covariant=True)


class Owner(Protocol[R_co]):
    """The connection that the requests come by."""

    def head_came(self, head: Head, denied: Denied | None) -> R_co:
        """A head is whole, or is `denied` for its form; gives who takes the body."""

    def stopped(self, rest: bytes) -> bytes:
        """The parser reads no further: `rest` may be another protocol's.

        Gives what is to be parsed all the same, as the next request.
        """

    def unreadable(self, denied: Denied) -> None:
        """What came is no request."""

    def failed(self, error: BaseException) -> None:
        """A fault of our own has met it."""


class Reader(Generic[R]):
    """Reads the requests of one connection.

    `receiver` takes the body that is coming; `begun` is how many requests began in what was parsed
    last; `deadline` is when what comes next must have come.
    """

    __slots__ = (
        "_earlier",
        "_has_piece",
        "_headers",
        "_owner",
        "_parser",
        "_segment",
        "_target",
        "_unbodied",
        "begun",
        "deadline",
        "phase",
        "receiver",
    )

    def __init__(self, owner: Owner[R]) -> None:
        self.begun = 0
        self.deadline = NEVER
        self.phase = Phase.REQUEST
        self.receiver: R | None = None
        self._owner = owner
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[Header] = []
        self._segment = b""
        self._earlier = b""  # what has come of a head in segments before
        self._has_piece = False  # of a body in the segment, or the end of a head
        self._unbodied = 0  # bytes that have come of a body and are none, since the last that was

    def parse(self, data: bytes) -> bytes:
        """Parse some of what has come; what is left of it, where the parser reads no further."""
        before = self.phase
        self._segment = data
        self.begun = 0
        rest = self._feed(data)
        if self.phase is _HEAD:
            self._keep(data, before)
        elif self.phase is _BODY:
            self._bound(len(data))
        self._segment = b""
        return rest

    def _feed(self, data: bytes) -> bytes:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._parser = httptools.HttpRequestParser(self)
            return self._owner.stopped(data[stop.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._owner.failed(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._malformed(error)
        return b""

    def _keep(self, data: bytes, before: Phase) -> None:
        """Keep what has come of a head that is not whole."""
        if before is not _HEAD or self.begun:
            self._earlier = b""
        self._earlier += data[-2 * framing.MAX_HEAD :]
        is_alone = before is not _BODY and self.begun <= 1
        if is_alone and len(self._earlier) > framing.MAX_HEAD:
            self._owner.unreadable(HEAD_TOO_LARGE)

    def _bound(self, size: int) -> None:
        """Bound what frames a body: extensions of chunks, and trailers, which the parser keeps."""
        self._unbodied = 0 if self._has_piece else self._unbodied + size
        self._has_piece = False
        is_endless = self._unbodied > framing.MAX_HEAD
        if is_endless and (receiver := self.broken_off()) is not None:
            receiver.body_broke_off()

    def broken_off(self) -> R | None:
        """Read no more; who took the body that was coming."""
        self.phase = Phase.NOTHING
        receiver, self.receiver = self.receiver, None
        return receiver

    def _malformed(self, error: httptools.HttpParserError) -> None:
        if self.phase is _BODY and (receiver := self.broken_off()) is not None:
            receiver.body_broke_off()
        elif _NOT_FOR_US.search(self._earlier + self._segment):
            self._owner.unreadable(REFUSED_METHOD)
        elif "HTTP version" in str(error):
            self._owner.unreadable(VERSION)
        elif isinstance(error, httptools.HttpParserInvalidMethodError):
            self._owner.unreadable(UNKNOWN_METHOD)
        else:
            self._owner.unreadable(MALFORMED)

    # -- what the parser tells ---------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self.begun += 1
        self.phase = _HEAD
        self._target = b""
        self._headers = []

    def on_url(self, part: bytes) -> None:
        """Some of its target."""
        self._target = self._target + part if self._target else part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field; after the body, one of its trailers, which go no further."""
        if self.phase is _HEAD:
            if value[-1:] <= b" " and value:
                value = value.rstrip(b" \t")
            self._headers.append((name, value))
        elif self.receiver is not None and _says_close(name, value):
            self.receiver.closes = True  # the parser has taken it at its word

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        parser = self._parser
        request = Request(
            method=parser.get_method(),
            target=self._target,
            headers=self._headers,
            version=parser.get_http_version(),
            has_body=False,
        )
        stops = parser.should_upgrade()
        head = Head(request, is_last=not parser.should_keep_alive(), may_switch=stops)
        size = len(self._segment) + len(self._earlier)
        denied = refusal(head, size, stops=stops) or self._line_refusal(request)
        self._earlier = b""
        self.phase = _BODY
        self._has_piece = True
        if denied is not None:  # of what cannot be read as it should be nothing is told
            request.target, request.headers = b"", ()
        self.receiver = self._owner.head_came(head, denied)

    def _line_refusal(self, request: Request) -> Denied | None:
        line = b"%b %b HTTP/%b\r\n" % (request.method, request.target, request.version.encode())
        if self._segment.startswith(line) or line in self._earlier + self._segment:
            return None
        return MALFORMED

    def on_body(self, piece: bytes) -> None:
        """Some of its body."""
        self._has_piece = True
        if self.receiver is not None:
            self.receiver.body_came(piece)

    def on_message_complete(self) -> None:
        """All of it has come."""
        receiver, self.receiver = self.receiver, None
        self._headers, self._target = [], b""
        if self.phase is _BODY:
            self.phase = _REQUEST
        self.deadline = NEVER
        if receiver is not None:
            receiver.body_ended()


def _says_close(name: bytes, value: bytes) -> bool:
    return name.lower() in _CONNECTION and b"close" in value.lower()
