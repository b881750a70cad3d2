"""One request and its answer, on `aiohttp.web` and `aiohttp.ClientSession`.

Judged by the guard, given a token by its keeper, sent; its answer judged by the route's rules
and passed on, or the token renewed and the request sent once more. What is decided is decided
in the pure stations; here it is only done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp import hdrs, web

from tokenproxy.errors import SourceUnavailable, TokenproxyError
from tokenproxy.events import InternalError, RequestServed
from tokenproxy.proxy import framing
from tokenproxy.proxy.answers import (
    BROKE_OFF,
    CALLER_LEFT,
    Answer,
    ErrorCode,
    answer,
    error_answer,
    options_answer,
    preflight_answer,
)
from tokenproxy.proxy.body import Body
from tokenproxy.proxy.bound import wants_nonce
from tokenproxy.proxy.cors import share
from tokenproxy.proxy.guard import Guard
from tokenproxy.proxy.handover import Tunnels
from tokenproxy.proxy.head import message_head
from tokenproxy.proxy.headers import Caller, Header
from tokenproxy.proxy.inbound import CallerBody, Own, Verbatim, expects_continue, may_switch
from tokenproxy.proxy.matching import MAX_BODY, Verdict
from tokenproxy.proxy.outbound import beginning, send
from tokenproxy.proxy.parts import Parts, TokenKeeper
from tokenproxy.proxy.request import Denied, OptionsAsked, Preflight, Request
from tokenproxy.proxy.route import CompiledRoute, Matched
from tokenproxy.proxy.target import named
from tokenproxy.proxy.transport import SWITCHING_PROTOCOLS, Connection, Message
from tokenproxy.proxy.verdict import Replay, Step, decide, outcome
from tokenproxy.tokens.slot import Held

WEBSOCKET = "websocket"  # the one protocol behind whose handshake aiohttp's parser stops


@dataclass(slots=True)
class Outgoing:
    """A request as its upstream gets it, but for the credential."""

    route: CompiledRoute
    fields: list[Header]
    target: bytes


class Exchange:
    """One request and its answer."""

    _outgoing: Outgoing  # from `_forward` on

    def __init__(self, parts: Parts, tunnels: Tunnels, request: web.BaseRequest) -> None:
        self._parts = parts
        self._tunnels = tunnels
        self._request = request
        self._version = "1.1" if request.version == aiohttp.HttpVersion11 else "1.0"
        self._target = request.raw_path.encode("utf-8", "surrogateescape")
        self._reading: CallerBody | None = None
        self._body: Body | None = None
        self._route_name: str | None = None
        self._shared: Sequence[Header] = ()  # what a page of another site is told that has asked
        self._upstream: aiohttp.ClientResponse | None = None
        self._relayed = False  # at least the head of an answer
        self._status = CALLER_LEFT
        self._code: str | None = None
        self._protocols: tuple[str, ...] = ()  # that the request may switch to
        self._bytes_in = 0  # of a tunnel; a body counts its own
        self._bytes_out = 0
        self._replayed = False
        self._replay: Replay | None = None
        self._upstream_seconds: float | None = None
        self._complete = True

    # -- the stations ------------------------------------------------------------------------

    async def answer(self, guard: Guard) -> web.StreamResponse:
        """Judge the request, and forward it or say why not."""
        match self._refusal() or guard.judge(self._judged()):
            case Denied() as denied:
                return self._deny(denied)
            case OptionsAsked():
                return self._own(options_answer())
            case Preflight(fields, route_name):
                self._route_name = route_name
                return self._own(preflight_answer(fields))
            case Matched(route, target, shared):
                self._route_name, self._shared = route.name, shared
                return await self._forward_safely(route, target)

    def _refusal(self) -> Denied | None:
        codings = self._request.headers.getall(hdrs.TRANSFER_ENCODING, ())
        return framing.refusal(self._request.version, codings) or framing.oversize(
            self._target, self._request.raw_headers
        )

    async def _forward_safely(self, route: CompiledRoute, target: bytes) -> web.StreamResponse:
        try:
            return await self._forward(route, target)
        except TokenproxyError as error:
            return self._fail(error)
        except ConnectionError:
            raise  # the caller has gone
        except Exception as error:  # a fault of our own: told, and answered with 500
            self._parts.observe(InternalError(route.name, type(error).__name__))
            if self._relayed:
                raise ConnectionAbortedError from error
            return self._fail(error)

    async def _forward(self, route: CompiledRoute, target: bytes) -> web.StreamResponse:
        self._body = self._open_body(route)
        if WEBSOCKET in route.settings.upgrade and may_switch(self._request):
            self._protocols = (WEBSOCKET,)
        fields = route.headers.to_upstream(
            self._request.raw_headers, version=self._version, caller=self._caller()
        )
        outgoing = self._outgoing = Outgoing(route, self._framed(fields), target)
        if route.settings.credential is None or (
            route.keeps_own and route.injector.finds_own(outgoing.fields, target)
        ):
            return await self._relay(await self._send(route, outgoing.fields, target))
        keeper = self._parts.keepers[route.settings.credential]
        held = keeper.peek() or await keeper.get()
        upstream = await self._send_with(held, outgoing)
        return await self._settle(upstream, keeper, held, outgoing)

    async def _settle(
        self, upstream: aiohttp.ClientResponse, keeper: TokenKeeper, held: Held, outgoing: Outgoing
    ) -> web.StreamResponse:
        """What becomes of the first answer."""
        rejects, begun = await self._rejects(outgoing.route, upstream, held)
        rejection = keeper.rejected(held.generation) if rejects else None
        self._replay = outcome(rejection, attempt=1, replayable=self._replayable)
        match decide(rejection, attempt=1, replayable=self._replayable):
            case Step.FORWARD:
                return await self._relay(upstream, begun)
            case Step.RENEW_AND_FORWARD:
                keeper.renew_behind()
                return await self._relay(upstream, begun)
            case Step.RENEW_AND_RESEND | Step.RESEND_WITH_NEWER:
                newer = await self._newer(keeper, held)
                if newer is None or not self._replayable:
                    self._replay = None if newer is None else Replay.NOT_REPLAYABLE
                    return await self._relay(upstream, begun)
                return await self._resend(upstream, newer, outgoing)

    async def _resend(
        self, upstream: aiohttp.ClientResponse, newer: Held, outgoing: Outgoing
    ) -> web.StreamResponse:
        """Once more, with the newer token; whatever the answer is, it goes on."""
        await self._end(upstream)
        again = await self._send_with(newer, outgoing)
        rejects, begun = await self._rejects(outgoing.route, again, newer)
        self._replay = Replay.REJECTED_AGAIN if rejects else Replay.ACCEPTED
        return await self._relay(again, begun)

    async def _end(self, upstream: aiohttp.ClientResponse) -> None:
        """Make way for another send."""
        upstream.close()
        await upstream.wait_for_close()  # its upload has ended: the body is free for the next
        self._replayed = True

    async def _newer(self, keeper: TokenKeeper, held: Held) -> Held | None:
        """A newer token, while the first answer is held unread and the upload stands still."""
        if self._body is not None:
            self._body.hold()
        return await keeper.replaced(held.generation)

    @property
    def _replayable(self) -> bool:
        return self._body is None or self._body.replayable

    async def _rejects(
        self, route: CompiledRoute, upstream: aiohttp.ClientResponse, held: Held
    ) -> tuple[bool, bytes]:
        """Whether the answer rejects the token, and what had to be read of it to know."""
        if upstream.status == SWITCHING_PROTOCOLS:
            return False, b""
        if held.dpop_key is not None and wants_nonce(upstream.status, upstream.raw_headers):
            return False, b""
        match route.refresh.by_head(upstream.status, upstream.raw_headers):
            case Verdict.REJECTED:
                return True, b""
            case Verdict.ACCEPTED:
                return False, b""
            case Verdict.NEEDS_BODY:
                begun, complete = await beginning(upstream, MAX_BODY)
                rejects = route.refresh.by_body(
                    upstream.status, upstream.raw_headers, begun, complete=complete
                )
                return rejects, begun

    # -- towards the upstream ----------------------------------------------------------------

    def _open_body(self, route: CompiledRoute) -> Body | None:
        if not self._request.body_exists:
            return None
        self._reading = CallerBody(self._request)
        length = self._request.content_length
        return Body(self._reading.read, length=length, replay=route.settings.replay)

    def _framed(self, fields: list[Header]) -> list[Header]:
        """With what is about the body, or a switch of protocols; an Expect is answered here."""
        if expects_continue(self._request):
            fields = [field for field in fields if field[0].lower() != b"expect"]
        if self._body is not None and self._body.length is None:
            fields.append((b"Transfer-Encoding", b"chunked"))
        if self._protocols:
            fields += switching(self._request.headers[hdrs.UPGRADE])
        return fields

    async def _send_with(self, held: Held, outgoing: Outgoing) -> aiohttp.ClientResponse:
        """Send with that token; once more where the API wants its nonce with it."""
        if held.dpop_key is None:
            fields, target = self._with_token(held, outgoing)
            return await self._send(outgoing.route, fields, target)
        upstream = await self._send_bound(held, outgoing)
        if not (wants_nonce(upstream.status, upstream.raw_headers) and self._replayable):
            return upstream
        await self._end(upstream)
        return await self._send_bound(held, outgoing)

    async def _send_bound(self, held: Held, outgoing: Outgoing) -> aiohttp.ClientResponse:
        """With another proof each time that it goes out, also over a second connection."""
        self._with_token(held, outgoing)  # what can be wrong with it is told before it is sent
        upstream = await self._send_head(
            outgoing.route, lambda: self._head(*self._with_token(held, outgoing))
        )
        self._parts.bound.learn(upstream.raw_headers, outgoing.route.origin)
        return upstream

    def _with_token(self, held: Held, outgoing: Outgoing) -> tuple[list[Header], bytes]:
        route, fields, target = outgoing.route, outgoing.fields, outgoing.target
        try:
            if held.dpop_key is None:
                return route.injector.apply(fields, target, held.token.access.reveal())
            return self._parts.bound.apply(
                fields,
                target,
                held,
                key=held.dpop_key,
                method=self._request.method,
                origin=route.origin,
            )
        except ValueError as error:
            raise SourceUnavailable("the token cannot be put where 'inject' says") from error

    async def _send(
        self, route: CompiledRoute, fields: list[Header], target: bytes
    ) -> aiohttp.ClientResponse:
        head = self._head(fields, target)
        return await self._send_head(route, lambda: head)

    def _head(self, fields: list[Header], target: bytes) -> bytes:
        start_line = b"%b %b HTTP/1.1" % (self._request.method.encode(), target)
        return message_head(start_line, fields)

    async def _send_head(
        self, route: CompiledRoute, head: Callable[[], bytes]
    ) -> aiohttp.ClientResponse:
        sent = self._parts.clock.now().steady
        self._upstream = await send(
            self._parts.session,
            self._parts.upstreams[route.name],
            Message(self._request.method, head, self._body, self._protocols),
        )
        self._upstream_seconds = self._parts.clock.now().steady - sent
        return self._upstream

    # -- towards the caller ------------------------------------------------------------------

    async def _relay(
        self, upstream: aiohttp.ClientResponse, begun: bytes = b""
    ) -> web.StreamResponse:
        """Pass the answer on, `begun` being what was read of it; one that breaks off, does here."""
        if upstream.status == SWITCHING_PROTOCOLS:
            return await self._switch(upstream)
        if self._body is not None:
            self._body.go_on()
        if self._reading is not None:
            self._reading.waits = False  # a 100 after the final answer would be part of its body
        fields, length = self._answer_fields(upstream), upstream.content_length
        response = Verbatim(upstream.status, upstream.reason or "", fields, length=length)
        self._status, self._complete = upstream.status, False
        await response.prepare(self._request)
        self._relayed = True
        try:
            await self._pass_on(upstream, response, begun)
        except (aiohttp.ClientError, OSError):
            response.break_off(self._request)
        except BaseException:  # a fault of our own, or our end
            response.break_off(self._request)
            raise
        return response

    def _answer_fields(self, upstream: aiohttp.ClientResponse) -> list[Header]:
        outgoing = self._outgoing
        return outgoing.route.answers.to_caller(
            upstream.raw_headers,
            target=outgoing.target,
            scheme=self._request.scheme,
            host=outgoing.fields[0][1],
            shared=self._shared,
        )

    async def _pass_on(
        self, upstream: aiohttp.ClientResponse, response: Verbatim, piece: bytes
    ) -> None:
        piece = piece or await upstream.content.readany()
        while piece:
            await response.write(piece)
            self._bytes_out += len(piece)
            piece = await upstream.content.readany()
        if upstream.content.exception() is not None:
            response.break_off(self._request)
            return
        self._complete = True
        if upstream.connection is not None:  # the answer came early, and the upload goes on
            await response.write_eof()
            await upstream.wait_for_close()

    async def _switch(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass the 101 on, and then all that comes, until both sides have ended."""
        lease = upstream.connection
        if lease is None or not isinstance(lease.protocol, Connection):
            raise TypeError("only connections of `open_session` can be handed over")
        fields = [
            field
            for field in self._answer_fields(upstream)
            if field[0].lower() != b"content-length"  # RFC 9110 8.6; old servers say 0
        ]
        fields += switching(upstream.headers[hdrs.UPGRADE])
        response = Verbatim(upstream.status, upstream.reason or "", fields, length=None)
        self._status, self._complete = upstream.status, False
        await response.prepare(self._request)
        await response.write_eof()
        response.force_close()
        self._relayed = True
        idle = self._outgoing.route.settings.timeouts.idle
        await self._tunnels.through(self._request.protocol, lease.protocol, idle, self._tunnelled)
        return response

    def _tunnelled(self, bytes_in: int, bytes_out: int, *, complete: bool) -> None:
        """The tunnel has come to its end."""
        self._bytes_in, self._bytes_out = bytes_in, bytes_out
        self._complete = complete

    def _deny(self, denied: Denied) -> web.StreamResponse:
        self._route_name, self._shared = denied.route, denied.shared
        return self._own(denied.answer())

    def _fail(self, error: Exception) -> web.StreamResponse:
        if self._body is not None and self._body.broke_off:
            own = answer(
                ErrorCode.BAD_REQUEST, detail=BROKE_OFF, route=self._route_name, close=True
            )
            return self._own(own)
        return self._own(error_answer(error, self._route_name))

    def _own(self, own: Answer) -> web.StreamResponse:
        self._status = own.status
        self._bytes_out = len(own.body)
        self._code = own.code.value if own.code is not None else None
        if self._shared:
            share(own.headers, self._shared)
        response = Own(own)
        if self._reading.waits if self._reading else expects_continue(self._request):
            response.force_close()  # whether the body comes now or the next request, nobody knows
        return response

    # -- about the request -------------------------------------------------------------------

    def close(self) -> None:
        """Give back what the request used, whether or not it came to its end."""
        if self._upstream is not None and self._upstream.connection is not None:
            self._upstream.close()
        if self._body is not None:
            self._body.close()

    def report(self, seconds: float) -> RequestServed:
        """The event that tells of this request."""
        return RequestServed(
            route=self._route_name or "",
            method=self._request.method,
            path=named(self._target),
            status=self._status,
            seconds=seconds,
            bytes_in=self._body.bytes_in if self._body is not None else self._bytes_in,
            bytes_out=self._bytes_out,
            replayed=self._replayed,
            code=self._code,
            complete=self._complete,
            upstream_seconds=self._upstream_seconds,
            replay=self._replay,
        )

    def _judged(self) -> Request:
        return Request(
            method=self._request.method.encode(),
            target=self._target,
            headers=self._request.raw_headers,
            version=self._version,
            has_body=self._request.body_exists,
        )

    def _caller(self) -> Caller:
        return Caller(address=self._request.remote or None, scheme=self._request.scheme)


def switching(protocol: str) -> list[Header]:
    """The fields that ask for a switch of protocols, or tell of it."""
    return [
        (b"Connection", b"Upgrade"),
        (b"Upgrade", protocol.encode("utf-8", "surrogateescape")),
    ]
