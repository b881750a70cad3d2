"""The leg towards callers: one connection, its requests in their order, and their answers.

A request is judged as soon as its head has come, and begun once all before it are answered
(RFC 9112 9.3.2). What cannot be read is answered in its turn, and nothing after it is read.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from tokenproxy.events import InternalError
from tokenproxy.proxy.inbound import reset
from tokenproxy.proxy.request import Denied, Request, Verdict
from tokenproxy.proxy.route import Matched
from tokenproxy.proxy.wire.exchange import Exchange
from tokenproxy.proxy.wire.inbound import FAILED, OVERLOADED, TOO_SLOW, Head
from tokenproxy.proxy.wire.intake import QUEUE, SWITCH, UPLOAD, Intake
from tokenproxy.proxy.wire.leaving import Sight, Socket, peek
from tokenproxy.proxy.wire.reading import Phase, Reader
from tokenproxy.proxy.wire.sweep import NEVER
from tokenproxy.proxy.wire.tunnel import Tunnel
from tokenproxy.proxy.wire.turn import Refusal, Turn

if TYPE_CHECKING:
    from tokenproxy.proxy.wire.recognition import Known
    from tokenproxy.proxy.wire.server import Wire

MAX_PIPELINED = 16  # requests that wait for the answers of others; then nothing more is read
LINGER = 5.0  # seconds in which what nobody wanted is read away
_BLANK = 4  # bytes: the end of a line, and an empty line
_REQUEST = Phase.REQUEST  # a global is found faster than a member of an enum


class Downstream(asyncio.Protocol):
    """One connection of a caller."""

    __slots__ = (
        "_current",
        "_half_closed",
        "_intake",
        "_is_beginning",
        "_known",
        "_queue",
        "_reader",
        "_seen",
        "_tunnel",
        "address",
        "is_full",
        "scheme",
        "server",
        "sweep",
        "transport",
    )

    address: str | None  # these five from `connection_made` on
    scheme: str
    transport: asyncio.Transport
    _intake: Intake
    _known: "Known"

    def __init__(self, server: "Wire") -> None:
        self.server = server
        self.sweep = server.sweep
        self.is_full = False  # it takes no more of the answer for the moment
        self._reader: Reader[Turn] = Reader(self)
        self._current: Turn | None = None  # who is being answered
        self._queue: deque[Turn] = deque()
        self._half_closed = False
        self._seen = 0  # the hash of the fields of the last request
        self._is_beginning = False  # requests, as long as each is answered at once
        self._tunnel: Tunnel | None = None

    @property
    def current(self) -> Turn | None:
        """The request that is being answered, if there is one."""
        return self._current

    # -- the connection ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)
        self.server = self.server.heir_for(self.transport)
        self.sweep = self.server.sweep
        self._known = self.server.known(self.transport)
        self._intake = Intake(self, self._reader, self.transport, self.server)
        self.scheme = self._known.guard.scheme
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else None
        self._reader.deadline = self.sweep.after(self.server.timeouts.request_head)
        self.server.opened(self)

    def move(self, server: "Wire") -> None:
        """Be served by that one from now on; nothing is under way."""
        self.server, self.sweep = server, server.sweep
        self._known = server.known(self.transport)
        self._intake.move(server)

    @property
    def owes_nothing(self) -> bool:
        """Whether no request has come whole that is not answered yet."""
        return self._current is None and not self._queue and self._tunnel is None

    @property
    def is_idle(self) -> bool:
        """Whether nothing at all is under way."""
        is_between = self._reader.phase is Phase.REQUEST and not self._intake.pauses
        return (
            is_between
            and not self._half_closed
            and self.owes_nothing
            and not self.transport.is_closing()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone, or we have ended it."""
        del exc
        self._reader.phase = Phase.NOTHING
        self._reader.deadline = NEVER
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
            self._intake.feed(data)

    def _is_known(self, data: bytes) -> bool:
        """Begin a request that has come before, or its fields, where nothing else is under way."""
        reader = self._reader
        if self._current is not None or reader.phase is not _REQUEST or self._intake.pauses:
            return False
        if self._queue or self.is_full:
            return False
        end = data.find(b"\r\n\r\n") + _BLANK
        known = self._known.requests.get(data[:end]) or self._known.recognized(data, end)
        if known is None:
            return False
        length = known.fields.length
        if len(data) != end + length:
            return False
        reader.deadline = NEVER
        body = data[end:] if length else None
        exchange = self._current = Exchange(self, known.head, known.way, body)
        exchange.begin(known)
        return True

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
        last = self._last
        if self._reader.phase is Phase.NOTHING and last is not None and last.closes:
            return True
        if last is None or self._reader.phase is not Phase.REQUEST or not last.head.may_half_close:
            self._drop_all()
            return False
        self._half_closed = True
        return True

    # -- what the reader tells ---------------------------------------------------------------

    def head_came(self, head: Head, denied: Denied | None) -> Turn:
        """A request has begun: judge it, and let it wait for its turn."""
        turn = self._turn(head, denied or self._judge(head.request))
        self._enqueue(turn)
        return turn

    def _turn(self, head: Head, verdict: Verdict) -> Turn:
        if isinstance(verdict, Matched):
            return Exchange(self, head, verdict)
        return Refusal(self, head, verdict)

    def _judge(self, request: Request) -> Verdict:
        try:
            return self._known.guard.judge(request)
        except Exception as error:  # noqa: BLE001 - a fault of our own is answered with 500
            self.server.parts.observe(InternalError("", type(error).__name__))
            return FAILED

    def taken_in(self, data: bytes, before: Phase) -> None:
        """The reader has parsed `data`: begin what can begin, and say when the rest must come."""
        reader, phase = self._reader, self._reader.phase
        if phase is Phase.HEAD:
            if before is not phase or reader.begun:
                reader.deadline = self.sweep.after(self.server.timeouts.request_head)
        elif phase is Phase.BODY and not self._reads_away:
            reader.deadline = self.sweep.after(self.server.timeouts.request_body_idle)
        if self._current is None and self._queue:
            is_alone = reader.begun == len(self._queue) == 1
            if is_alone and phase is _REQUEST and before is _REQUEST:
                self._seen = self._known.learn(self._queue[0].head, data, self._seen)
            self._next()
        if self.server.heir is not None and phase is _REQUEST and not self.owes_nothing:
            self._intake.pause(QUEUE)  # what comes next is for the next config

    def stopped(self, rest: bytes) -> bytes:
        """The parser reads no further: `rest` may be another protocol's.

        Gives what is to be parsed all the same, as the next request.
        """
        last = self._last
        if last is None or last.closes or not last.upgrades:
            return rest
        self._intake.hold_back(rest)
        return b""

    def unreadable(self, denied: Denied) -> None:
        """What came is no request: that is answered, unless the request before was the last."""
        last = self._last
        if last is not None and (last.head.is_last or last.closes):
            self._reader.phase = Phase.NOTHING
        else:
            self._refuse(denied)

    def failed(self, error: BaseException) -> None:
        """A fault of our own."""
        self.server.parts.observe(InternalError("", type(error).__name__))
        self._reader.phase = Phase.NOTHING
        self.transport.abort()

    def _refuse(self, denied: Denied) -> None:
        """Answer, in its turn, what stands for a request that cannot be read."""
        self._reader.phase = Phase.NOTHING
        self._reader.deadline = NEVER
        head = Head(Request(b"", b"", (), "1.1", has_body=False), is_last=True)
        self._enqueue(Refusal(self, head, denied))

    @property
    def _last(self) -> Turn | None:
        """The request that came last, of those that are not answered."""
        return self._queue[-1] if self._queue else self._current

    # -- one after the other -----------------------------------------------------------------

    def _enqueue(self, exchange: Turn) -> None:
        if exchange.is_refused:
            self._reader.phase = Phase.NOTHING
        self._queue.append(exchange)
        if len(self._queue) > MAX_PIPELINED:
            self._intake.pause(QUEUE)

    def _next(self) -> None:
        """Begin the next request, and others while they are answered at once.

        A caller that does not read its answers gets no more of them for the moment.
        """
        if self._is_beginning:
            return
        self._is_beginning = True
        while self._queue and self._current is None and not self.is_full:
            self._current = self._queue.popleft()
            if self._intake.pauses & QUEUE and len(self._queue) < MAX_PIPELINED:
                self.server.loop.call_soon(self._catch_up)
            self._current.begin()
        self._is_beginning = False

    def _catch_up(self) -> None:
        """Take in what has been held back."""
        is_wanted = len(self._queue) < MAX_PIPELINED
        if self.server.heir is not None:
            is_wanted = self.owes_nothing
        if self._intake.pauses & QUEUE and is_wanted:
            self._intake.go_on(QUEUE)

    def answered(self, exchange: Turn) -> None:
        """The answer to the current request has been written whole."""
        if exchange is not self._current:
            return
        if exchange is self._reader.receiver and not exchange.is_useless:
            if exchange.closes and self.transport.can_write_eof():
                self.transport.write_eof()  # it is whole; the rest of the body is still wanted
        elif exchange.closes or self.server.draining:
            self._current = None
            self._end()
        elif exchange is self._reader.receiver:
            if self._reads_away:
                self._reader.deadline = self.sweep.after(LINGER)
        else:
            self._current = None
            self._go_on()

    @property
    def _reads_away(self) -> bool:
        """Whether a body is coming that nobody wants."""
        receiving = self._reader.receiver
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
        if self._intake.pauses & SWITCH:
            self._intake.go_on(SWITCH)
        if self._current is not None:
            return
        if self._queue:
            self._next()
        elif self._half_closed:
            self.transport.close()
        elif self._reader.phase is Phase.REQUEST:
            heir = self.server.heir
            if heir is not None:
                self.server.pass_on(self)
            self._reader.deadline = self.sweep.after(self.server.timeouts.keep_alive)
            if heir is not None:
                self._catch_up()

    def _end(self) -> None:
        """Close after the last answer, reading away what still comes, for a moment."""
        is_whole = self._reader.receiver is None and self._reader.phase is not Phase.NOTHING
        self._reader.phase = Phase.NOTHING
        for waiting in self._queue:
            waiting.caller_gone()
        self._queue.clear()
        self._reader.receiver = None
        if self.transport.is_closing():
            return
        self._intake.pauses = 0
        if is_whole or self._half_closed:
            self._reader.deadline = self.sweep.after(self.server.timeouts.keep_alive)
            self.transport.close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self._reader.deadline = self.sweep.after(LINGER)

    def abort(self) -> None:
        """End the connection so that nobody takes an answer for whole."""
        self._reader.phase = Phase.NOTHING
        if self._current is not None:
            self._current.cut_off()
        reset(self.transport)

    def overload(self) -> None:
        """There are too many connections: say so, and close."""
        self._refuse(OVERLOADED)
        self._next()

    # -- the flow ----------------------------------------------------------------------------

    def read_on(self, reads: bool) -> None:  # noqa: FBT001 - a callback
        """Whether what is coming, a body or a tunnel's bytes, is wanted now."""
        if reads:
            self._intake.resume(UPLOAD)
        else:
            self._intake.pause(UPLOAD)

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
        self._reader.deadline = NEVER
        held = self._intake.take_held()
        self._intake.resume(SWITCH)
        return held

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Act on the deadlines that are over."""
        current = self._current
        if current is not None and current.deadline < now:
            current.expired()
        if self._reader.deadline < now:
            self._reader.deadline = NEVER
            self._expired()

    def _expired(self) -> None:
        receiver = self._reader.receiver
        match self._reader.phase:
            case Phase.HEAD:
                self._refuse(TOO_SLOW)
                if self._current is None:
                    self._next()
            case Phase.BODY if receiver is not None and not receiver.answered:
                self._reader.broken_off()
                receiver.body_too_slow()
            case Phase.REQUEST if self._current is None:
                self.transport.close()
            case _:
                self.transport.abort()

    # -- who leaves while nothing is read ----------------------------------------------------

    @property
    def paused_socket(self) -> Socket | None:
        """The socket, while it is open and not read from."""
        return self._intake.socket

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
        last = self._last
        if last is not None and last.head.may_half_close:
            return True
        return self._intake.ends
