"""WebSocket on aiohttp: behind a 101 both connections are taken from it (contract 7).

aiohttp's own protocols read no HTTP behind a handshake and a 101, and keep what comes. From there
on the transports have the two ends of a `Tunnel`, the wire's own, in their place:

| a tunnel                           | aiohttp's server and client                             |
|------------------------------------|---------------------------------------------------------|
| begins                             | give up their transports, and what came behind the heads|
| goes on                            | think that the handler is at work                       |
| ends: both connections are lost    | are told so now, after the handler has returned         |
| is to end, since the application   | are told so as soon as it is so                         |
| does, or the handler is cancelled  |                                                         |

They are told so late because a server that loses a connection cancels its handler, while the
other side may not have taken the last bytes yet.
"""

import asyncio
from contextlib import suppress

from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler

from tokenproxy.proxy.inbound import reset
from tokenproxy.proxy.transport import Connection
from tokenproxy.proxy.wire.leaving import LOOK_EVERY, Sight, Socket, Watch, peek
from tokenproxy.proxy.wire.sweep import Sweep
from tokenproxy.proxy.wire.tunnel import Ended, Tunnel


class Tunnels:
    """All tunnels of a handler; `shortest` is the least `idle` of its routes, in seconds."""

    def __init__(self, shortest: float) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = Sweep(loop, shortest)
        self._watch = Watch(loop, LOOK_EVERY)
        self._open: set[CallerEnd] = set()
        self._is_closed = False

    async def through(
        self, caller: RequestHandler, upstream: Connection, idle: float, ended: Ended
    ) -> None:
        """Pass on what comes, both ways, until both connections have ended.

        Raises:
            ConnectionError: one of them had ended before.
        """
        if caller.transport is None:
            raise ConnectionResetError("the caller has gone")
        near = CallerEnd(caller, caller.transport, self._sweep, self._watch)
        if self._is_closed or upstream.transport is None:
            _end_at_once(near, upstream, ended)
            return
        far = UpstreamEnd(upstream, upstream.transport)
        tunnel = Tunnel(near, far, idle, ended)
        self._open.add(near)
        try:
            tunnel.begin(upstream.hand_over())
            if upstream.has_ended:
                tunnel.upstream_ended()
            await near.lost.wait()
            await far.lost.wait()
        finally:
            self._open.discard(near)
            if not near.is_lost:
                _cut(near.transport)
                tunnel.lost_caller()
            self._sweep.discard(tunnel)
            near.give_back()
            far.give_back()

    def close(self) -> None:
        """End all of them, and those that would begin."""
        self._is_closed = True
        for caller in self._open:
            _cut(caller.transport)


def _end_at_once(caller: "CallerEnd", upstream: Connection, ended: Ended) -> None:
    """The upstream has ended by now, perhaps well: what it has said is still the caller's."""
    rest = upstream.hand_over()
    is_well = upstream.has_ended
    ended(0, len(rest), complete=is_well)
    if is_well:
        caller.write(rest)
        caller.transport.close()
    else:
        reset(caller.transport)


def _cut(transport: asyncio.Transport) -> None:
    """End a connection, whatever state it is in."""
    # With TLS, one that was closed twice knows no socket, and one that is lost a closed one.
    with suppress(OSError, AttributeError):
        reset(transport)


class _End(asyncio.Protocol):
    """One connection, taken from aiohttp's protocol that had it."""

    _tunnel: Tunnel  # from `_take` on

    def __init__(self, owner: BaseProtocol, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.lost = asyncio.Event()
        self._owner = owner
        self._error: Exception | None = None
        self._is_over = False

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self.lost.is_set()

    @property
    def is_full(self) -> bool:
        """Whether the other side takes no more for the moment."""
        return self._owner.writing_paused

    def _take(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.transport.set_protocol(self)
        self.transport.resume_reading()  # it may have come to a stop, for all that came too early

    def give_back(self) -> None:
        """Tell the owner of the connection's end: one that is still open ends here."""
        self._is_over = True
        if self.is_lost:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._owner.connection_lost, self._error)
        else:
            _cut(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection has ended."""
        self._error = exc
        self.lost.set()
        if self._is_over:
            self._owner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The other side takes no more for the moment."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """It takes more."""
        self._owner.resume_writing()


class CallerEnd(_End):
    """A caller's connection."""

    def __init__(
        self,
        owner: RequestHandler,
        transport: asyncio.Transport,
        sweep: Sweep,
        watch: Watch,
    ) -> None:
        super().__init__(owner, transport)
        self.sweep = sweep
        self._watch = watch
        self._handler = owner
        self._reads = True

    def switch(self, tunnel: Tunnel) -> bytes:
        """From here on everything goes through `tunnel`; what has come too early is given."""
        handler = self._handler
        rest, handler._message_tail = handler._message_tail, b""  # noqa: SLF001 - as `set_parser`
        self._take(tunnel)
        return rest

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._tunnel.from_caller(data)

    def eof_received(self) -> bool:
        """The caller sends no more."""
        return self._tunnel.caller_ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller's connection has ended."""
        super().connection_lost(exc)
        self._tunnel.lost_caller()

    def pause_writing(self) -> None:
        """The caller takes no more for the moment."""
        super().pause_writing()
        self._tunnel.pause_upstream()

    def resume_writing(self) -> None:
        """It takes more."""
        super().resume_writing()
        self._tunnel.resume_upstream()

    def write(self, data: bytes) -> None:
        """Send to the caller."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def read_on(self, *, reads: bool) -> None:
        """Whether what comes is wanted now."""
        self._reads = reads
        if self.transport.is_closing():
            return
        if reads:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()
            self._watch.add(self)

    @property
    def paused_socket(self) -> Socket | None:
        """The socket, while it is open and not read from."""
        if self._reads or self.transport.is_closing():
            return None
        found: Socket | None = self.transport.get_extra_info("socket")
        return found

    def seen(self, sight: Sight) -> None:
        """End the connection of a caller who has left while it was not read from."""
        del sight  # which shows as gone, too, where both sides have ended and not all is read
        sock = self.paused_socket
        if sock is not None and peek(sock) is Sight.GONE:
            self.transport.abort()


class UpstreamEnd(_End):
    """A connection to an upstream."""

    def switch(self, tunnel: Tunnel) -> None:
        """From here on everything goes through `tunnel`."""
        self._take(tunnel)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._tunnel.from_upstream(data)

    def eof_received(self) -> bool:
        """The upstream sends no more."""
        return self._tunnel.upstream_ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """The upstream's connection has ended."""
        super().connection_lost(exc)
        self._tunnel.lost_upstream()

    def pause_writing(self) -> None:
        """The upstream takes no more for the moment."""
        super().pause_writing()
        self._tunnel.pause_caller()

    def resume_writing(self) -> None:
        """It takes more."""
        super().resume_writing()
        self._tunnel.resume_caller()

    def pause_reading(self) -> None:
        """Read nothing for the moment."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self.transport.is_closing():
            self.transport.resume_reading()
