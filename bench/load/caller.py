"""One connection of the load generator: a request, then its answer, with as little work as can be.

    idle --send--> head --its end--> counted or chunked --the body's end--> idle

A chunked body is over where its bytes end as the last chunk does: the upstream's hold no such
bytes.
"""

import asyncio
import re
from collections.abc import Callable
from enum import Enum, auto
from itertools import count
from typing import cast

from bench.processes import LOOPBACK

PIECE = bytes(256 << 10)
WHOLE = 64 << 10  # a body up to this is sent in one write with its head
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK = b"0\r\n\r\n"
ID = b"id-of-a-request-"
ids = count()
BROWSER = (
    "Host: {host}\r\n"
    "Connection: {connection}\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: application/json, text/plain, */*\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Referer: http://{host}/shop/index.html\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: de,en-US;q=0.7,en;q=0.3\r\n"
)


UPGRADE = (
    "Upgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def request_head(
    port: int, path: str, body: int | None = None, *, upgrade: bool = False, unique: bool = False
) -> bytes:
    """A browser's request, a POST if it has a body of that many bytes; `unique` with an `ID`."""
    headers = BROWSER.format(
        host=f"{LOOPBACK}:{port}", connection="Upgrade" if upgrade else "keep-alive"
    )
    if upgrade:
        headers += UPGRADE
    if body is not None:
        headers += f"Content-Type: application/octet-stream\r\nContent-Length: {body}\r\n"
    if unique:
        path += f"?id={ID.decode()}"
        headers += f"X-Request-Id: {ID.decode()}\r\n"
    return f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\n{headers}\r\n".encode()


class Failed(Exception):
    """A peer answered what it should not."""


class State(Enum):
    """What the next bytes are."""

    IDLE = auto()
    HEAD = auto()
    COUNTED = auto()
    CHUNKED = auto()


class Caller(asyncio.Protocol):
    """Calls `answered` with itself after each whole answer, and `ended` when the connection ends.

    `ended` is told of the failure, or of None where the peer closed the connection.
    """

    EXPECTED = b"HTTP/1.1 200 "
    _transport: asyncio.Transport

    def __init__(
        self,
        head: bytes,
        body: int,
        answered: Callable[["Caller"], None],
        ended: Callable[["Caller", Failed | None], None],
    ) -> None:
        self._whole = head + bytes(body) if body <= WHOLE else head
        self._rest = 0 if body <= WHOLE else body
        self._answered, self._ended = answered, ended
        self._state = State.IDLE
        self._buffer = b""
        self._left = 0
        self._unsent = 0
        self._paused = False
        self._failure: Failed | None = None
        self.began = 0.0  # for whoever measures latencies

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no such class

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so."""
        del exc
        self._unsent = 0
        self._ended(self, self._failure)

    def send(self) -> None:
        """The next request."""
        self._state = State.HEAD
        self._transport.write(self._next())
        self._unsent = self._rest
        self._send_rest()

    def _next(self) -> bytes:
        if ID not in self._whole:
            return self._whole
        return self._whole.replace(ID, b"%016d" % next(ids))

    def close(self) -> None:
        """At once."""
        self._transport.abort()

    def pause_writing(self) -> None:
        """No more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on with the body."""
        self._paused = False
        self._send_rest()

    def _send_rest(self) -> None:
        while self._unsent and not self._paused:
            piece = PIECE[: self._unsent]
            self._unsent -= len(piece)
            self._transport.write(piece)

    def data_received(self, data: bytes) -> None:
        """Follow the states."""
        match self._state:
            case State.HEAD:
                self._take_head(data)
            case State.COUNTED:
                self._take_counted(len(data))
            case State.CHUNKED:
                self._take_chunked(data)
            case State.IDLE:
                self._fail("it sent what nobody asked for", data)

    def _take_head(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:  # noqa: PLR2004 - not found
            return
        whole, self._buffer = self._buffer, b""
        if not whole.startswith(self.EXPECTED):
            self._fail("it answered", whole)
        elif length := LENGTH.search(whole, 0, end):
            self._state, self._left = State.COUNTED, int(length[1])
            self._take_counted(len(whole) - end)
        else:
            self._state = State.CHUNKED
            self._take_chunked(whole[end:])

    def _take_counted(self, count: int) -> None:
        self._left -= count
        if self._left <= 0:
            self._finish()

    def _take_chunked(self, data: bytes) -> None:
        self._buffer = (self._buffer + data[-len(LAST_CHUNK) :])[-len(LAST_CHUNK) :]
        if self._buffer == LAST_CHUNK:
            self._buffer = b""
            self._finish()

    def _finish(self) -> None:
        self._state = State.IDLE
        self._answered(self)

    def _fail(self, why: str, data: bytes) -> None:
        self._failure = Failed(f"{why} {data[:80]!r}")
        self._transport.abort()
