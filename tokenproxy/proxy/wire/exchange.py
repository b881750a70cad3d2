"""A request and its answer: the answer judged, and passed on, or the request sent once more.

The two protocols call what is here as bytes come. An answer that rejects the token is held
unread until there is a newer one, or none is to be had (contract 3.3.2).
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tokenproxy.errors import UpstreamError, UpstreamFault
from tokenproxy.proxy.bound import wants_nonce
from tokenproxy.proxy.head import message_head
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.matching import MAX_BODY, Verdict
from tokenproxy.proxy.verdict import Replay, Step, decide, may_retry_stale, outcome
from tokenproxy.proxy.wire.outbound import AnswerHead, End
from tokenproxy.proxy.wire.sending import CHUNKED, Sending
from tokenproxy.proxy.wire.sweep import NEVER
from tokenproxy.proxy.wire.tunnel import Tunnel
from tokenproxy.proxy.wire.upstream import Upstream
from tokenproxy.tokens.slot import Held

if TYPE_CHECKING:
    from tokenproxy.proxy.parts import TokenKeeper

PROXY_AUTHENTICATION = 407
UNASKED = "it switched to a protocol that nobody asked for"
TOO_LATE = "it was silent for longer than the route's 'timeouts' allow"
CONTINUE, NO_CONTENT, EXPECTATION_FAILED, SUCCESS = 100, 204, 417, 2
_LENGTH = b"content-length"  # some send one of zero with a 101


class Exchange(Sending):
    """A request that goes to a route's upstream, and its answer."""

    _captured: list[bytes] | None = None  # of an answer that is not passed on yet
    _trailers: Sequence[Header] = ()
    _is_probing = False
    _relayed = False
    _chunks_out = False
    _nonce_tried = False

    # -- the answer comes --------------------------------------------------------------------

    def answer_head(self, head: AnswerHead) -> None:
        """A head has come."""
        if not head.is_final:
            self._interim(head)
            return
        self._answer = head
        self._upstream_seconds = self._caller.server.loop.time() - self._sent_at
        self.deadline = self._after(self._timeouts.idle)
        if self._awaits_continue:
            self._no_wait()
            if head.status == EXPECTATION_FAILED and self._expects:
                self._captured = []
                self._expects = False
                self._resend()
                return
        if head.status == PROXY_AUTHENTICATION and self._is_refused_by_proxy(head):
            return
        held, keeper = self._held, self._keeper
        if held is None or keeper is None:
            self._relay()
        else:
            self._judge(head, keeper, held)

    def _judge(self, head: AnswerHead, keeper: "TokenKeeper", held: Held) -> None:
        """Say what the answer means for the token that was sent."""
        route = self._route
        if held.dpop_key is not None:
            self._caller.server.parts.bound.learn(head.headers, route.origin)
            if wants_nonce(head.status, head.headers):
                self._challenged()
                return
        match route.refresh.by_head(head.status, head.headers):
            case Verdict.ACCEPTED:
                self._relay()
            case Verdict.REJECTED:
                self._settle(keeper, held)
            case Verdict.NEEDS_BODY:
                self._captured = []
                self._is_probing = True

    def _is_refused_by_proxy(self, head: AnswerHead) -> bool:
        """Whether the proxy on the way out has answered, and not the upstream."""
        proxy = self._caller.server.pools[self._route.name].asks_a_proxy
        if proxy is None:
            return False
        self._let_go()
        message = f"{proxy.named} answered {head.status}"
        self._fail_with(UpstreamError(message, UpstreamFault.UNREACHABLE))
        return True

    def _challenged(self) -> None:
        """The API wants its nonce in the proof: that is no rejection (contract 3.3.9)."""
        if self._nonce_tried or not self._is_replayable:
            self._relay()
            return
        self._nonce_tried = True
        self._captured = []
        self._resend()

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
        self._replay = outcome(rejection, attempt=attempt, replayable=self._is_replayable)
        match decide(rejection, attempt=attempt, replayable=self._is_replayable):
            case Step.FORWARD:
                self._relay()
            case Step.RENEW_AND_FORWARD:
                keeper.renew_behind()
                self._relay()
            case Step.RENEW_AND_RESEND | Step.RESEND_WITH_NEWER:
                self._hold_answer()
                self._do(partial(self._renewed, keeper, held))

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
            self._replay = None if newer is None else Replay.NOT_REPLAYABLE
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

    # -- the answer goes on ------------------------------------------------------------------

    def _relay(self) -> None:
        """Pass the answer on, as far as it has come; the rest follows by itself."""
        head = self._answer
        if head is None:  # it broke off while it was held
            self._fail_with(UpstreamError("its answer broke off", UpstreamFault.BROKE_OFF))
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
        if self._is_the_usual(head) and is_new:
            head.out = out
            verdict = self._route.refresh.by_head(head.status, head.headers)
            head.is_accepted = verdict is Verdict.ACCEPTED
        return out

    def _answer_fields(self, head: AnswerHead) -> list[Header]:
        return self._fields_out(head.headers, interim=not head.is_final)

    def _fields_out(self, fields: Sequence[Header], *, interim: bool) -> list[Header]:
        return self._route.answers.to_caller(
            fields,
            target=self._target,
            scheme=self._caller.scheme,
            host=self._fields[0][1],
            interim=interim,
            shared=self._shared,
        )

    def _is_the_usual(self, head: AnswerHead) -> bool:
        """Whether what goes out for an answer's head goes out to any caller who stays."""
        if self.closes or self._shared:
            return False
        return self._route.answers.is_same_for_all(head.headers)

    def takes(self, head: AnswerHead) -> bool:
        """Whether an answer that came before, and comes again in one piece, goes on as it did."""
        held = self._held
        return (
            head.out is not None
            and (self._upload is None or self._upload.is_sent)
            and not self.closes
            and not self._shared
            and self.head.request.version == "1.1"
            and not self._caller.server.draining
            and (held is None or (held.dpop_key is None and head.is_accepted))
        )

    def answer_whole(self, head: AnswerHead, body: bytes) -> None:
        """Such an answer has come."""
        self._connection = None
        self._status = head.status
        now = self._caller.server.loop.time()
        self._upstream_seconds = now - self._sent_at
        self._bytes_out = len(body)
        self._is_out = self.answered = True
        self.deadline = NEVER
        self._caller.write((head.out or b"") + body)
        if self._upload is not None:
            self._upload.close()
        self._tell(now)
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
        if self._route.refresh.by_body(head.status, head.headers, body, complete=complete):
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
        return message_head(b"0", self._fields_out(self._trailers, interim=True))

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
            self._no_wait()
            if self._upload is not None:
                self._upload.detach()
            self._launch(fresh=True)
            return
        self._fail_with(UpstreamError(fault.value, fault))

    def _may_go_again(self, connection: Upstream, fault: UpstreamFault) -> bool:
        """Once for each send: what it is sent again on is a new connection, and never stale."""
        return fault is UpstreamFault.BROKE_OFF and may_retry_stale(
            self.head.request.method,
            sent_on_reused_connection=connection.is_reused,
            answer_begun=connection.has_begun,
            body_replayable=self._is_replayable,
        )

    # -- other protocols ---------------------------------------------------------------------

    def switched(self, head: AnswerHead, rest: bytes) -> None:
        """The upstream speaks another protocol from here on."""
        connection, protocol = self._connection, b", ".join(head.upgrades)
        is_asked = protocol.lower() in (each.lower() for each in self._protocols())
        if not is_asked or connection is None:
            self._let_go()
            self._fail_with(
                UpstreamError(
                    "it switched to a protocol that nobody asked for", UpstreamFault.PROTOCOL
                )
            )
            return
        self._status = head.status
        self._upstream_seconds = self._caller.server.loop.time() - self._sent_at
        self.answered = True
        self.deadline = NEVER
        self._connection = None
        fields = [each for each in self._answer_fields(head) if each[0].lower() != _LENGTH]
        fields += ((b"Connection", b"Upgrade"), (b"Upgrade", protocol))
        self._caller.write(message_head(b"HTTP/1.1 101 " + head.reason, fields))
        Tunnel(self._caller, connection, self._timeouts.idle, self._tunnelled).begin(rest)

    def _tunnelled(self, bytes_in: int, bytes_out: int, *, complete: bool) -> None:
        """The tunnel has come to its end."""
        self._bytes_in, self._bytes_out = bytes_in, bytes_out
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
            self._captured = None
            self._fail_with(UpstreamError(TOO_LATE, UpstreamFault.RESPONSE_TIMEOUT))

    def fault(self, error: Exception) -> None:
        """A fault of our own, met in the middle of the answer."""
        self._connection = None
        self._fail_with(error)
