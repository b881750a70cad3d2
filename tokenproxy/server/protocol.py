"""aiohttp's server with answers and logs of our own: its own repeat what the caller sent."""

import asyncio
import logging
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import ERROR, RequestHandler, RequestPayloadError, _ErrInfo

from tokenproxy.events import InternalError, Observe, RequestServed
from tokenproxy.proxy.answers import ErrorCode
from tokenproxy.proxy.framing import MAX_HEAD
from tokenproxy.proxy.inbound import Own, reset
from tokenproxy.server.leaving import LAST_REQUEST, LOOK_EVERY, Sight, Socket, Watch, unread
from tokenproxy.server.refusals import code_for, refused

MAX_LINE = 16 << 10  # a request line or a header field; beyond it 431
MAX_FIELDS = 128
READ_BUFFER = 64 << 10  # bytes of a body; at twice as many the caller has to wait
KEEP_ALIVE = 75.0
LINGER = 5.0  # seconds in which a body that nobody wanted is read away

SILENT = logging.getLogger("tokenproxy.silent")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
SILENT.disabled = True

# What stands for a request that could not be read: answered in the version that we speak.
MALFORMED = ERROR._replace(version=HttpVersion11)

Message = tuple[Any, StreamReader]  # its head, or what was wrong with it; and its body


class Protocol(RequestHandler):
    """One connection of a caller."""

    __slots__ = ("_deaf", "_half_closed", "_head_size", "_taken", "_unread")

    _manager: "Server | None"

    def __init__(self, manager: "Server", **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._taken: Message | None = None
        self._half_closed = False
        self._head_size = 0  # bytes of a head that has not come to its end
        self._deaf = False  # to what comes behind a head that is too large
        self._unread = b""  # the piece after which reading was paused: it may not be parsed yet

    @property
    def _last(self) -> Message | None:
        """The last request that has come, as far as it is parsed."""
        return self._messages[-1] if self._messages else self._taken

    @property
    def _is_idle(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def taken(self, message: RawRequestMessage, payload: StreamReader) -> None:
        """Note the request that is worked at; after a FIN, the last one is the last to come."""
        self._taken = message, payload
        if self._half_closed and not self._messages:
            self._close = True

    # -- what comes --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take in what has come."""
        if self._deaf:
            return
        known, last = self._request_count, self._last
        in_body = last is not None and not last[1].is_eof()
        super().data_received(data)
        if self._request_count != known:
            self._head_size = 0
            self._end_malformed_body()
        elif not in_body and not self._upgraded:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD:
                self._refuse_head()
        if data and (self._reading_paused or self._buffer_paused):
            self._unread = data

    def _end_malformed_body(self) -> None:
        """Where the parser gave up in the middle of a body, that ends, which aiohttp forgets."""
        if not isinstance(self._messages[-1][0], RawRequestMessage):
            last = self._messages[-2] if len(self._messages) > 1 else self._taken
            if last is not None and not last[1].is_eof():
                last[1].set_exception(RequestPayloadError("malformed"))

    def _refuse_head(self) -> None:
        self._deaf = True
        error = LineTooLong(b"", MAX_HEAD)
        self._messages.append((_ErrInfo(error.code, error, error.message), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- who leaves --------------------------------------------------------------------------

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own is: bool or None
        """Whether the connection stays open for answers (contract 3.1).

        A caller who says that a request is its last may close its own side after it, and gets
        all answers; from all others the end of what they send means that they have gone.
        """
        last = self._last
        if self._is_idle or last is None or not (_says_last(last[0]) and last[1].is_eof()):
            return False
        self._half_closed = True
        if not self._messages:
            self._close = True
        return True

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        if self._manager is not None:
            self._manager.paused.add(self)

    def _resume_transport_reading(self) -> None:
        self._unread = b""
        super()._resume_transport_reading()

    @property
    def paused_socket(self) -> Socket | None:
        """The socket, while it is open and not read from."""
        if self.transport is None or self.transport.is_closing():
            return None
        found: Socket | None = self.transport.get_extra_info("socket")
        return found if self._reading_paused or self._buffer_paused else None

    def seen(self, sight: Sight) -> None:
        """End the connection of a caller who has left while it was not read from."""
        if sight is Sight.HERE or (sight is Sight.FINISHED and self._may_be_half_closed()):
            return
        if self.transport is not None:
            self.transport.abort()

    def _may_be_half_closed(self) -> bool:
        last, sock = self._last, self.paused_socket
        if last is not None and _says_last(last[0]):
            return True
        return sock is not None and LAST_REQUEST.search(self._unread + unread(sock)) is not None

    # -- answers -----------------------------------------------------------------------------

    def drain(self) -> None:
        """Close the connection where nothing goes on; a request under way ends first."""
        if self._is_idle:
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
        code = code_for(status, exc)
        if self._manager is not None:
            self._manager.announce(code, exc)
        return Own(refused(code))


class Server(web.Server):
    """Makes a `Protocol` for each connection; `empty` is set while there is none.

    Connections that are not read from are looked at each `look_every` seconds.
    """

    def __init__(self, handler: Any, observe: Observe, *, look_every: float = LOOK_EVERY) -> None:
        super().__init__(handler, handler_cancellation=True)
        self._observe = observe
        self.draining = False
        self.empty = asyncio.Event()
        self.empty.set()
        self.paused = Watch(self._loop, look_every)

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
                reset(connection.transport)

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


def _says_last(message: Any) -> bool:
    """Whether a request is the last one, by its own word or by its version's."""
    if not isinstance(message, RawRequestMessage):
        return False
    return message.should_close or message.version == HttpVersion10
