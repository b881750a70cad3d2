"""The API behind all peers, as cheap as can be: `python -m bench.upstream PORT TLS_PORT PEM`.

| request             | answer                                                                 |
|---------------------|------------------------------------------------------------------------|
| GET /small          | 95 bytes of JSON, without looking at the rest of the head              |
| any other           | the same, once the body has arrived                                    |
| GET /large          | 64 KiB                                                                 |
| GET /huge           | 100 MB, as fast as they are taken                                      |
| GET /events         | server-sent events without end, `EVENTS_A_SECOND`                      |
| GET /echo           | a WebSocket that sends each small message back                         |
| GET /authorization  | the Authorization header that arrived                                  |
| POST /token/LIFE    | a token endpoint of OAuth 2 whose tokens live that many seconds        |

A body is framed by Content-Length, or by chunks whose end is known by its bytes: the bench's own
bodies hold no such bytes. Whoever asks with `Expect: 100-continue` gets a 100 (RFC 9110 10.1.1).
"""

import asyncio
import base64
import hashlib
import json
import re
import ssl
import sys
from collections.abc import Callable
from typing import cast

import uvloop

HUGE = 100_000_000
LARGE = 64 << 10
PIECE = bytes(256 << 10)
EVENTS_A_SECOND = 10
LAST_CHUNK = b"0\r\n\r\n"
WEBSOCKET_KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
MASKED = 0x80
LONGEST_MESSAGE = 125  # a longer one has its length elsewhere: RFC 6455 5.2
FRAME_HEAD = 6  # of a short masked message
HEADER = re.compile(rb"\r\n([!-9;-~]+):[ \t]*([^\r]*)")


def _answer(body: bytes, kind: bytes = b"application/json") -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-store\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (kind, len(body), body)
    )


SMALL = _answer(
    b'{"id": 4711, "name": "Something in the shop", '
    b'"price": "123.45", "stock": 425, "tags": ["new"]}'
)
LARGE_ANSWER = _answer(bytes(LARGE), b"application/octet-stream")
HUGE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Length: %d\r\n\r\n" % HUGE
)
EVENTS_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
EVENT = b'event: price\ndata: {"symbol": "TOKEN", "price": "123.45", "volume": 678901}\n\n'
EVENT_CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
ANSWERS = {b"/large": LARGE_ANSWER, b"/huge": HUGE_HEAD, b"/events": EVENTS_HEAD}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)


class Streams:
    """Everybody who is being sent events."""

    def __init__(self) -> None:
        self._open: set[Api] = set()
        self._due = asyncio.get_running_loop().time()

    def add(self, stream: "Api") -> None:
        """Send it each event from now on."""
        self._open.add(stream)

    def discard(self, stream: "Api") -> None:
        """Send it no more."""
        self._open.discard(stream)

    def send(self) -> None:
        """One event to each; whoever has fallen behind is left out."""
        for stream in self._open:
            stream.send_event()
        self._due += 1 / EVENTS_A_SECOND
        asyncio.get_running_loop().call_at(self._due, self.send)


class Api(asyncio.Protocol):
    """One connection; `_take` is what the next bytes are for."""

    _transport: asyncio.Transport

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._buffer = b""
        self._answer = b""
        self._left = 0
        self._paused = False
        self._take: Callable[[bytes], None] = self._take_head

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no such class

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._left = 0
        self._streams.discard(self)

    def data_received(self, data: bytes) -> None:
        """Most are whole small requests."""
        if data.startswith(b"GET /small ") and data.endswith(b"\r\n\r\n"):
            self._transport.write(SMALL)
        else:
            self._take(data)

    def pause_writing(self) -> None:
        """The peer takes no more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self._paused = False
        self._send_huge()

    def send_event(self) -> None:
        """One event, unless this stream is behind."""
        if not self._paused:
            self._transport.write(EVENT_CHUNK)

    def _take_head(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        self._buffer = b""
        method, target, _ = head.split(b" ", 2)
        headers = {name.lower(): value for name, value in HEADER.findall(head)}
        self._answer = self._choose(method, target, headers)
        if b"expect" in headers:
            self._transport.write(CONTINUE)
        if b"transfer-encoding" in headers:
            self._take = self._take_chunks
            self._take_chunks(body)
        elif length := int(headers.get(b"content-length", 0)):
            self._left, self._take = length, self._take_counted
            self._take_counted(body)
        else:
            self._finish()

    def _choose(self, method: bytes, target: bytes, headers: dict[bytes, bytes]) -> bytes:
        if method == b"POST" and target.startswith(b"/token/"):
            return _token(int(target.rpartition(b"/")[2]))
        match target:
            case b"/echo":
                return SWITCHING % _accept(headers.get(b"sec-websocket-key", b""))
            case b"/authorization":
                return _answer(headers.get(b"authorization", b""), b"text/plain")
            case _:
                return ANSWERS.get(target, SMALL)

    def _take_counted(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0:
            self._left = 0
            self._finish()

    def _take_chunks(self, data: bytes) -> None:
        self._buffer = (self._buffer + data)[-len(LAST_CHUNK) :]
        if self._buffer == LAST_CHUNK:
            self._buffer = b""
            self._finish()

    def _finish(self) -> None:
        self._take = self._take_head
        self._transport.write(self._answer)
        if self._answer is HUGE_HEAD:
            self._left = HUGE
            self._send_huge()
        elif self._answer is EVENTS_HEAD:
            self._streams.add(self)
        elif self._answer.startswith(b"HTTP/1.1 101 "):
            self._take = self._echo

    def _send_huge(self) -> None:
        while self._left > 0 and not self._paused:
            piece = PIECE[: self._left]
            self._left -= len(piece)
            self._transport.write(piece)

    def _echo(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= FRAME_HEAD:
            length = self._buffer[1] & ~MASKED
            if length > LONGEST_MESSAGE:
                self._transport.abort()
                return
            frame = self._buffer[: FRAME_HEAD + length]
            if len(frame) < FRAME_HEAD + length:
                return
            self._buffer = self._buffer[len(frame) :]
            self._transport.write(bytes((frame[0], length)) + _unmask(frame[2:6], frame[6:]))


def _unmask(key: bytes, masked: bytes) -> bytes:
    whole = (key * (len(masked) // 4 + 1))[: len(masked)]
    return (int.from_bytes(whole) ^ int.from_bytes(masked)).to_bytes(len(masked))


def _accept(key: bytes) -> bytes:
    digest = hashlib.sha1(key + WEBSOCKET_KEY, usedforsecurity=False).digest()
    return base64.b64encode(digest)


def _token(life: int) -> bytes:
    return _answer(
        json.dumps({"access_token": "x" * 300, "token_type": "Bearer", "expires_in": life}).encode()
    )


async def _serve(port: int, tls_port: int, certificate: str) -> None:
    loop = asyncio.get_running_loop()
    streams = Streams()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    await loop.create_server(lambda: Api(streams), "127.0.0.1", port, backlog=4096)
    await loop.create_server(lambda: Api(streams), "127.0.0.1", tls_port, ssl=tls, backlog=4096)
    streams.send()
    await loop.create_future()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
