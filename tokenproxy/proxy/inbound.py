"""The leg towards the caller, on aiohttp's server: a body in, an answer out."""

import asyncio
import socket
import struct
from collections.abc import Sequence
from http import HTTPStatus

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import must_be_empty_body, rfc822_formatted_time
from multidict import CIMultiDict

from tokenproxy.proxy.answers import Answer
from tokenproxy.proxy.head import message_head
from tokenproxy.proxy.headers import Header

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_CONTENT = 204
RESET_AT_ONCE = struct.pack("ii", 1, 0)  # l_onoff, l_linger: close with a RST


def text_fields(headers: Sequence[Header]) -> CIMultiDict[str]:
    """Fields as aiohttp takes them: in order, with repeats."""
    return CIMultiDict(
        (name.decode("ascii"), value.decode("utf-8", "surrogateescape")) for name, value in headers
    )


def raw_fields(headers: CIMultiDict[str]) -> list[Header]:
    """The converse of `text_fields`."""
    return [
        (name.encode("ascii"), value.encode("utf-8", "surrogateescape"))
        for name, value in headers.items()
    ]


class CallerBody:
    """Reads a request's body; a caller that waits for a 100 is told to go on at the first read."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.waits = expects_continue(request)

    async def read(self) -> bytes:
        """The next bytes; none at the end."""
        if self.waits:
            self.waits = False
            await self._request.writer.write(CONTINUE)
            self._request.writer.output_size = 0  # what counts as sent begins after a 1xx
        return await self._request.content.readany()


def expects_continue(request: web.BaseRequest) -> bool:
    """Whether the caller holds its body back (RFC 9110 10.1.1; in HTTP/1.0 it means nothing)."""
    expect = request.headers.get(hdrs.EXPECT, "")
    return expect.lower() == "100-continue" and request.version >= aiohttp.HttpVersion11


def may_switch(request: web.BaseRequest) -> bool:
    """Whether it is a WebSocket handshake, behind which aiohttp's parser has stopped.

    It stops behind one that names that protocol alone, and what came then is in nobody's way.
    """
    protocol = request.protocol
    has_stopped = protocol._upgraded and not protocol._messages  # noqa: SLF001 - aiohttp tells nobody else
    return (
        has_stopped
        and request._message.upgrade  # noqa: SLF001 - likewise
        and request.method == hdrs.METH_GET
        and request.version == aiohttp.HttpVersion11  # RFC 9110 7.8: to be ignored in a 1.0 one
        and request.keep_alive
        and not request.body_exists
    )


def is_last(request: web.BaseRequest) -> bool:
    """Whether aiohttp's parser may get wrong what follows a request on its connection.

    It takes the last trailer of a body in chunks for the first field of the next request, and it
    loses what came in one piece with a request to switch to anything but WebSocket.
    """
    loses_rest = request._message.upgrade and not _names_websocket(request)  # noqa: SLF001 - as above
    return loses_rest or hdrs.TRANSFER_ENCODING in request.headers


def _names_websocket(request: web.BaseRequest) -> bool:
    return request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"


class Verbatim(web.StreamResponse):
    """An answer with exactly the fields that it was given, and framing.

    `length` is their Content-Length. aiohttp's own way is left out: it would lose bytes that are
    no UTF-8, and add a Content-Type, a Date and a Server.
    """

    def __init__(
        self, status: int, reason: str, fields: list[Header], *, length: int | None
    ) -> None:
        super().__init__(status=status, reason=reason)
        self._fields = fields
        self._length = length
        self._ends_with_connection = False
        self._transport: asyncio.Transport | None = None
        self._shown: CIMultiDict[str] | None = None

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields for an application's `on_response_prepare` to look at and to change."""
        if self._shown is None:
            self._shown = text_fields(self._fields)
        return self._shown

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        writer = self._payload_writer = request.writer
        self._req = request
        self._transport = request.transport
        await request._prepare_hook(self)  # noqa: SLF001 - as the method that this one replaces
        if self._shown is not None:
            self._fields = raw_fields(self._shown)
        in_1_0 = request.version < aiohttp.HttpVersion11
        unframed = self._length is None and not must_be_empty_body(request.method, self.status)
        self._ends_with_connection = unframed and in_1_0
        if not request.keep_alive or self._ends_with_connection or is_last(request):
            self.force_close()
        self._keep_alive = self._keep_alive is not False
        fields = self._allowed_fields()
        if unframed and not in_1_0:
            fields.append((b"Transfer-Encoding", b"chunked"))
        if self._keep_alive is in_1_0:  # in either case not what the version means by itself
            fields.append((b"Connection", b"keep-alive" if in_1_0 else b"close"))
        await writer.write(message_head(self._start_line(in_1_0=in_1_0), fields))
        if unframed and not in_1_0:
            writer.enable_chunking()
        return writer

    def _start_line(self, *, in_1_0: bool) -> bytes:
        line = f"HTTP/1.{0 if in_1_0 else 1} {self.status} {self.reason}"
        return line.encode("utf-8", "surrogateescape")

    def break_off(self, request: web.BaseRequest) -> None:
        """End the connection so that nobody takes the answer for whole.

        The transport may have been told to close by now, which it does a moment later.
        """
        is_lost = request.protocol._manager is None  # noqa: SLF001 - aiohttp tells nobody else
        if self._transport is None or is_lost:
            return
        if self._ends_with_connection:
            reset(self._transport)
        else:
            self._transport.abort()

    def _allowed_fields(self) -> list[Header]:
        if self.status != NO_CONTENT:
            return list(self._fields)
        # RFC 9110 8.6: none with a 204; with a 304 and to HEAD it tells what a GET would get.
        return [field for field in self._fields if field[0].lower() != b"content-length"]


class Own(Verbatim):
    """An answer of our own, its body with it."""

    def __init__(self, answer: Answer) -> None:
        date = (b"Date", rfc822_formatted_time().encode())  # RFC 9110 6.6.1
        reason = HTTPStatus(answer.status).phrase
        super().__init__(answer.status, reason, [*answer.headers, date], length=len(answer.body))
        self._content = answer.body
        if answer.close:
            self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the body, and with it the end."""
        has_body = not self._must_be_empty_body
        await super().write_eof(data or (self._content if has_body else b""))


def reset(transport: asyncio.WriteTransport) -> None:
    """End a connection with a RST: a FIN would be the good end of an answer without a length."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
    transport.abort()
