"""The way in on `aiohttp.web`: one instance answers the requests of all listeners.

It moves bytes by what the other stations decide; `exchange` is one request's course.
"""

from typing import Any

from aiohttp import web

from tokenproxy.proxy.exchange import Exchange, Parts
from tokenproxy.proxy.guard import Guard, Listener


class Handler:
    """Answers the requests of one or more listeners; call it as an aiohttp handler."""

    def __init__(self, parts: Parts, allowed_hosts: tuple[str, ...] = ()) -> None:
        self._parts = parts
        self._allowed_hosts = allowed_hosts
        self._guards: dict[Any, Guard] = {}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to one request, whatever happens."""
        began = self._parts.clock.now().steady
        exchange = Exchange(self._parts, request)
        try:
            response = await exchange.answer(self._guard(request))
        finally:
            exchange.close()
            self._announce(exchange, began)
        return response

    def _guard(self, request: web.BaseRequest) -> Guard:
        """The guard of the listener that the request came by, told apart by its local address."""
        transport = request.transport
        sockname = transport.get_extra_info("sockname") if transport else None
        scheme = "https" if transport and transport.get_extra_info("sslcontext") else "http"
        key = (sockname, scheme)
        guard = self._guards.get(key)
        if guard is None:
            listener = Listener(_addresses(sockname), scheme)
            guard = self._guards[key] = Guard(self._parts.table, listener, self._allowed_hosts)
        return guard

    def _announce(self, exchange: "Exchange", began: float) -> None:
        seconds = self._parts.clock.now().steady - began
        self._parts.observe(exchange.report(seconds))


def _addresses(sockname: object) -> tuple[tuple[str, int], ...]:
    """A TCP socket's own address; none for a unix socket."""
    match sockname:
        case (str() as host, int() as port, *_):
            return ((host, port),)
        case _:
            return ()
