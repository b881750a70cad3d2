"""The way in on `aiohttp.web`: one instance answers the requests of all listeners.

It moves bytes by what the other stations decide; `exchange` is one request's course.
"""

import math

from aiohttp import web

from tokenproxy.proxy.exchange import Exchange
from tokenproxy.proxy.guard import Guard
from tokenproxy.proxy.handover import Tunnels
from tokenproxy.proxy.hosts import Listener
from tokenproxy.proxy.parts import Parts
from tokenproxy.secret import Secret

MOST_GUARDS = 64  # a listener on all addresses is as many: any of 127.0.0.0/8 may be asked for


class Handler:
    """Answers the requests of one or more listeners; call it as an aiohttp handler."""

    def __init__(
        self,
        parts: Parts,
        allowed_hosts: tuple[str, ...] = (),
        client_key: Secret | None = None,
    ) -> None:
        self._parts = parts
        self._client_key = client_key
        self._allowed_hosts = allowed_hosts
        idle = (route.settings.timeouts.idle for route in parts.table.routes)
        self._tunnels = Tunnels(min(idle, default=math.inf))
        self._guards: dict[tuple[object, bool], Guard] = {}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request, whatever happens.

        Raises:
            ConnectionError: the caller has gone.
        """
        began = self._parts.clock.now().steady
        guard = self._guard(request)
        exchange = Exchange(self._parts, self._tunnels, request)
        try:
            return await exchange.answer(guard)
        finally:
            exchange.close()
            seconds = self._parts.clock.now().steady - began
            self._parts.observe(exchange.report(seconds))

    def end_tunnels(self) -> None:
        """End the connections that have switched protocols: nothing else would, for hours."""
        self._tunnels.close()

    def _guard(self, request: web.BaseRequest) -> Guard:
        """The guard of the listener that the request came by, told apart by its local address."""
        protocol = request.protocol
        sockname, is_tls = protocol.sockname, protocol.ssl_context is not None
        if protocol.transport is None or sockname is None:
            # Without an address it would pass for a unix socket, where no Host is wrong.
            raise ConnectionResetError("the caller has gone")
        guard = self._guards.get((sockname, is_tls))
        if guard is None:
            listener = Listener(_addresses(sockname), "https" if is_tls else "http")
            guard = Guard(self._parts.table, listener, self._allowed_hosts, self._client_key)
            if len(self._guards) >= MOST_GUARDS:
                self._guards.clear()
            self._guards[sockname, is_tls] = guard
        return guard


def _addresses(sockname: object) -> tuple[tuple[str, int], ...]:
    """A TCP socket's own address; none for a unix socket."""
    match sockname:
        case (str() as host, int() as port, *_):
            return ((host, port),)
        case _:
            return ()
