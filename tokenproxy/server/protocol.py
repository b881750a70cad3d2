"""aiohttp's server with answers and logs of our own: its own repeat what the caller sent."""

import asyncio
import logging
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.web_protocol import ERROR, RequestHandler, RequestPayloadError

from tokenproxy.events import InternalError, Observe, RequestServed
from tokenproxy.proxy.answers import ErrorCode, answer
from tokenproxy.proxy.inbound import Own

MAX_LINE = 16 << 10  # a request line or a header field; beyond it 431
MAX_FIELDS = 128
READ_BUFFER = 64 << 10  # bytes of a body; at twice as many the caller has to wait
KEEP_ALIVE = 75.0
LINGER = 5.0  # seconds in which a body that nobody wanted is read away

SILENT = logging.getLogger("tokenproxy.silent")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
SILENT.disabled = True

TOO_MANY_FIELDS = "Too many headers received"  # the only word of aiohttp's parser for it
DETAILS = {
    ErrorCode.HEAD_TOO_LARGE: "The request's head is too large.",
    ErrorCode.NOT_IMPLEMENTED: "The request's method is not known.",
    ErrorCode.BAD_REQUEST: "The request is not well-formed HTTP.",
    ErrorCode.INTERNAL_ERROR: "The proxy has failed on this request; its log tells more.",
}

# What stands for a request that could not be read: answered in the version that we speak.
MALFORMED = ERROR._replace(version=HttpVersion11)

Message = tuple[Any, StreamReader]  # its head, or what was wrong with it; and its body


class Protocol(RequestHandler):
    """One connection of a caller."""

    __slots__ = ("_taken",)

    _manager: "Server | None"

    def __init__(self, manager: "Server", **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._taken: Message | None = None

    def taken(self, message: RawRequestMessage, payload: StreamReader) -> None:
        """Note the request that is worked at."""
        self._taken = message, payload

    def data_received(self, data: bytes) -> None:
        """Take in what has come; a body that turns out malformed ends, which aiohttp forgets."""
        super().data_received(data)
        if self._messages and not isinstance(self._messages[-1][0], RawRequestMessage):
            last = self._messages[-2] if len(self._messages) > 1 else self._taken
            if last is not None and not last[1].is_eof():
                last[1].set_exception(RequestPayloadError("malformed"))

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own is: bool or None
        """Whether the connection stays open for the answer (contract 3.1).

        A caller who asks once and says so may close its own side after a whole request; from
        all others the end of what they send means that they have gone.
        """
        last = self._messages[-1] if self._messages else self._taken
        if last is None or not _is_last_request(*last):
            return False
        self._close = True
        return True

    def drain(self) -> None:
        """Close the connection where nothing goes on; a request under way ends first."""
        if self._waiter is not None and not self._waiter.done():
            self.force_close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the rest of an answer; while the server drains, it is the connection's last."""
        if self._manager is not None and self._manager.draining:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused, and close: where the next request begins is unknown."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun and cannot be taken back")
        code = _code(status, exc)
        if self._manager is not None:
            self._manager.announce(code, exc)
        return Own(answer(code, detail=DETAILS[code], close=True))


class Server(web.Server):
    """Makes a `Protocol` for each connection; `empty` is set while there is none."""

    def __init__(self, handler: Any, observe: Observe) -> None:
        self._observe = observe
        self.draining = False
        self.empty = asyncio.Event()
        self.empty.set()
        super().__init__(handler, handler_cancellation=True)

    def drain(self) -> None:
        """Take no more requests. aiohttp's own way would cut the bodies that are still coming."""
        self.draining = True
        for connection in self.connections:
            if isinstance(connection, Protocol):
                connection.drain()

    def abort(self) -> None:
        """End all connections, so that nobody takes an answer for whole."""
        for connection in self.connections:
            if connection.transport is not None:
                connection.transport.abort()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection in; one that comes too late is closed."""
        super().connection_made(handler, transport)
        self.empty.clear()
        if self.draining:
            transport.close()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Count it out, once its request has ended too."""
        task = handler._task_handler  # noqa: SLF001 - as the method that this one extends
        super().connection_lost(handler, exc)
        if task is None:
            self._look_if_empty()
        else:
            task.add_done_callback(self._look_if_empty)

    def _look_if_empty(self, _: object = None) -> None:
        if not self.connections:
            self.empty.set()

    def announce(self, code: ErrorCode, error: BaseException | None) -> None:
        """Tell of a request that never got as far as a route."""
        if code is ErrorCode.INTERNAL_ERROR:
            self._observe(InternalError("", type(error).__name__))
        self._observe(
            RequestServed(
                route="",
                method="",
                path="",
                status=code.status,
                seconds=0.0,
                bytes_in=0,
                bytes_out=0,
                replayed=False,
                code=code.value,
            )
        )

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        if message is ERROR:
            message = MALFORMED
        if isinstance(protocol, Protocol):
            protocol.taken(message, payload)
        return _Request(message, payload, protocol, writer, task, self._loop)

    def __call__(self) -> Protocol:
        """A protocol for a new connection."""
        return Protocol(
            self,
            loop=self._loop,
            keepalive_timeout=KEEP_ALIVE,
            logger=SILENT,
            access_log=SILENT,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_FIELDS,
            read_bufsize=READ_BUFFER,
            lingering_time=LINGER,
            auto_decompress=False,
        )


class _Request(web.BaseRequest):
    """A request whose answer says when it is the connection's last."""

    @property
    def keep_alive(self) -> bool:
        manager = self.protocol._manager  # noqa: SLF001 - aiohttp tells nobody else
        return super().keep_alive and not (isinstance(manager, Server) and manager.draining)


def _is_last_request(message: Any, payload: StreamReader) -> bool:
    if not isinstance(message, RawRequestMessage) or not payload.is_eof():
        return False
    return message.should_close or message.version == HttpVersion10


def _code(status: int, error: BaseException | None) -> ErrorCode:
    match error:
        case LineTooLong():
            return ErrorCode.HEAD_TOO_LARGE
        case BadHttpMethod():
            return ErrorCode.NOT_IMPLEMENTED
        case _ if getattr(error, "message", None) == TOO_MANY_FIELDS:
            return ErrorCode.HEAD_TOO_LARGE
        case _:
            is_ours = status >= ErrorCode.INTERNAL_ERROR.status
            return ErrorCode.INTERNAL_ERROR if is_ours else ErrorCode.BAD_REQUEST
