"""aiohttp's client, mended in what would lose or change something of a message.

| aiohttp 3.14                                                | here                           |
|-------------------------------------------------------------|--------------------------------|
| drops header bytes that are no UTF-8, and the first of two  | the head is written as given   |
| fields whose names differ in case                           |                                |
| waits for ever where a chunk of an answer is malformed      | the answer breaks off          |
| takes a reset for the end of an answer without a length     | the answer breaks off          |
| takes what came unasked on an idle connection for an answer | such a connection is not used  |
| sends every idempotent request without a body twice         | only where a kept-alive        |
|                                                             | connection was closed meanwhile|
| lets control characters and unknown codings through         | that is no answer              |
| lets an upload stand still for ever                         | `timeouts.idle` ends it        |
| counts no time after a 1xx, and all anew with every byte    | one deadline for the head of   |
|                                                             | the answer proper              |
| stops an upload as soon as an answer has ended              | only where it is no 2xx        |
| takes any 101 for an answer, and closes at an end behind it | only one that was asked for;   |
|                                                             | the other way stays open       |

**An answer that comes early.** One that ends before the request's body has gone out, on a
connection that stays open, comes from an upstream that goes on reading (RFC 9112 9.3: it reads
all of the body, or closes). After a 2xx it may well use what it reads, so the rest is sent.
After any other status it has no use for it, and to cut the upload ends the matter sooner.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from aiohttp import ClientHandlerType, HttpVersion10, HttpVersion11, StreamReader, hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection as Lease
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter

from tokenproxy.errors import UpstreamError, UpstreamFault
from tokenproxy.proxy.body import Body
from tokenproxy.proxy.head import is_clean
from tokenproxy.proxy.verdict import may_retry_stale
from tokenproxy.tasks import spawn

FIRST_STATUS, SWITCHING_PROTOCOLS, FIRST_FINAL_STATUS = 100, 101, 200
SUCCESS = 2  # hundreds

Answer = tuple[RawResponseMessage, StreamReader]


@dataclass(slots=True)
class Message:
    """A request as it goes out. Without a length in its head, a body is sent in chunks.

    `head` is asked anew for each send: a proof in it is good once (RFC 9449 11.1).
    """

    method: str
    head: Callable[[], bytes]
    body: Body | None
    protocols: Collection[str] = ()  # in lower case: those that a 101 may switch to


class Connection(ResponseHandler):
    """One connection to an upstream."""

    used = False
    status = 0  # of the answer to the request that is under way; 0 until its head has come
    upload: "asyncio.Task[None] | None" = None
    has_ended = False  # the upstream sends no more, behind a 101
    _protocols: Collection[str] = ()
    _deadline: asyncio.TimerHandle | None = None

    def begin(self, protocols: Collection[str]) -> None:
        """A request goes out, which may switch to one of these protocols."""
        self._protocols = protocols
        self.used = True
        self.status = 0
        self.upload = None

    def sent(self, response_head: float | None) -> None:
        """It has gone out whole: the head of its answer is due in so many seconds."""
        if self.status:
            self.start_timeout()
        elif response_head is not None:
            self._deadline = self._loop.call_later(response_head, self._on_read_timeout)

    def start_timeout(self) -> None:
        """Count the upstream's silence, unless it has said all, or it is us who do not read."""
        has_ended = self._payload is None or self._payload.is_eof()
        if not self._reading_paused and not has_ended:
            super().start_timeout()

    def progressed(self) -> None:
        """A part of the body has gone out: silence is counted anew, where it is counted."""
        if self._read_timeout_handle is not None:
            self.start_timeout()

    def feed_data(self, data: Answer, size: int = 0) -> None:
        """Take in the head of an answer, where it is one."""
        head = data[0]
        if not _is_sound(head) or (
            head.code == SWITCHING_PROTOCOLS and not _is_asked(head, self._protocols)
        ):
            self.break_off(HttpProcessingError(message="the head is malformed"))
            return
        if head.code >= FIRST_FINAL_STATUS or head.code == SWITCHING_PROTOCOLS:
            self.status = head.code
            self._drop_deadline()
        super().feed_data(data, size)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a bool, too
        """The upstream sends no more: behind a 101 it may go on reading."""
        super().eof_received()
        self.has_ended = self._upgraded
        return self._upgraded and self.transport is not None and self.transport.can_write_eof()

    def hand_over(self) -> bytes:
        """Have no more to do with what comes; what came behind the 101 is given."""
        self._drop_timeout()
        rest, self._tail = self._tail, b""
        return rest

    def break_off(self, error: Exception) -> None:
        """End it for both who wait for an answer and who read one."""
        content = self._payload
        self.abort()
        self.set_exception(error)
        if content is not None and not content.is_eof():
            content.set_exception(error)

    def connection_lost(self, exc: BaseException | None) -> None:
        """An answer that has not ended breaks off, however its end was to be known."""
        self._drop_deadline()
        if self.upload is not None:
            self.upload.cancel()
        content = self._payload
        was_open = content is not None and not content.is_eof()
        super().connection_lost(exc)
        if content is None or not was_open or content.exception() is not None:
            return
        if exc is not None or not content.is_eof():
            content.set_exception(aiohttp.ClientPayloadError("the answer broke off"))

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _is_sound(head: RawResponseMessage) -> bool:
    if head.version not in _VERSIONS or head.code < FIRST_STATUS:
        return False
    codings = head.headers.getall(hdrs.TRANSFER_ENCODING, ())
    if codings and [value.lower() for value in codings] != ["chunked"]:
        return False  # RFC 9112 6.1: its end, or its bytes, would be taken for something else
    return is_clean(head.reason.encode("utf-8", "surrogateescape"), head.raw_headers)


def _is_asked(head: RawResponseMessage, protocols: Collection[str]) -> bool:
    """Whether this 101 switches to one of them, and has no body (RFC 9110 7.8, 15.2)."""
    named = ", ".join(head.headers.getall(hdrs.UPGRADE, ()))
    length = head.headers.get(hdrs.CONTENT_LENGTH, "0")
    is_bare = hdrs.TRANSFER_ENCODING not in head.headers and not length.strip("0")
    # There is a letter beyond ASCII whose lower case is a `k`.
    return head.upgrade and is_bare and named.isascii() and named.lower() in protocols


_VERSIONS = frozenset({HttpVersion10, HttpVersion11})


class Response(aiohttp.ClientResponse):
    """An answer whose end does not always end the upload."""

    def _response_eof(self) -> None:
        protocol = self._connection.protocol if self._connection is not None else None
        goes_on = isinstance(protocol, Connection) and protocol.status // 100 == SUCCESS
        if self._writer is None or not goes_on:
            super()._response_eof()
            return
        self._closed = True
        self._release_connection()  # once the upload has ended


class Connector(aiohttp.TCPConnector):
    """Makes connections of our own kind."""

    def __init__(self, *, limit: int, limit_per_host: int) -> None:
        super().__init__(limit=limit, limit_per_host=limit_per_host)
        factory: partial[Any] = partial(Connection, loop=self._loop)
        self._factory = factory


class Sending:
    """A client middleware: sends the message, and once more on a new connection if need be."""

    def __init__(self, message: Message, idle: float, response_head: float | None) -> None:
        self.message = message
        self.idle = idle
        self.response_head = response_head

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """The answer's head; raises UpstreamError."""
        if not isinstance(request, VerbatimRequest):
            raise TypeError("only sessions of `open_session` can send this")
        request.sending = self
        try:
            return await self._send(request, handler)
        except (aiohttp.ClientError, OSError) as error:
            # Ours from here on: aiohttp would send again what may have been carried out.
            raise translated(error) from error

    async def _send(
        self, request: "VerbatimRequest", handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            if not self._may_go_again(request, error):
                raise
        request.fresh = True
        return await handler(request)

    def _may_go_again(self, request: "VerbatimRequest", error: Exception) -> bool:
        if isinstance(error, aiohttp.ClientConnectorError | TimeoutError):
            return False
        if request.refused:
            return True
        body = self.message.body
        return may_retry_stale(
            self.message.method.encode(),
            sent_on_reused_connection=request.reused,
            answer_begun=_has_begun(error),
            body_replayable=body is None or (body.replayable and not body.broke_off),
        )


def _has_begun(error: Exception) -> bool:
    """Whether some of an answer's head had come: aiohttp then gives that as the message."""
    message = getattr(error, "message", None)
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(message, str)


class VerbatimRequest(aiohttp.ClientRequest):
    """A request whose head and body are written as `sending` has them."""

    sending: Sending
    fresh = False  # to go on a new connection
    reused = False  # went on one that had been used before
    refused = False  # not a byte of it has been sent

    @property
    def connection_key(self) -> ConnectionKey:
        """Where in the pool a connection is looked for; nothing waits under a key of its own."""
        key = super().connection_key
        return key._replace(proxy_headers_hash=id(self)) if self.fresh else key

    async def send(self, lease: Lease) -> aiohttp.ClientResponse:
        """Write the head, and begin with the body."""
        protocol = lease.protocol
        if not isinstance(protocol, Connection):
            raise TypeError("only sessions of `open_session` can send this")
        self.refused, self.reused = protocol.should_close, protocol.used
        if self.refused:
            raise aiohttp.ServerDisconnectedError
        message = self.sending.message
        protocol.begin(message.protocols)
        if self.fresh:
            protocol.force_close()
        writer = StreamWriter(protocol, self.loop)
        await writer.write(message.head())
        if message.body is None:
            protocol.sent(self.sending.response_head)
        else:
            uploading = self._upload(message.body, writer, protocol)
            protocol.upload = spawn(uploading, name="upload")
        return self._answer(writer, protocol.upload)

    def _answer(
        self, writer: StreamWriter, upload: "asyncio.Task[None] | None"
    ) -> aiohttp.ClientResponse:
        return Response(
            self.method,
            self.url,
            writer=upload,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=[],
            loop=self.loop,
            session=self.session,
            stream_writer=writer,
        )

    async def _upload(self, body: Body, writer: StreamWriter, protocol: Connection) -> None:
        """Send the body; if not to its end, then nothing more goes over the connection."""
        if body.length is None:
            writer.enable_chunking()
        try:
            async for piece in body:
                async with asyncio.timeout(self.sending.idle):
                    await writer.write(piece)
                protocol.progressed()
            await writer.write_eof()
            protocol.sent(self.sending.response_head)
        except asyncio.CancelledError:
            protocol.abort()
            raise
        except TimeoutError:
            protocol.break_off(aiohttp.SocketTimeoutError("the upload stands still"))
        except Exception as error:  # noqa: BLE001 - the caller's, the spool's or the connection's
            protocol.break_off(aiohttp.ClientOSError(None, type(error).__name__))


def translated(error: Exception) -> UpstreamError:
    """What aiohttp raises, sorted by what our callers are told."""
    return UpstreamError(type(error).__name__, _fault(error))


def _fault(error: Exception) -> UpstreamFault:
    match error:
        case aiohttp.ClientSSLError():
            return UpstreamFault.TLS
        case aiohttp.ConnectionTimeoutError():
            return UpstreamFault.CONNECT_TIMEOUT
        case TimeoutError():
            return UpstreamFault.RESPONSE_TIMEOUT
        case aiohttp.ClientConnectorError() | aiohttp.InvalidURL():
            return UpstreamFault.UNREACHABLE
        case aiohttp.ClientConnectionError() | OSError():
            return UpstreamFault.BROKE_OFF
        case _:
            return UpstreamFault.PROTOCOL
