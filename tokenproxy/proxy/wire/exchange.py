"""One request and its answer: judged, given a token, sent, and its answer passed on.

Where the token is fresh and a connection stands, all of it happens in the callbacks of the two
protocols, with no task, future or timer. What must wait (a renewal, a new connection) goes on
in a task, one at a time. What is decided is decided in the pure stations.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tokenproxy.errors import SourceUnavailable, TokenproxyError, UpstreamError, UpstreamFault
from tokenproxy.events import InternalError, RequestServed
from tokenproxy.proxy.answers import Answer, ErrorCode, answer, for_error, options_answer
from tokenproxy.proxy.body import BodyGone
from tokenproxy.proxy.bound import wants_nonce
from tokenproxy.proxy.guard import Denied, OptionsAsked
from tokenproxy.proxy.head import message_head
from tokenproxy.proxy.headers import Caller, Header, to_caller
from tokenproxy.proxy.matching import MAX_BODY, Verdict
from tokenproxy.proxy.route import CompiledRoute, Matched
from tokenproxy.proxy.target import split
from tokenproxy.proxy.verdict import Step, decide, may_retry_stale
from tokenproxy.proxy.wire.inbound import Head
from tokenproxy.proxy.wire.known import KnownFields, Sent
from tokenproxy.proxy.wire.outbound import AnswerHead, End
from tokenproxy.proxy.wire.pool import Overloaded, Pool
from tokenproxy.proxy.wire.sweep import NEVER
from tokenproxy.proxy.wire.tunnel import Tunnel
from tokenproxy.proxy.wire.upload import Upload
from tokenproxy.proxy.wire.upstream import Upstream
from tokenproxy.settings.route import Replay, RouteTimeouts
from tokenproxy.tasks import spawn
from tokenproxy.tokens.slot import Held

if TYPE_CHECKING:
    from tokenproxy.proxy.parts import TokenKeeper
    from tokenproxy.proxy.wire.downstream import Downstream

BROKE_OFF = "The request's body broke off, or is framed badly."
TOO_SLOW = "The request's body did not come in time."
CALLER_LEFT = 499  # logged where the caller went before there was an answer (nginx's number)
EXPECT_WAIT = 1.0  # contract 3.3.3
CONTINUE, EXPECTATION_FAILED, NO_CONTENT, SUCCESS = 100, 417, 204, 2
CONTINUE_LINE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = (b"Expect", b"100-continue")
CHUNKED = (b"Transfer-Encoding", b"chunked")
NO_REPLAY = Replay(memory=0, max_body=0)


class Exchange:
    """One request and its answer."""

    # What most requests never change is said once: to make one costs less so.
    answered = False
    deadline = NEVER
    is_refused = False  # so that nothing after it is read
    _known: KnownFields | None = None
    _route: CompiledRoute | None = None
    _target = b""
    _held: Held | None = None
    _keeper: "TokenKeeper | None" = None
    _fields: Sequence[Header] = ()
    _rendered: tuple[list[Header], bytes] | None = None
    _upload: Upload | None = None
    _connection: Upstream | None = None
    _task: asyncio.Task[None] | None = None
    _go_ahead: asyncio.TimerHandle | None = None
    _captured: list[bytes] | None = None  # of an answer that is not passed on yet
    _answer: AnswerHead | None = None
    _trailers: Sequence[Header] = ()
    _is_probing = False
    _is_out = False  # some of the answer
    _relayed = False
    _chunks_out = False
    _awaits_continue = False
    _continue_told = False
    _expects = False
    _replayed = False
    _retried = False
    _nonce_tried = False
    _told = False
    _is_begun = False
    _ready = False  # the answer has come whole
    _status = CALLER_LEFT
    _code: ErrorCode | None = None
    _bytes_out = 0
    _is_complete = True
    _began = 0.0

    def __init__(
        self, caller: "Downstream", head: Head, verdict: Matched | Denied | OptionsAsked
    ) -> None:
        self.head = head
        self.closes = head.is_last
        self._caller = caller
        self._denied = verdict
        self._out: list[bytes] = []
        if isinstance(verdict, Matched):
            self._route = verdict.route
            self._target = verdict.target
            if head.has_body:
                replay = verdict.route.settings.replay
                self._upload = Upload(replay, head.length, caller.read_on)
        else:
            self.is_refused = isinstance(verdict, Denied) and verdict.close
            self.closes = self.closes or self.is_refused
            if head.has_body:
                self._upload = Upload(NO_REPLAY, head.length, caller.read_on)
                self._upload.discard()

    # -- the request comes -------------------------------------------------------------------

    @property
    def upgrades(self) -> bool:
        """Whether the caller wants to switch to a protocol that the route lets it have."""
        route = self._route
        return route is not None and self._protocol() is not None

    def _protocol(self) -> bytes | None:
        """The protocol that the caller may switch to."""
        wanted = self.head.upgrade
        if wanted is None or self._route is None or self.head.has_body:
            return None
        allowed = self._route.settings.upgrade
        return wanted if wanted.decode("latin-1").lower() in allowed else None

    @property
    def is_useless(self) -> bool:
        """Whether nobody wants the rest of the body."""
        return self._upload is None or self._upload.is_useless

    def body_came(self, piece: bytes) -> None:
        """Some of the body has come."""
        if self._upload is not None:
            try:
                self._upload.feed(piece)
            except BodyGone:
                self._fail_with(BodyGone())

    def body_ended(self) -> None:
        """All of it has come."""
        upload = self._upload
        if upload is not None:
            try:
                upload.end()
            except BodyGone:
                self._fail_with(BodyGone())
                return
            self._body_went()
        if self.answered:
            self._caller.body_read_away(self)

    def body_broke_off(self) -> None:
        """It will not come whole."""
        self._refuse_body(ErrorCode.BAD_REQUEST, BROKE_OFF)

    def body_too_slow(self) -> None:
        """It does not come."""
        self._refuse_body(ErrorCode.REQUEST_TIMEOUT, TOO_SLOW)

    def _refuse_body(self, code: ErrorCode, detail: str) -> None:
        """What came is no whole request: it must not be taken for one."""
        self.closes = True
        if self._upload is not None:
            self._upload.discard()
        if self.answered or not self._is_begun:
            if self.answered:
                self._caller.abort()
            else:
                self._route_lost(code, detail)
            return
        self._let_go()
        if self._is_out:
            self._break_off()
        else:
            self._own(answer(code, detail=detail, route=self._route_name, close=True), code)

    def _route_lost(self, code: ErrorCode, detail: str) -> None:
        self._denied = Denied(code, detail, close=True, route=self._route_name)

    def caller_gone(self) -> None:
        """The caller has left, or waits no more."""
        self._let_go()
        if not self.answered:
            self.answered = True
            self._is_complete = not self._is_out
        self._tell()
        if self._upload is not None:
            self._upload.close()

    # -- its course --------------------------------------------------------------------------

    def begin(self, known: KnownFields | None = None) -> None:
        """It is this request's turn; its fields may be `known`."""
        self._is_begun = True
        self._began = self._caller.server.loop.time()
        try:
            if known is None or not self._is_sent_again(known):
                self._known = known
                self._begin(self._denied)
        except Exception as error:  # noqa: BLE001 - a fault of our own is answered with 500
            self._fail_with(error)

    def _begin(self, verdict: Matched | Denied | OptionsAsked) -> None:
        if isinstance(verdict, Matched):
            self._forward(verdict.route)
        elif isinstance(verdict, Denied):
            own = answer(
                verdict.code,
                detail=verdict.detail,
                route=verdict.route,
                allow=verdict.allow,
                close=verdict.close,
            )
            self._own(own, verdict.code)
        else:
            self._own(options_answer(), None)

    def _forward(self, route: CompiledRoute) -> None:
        request, parts = self.head.request, self._caller.server.parts
        fields = self._fields = route.headers.to_upstream(
            request.headers,
            version=request.version,
            caller=Caller(self._caller.address, self._caller.server.scheme),
        )
        if self._upload is not None or self.head.expects or self.head.upgrade is not None:
            self._frame(fields)
        if route.settings.credential is None or (
            route.keeps_own and route.injector.finds_own(self._fields, self._target)
        ):
            self._launch()
            return
        keeper = self._keeper = parts.keepers[route.settings.credential]
        held = self._held = keeper.peek()
        if held is not None:
            self._launch()
        else:
            self._do(self._wait_for_token(keeper))

    def _frame(self, fields: list[Header]) -> None:
        """Put in what is about the body, and about a switch of protocols."""
        upload = self._upload
        if self.head.expects:
            fields[:] = [field for field in fields if field[0].lower() != b"expect"]
        if upload is not None:
            if upload.length is None:
                fields.append(CHUNKED)
            self._expects = self.head.expects or (
                self._route is not None
                and self._route.settings.credential is not None
                and (upload.length is None or not upload.is_replayable)
            )
        protocol = self._protocol()
        if protocol is not None:
            fields += ((b"Connection", b"Upgrade"), (b"Upgrade", protocol))

    def _is_sent_again(self, known: KnownFields) -> bool:
        """Send what went out the last time with these fields, where it is the same and can."""
        route = self._way
        sent = known.sent.get(route)
        if sent is None:
            return False
        name = route.settings.credential
        if name is not None:
            keeper = self._caller.server.parts.keepers[name]
            held = keeper.peek()
            if held is None or held.token.access is not sent.token:
                return False
            self._keeper, self._held = keeper, held
        connection = self._pool.take()
        if connection is None:
            return False
        self._fields = sent.fields
        self._connection = connection
        method = self.head.request.method
        head = b"%b %b HTTP/1.1%b" % (method, self._target, sent.lines)
        connection.begin(self, method, head, chunked=None)
        self.deadline = self._after(route.settings.timeouts.response_head)
        return True

    def _remember(self, known: KnownFields, fields: list[Header], target: bytes) -> None:
        """Note what is sent for these fields, where it is the same for every target and caller."""
        route, held = self._way, self._held
        is_bound = held is not None and held.dpop_key is not None
        depends = is_bound or route.keeps_own or route.settings.forwarded == "set"
        if depends or target != self._target or self._pool.asks_a_proxy is not None:
            return
        token = None if held is None else held.token.access
        known.sent[route] = Sent(list(self._fields), token, message_head(b"", fields))

    async def _wait_for_token(self, keeper: "TokenKeeper") -> None:
        self._held = await keeper.get()
        self._launch()

    def _launch(self, *, fresh: bool = False) -> None:
        """Send on a connection that stands, or make one."""
        # What can be wrong with a token is told before anything is sent.
        rendered = self._with_token()
        is_good_twice = self._held is None or self._held.dpop_key is None
        self._rendered = rendered if is_good_twice else None
        pool = self._pool
        connection = None if fresh else pool.take()
        if connection is not None:
            self._send(connection)
        else:
            self._do(self._connect(fresh=fresh))

    @property
    def _way(self) -> CompiledRoute:
        """The route, of a request that has one."""
        if self._route is None:
            raise RuntimeError("it goes nowhere")
        return self._route

    @property
    def _pool(self) -> Pool:
        return self._caller.server.pools[self._way.name]

    async def _connect(self, *, fresh: bool) -> None:
        connection = await self._pool.get(fresh=fresh)
        if self.answered:
            self._pool.release(connection)
        else:
            self._send(connection)

    def _send(self, connection: Upstream) -> None:
        """The head, and as much of the body as may go now."""
        fields, target = self._rendered or self._with_token()
        if self._known is not None:
            self._remember(self._known, fields, target)
        expects = self._expects
        if expects:
            fields = [*fields, EXPECT]
        proxy = self._pool.asks_a_proxy
        if proxy is not None:  # RFC 9112 3.2.2
            target = self._way.origin.encode() + target
            if proxy.authorization is not None:
                fields = [*fields, (b"Proxy-Authorization", proxy.authorization)]
        method = self.head.request.method
        upload = self._upload
        self._connection = connection
        self._answer = None
        self._trailers = ()
        self._ready = False
        chunked = None if upload is None else upload.length is None
        connection.begin(
            self,
            method,
            message_head(b"%b %b HTTP/1.1" % (method, target), fields),
            chunked=chunked,
        )
        if upload is None:
            self.deadline = self._after_request()
        elif expects:
            self._awaits_continue = True
            upload.attach(connection, waits=True)
            self._go_ahead = self._caller.server.loop.call_later(EXPECT_WAIT, self._send_body)
        else:
            self._tell_continue()
            upload.attach(connection)
            self._body_went()

    def _with_token(self) -> tuple[list[Header], bytes]:
        held, route = self._held, self._route
        if held is None or route is None:
            return list(self._fields), self._target
        try:
            if held.dpop_key is None:
                return route.injector.apply(self._fields, self._target, held.token.access.reveal())
            return self._caller.server.parts.bound.apply(
                self._fields,
                self._target,
                held,
                key=held.dpop_key,
                method=self.head.request.method.decode("ascii"),
                origin=route.origin,
            )
        except ValueError as error:
            raise SourceUnavailable("the token cannot be put where 'inject' says") from error

    # -- the body goes -----------------------------------------------------------------------

    def _send_body(self) -> None:
        """The upstream wants it, or says nothing for too long."""
        if not self._awaits_continue:
            return
        self._no_wait()
        self._tell_continue()
        if self._upload is not None:
            self._pump(self._upload.go_on)

    def _no_wait(self) -> None:
        self._awaits_continue = False
        if self._go_ahead is not None:
            self._go_ahead.cancel()
            self._go_ahead = None

    def _tell_continue(self) -> None:
        """A caller that holds its body back may send it now."""
        upload = self._upload
        if self.head.expects and not self._continue_told:
            self._continue_told = True
            if upload is not None and not upload.received and not self._is_out:
                self._caller.write(CONTINUE_LINE)

    def upstream_full(self) -> None:
        """The upstream takes no more of the body for the moment."""
        if self._answer is None:
            self.deadline = self._after(self._timeouts.idle)

    def upstream_ready(self) -> None:
        """The upstream takes more of the body, or has all that it will get."""
        if self._upload is not None:
            self._pump(self._upload.pump)

    def _pump(self, step: Any) -> None:
        try:
            step()
        except BodyGone as error:
            self._fail_with(error)
            return
        self._body_went()

    def _body_went(self) -> None:
        """Some of the body has gone, or all: what is waited for is another thing now."""
        upload, connection = self._upload, self._connection
        if upload is None or connection is None or self._answer is not None:
            if self.answered and upload is not None and upload.is_sent:
                self._connection = None
                self._tell()
            return
        if upload.is_sent:
            self.deadline = self._after_request()
        elif connection.is_full:
            self.deadline = self._after(self._timeouts.idle)
        else:
            self.deadline = NEVER

    def _after_request(self) -> float:
        return self._after(self._timeouts.response_head)

    @property
    def _timeouts(self) -> RouteTimeouts:
        return self._way.settings.timeouts

    def _after(self, seconds: float | None) -> float:
        return self._caller.sweep.after(seconds)

    # -- the answer comes --------------------------------------------------------------------

    def answer_head(self, head: AnswerHead) -> None:
        """A head has come."""
        if not head.is_final:
            self._interim(head)
            return
        self._answer = head
        route = self._way
        self.deadline = self._after(route.settings.timeouts.idle)
        if self._awaits_continue:
            self._no_wait()
            if head.status == EXPECTATION_FAILED and self._expects:
                self._captured = []
                self._expects = False
                self._resend()
                return
        held = self._held
        if held is None or self._keeper is None:
            self._relay()
            return
        if held.dpop_key is not None:
            self._caller.server.parts.bound.learn(head.headers, route.origin)
            if wants_nonce(head.status, head.headers):
                self._challenged()
                return
        match route.refresh.by_head(head.status, head.headers):
            case Verdict.ACCEPTED:
                self._relay()
            case Verdict.REJECTED:
                self._settle(self._keeper, held)
            case Verdict.NEEDS_BODY:
                self._captured = []
                self._is_probing = True

    def _challenged(self) -> None:
        """The API wants its nonce in the proof: that is no rejection (contract 3.3.9)."""
        if self._nonce_tried or not self._is_replayable:
            self._relay()
            return
        self._nonce_tried = True
        self._captured = []
        self._resend()

    @property
    def _is_replayable(self) -> bool:
        return self._upload is None or self._upload.is_replayable

    def _interim(self, head: AnswerHead) -> None:
        """One before the answer proper (RFC 9110 15.2)."""
        if head.status == CONTINUE:
            if self._awaits_continue:
                self._send_body()
            elif self.head.expects:
                self._tell_continue()
        elif self.head.request.version == "1.1" and not self._is_out:
            line = b"HTTP/1.1 %d %b" % (head.status, head.reason)
            self._caller.write(message_head(line, self._answer_fields(head)))

    def _settle(self, keeper: "TokenKeeper", held: Held) -> None:
        """The answer rejects the token: it is renewed and the request sent once more, or not."""
        rejection = None if self._replayed else keeper.rejected(held.generation)
        attempt = 2 if self._replayed else 1
        match decide(rejection, attempt=attempt, replayable=self._is_replayable):
            case Step.FORWARD:
                self._relay()
            case Step.RENEW_AND_FORWARD:
                keeper.renew_behind()
                self._relay()
            case Step.RENEW_AND_RESEND | Step.RESEND_WITH_NEWER:
                self._hold_answer()
                self._do(self._renewed(keeper, held))

    def _hold_answer(self) -> None:
        """The first answer waits unread, and the upload stands still."""
        if self._captured is None:
            self._captured = []
        self._is_probing = False
        self.deadline = NEVER
        if self._connection is not None and not self._ready:
            self._connection.pause_reading()
        if self._upload is not None and not self._upload.is_sent:
            self._upload.hold()

    async def _renewed(self, keeper: "TokenKeeper", held: Held) -> None:
        newer = await keeper.replaced(held.generation)
        if newer is None or not self._is_replayable:
            self._relay()
            return
        self._held = newer
        self._replayed = True
        self._nonce_tried = False
        self._resend()

    def _resend(self) -> None:
        """Once more; of the first answer nothing goes on."""
        self._drop_connection()
        self._captured = None
        self._is_probing = False
        if self._upload is not None:
            self._upload.detach()
        self._launch()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()

    # -- the answer goes on ------------------------------------------------------------------

    def _relay(self) -> None:
        """Pass the answer on, as far as it has come; the rest follows by itself."""
        head = self._answer
        if head is None:  # it broke off while it was held
            self._fail_with(UpstreamError("it broke off", UpstreamFault.BROKE_OFF))
            return
        self._relayed = True
        self._is_probing = False
        self._status = head.status
        self._is_complete = False
        self.deadline = self._after(self._timeouts.idle)
        self._out.append(self._head_out(head))
        captured, self._captured = self._captured, None
        if captured is not None:
            for piece in captured:
                self.answer_piece(piece)
            if self._upload is not None and not self._ready:
                self._pump(self._upload.go_on)
            if self._ready:
                self._finish()
                return
            if self._connection is None:
                self._out.clear() if not self._is_out else None
                self._break_off()
                return
            self.flush()
            if not self._caller.is_full:
                self._connection.resume_reading()

    def _head_out(self, head: AnswerHead) -> bytes:
        request = self.head.request
        fields = self._answer_fields(head)
        is_new = request.version == "1.1"
        end = head.end
        if head.status == NO_CONTENT:
            fields = [field for field in fields if field[0].lower() != b"content-length"]
        self._chunks_out = False
        if end is End.CHUNKS or end is End.CLOSE:
            if is_new:
                self._chunks_out = True
                fields.append(CHUNKED)
            else:
                self.closes = True
        self._decide_to_close()
        if self.closes == is_new:  # in either case not what the version means by itself
            fields.append((b"Connection", b"close" if is_new else b"keep-alive"))
        line = b"HTTP/1.%d %d %b" % (1 if is_new else 0, head.status, head.reason)
        out = message_head(line, fields)
        if is_new and not self.closes and self._way.answers.is_same_for_all(head.headers):
            head.out = out
        return out

    def _answer_fields(self, head: AnswerHead) -> list[Header]:
        return self._way.answers.to_caller(
            head.headers,
            target=self._target,
            scheme=self._caller.server.scheme,
            host=self._fields[0][1],
            interim=not head.is_final,
        )

    def _decide_to_close(self) -> None:
        upload = self._upload
        if self._caller.server.draining:
            self.closes = True
        elif self.head.expects and not self._continue_told and upload is not None:
            # Whether the body comes now or the next request, nobody knows.
            self.closes = self.closes or not upload.received

    def takes(self, head: AnswerHead) -> bool:
        """Whether an answer that came before, and comes again in one piece, goes on as it did."""
        held = self._held
        return (
            head.out is not None
            and self._upload is None
            and not self.closes
            and self.head.request.version == "1.1"
            and not self._caller.server.draining
            and (
                held is None
                or (
                    held.dpop_key is None
                    and self._way.refresh.by_head(head.status, head.headers) is Verdict.ACCEPTED
                )
            )
        )

    def answer_whole(self, head: AnswerHead, body: bytes) -> None:
        """Such an answer has come."""
        self._connection = None
        self._status = head.status
        self._bytes_out = len(body)
        self._is_out = self.answered = True
        self.deadline = NEVER
        self._caller.write((head.out or b"") + body)
        self._tell()
        self._caller.answered(self)

    def answer_piece(self, piece: bytes) -> None:
        """Some of the body has come."""
        captured = self._captured
        if captured is not None:
            captured.append(piece)
            if self._is_probing:
                self._probe(complete=False)
            return
        self._bytes_out += len(piece)
        if self._chunks_out:
            self._out += (b"%x\r\n" % len(piece), piece, b"\r\n")
        else:
            self._out.append(piece)

    def _probe(self, *, complete: bool) -> None:
        """Decide by the body, once enough of it has come (contract 1.3)."""
        captured, head = self._captured or [], self._answer
        if head is None or self._held is None or self._keeper is None:
            return
        if not complete and sum(map(len, captured)) <= MAX_BODY:
            return
        self._is_probing = False
        body = b"".join(captured)
        if self._way.refresh.by_body(head.status, head.headers, body, complete=complete):
            self._settle(self._keeper, self._held)
        else:
            self._relay()

    def flush(self) -> None:
        """What has come goes on now."""
        out = self._out
        if out and self._captured is None:
            self._is_out = True
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.deadline = self._after(self._timeouts.idle)
            self._caller.write(data)

    def answer_end(self, trailers: Sequence[Header]) -> None:
        """The answer has come whole."""
        self._ready = True
        self._trailers = trailers
        if self._upload is None or self._upload.is_sent:
            self._connection = None
        if self._captured is not None:
            if self._is_probing:
                self._probe(complete=True)
            return
        if self._relayed:
            self._finish()

    def _finish(self) -> None:
        """The answer goes out to its end."""
        if self._chunks_out:
            self._out.append(self._last_chunk())
        self.flush()
        self.deadline = NEVER
        self.answered = self._is_complete = True
        self._end_upload()
        if self._connection is None:
            self._tell()
        self._caller.answered(self)

    def _last_chunk(self) -> bytes:
        if not self._trailers or not self.head.takes_trailers:
            return b"0\r\n\r\n"
        return message_head(b"0", to_caller(self._trailers))

    def _end_upload(self) -> None:
        """What an answer that came before the body's end means for the rest (RFC 9112 9.3).

        After a 2xx the upstream may well use what it goes on reading; after any other it has no
        use for it.
        """
        upload = self._upload
        if upload is None or upload.is_useless:
            return
        if upload.is_sent:
            upload.close()
        elif self._status // 100 != SUCCESS or self._connection is None:
            self._drop_connection()
            upload.discard()

    def answer_lost(self, fault: UpstreamFault) -> None:
        """The answer will not come, or not whole."""
        connection, self._connection = self._connection, None
        if self.answered:
            if self._upload is not None:
                self._upload.discard()
            self._tell()
            return
        if self._captured is not None and self._task is not None:
            return  # what is held broke off: that counts if it is to go on
        if self._relayed or self._captured is not None:
            self._break_off()
            return
        if (
            self._answer is None
            and connection is not None
            and self._may_go_again(connection, fault)
        ):
            self._retried = True
            self._no_wait()
            if self._upload is not None:
                self._upload.detach()
            self._launch(fresh=True)
            return
        self._fail_with(UpstreamError("no answer", fault))

    def _may_go_again(self, connection: Upstream, fault: UpstreamFault) -> bool:
        return (
            fault is UpstreamFault.BROKE_OFF
            and not self._retried
            and may_retry_stale(
                self.head.request.method,
                sent_on_reused_connection=connection.is_reused,
                answer_begun=connection.has_begun,
                body_replayable=self._is_replayable,
            )
        )

    def _break_off(self) -> None:
        """The answer broke off: so it does for the caller."""
        self.answered = True
        self._is_complete = False
        self.deadline = NEVER
        self._let_go()
        if self._upload is not None:
            self._upload.discard()
        self._out.clear()
        self._caller.abort()
        self._tell()

    # -- other protocols ---------------------------------------------------------------------

    def switched(self, head: AnswerHead, rest: bytes) -> None:
        """The upstream speaks another protocol from here on."""
        connection, wanted = self._connection, self._protocol()
        is_asked = (
            wanted is not None
            and head.upgrade is not None
            and head.upgrade.lower() == wanted.lower()
            and connection is not None
        )
        if not is_asked or connection is None:
            self._let_go()
            self._fail_with(UpstreamError("unasked", UpstreamFault.PROTOCOL))
            return
        self._status = head.status
        self.answered = True
        self.deadline = NEVER
        self._connection = None
        fields = self._answer_fields(head)
        fields += ((b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade or b""))
        self._caller.write(message_head(b"HTTP/1.1 101 " + head.reason, fields))
        Tunnel(self._caller, connection, self._timeouts.idle, self._tunnelled).begin(rest)

    def _tunnelled(self, bytes_in: int, bytes_out: int, *, complete: bool) -> None:
        """The tunnel has come to its end."""
        del bytes_in
        self._bytes_out = bytes_out
        self._is_complete = complete
        self._tell()

    # -- the flow ----------------------------------------------------------------------------

    def pause_answer(self) -> None:
        """The caller takes no more for the moment."""
        if self._connection is not None and self._relayed and not self._ready:
            self._connection.pause_reading()
            self.deadline = NEVER  # it is not the upstream that is silent

    def resume_answer(self) -> None:
        """It takes more."""
        if self._connection is not None and self._relayed and not self._ready:
            self._connection.resume_reading()
            self.deadline = self._after(self._timeouts.idle)

    def expired(self) -> None:
        """The upstream has been silent for too long."""
        self.deadline = NEVER
        self._let_go()
        if self._relayed and self._is_out:
            self._break_off()
        else:
            self._out.clear()
            self._captured = None
            self._fail_with(UpstreamError("too late", UpstreamFault.RESPONSE_TIMEOUT))

    # -- what cannot go on -------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Go on in a task; one that ends with another is followed by that."""
        self._task = spawn(self._guarded(work), name="exchange")

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.current_task()
        try:
            await work
        except Exception as error:  # noqa: BLE001 - a fault of our own is answered with 500
            self._fail_with(error)
        finally:
            if self._task is task:
                self._task = None

    def _let_go(self) -> None:
        """Of all that works for this request; a renewal goes on by itself."""
        self._no_wait()
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        self._drop_connection()

    def fault(self, error: Exception) -> None:
        """A fault of our own, met in the middle of the answer."""
        self._connection = None
        self._fail_with(error)

    def _fail_with(self, error: Exception) -> None:
        if self.answered:
            return
        self._let_go()
        if not isinstance(error, TokenproxyError | Overloaded):
            self._caller.server.parts.observe(
                InternalError(self._route_name or "", type(error).__name__)
            )
        if self._is_out:
            self._break_off()
            return
        self._out.clear()
        if isinstance(error, Overloaded):
            own = answer(ErrorCode.OVERLOADED, detail=FULL, route=self._route_name)
            self._own(own, ErrorCode.OVERLOADED)
            return
        fault = for_error(error)
        own = answer(
            fault.code,
            detail=fault.detail,
            route=self._route_name,
            retry_after=fault.retry_after,
            proxy_error=fault.proxy_error,
        )
        self._own(own, fault.code)

    def _own(self, own: Answer, code: ErrorCode | None) -> None:
        """An answer of our own."""
        request = self.head.request
        self._status, self._code = own.status, code
        self._let_go()
        self._decide_to_close()
        self.closes = self.closes or own.close
        fields = [*own.headers, (b"Date", formatdate(usegmt=True).encode())]
        is_new = request.version != "1.0"
        if self.closes == is_new:
            fields.append((b"Connection", b"close" if is_new else b"keep-alive"))
        reason = HTTPStatus(own.status).phrase.encode()
        line = b"HTTP/1.%d %d %b" % (1 if is_new else 0, own.status, reason)
        body = b"" if request.method == b"HEAD" else own.body
        self._bytes_out = len(body)
        self._out.clear()
        self._is_out = True
        self._caller.write(message_head(line, fields) + body)
        self.answered = self._is_complete = True
        self.deadline = NEVER
        if self._upload is not None and not self._upload.is_useless:
            self._upload.discard()
        self._tell()
        self._caller.answered(self)

    # -- about the request -------------------------------------------------------------------

    @property
    def _route_name(self) -> str | None:
        return None if self._route is None else self._route.name

    def _tell(self) -> None:
        """Tell of this request, once."""
        if self._told or not self._is_begun:
            return
        self._told = True
        server, request = self._caller.server, self.head.request
        server.parts.observe(
            RequestServed(
                route=self._route_name or "",
                method=request.method.decode("ascii", "backslashreplace"),
                path=split(request.target)[0].decode("ascii", "backslashreplace"),
                status=self._status,
                seconds=server.loop.time() - self._began,
                bytes_in=0 if self._upload is None else self._upload.received,
                bytes_out=self._bytes_out,
                replayed=self._replayed,
                code=None if self._code is None else self._code.value,
                complete=self._is_complete,
            )
        )


FULL = "All connections that this route may have are in use."
