"""The leg towards callers: one connection, its requests in their order, and their answers.

A request is judged as soon as its head has come, and begun once all before it are answered
(RFC 9112 9.3.2). What cannot be read is answered in its turn, and nothing after it is read.
"""

import asyncio
import re
from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, cast

import httptools

from tokenproxy.events import InternalError
from tokenproxy.proxy import framing
from tokenproxy.proxy.answers import METHODS, ErrorCode
from tokenproxy.proxy.guard import Denied, Request, Verdict
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.inbound import reset
from tokenproxy.proxy.route import Matched
from tokenproxy.proxy.wire.exchange import Exchange
from tokenproxy.proxy.wire.inbound import HEAD_TOO_LARGE, MAX_LINE, VERSION, Head, refusal
from tokenproxy.proxy.wire.known import KnownFields, KnownRequest
from tokenproxy.proxy.wire.leaving import LAST_REQUEST, Sight, Socket, peek, unread
from tokenproxy.proxy.wire.sweep import NEVER
from tokenproxy.proxy.wire.tunnel import Tunnel
from tokenproxy.proxy.wire.turn import Refusal, Turn

if TYPE_CHECKING:
    from tokenproxy.proxy.wire.server import Wire

SLICE = 16 << 10  # bytes that are looked through for requests at once
MAX_PIPELINED = 16  # requests that wait for the answers of others; then nothing more is read
LINGER = 5.0  # seconds in which what nobody wanted is read away
_WORDS = 3  # in a request line
_BLANK = 4  # bytes: the end of a line, and an empty line
UPLOAD, QUEUE, SWITCH = 1, 2, 4  # why a caller is not read from

_REFUSED_METHOD = re.compile(rb"(?:^|\n)(?:TRACK|PRI) ", re.IGNORECASE)


class Phase(Enum):
    """What comes next on a connection."""

    REQUEST = auto()
    HEAD = auto()  # the rest of one
    BODY = auto()
    NOTHING = auto()  # that anybody would read


class Downstream(asyncio.Protocol):
    """One connection of a caller."""

    def __init__(self, server: "Wire") -> None:
        self.server = server
        self.sweep = server.sweep
        self.transport: asyncio.Transport = None  # type: ignore[assignment] # before it is made
        self.address: str | None = None
        self.is_full = False  # it takes no more of the answer for the moment
        self._parser = httptools.HttpRequestParser(self)
        self._phase = Phase.REQUEST
        self._messages = 0  # that have begun in the segment
        self._target = b""
        self._headers: list[Header] = []
        self._segment = b""
        self._begun = b""  # what has come of a head in earlier segments
        self._receiving: Turn | None = None  # whose body is coming
        self._current: Turn | None = None  # who is being answered
        self._queue: deque[Turn] = deque()
        self._pauses = 0
        self._half_closed = False
        self._last_lines = 0  # the hash of the fields of the last request
        self._is_beginning = False  # requests, as long as each is answered at once
        self._unread = b""  # the last piece before reading was paused
        self._rest = b""  # what came after a request to switch protocols
        self._backlog = b""  # what came after as many requests as may wait
        self._tunnel: Tunnel | None = None
        self._is_beginning = False  # a request; what is answered at once must not begin the next
        self._deadline = NEVER

    # -- the connection ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.move(self.server.heir_for(self.transport))
        self.scheme = self._guard.scheme
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else None
        self._deadline = self.sweep.after(self.server.timeouts.request_head)
        self.server.opened(self)

    def move(self, server: "Wire") -> None:
        """Be served by that one from now on; nothing is under way."""
        self.server, self.sweep = server, server.sweep
        self._guard, self._known = server.guard(self.transport)

    @property
    def owes_nothing(self) -> bool:
        """Whether no request has come whole that is not answered yet."""
        return self._current is None and not self._queue and self._tunnel is None

    @property
    def is_idle(self) -> bool:
        """Whether nothing at all is under way."""
        is_between = self._phase is Phase.REQUEST and not self._pauses and not self._half_closed
        return is_between and self.owes_nothing and not self.transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone, or we have ended it."""
        del exc
        self._phase = Phase.NOTHING
        self._deadline = NEVER
        self.server.closed(self)
        if self._tunnel is not None:
            self._tunnel.lost_caller()
        self._drop_all()

    def _drop_all(self) -> None:
        queue, self._queue = self._queue, deque()
        current, self._current = self._current, None
        for exchange in (current, *queue):
            if exchange is not None:
                exchange.caller_gone()

    def data_received(self, data: bytes) -> None:
        """Take in what has come."""
        if self._tunnel is not None:
            self._tunnel.from_caller(data)
        elif not self._is_known(data):
            self._feed(data)

    def _is_known(self, data: bytes) -> bool:
        """Begin a request that has come before, or its fields, where nothing else is under way."""
        if self._current is not None or self._phase is not Phase.REQUEST or self._pauses:
            return False
        if self._queue or self.is_full:
            return False
        end = data.find(b"\r\n\r\n") + _BLANK
        known = self._known.requests.get(data[:end]) or self._recognized(data, end)
        if known is None:
            return False
        length = known.fields.length
        if len(data) != end + length:
            return False
        self._deadline = NEVER
        body = data[end:] if length else None
        exchange = self._current = Exchange(self, known.head, known.way, body)
        exchange.begin(known)
        return True

    def _recognized(self, data: bytes, end: int) -> KnownRequest | None:
        """A request with known fields, where it may go on; it is known from now on."""
        start = data.find(b"\r\n")
        fields = self._known.fields.get(data[start + 2 : end])
        words = data[:start].split(b" ")
        if fields is None or len(words) != _WORDS or words[2] != b"HTTP/1.1" or end > MAX_LINE:
            return None
        method, target, _ = words
        way = self._guard.admit(fields.admission, method, target)
        if way is None or fields.length > way.route.takes_whole:
            return None
        request = Request(method, target, fields.headers, "1.1", fields.length > 0)
        known = KnownRequest(Head.plain(request, fields.length), way, fields)
        self._known.requests.keep(data[:end], known)
        return known

    def _learn(self, exchange: Turn, data: bytes) -> None:
        """Remember the fields of a request that came alone and in one piece, the second time."""
        head, request = exchange.head, exchange.head.request
        start, end = data.find(b"\r\n"), data.find(b"\r\n\r\n") + _BLANK
        lines = data[start + 2 : end]
        if hash(lines) != self._last_lines:
            self._last_lines = hash(lines)  # an idle connection should cost little
            return
        length = head.length or 0
        if exchange.is_refused or not head.is_plain or len(data) != end + length:
            return
        admission = self._guard.admission(request.headers)
        line = b"%b %b HTTP/1.1" % (request.method, request.target)
        if admission is not None and data[:start] == line:
            known = KnownFields(request.headers, length, admission)
            self._known.fields.keep(lines, known)

    def _feed(self, data: bytes) -> None:
        """Parse what has come, but no more than may be taken in."""
        while data and self._phase is not Phase.NOTHING:
            if self._pauses & SWITCH:
                self._rest += data
                return
            if self._pauses & QUEUE:
                self._backlog += data
                return
            size = len(data) if self._phase is Phase.BODY else SLICE
            data = self._parse(data[:size]) + data[size:]

    def _parse(self, data: bytes) -> bytes:
        """Parse some of it; what is left of that, where the parser reads no further."""
        self._segment = data
        self._messages = 0
        rest = b""
        was_head = self._phase is Phase.HEAD
        is_whole = self._phase is not Phase.BODY
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            rest = self._stopped(data[stop.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._fault(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._malformed(error)
        phase = self._phase
        if phase is Phase.HEAD:
            is_alone = is_whole and self._messages <= 1
            self._incomplete_head(data, goes_on=was_head and not self._messages, is_alone=is_alone)
        elif phase is Phase.BODY and not self._reads_away:
            self._deadline = self.sweep.after(self.server.timeouts.request_body_idle)
        self._segment = b""
        if self._current is None and self._queue:
            is_alone = self._messages == len(self._queue) == 1
            if is_alone and phase is Phase.REQUEST and is_whole and not was_head:
                self._learn(self._queue[0], data)
            self._next()
        if self._pauses:
            self._unread = data
        return rest

    def _incomplete_head(self, data: bytes, *, goes_on: bool, is_alone: bool) -> None:
        """Keep what has come of it; `is_alone`: nothing else was in `data`."""
        if not goes_on:
            self._begun = b""
            self._deadline = self.sweep.after(self.server.timeouts.request_head)
        self._begun += data[-2 * framing.MAX_HEAD :]
        if is_alone and len(self._begun) > framing.MAX_HEAD:
            self._refuse(HEAD_TOO_LARGE)

    def eof_received(self) -> bool:
        """Whether the connection stays open for answers (contract 3.1).

        A caller who says that a request is its last may close its own side after it, and gets
        all answers; from all others, and over TLS from any, the end of what they send means that
        they have gone.
        """
        if self._tunnel is not None:
            return self._tunnel.caller_ended()
        if not self._has_halves:
            self._drop_all()
            return False
        last = self._queue[-1] if self._queue else self._current
        if self._phase is Phase.NOTHING and last is not None and last.closes:
            return True
        if last is None or self._phase is not Phase.REQUEST or not last.head.may_half_close:
            self._drop_all()
            return False
        self._half_closed = True
        return True

    # -- what the parser tells ---------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._messages += 1
        self._phase = Phase.HEAD
        self._target = b""
        self._headers = []

    def on_url(self, part: bytes) -> None:
        """Some of its target."""
        self._target = self._target + part if self._target else part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field; after the body, one of its trailers, which go no further."""
        if self._phase is Phase.HEAD:
            if value[-1:] <= b" " and value:
                value = value.rstrip(b" \t")
            self._headers.append((name, value))

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
        is_last = not parser.should_keep_alive()
        stops = parser.should_upgrade()
        head = Head(request, is_last=is_last, may_switch=stops)
        size = len(self._segment) + len(self._begun)
        denied = refusal(head, size, stops=stops) or self._line_refusal(request)
        self._begun = b""
        self._phase = Phase.BODY
        if denied is not None:  # of what cannot be read as it should be nothing is told
            request.target, request.headers = b"", ()
        exchange = self._turn(head, denied or self._judge(request))
        self._receiving = exchange
        self._enqueue(exchange)

    def _turn(self, head: Head, verdict: Verdict) -> Turn:
        if isinstance(verdict, Matched):
            return Exchange(self, head, verdict)
        return Refusal(self, head, verdict)

    def _judge(self, request: Request) -> Verdict:
        try:
            return self._guard.judge(request)
        except Exception as error:  # noqa: BLE001 - a fault of our own is answered with 500
            self.server.parts.observe(InternalError("", type(error).__name__))
            return FAILED

    def _line_refusal(self, request: Request) -> Denied | None:
        line = b"%b %b HTTP/%b\r\n" % (request.method, request.target, request.version.encode())
        if self._segment.startswith(line) or line in self._begun + self._segment:
            return None
        return MALFORMED

    def on_body(self, piece: bytes) -> None:
        """Some of its body."""
        if self._receiving is not None:
            self._receiving.body_came(piece)

    def on_message_complete(self) -> None:
        """All of it has come."""
        exchange, self._receiving = self._receiving, None
        self._headers, self._target = [], b""
        if self._phase is Phase.BODY:
            self._phase = Phase.REQUEST
        self._deadline = NEVER
        if exchange is not None:
            exchange.body_ended()

    def _stopped(self, rest: bytes) -> bytes:
        """The parser reads no further: `rest` may be another protocol's.

        Gives what is to be parsed all the same, as the next request.
        """
        self._parser = httptools.HttpRequestParser(self)
        last = self._queue[-1] if self._queue else self._current
        if last is None or last.closes or not last.upgrades:
            return rest
        self._rest = rest
        self.pause(SWITCH)
        return b""

    # -- what cannot be read -----------------------------------------------------------------

    def _malformed(self, error: httptools.HttpParserError) -> None:
        if self._phase is Phase.BODY and self._receiving is not None:
            receiving, self._receiving = self._receiving, None
            self._phase = Phase.NOTHING
            receiving.body_broke_off()
            return
        last = self._queue[-1] if self._queue else self._current
        if last is not None and (last.head.is_last or last.closes):
            self._phase = Phase.NOTHING  # more came after a request that said it was the last
            return
        if _REFUSED_METHOD.search(self._begun + self._segment):
            self._refuse(REFUSED_METHOD)
        elif "HTTP version" in str(error):
            self._refuse(VERSION)
        elif isinstance(error, httptools.HttpParserInvalidMethodError):
            self._refuse(UNKNOWN_METHOD)
        else:
            self._refuse(MALFORMED)

    def _fault(self, error: BaseException) -> None:
        """A fault of our own."""
        self.server.parts.observe(InternalError("", type(error).__name__))
        self._phase = Phase.NOTHING
        self.transport.abort()

    def _refuse(self, denied: Denied) -> None:
        """Answer, in its turn, what stands for a request that cannot be read."""
        self._phase = Phase.NOTHING
        self._deadline = NEVER
        head = Head(Request(b"", b"", (), "1.1", has_body=False), is_last=True)
        self._enqueue(Refusal(self, head, denied))

    # -- one after the other -----------------------------------------------------------------

    def _enqueue(self, exchange: Turn) -> None:
        if exchange.is_refused:
            self._phase = Phase.NOTHING
        self._queue.append(exchange)
        if len(self._queue) > MAX_PIPELINED:
            self.pause(QUEUE)

    def _next(self) -> None:
        """Begin the next request, and others while they are answered at once.

        A caller that does not read its answers gets no more of them for the moment.
        """
        if self._is_beginning:
            return
        self._is_beginning = True
        while self._queue and self._current is None and not self.is_full:
            self._current = self._queue.popleft()
            if self._pauses & QUEUE and len(self._queue) < MAX_PIPELINED:
                self.server.loop.call_soon(self._catch_up)
            self._current.begin()
        self._is_beginning = False

    def _catch_up(self) -> None:
        """Take in what has been held back."""
        if self._pauses & QUEUE and len(self._queue) < MAX_PIPELINED:
            backlog, self._backlog = self._backlog, b""
            self.resume(QUEUE)
            self._feed(backlog)

    def answered(self, exchange: Turn) -> None:
        """The answer to the current request has been written whole."""
        if exchange is not self._current:
            return
        if exchange is self._receiving and not exchange.is_useless:
            if exchange.closes and self.transport.can_write_eof():
                self.transport.write_eof()  # it is whole; the rest of the body is still wanted
        elif exchange.closes or self.server.draining:
            self._current = None
            self._end()
        elif exchange is self._receiving:
            if self._reads_away:
                self._deadline = self.sweep.after(LINGER)
        else:
            self._current = None
            self._go_on()

    @property
    def _reads_away(self) -> bool:
        """Whether a body is coming that nobody wants."""
        receiving = self._receiving
        return receiving is not None and receiving.answered and receiving.is_useless

    def body_read_away(self, exchange: Turn) -> None:
        """The rest of the body of a request that has been answered has come."""
        if exchange is not self._current:
            return
        self._current = None
        if exchange.closes or self.server.draining:
            self._end()
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._pauses & SWITCH:
            rest, self._rest = self._rest, b""
            self.resume(SWITCH)
            self._feed(rest)
        if self._current is not None:
            return
        if self._queue:
            self._next()
        elif self._half_closed:
            self.transport.close()
        elif self._phase is Phase.REQUEST:
            if self.server.heir is not None:
                self.server.pass_on(self)
            self._deadline = self.sweep.after(self.server.timeouts.keep_alive)

    def _end(self) -> None:
        """Close after the last answer, reading away what still comes, for a moment."""
        is_whole = self._receiving is None and self._phase is not Phase.NOTHING
        self._phase = Phase.NOTHING
        for waiting in self._queue:
            waiting.caller_gone()
        self._queue.clear()
        self._receiving = None
        if self.transport.is_closing():
            return
        self._pauses = 0
        if is_whole or self._half_closed:
            self._deadline = self.sweep.after(self.server.timeouts.keep_alive)
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self._deadline = self.sweep.after(LINGER)

    def abort(self) -> None:
        """End the connection so that nobody takes an answer for whole."""
        self._phase = Phase.NOTHING
        if self._current is not None:
            self._current.cut_off()
        reset(self.transport)

    def overload(self) -> None:
        """There are too many connections: say so, and close."""
        self._refuse(OVERLOADED)
        self._next()

    # -- the flow ----------------------------------------------------------------------------

    def pause(self, reason: int) -> None:
        """Read nothing from the caller."""
        if not self._pauses and not self.transport.is_closing():
            self.transport.pause_reading()
            self._unread = self._segment
            self.server.watch.add(self)
        self._pauses |= reason
        self._deadline = NEVER

    def resume(self, reason: int) -> None:
        """Read on, unless there is another reason not to."""
        if not self._pauses:
            return
        self._pauses &= ~reason
        if not self._pauses and not self.transport.is_closing():
            self._unread = b""
            self.transport.resume_reading()
            if self._phase is Phase.BODY:
                self._deadline = self.sweep.after(self.server.timeouts.request_body_idle)
            elif self._phase is Phase.HEAD:
                self._deadline = self.sweep.after(self.server.timeouts.request_head)

    def read_on(self, reads: bool) -> None:  # noqa: FBT001 - a callback
        """Whether what is coming, a body or a tunnel's bytes, is wanted now."""
        if reads:
            self.resume(UPLOAD)
        else:
            self.pause(UPLOAD)

    def pause_writing(self) -> None:
        """The caller does not take the answer as fast as it comes."""
        self.is_full = True
        if self._tunnel is not None:
            self._tunnel.pause_upstream()
        elif self._current is not None:
            self._current.pause_answer()

    def resume_writing(self) -> None:
        """It takes more."""
        self.is_full = False
        if self._tunnel is not None:
            self._tunnel.resume_upstream()
        elif self._current is not None:
            self._current.resume_answer()
        else:
            self._next()

    def write(self, data: bytes) -> None:
        """Send some of the answer."""
        if not self.transport.is_closing():
            self.transport.write(data)

    # -- other protocols ---------------------------------------------------------------------

    def switch(self, tunnel: Tunnel) -> bytes:
        """From here on everything goes through `tunnel`; what has come too early is given."""
        self._tunnel = tunnel
        self._deadline = NEVER
        rest, self._rest = self._rest, b""
        self.resume(SWITCH)
        return rest

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Act on the deadlines that are over."""
        current = self._current
        if current is not None and current.deadline < now:
            current.expired()
        if self._deadline < now:
            self._deadline = NEVER
            self._expired()

    def _expired(self) -> None:
        match self._phase:
            case Phase.HEAD:
                self._refuse(TOO_SLOW)
                if self._current is None:
                    self._next()
            case Phase.BODY if self._receiving is not None and not self._receiving.answered:
                receiving, self._receiving = self._receiving, None
                self._phase = Phase.NOTHING
                receiving.body_too_slow()
            case Phase.REQUEST if self._current is None:
                self.transport.close()
            case _:
                self.transport.abort()

    # -- who leaves while nothing is read ----------------------------------------------------

    @property
    def paused_socket(self) -> Socket | None:
        """The socket, while it is open and not read from."""
        if not self._pauses or self.transport.is_closing():
            return None
        found: Socket | None = self.transport.get_extra_info("socket")
        return found

    def seen(self, sight: Sight) -> None:
        """End the connection of a caller who has left while it was not read from."""
        sock = self.paused_socket
        if self._tunnel is not None and sock is not None:
            sight = peek(sock)  # that both sides have closed theirs is no reason to drop what came
        if sight is Sight.HERE or (sight is Sight.FINISHED and self._may_be_half_closed()):
            return
        self.transport.abort()

    @property
    def _has_halves(self) -> bool:
        """Whether the caller may close its own side: over TLS the end of one is that of both."""
        return self.scheme == "http"

    def _may_be_half_closed(self) -> bool:
        if self._tunnel is not None:
            return True
        if not self._has_halves:
            return False
        last = self._queue[-1] if self._queue else self._current
        if last is not None and last.head.may_half_close:
            return True
        sock = self.paused_socket
        return sock is not None and LAST_REQUEST.search(self._unread + unread(sock)) is not None


MALFORMED = Denied(ErrorCode.BAD_REQUEST, "The request is not well-formed HTTP.", close=True)
REFUSED_METHOD = Denied(
    ErrorCode.METHOD_NOT_ALLOWED,
    "This method is not for a proxy of this kind.",
    close=True,
    allow=METHODS,
)
UNKNOWN_METHOD = Denied(ErrorCode.NOT_IMPLEMENTED, "The request's method is not known.", close=True)
TOO_SLOW = Denied(ErrorCode.REQUEST_TIMEOUT, "The request did not come in time.", close=True)
FAILED = Denied(
    ErrorCode.INTERNAL_ERROR,
    "The proxy has failed on this request; its log tells more.",
    close=True,
)
OVERLOADED = Denied(
    ErrorCode.OVERLOADED, "The proxy has as many connections as it may have.", close=True
)
