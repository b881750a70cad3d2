"""The admin listener's server: which path is answered by whom, and what all answers share.

On aiohttp's server below its applications: so what cannot be read, and what went wrong in here,
is answered in our own words too. aiohttp's would quote the request.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from aiohttp import HttpVersion11, web

from tokenproxy.admin.answers import SECURITY, problem
from tokenproxy.admin.connection import Connection
from tokenproxy.admin.guard import AdminGuard, Target
from tokenproxy.events import InternalError, Observe
from tokenproxy.proxy.answers import ErrorCode
from tokenproxy.proxy.hosts import Listener
from tokenproxy.proxy.request import Denied
from tokenproxy.settings.callers import CallerTimeouts

METHOD = ErrorCode.METHOD_NOT_ALLOWED
MOST_CONNECTIONS = 256  # people, probes and scrapers: who needs more is none of these
MOST_GUARDS = 64  # a listener on all addresses is as many: any of 127.0.0.0/8 may be asked for

Handle = Callable[[web.BaseRequest, str], Awaitable[web.StreamResponse]]
Routes = Mapping[str, Mapping[str, Handle]]  # by path, `*` for one segment of it, then by method


class AdminServer:
    """Answers the requests of one or more listeners, by `routes`; make connections with it.

    There are `most` of these, and `timeouts` are those of callers.
    """

    def __init__(
        self,
        routes: Routes,
        allowed_hosts: tuple[str, ...],
        observe: Observe,
        *,
        timeouts: CallerTimeouts | None = None,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self._routes = {tuple(path.split("/")): methods for path, methods in routes.items()}
        self._allowed_hosts = allowed_hosts
        self._observe = observe
        self._most = most
        self.timeouts = timeouts or CallerTimeouts()
        self._guards: dict[object, AdminGuard] = {}
        self._server = web.Server(self._handle, handler_cancellation=True)

    def __call__(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        return Connection(self, self._server)

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than there may be."""
        return len(self._server.connections) > self._most

    def change(self, allowed_hosts: tuple[str, ...], timeouts: CallerTimeouts) -> None:
        """Take requests for these names, in these times, from now on."""
        self._allowed_hosts = allowed_hosts
        self.timeouts = timeouts
        self._guards.clear()

    def part(self, may_stay: Callable[[asyncio.Transport], bool]) -> None:
        """Take no more requests from connections that may not stay; what is asked is answered."""
        for connection in self._server.connections:
            transport = connection.transport
            if transport is not None and not may_stay(transport):
                _end(connection)

    async def close(self, seconds: float) -> None:
        """End all connections; what is being answered has so many seconds."""
        self._server.pre_shutdown()
        await self._server.shutdown(seconds)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast("Connection", request.protocol)
        connection.asked()
        try:
            return await self._answer(request)
        except ConnectionError:
            raise  # whoever asked has gone
        except Exception as error:  # noqa: BLE001 - a fault of our own, told in our own words
            self._observe(InternalError("", type(error).__name__))
            return problem(500, "internal_error", "The proxy has failed on this request.")
        finally:
            connection.answered()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        target = Target(request.raw_path)
        version = "1.1" if request.version == HttpVersion11 else "1.0"
        methods, segment = self._found(target.path)
        denied = self._guard(request).refusal(request, target, version=version)
        if denied is not None:
            return refused(denied, _allow(methods))
        if methods is None:
            return problem(404, "not_found", "There is nothing at this address.")
        handle = methods.get("GET" if request.method == "HEAD" else request.method)
        if handle is None:
            return problem(405, METHOD.value, "This address takes no such method.", _allow(methods))
        return await handle(request, segment)

    def _found(self, path: str) -> tuple[Mapping[str, Handle] | None, str]:
        """Who answers for a path, and what stands there for a `*`."""
        segments = tuple(path.split("/"))
        if segments in self._routes:
            return self._routes[segments], ""
        for place, segment in enumerate(segments):
            pattern = (*segments[:place], "*", *segments[place + 1 :])
            if segment and pattern in self._routes:
                return self._routes[pattern], segment
        return None, ""

    def _guard(self, request: web.BaseRequest) -> AdminGuard:
        """The guard of the listener that the request came by, told apart by its local address."""
        protocol = request.protocol
        sockname = protocol.sockname
        if protocol.transport is None or sockname is None:
            # Without an address it would pass for a unix socket, where no Host is wrong.
            raise ConnectionResetError("the caller has gone")
        guard = self._guards.get(sockname)
        if guard is None:
            if len(self._guards) >= MOST_GUARDS:
                self._guards.clear()
            guard = AdminGuard(Listener(_addresses(sockname)), self._allowed_hosts)
            self._guards[sockname] = guard
        return guard


def _end(connection: web.RequestHandler) -> None:
    """Close it, or have it closed with the answer that is under way."""
    waits = connection._waiter  # noqa: SLF001 - aiohttp tells of it in no other way
    if waits is not None and not waits.done():
        connection.force_close()
    else:
        connection.close()


def refused(denied: Denied, allow: str) -> web.Response:
    """The answer of the guard; `allow` is what the address takes."""
    told = allow if denied.code is METHOD else None
    response = problem(denied.code.status, denied.code.value, denied.detail, told)
    if denied.close:
        response.force_close()
    return response


def _allow(methods: Mapping[str, Handle] | None) -> str:
    """The value of an Allow field (RFC 9110 10.2.1)."""
    return ", ".join("GET, HEAD" if method == "GET" else method for method in methods or ())


def authority(request: web.BaseRequest) -> str | None:
    """The Host that was asked for, as the guard has let it in; None on a unix socket."""
    is_tcp = _addresses(request.protocol.sockname) != ()
    return request.headers.get("Host") if is_tcp else None


def _addresses(sockname: object) -> tuple[tuple[str, int], ...]:
    """A TCP socket's own address; none for a unix socket."""
    match sockname:
        case (str() as host, int() as port, *_):
            return ((host, port),)
        case _:
            return ()


def streaming(content_type: str) -> dict[str, Any]:
    """The fields of an answer that has no end."""
    return {**SECURITY, "Content-Type": content_type, "X-Accel-Buffering": "no"}
