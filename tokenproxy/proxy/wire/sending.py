"""A request on its way to the upstream: its fields, its token, a connection, its body.

Where the token is fresh and a connection stands, all of it happens in one go, with no task,
future or timer. What must wait (a renewal, a new connection) goes on in a task, one at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tokenproxy.errors import SourceUnavailable, TokenproxyError, UpstreamError
from tokenproxy.events import InternalError
from tokenproxy.proxy.answers import error_answer
from tokenproxy.proxy.body import BodyGone
from tokenproxy.proxy.head import message_head
from tokenproxy.proxy.headers import Caller, Header
from tokenproxy.proxy.route import Matched
from tokenproxy.proxy.wire.inbound import Head
from tokenproxy.proxy.wire.known import KnownRequest
from tokenproxy.proxy.wire.outbound import AnswerHead
from tokenproxy.proxy.wire.sweep import NEVER
from tokenproxy.proxy.wire.turn import Turn
from tokenproxy.proxy.wire.upload import Upload
from tokenproxy.proxy.wire.upstream import Client, Upstream
from tokenproxy.tasks import spawn
from tokenproxy.tokens.slot import Held

if TYPE_CHECKING:
    from tokenproxy.proxy.parts import TokenKeeper
    from tokenproxy.proxy.wire.downstream import Downstream

EXPECT_WAIT = 1.0  # seconds (contract 3.3.3)
CONTINUE_LINE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = (b"Expect", b"100-continue")
CHUNKED = (b"Transfer-Encoding", b"chunked")


class Sending(Turn, Client):
    """A request that goes to a route's upstream."""

    _known: KnownRequest | None = None
    _held: Held | None = None
    _keeper: "TokenKeeper | None" = None
    _fields: Sequence[Header] = ()  # as they are sent, but for the credential
    _rendered: tuple[list[Header], bytes] | None = None
    _connection: Upstream | None = None
    _task: asyncio.Task[None] | None = None
    _go_ahead: asyncio.TimerHandle | None = None
    _answer: AnswerHead | None = None  # to the request that was sent last
    _ready = False  # that answer has come whole
    _awaits_continue = False
    _expects = False  # a 100 of the upstream, before the body is sent

    def __init__(
        self, caller: "Downstream", head: Head, way: Matched, body: bytes | None = None
    ) -> None:
        self.head = head
        self.closes = head.is_last
        self._caller = caller
        route = self._route = way.route
        self._target = way.target
        self._out: list[bytes] = []  # what goes to the caller with the next `flush`
        self._timeouts = route.settings.timeouts
        self.route_name = route.name
        if way.shared:
            self._shared = way.shared
        if body is not None:  # it has come with the head
            self._upload = Upload.whole(route.settings.replay, body)
        elif head.has_body:
            self._upload = Upload(route.settings.replay, head.length, caller.read_on)

    @property
    def upgrades(self) -> bool:
        """Whether the caller wants to switch to a protocol that the route lets it have."""
        return bool(self.head.upgrades) and bool(self._protocols())

    def _protocols(self) -> list[bytes]:
        if self.head.has_body:
            return []
        allowed = self._route.settings.upgrade
        return [name for name in self.head.upgrades if name.decode("latin-1").lower() in allowed]

    # -- what is sent ------------------------------------------------------------------------

    def _start(self, known: KnownRequest | None) -> None:
        if known is None or not self._is_sent_again(known):
            self._known = known
            self._forward()

    def _forward(self) -> None:
        route, request, server = self._route, self.head.request, self._caller.server
        fields = self._fields = route.headers.to_upstream(
            request.headers,
            version=request.version,
            caller=Caller(self._caller.address, self._caller.scheme),
        )
        if self._upload is not None or not self.head.is_plain:
            self._frame(fields)
        if route.settings.credential is None or (
            route.keeps_own and route.injector.finds_own(fields, self._target)
        ):
            self._launch()
            return
        keeper = self._keeper = server.parts.keepers[route.settings.credential]
        self._held = keeper.peek()
        if self._held is not None:
            self._launch()
        else:
            self._do(partial(self._wait_for_token, keeper))

    def _frame(self, fields: list[Header]) -> None:
        """Put in what is about the body, and about a switch of protocols."""
        upload = self._upload
        if self.head.expects:
            fields[:] = [field for field in fields if field[0].lower() != b"expect"]
        if upload is not None:
            if upload.length is None:
                fields.append(CHUNKED)
            self._expects = self.head.expects or (
                self._route.settings.credential is not None
                and not (upload.is_kept and upload.length is not None)
            )
        options = []
        if self.head.takes_trailers:
            options.append(b"TE")
            fields.append((b"TE", b"trailers"))
        if self.upgrades:
            options.append(b"Upgrade")
            fields.append((b"Upgrade", b", ".join(self._protocols())))
        if options:  # in one field: some servers read no second one
            fields.append((b"Connection", b", ".join(options)))

    async def _wait_for_token(self, keeper: "TokenKeeper") -> None:
        self._held = await keeper.get()
        self._launch()

    def _with_token(self) -> tuple[list[Header], bytes]:
        held, route = self._held, self._route
        if held is None:
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

    # -- fields that have come before --------------------------------------------------------

    def _is_sent_again(self, known: KnownRequest) -> bool:
        """Send what went out the last time with these fields, where it is the same and can."""
        route = self._route
        sent = known.fields.sent.get(route)
        if sent is None:
            return False
        name = route.settings.credential
        if name is not None:
            keeper = self._caller.server.parts.keepers[name]
            held = keeper.peek()
            if held is None or held.token.access is not sent.token:
                return False
            self._keeper, self._held = keeper, held
        connection = self._caller.server.pools[route.name].take()
        if connection is None:
            return False
        self._fields = sent.fields(known.values)
        self._connection = connection
        method, head = self.head.request.method, known.head_out(sent)
        if self._upload is not None:
            head = self._upload.sent_with(head)
        connection.begin(self, method, head, chunked=None)
        self.deadline = self._after(self._timeouts.response_head)
        return True

    def _remember(self, known: KnownRequest, fields: list[Header], target: bytes) -> None:
        """Note what is sent for these fields, where it is the same for every target and caller."""
        route, held = self._route, self._held
        is_bound = held is not None and held.dpop_key is not None
        depends = is_bound or route.keeps_own or route.settings.forwarded == "set"
        if (
            depends
            or target != self._target
            or self._caller.server.pools[route.name].asks_a_proxy is not None
        ):
            return
        token = None if held is None else held.token.access
        known.note(self._fields, fields, token)

    # -- a connection ------------------------------------------------------------------------

    def _launch(self, *, fresh: bool = False) -> None:
        """Send on a connection that stands, or make one."""
        # What can be wrong with a token is told before anything is sent.
        rendered = self._with_token()
        is_good_twice = self._held is None or self._held.dpop_key is None
        self._rendered = rendered if is_good_twice else None
        connection = None if fresh else self._caller.server.pools[self._route.name].take()
        if connection is not None:
            self._send(connection)
        else:
            self._do(partial(self._connect, fresh=fresh))

    async def _connect(self, *, fresh: bool) -> None:
        pool = self._caller.server.pools[self._route.name]
        connection = await pool.get(fresh=fresh)
        if self.answered:
            pool.release(connection)
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
        proxy = self._caller.server.pools[self._route.name].asks_a_proxy
        if proxy is not None:  # RFC 9112 3.2.2
            target = self._route.origin.encode() + target
            if proxy.authorization is not None:
                fields = [*fields, (b"Proxy-Authorization", proxy.authorization)]
        method = self.head.request.method
        upload = self._upload
        self._connection = connection
        self._answer = None
        self._ready = False
        chunked = None if upload is None else upload.length is None
        self._sent_at = self._caller.server.loop.time()
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

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()

    # -- the body ----------------------------------------------------------------------------

    def body_came(self, piece: bytes) -> None:
        """Some of it has come."""
        try:
            super().body_came(piece)
        except BodyGone as error:
            self._fail_with(error)

    def body_ended(self) -> None:
        """All of it has come."""
        upload = self._upload
        if upload is not None:
            self._pump(upload.end)
        if self.answered:
            self._caller.body_read_away(self)

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

    def _pump(self, step: Callable[[], None]) -> None:
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

    def _after(self, seconds: float | None) -> float:
        return self._caller.sweep.after(seconds)

    @property
    def _is_replayable(self) -> bool:
        return self._upload is None or self._upload.is_replayable

    # -- what must wait, and what cannot go on -----------------------------------------------

    def _do(self, work: Callable[[], Awaitable[None]]) -> None:
        """Go on in a task; one that ends with another is followed by that."""
        self._task = spawn(self._guarded(work), name="exchange")

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.current_task()
        try:
            await work()  # called here: a task that is cancelled at once leaves nothing unawaited
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

    def _fail_with(self, error: Exception) -> None:
        if self.answered:
            return
        self._let_go()
        if not isinstance(error, TokenproxyError):
            self._caller.server.parts.observe(
                InternalError(self.route_name or "", type(error).__name__)
            )
        if isinstance(error, UpstreamError):
            self._error = str(error)
        if self._is_out:
            self._break_off()
        else:
            self._own(error_answer(error, self.route_name))
