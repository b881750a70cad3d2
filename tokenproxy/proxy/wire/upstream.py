"""The leg towards upstreams: one connection, one request and its answer at a time.

What a connection gets without having been asked, it was not asked by us: it is closed, and
never taken for the answer to the next request. So are bytes behind the end of an answer.
"""

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from tokenproxy.errors import UpstreamFault
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.wire.outbound import AnswerHead, End, understood

if TYPE_CHECKING:
    from tokenproxy.proxy.wire.pool import Pool

MAX_HEAD = 256 << 10  # cookies and CSP headers grow large; beyond this it is an attack
MAX_FIELD = 64 << 10
MAX_FIELDS = 512
HIGH_WATER = 1 << 16
OLD = "1.0"  # what the parser takes Proxy-Connection's word for: such connections are used once


class Client(Protocol):
    """Who waits for the answer."""

    def answer_head(self, head: AnswerHead) -> None:
        """A head has come: the final one, or one before it."""

    def answer_piece(self, piece: bytes) -> None:
        """Some of the body has come."""

    def takes(self, head: AnswerHead) -> bool:
        """Whether an answer with that head, come before, may be given to `answer_whole`."""

    def answer_whole(self, head: AnswerHead, body: bytes) -> None:
        """Such an answer has come, in one piece."""

    def answer_end(self, trailers: list[Header]) -> None:
        """The answer has come whole."""

    def answer_lost(self, fault: UpstreamFault) -> None:
        """It will not come, or not whole."""

    def switched(self, head: AnswerHead, rest: bytes) -> None:
        """The upstream speaks another protocol from here on, `rest` first."""

    def fault(self, error: Exception) -> None:
        """A fault of our own has met it."""

    def flush(self) -> None:
        """What has come may go on now."""

    def upstream_full(self) -> None:
        """The upstream takes no more of the request's body for the moment."""

    def upstream_ready(self) -> None:
        """It takes more of it."""


class Tunnelled(Protocol):
    """What takes a connection's bytes as they are."""

    def from_upstream(self, data: bytes) -> None:
        """Bytes have come."""

    def upstream_ended(self) -> bool:
        """No more will come; whether the connection stays open the other way."""

    def lost_upstream(self) -> None:
        """The connection has ended."""

    def pause_caller(self) -> None:
        """It takes no more for the moment."""

    def resume_caller(self) -> None:
        """It takes more."""


class Upstream(asyncio.Protocol):
    """One connection to an upstream."""

    def __init__(self, pool: "Pool") -> None:
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # before it is made
        self.is_full = False
        self.is_reused = False
        self.is_lost = False
        self.idle_since = 0.0
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._client: Client | None = None
        self._method = b""
        self._reason = b""
        self._headers: list[Header] = []
        self._head: AnswerHead | None = None  # of the final answer
        self._begun = False  # an answer, or what comes before it
        self._in_body = False
        self._ended = False  # the answer
        self._is_sound = True
        self._sends_chunks = False
        self._is_sent = True  # the request
        self._size = 0  # bytes of a head that has not come to its end
        self._tunnel: Tunnelled | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(HIGH_WATER)

    # -- the request -------------------------------------------------------------------------

    def begin(self, client: Client, method: bytes, head: bytes, *, chunked: bool | None) -> None:
        """Send a request's head. `chunked` tells how its body is framed; None: it has none."""
        self._client = client
        self._method = method
        self._head = None
        self._begun = self._ended = self._in_body = False
        self._sends_chunks = bool(chunked)
        self._is_sent = chunked is None
        self._size = 0
        self.transport.write(head)

    def send_piece(self, piece: bytes) -> None:
        """Send some of its body."""
        if not self.stands:
            return
        if self._sends_chunks:
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            self.transport.write(piece)

    def send_end(self) -> None:
        """Send the end of it."""
        if self._sends_chunks and self.stands:
            self.transport.write(b"0\r\n\r\n")
        self._is_sent = True
        if self._ended:
            self._conclude()

    def leave(self) -> None:
        """Nobody waits for the answer any more, nor will the request be sent to its end."""
        self._client = None
        self.abort()

    @property
    def stands(self) -> bool:
        """Whether what is sent may arrive: nothing has told of the connection's end."""
        return not self.is_lost and not self.transport.is_closing()

    def abort(self) -> None:
        """End the connection."""
        if not self.is_lost:
            self.transport.abort()

    # -- what comes --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take in what has come."""
        if self._tunnel is not None:
            self._tunnel.from_upstream(data)
            return
        client = self._client
        if client is None or self._ended:
            self._is_sound = False
            self._pool.dropped(self)
            self.abort()
            return
        try:
            if self._begun or not self._is_known(client, data):
                self._parse(client, data)
        except Exception as error:  # noqa: BLE001 - a fault of our own ends this request only
            self._client = None
            self.abort()
            client.fault(error)

    def _is_known(self, client: Client, data: bytes) -> bool:
        """Take a whole answer with a head that has come before (`known`)."""
        at = data.find(b"\r\n\r\n") + 4
        head = self._pool.known.get(data[:at])
        if head is None or len(data) != at + head.length or self._method == b"HEAD":
            return False
        if not self._is_sent or not client.takes(head):
            return False
        self._begun = self._ended = True
        self._conclude(tell=False)
        client.answer_whole(head, data[at:])
        return True

    def _learn(self, head: AnswerHead, data: bytes) -> None:
        """Remember the head of an answer that came in one piece."""
        at = data.find(b"\r\n\r\n") + 4
        if head.out is not None and self._is_sound and len(data) == at + head.length:
            self._pool.known.keep(data[:at], head)

    def _parse(self, client: Client, data: bytes) -> None:
        is_first = not self._begun
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._switched(client, data[stop.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError:
            self._is_sound = False
            if not self._has_ended:
                self._fail(UpstreamFault.PROTOCOL)
                return
        if self._client is not client:
            return  # it has left, and been answered otherwise
        if self._has_ended:
            if is_first and self._head is not None and self._head.end is End.LENGTH:
                self._learn(self._head, data)
            self._answered(client)
        elif not self._in_body and self._size > MAX_HEAD:
            self._fail(UpstreamFault.PROTOCOL)
        else:
            client.flush()

    @property
    def _has_ended(self) -> bool:
        return self._ended

    def eof_received(self) -> bool:
        """The upstream sends no more: the end of an answer without a length, and of no other."""
        if self._tunnel is not None:
            return self._tunnel.upstream_ended()
        self._pool.dropped(self)
        if self._client is None:
            return False
        if self._in_body and self._head is not None and self._head.end is End.CLOSE:
            self._ended, self._is_sound = True, False
            self._answered(self._client)
        else:
            self._fail(UpstreamFault.BROKE_OFF)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self.is_lost = True
        self._pool.gone(self)
        if self._tunnel is not None:
            self._tunnel.lost_upstream()
        elif self._client is not None:
            is_end = exc is None and self._in_body and not self._ended
            if is_end and self._head is not None and self._head.end is End.CLOSE:
                self._ended = True
                self._answered(self._client)
            else:
                self._fail(UpstreamFault.BROKE_OFF)

    def _fail(self, fault: UpstreamFault) -> None:
        client, self._client = self._client, None
        self._is_sound = False
        self.abort()
        if client is not None:
            client.answer_lost(fault)

    @property
    def has_begun(self) -> bool:
        """Whether anything of an answer has come."""
        return self._begun

    # -- what the parser tells ---------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins, or one before it; behind its end there must be none."""
        self._begun = True
        self._reason = b""
        self._headers = []
        if self._ended:
            self._is_sound = False

    def on_status(self, part: bytes) -> None:
        """Some of the reason phrase."""
        self._reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field, of the head or of the trailers."""
        if value[-1:] <= b" " and value:
            value = value.rstrip(b" \t")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is whole."""
        client = self._client
        if self._ended or client is None:
            self._is_sound = False
            return
        parser = self._parser
        head = AnswerHead(
            parser.get_status_code(), self._reason, self._headers, parser.get_http_version()
        )
        self._headers = []
        if not understood(head, self._method) or self._is_oversize(head):
            self._fail(UpstreamFault.PROTOCOL)
            return
        if head.status == 101:  # noqa: PLR2004 - 101 is 101
            self._head = head
            return
        if not head.is_final:
            client.answer_head(head)
            return
        self._head = head
        self._in_body = True
        if not parser.should_keep_alive() or head.end is End.CLOSE or head.version == OLD:
            self._is_sound = False
        client.answer_head(head)
        if head.end is End.NONE and self._client is client:
            self._end_early()

    def _is_oversize(self, head: AnswerHead) -> bool:
        if len(head.headers) > MAX_FIELDS:
            return True
        return self._size > MAX_FIELD and any(
            len(name) + len(value) > MAX_FIELD for name, value in head.headers
        )

    def _end_early(self) -> None:
        """There is no body, whatever the head says: to HEAD it tells what a GET would get."""
        self._ended = True
        if self._method == b"HEAD":
            self._parser = httptools.HttpResponseParser(self)

    def on_body(self, piece: bytes) -> None:
        """Some of the body."""
        client = self._client
        if self._ended or client is None:
            self._is_sound = False
            return
        client.answer_piece(piece)

    def on_message_complete(self) -> None:
        """All of an answer has come, or of one before it."""
        if self._in_body:
            self._ended = True
            if self._headers and not self._parser.should_keep_alive():
                self._is_sound = False  # the parser heeds a Connection among the trailers

    # -- the end -----------------------------------------------------------------------------

    def _answered(self, client: Client) -> None:
        trailers, self._headers = self._headers, []
        is_sent = self._is_sent
        if is_sent:
            self._conclude(tell=False)
        client.answer_end(trailers)

    def _conclude(self, *, tell: bool = True) -> None:
        """Request and answer are whole: the connection is free, if it is in order."""
        client, self._client = self._client, None
        self.transport.resume_reading()
        if not self.is_reused:
            self._pool.answered(self)
        if self._is_sound and self.stands:
            self._pool.release(self)
        else:
            self._pool.dropped(self)
            self.abort()
        if tell and client is not None:
            client.upstream_ready()

    # -- other protocols ---------------------------------------------------------------------

    def _switched(self, client: Client, rest: bytes) -> None:
        head = self._head
        if head is None or head.status != 101 or self._ended:  # noqa: PLR2004 - 101 is 101
            self._fail(UpstreamFault.PROTOCOL)
            return
        client.switched(head, rest)

    def switch(self, tunnel: Tunnelled) -> None:
        """From here on everything goes through `tunnel`."""
        self._client = None
        self._tunnel = tunnel
        self._pool.dropped(self)

    # -- the flow ----------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The upstream does not take the body as fast as it comes."""
        self.is_full = True
        if self._tunnel is not None:
            self._tunnel.pause_caller()
        elif self._client is not None:
            self._client.upstream_full()

    def resume_writing(self) -> None:
        """It takes more."""
        self.is_full = False
        if self._tunnel is not None:
            self._tunnel.resume_caller()
        elif self._client is not None:
            self._client.upstream_ready()

    def pause_reading(self) -> None:
        """Read nothing of the answer for the moment."""
        if self.stands:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.stands:
            self.transport.resume_reading()
