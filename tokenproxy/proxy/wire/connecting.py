"""How a connection to an upstream is made: straight, by a unix socket, or through a proxy.

Names with several addresses are tried as RFC 8305 says. Through a proxy, https goes in a tunnel
(CONNECT, RFC 9110 9.3.6); http is asked of the proxy itself, in absolute form, with the
credentials for it in each request.
"""

import asyncio
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs

from tokenproxy.errors import UpstreamError, UpstreamFault
from tokenproxy.proxy.route import CompiledRoute
from tokenproxy.proxy.wire.upstream import Upstream
from tokenproxy.settings.access import DEFAULT_PORTS
from tokenproxy.settings.upstream import egress_url
from tokenproxy.tokens.egress import proxy_for

HAPPY_EYEBALLS = 0.25  # seconds (RFC 8305 5)
MAX_REPLY = 16 << 10  # bytes of a proxy's answer to CONNECT

Make = Callable[[], Upstream]


class Sessions:
    """A context whose connections take up the session of an earlier one (RFC 8446 2.2)."""

    __slots__ = ("_last", "_wrap", "context")

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._last: ssl.SSLSession | None = None
        self._wrap = context.wrap_bio
        context.wrap_bio = self._resumed  # type: ignore[method-assign] # event loops ask no other

    def _resumed(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self._wrap(*args, **{**kwargs, "session": self._last})

    def keep(self, transport: asyncio.BaseTransport) -> None:
        """Take the session of a connection whose peer has had time to send its tickets."""
        secured = transport.get_extra_info("ssl_object")
        if secured is not None and secured.session is not None:
            self._last = secured.session


class Egress:
    """A proxy on the way out, by its URL; its userinfo goes to it and to nobody else."""

    __slots__ = ("authorization", "host", "port")

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.port = parts.port or DEFAULT_PORTS["http"]
        self.authorization: bytes | None = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self.authorization = b"Basic " + b64encode(pair.encode())

    @property
    def named(self) -> str:
        """What a person knows it by."""
        return f"the egress proxy {self.host}:{self.port}"


class Connector:
    """Makes the connections of one route."""

    def __init__(
        self,
        route: CompiledRoute,
        *,
        tls: ssl.SSLContext | Literal[True],
        egress: Egress | None = None,
    ) -> None:
        self._route = route
        self._egress = egress
        self._tls = Sessions(_context(tls)) if route.scheme == "https" else None

    @property
    def asks_a_proxy(self) -> Egress | None:
        """The proxy that requests themselves are sent to: the one on the way of plain http."""
        return None if self._tls is not None else self._egress

    def answered(self, connection: Upstream) -> None:
        """The first answer on a connection has come whole."""
        if self._tls is not None:
            self._tls.keep(connection.transport)

    async def connect(self, make: Make) -> Upstream:
        """A connection. Raises UpstreamError."""
        try:
            return await self._connect(make)
        except ssl.SSLError as error:
            raise UpstreamError(_tls_trouble(error), UpstreamFault.TLS) from error
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            raise UpstreamError(_trouble(error), UpstreamFault.UNREACHABLE) from error

    async def _connect(self, make: Make) -> Upstream:
        loop = asyncio.get_running_loop()
        route, egress = self._route, self._egress
        if route.unix_path is not None:
            return (await loop.create_unix_connection(make, route.unix_path))[1]
        if egress is None:
            sock = await _reach(loop, route.upstream_host, route.upstream_port)
        else:
            sock = await _reach_proxy(loop, egress)
        try:
            if egress is not None and self._tls is not None:
                await _through(loop, sock, route, egress)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                return (await loop.create_connection(make, sock=sock))[1]
            return await self._secured(loop, make, sock, self._tls.context)
        except BaseException:
            sock.close()
            raise

    async def _secured(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Make,
        sock: socket.socket,
        tls: ssl.SSLContext,
    ) -> Upstream:
        name = self._route.upstream_host
        _, made = await loop.create_connection(make, sock=sock, ssl=tls, server_hostname=name)
        return made


def _context(tls: ssl.SSLContext | Literal[True]) -> ssl.SSLContext:
    """Its own for each route: sessions are taken up by connections to the same upstream."""
    return ssl.create_default_context() if tls is True else tls


async def _reach(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """A socket that is connected."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await aiohappyeyeballs.start_connection(
        found, happy_eyeballs_delay=HAPPY_EYEBALLS, interleave=1, loop=loop
    )


async def _reach_proxy(loop: asyncio.AbstractEventLoop, egress: Egress) -> socket.socket:
    """The same for the proxy on the way out. Raises UpstreamError."""
    try:
        return await _reach(loop, egress.host, egress.port)
    except OSError as error:
        message = f"{egress.named} cannot be reached: {_trouble(error)}"
        raise UpstreamError(message, UpstreamFault.UNREACHABLE) from error


def _trouble(error: Exception) -> str:
    """Why a connection could not be made, for a log."""
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return "it cannot be reached"


def _tls_trouble(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}): check the route's 'tls'"
    return f"the TLS handshake failed ({error.reason or 'it broke off'}): check the route's 'tls'"


async def _through(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, route: CompiledRoute, egress: Egress
) -> None:
    """Have the proxy make a tunnel. Raises UpstreamError."""
    place = f"{route.upstream_host}:{route.upstream_port}"
    if ":" in route.upstream_host:
        place = f"[{route.upstream_host}]:{route.upstream_port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    head = "\r\n".join(lines).encode()
    if egress.authorization is not None:
        head += b"\r\nProxy-Authorization: " + egress.authorization
    await loop.sock_sendall(sock, head + b"\r\n\r\n")
    reply = b""
    while not reply.endswith(b"\r\n\r\n"):
        # One byte after the other: what follows belongs to TLS.
        byte = await loop.sock_recv(sock, 1)
        if not byte or len(reply) > MAX_REPLY:
            raise UpstreamError(f"{egress.named} gave no answer", UpstreamFault.UNREACHABLE)
        reply += byte
    if reply[:7] != b"HTTP/1." or reply[8:10] != b" 2":
        status = reply[9:12].decode("ascii", "replace")
        raise UpstreamError(f"{egress.named} answered {status}", UpstreamFault.UNREACHABLE)


def egress_for(route: CompiledRoute, variables: Mapping[str, str]) -> Egress | None:
    """The proxy that a route's setting names."""
    url = proxy_for(egress_url(route.settings.egress_proxy), variables)(route.origin)
    return None if url is None else Egress(url)
