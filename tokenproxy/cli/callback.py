"""Where a browser comes back to after a sign-in: a listener of its own (RFC 8252 7.3)."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web

from tokenproxy.admin.notices import notice
from tokenproxy.errors import ListenError

HTTP = 80
MAX_VISITS = 16  # that wait: more are no person's

SILENT = logging.getLogger("tokenproxy.callback")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


@dataclass(frozen=True, slots=True)
class Visit:
    """A browser that waits for its answer; `query` is what it has brought."""

    query: Mapping[str, str] = field(repr=False)
    _page: "asyncio.Future[tuple[bool, str]]" = field(repr=False)

    def answer(self, *, ok: bool, text: str) -> None:
        """Show the person how it went."""
        if not self._page.done():
            self._page.set_result((ok, text))


class Callback:
    """The listener; `visits` are those who came to its path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.visits: asyncio.Queue[Visit] = asyncio.Queue(MAX_VISITS)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take in one visit, and show how it went."""
        parts = urlsplit(self.url)
        path, asked = request.raw_path.partition("?")[0], urlsplit(f"http://{request.host}")
        is_ours = (asked.hostname, asked.port or HTTP) == (parts.hostname, parts.port or HTTP)
        if request.method != "GET" or path != (parts.path or "/") or not is_ours:
            return _page(404, "Not here", "There is nothing at this address.")
        if self.visits.full():
            return _page(503, "Too many", "Too many browsers have come back at once.")
        page: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()
        self.visits.put_nowait(Visit(dict(request.query), page))
        ok, text = await page
        return _page(200, "Signed in", text) if ok else _page(400, "Not signed in", text)


def _page(status: int, title: str, text: str) -> web.Response:
    response = notice(status, title, text)
    response.force_close()
    return response


@asynccontextmanager
async def listening(redirect_uri: str) -> AsyncIterator[Callback]:
    """Listen where that URI says; without a port in it, on one that is free.

    Raises:
        ListenError: the port is taken.
    """
    parts = urlsplit(redirect_uri)
    host, bound = parts.hostname or "127.0.0.1", _bound(parts.hostname, parts.port)
    port = bound.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    # What is registered is compared letter by letter: only a port that is missing is added.
    ported = f"http://{shown}:{port}{parts.path or '/callback'}"
    callback = Callback(redirect_uri if parts.port else ported)
    runner = web.ServerRunner(web.Server(callback.handle, access_log=None, logger=SILENT))
    try:
        await runner.setup()
        await web.SockSite(runner, bound, shutdown_timeout=2).start()
        yield callback
    finally:
        await runner.cleanup()
        bound.close()


def _bound(host: str | None, port: int | None) -> socket.socket:
    """A socket on loopback, whatever the name says."""
    address = "127.0.0.1" if host is None or host.endswith("localhost") else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port or 0))
    except OSError as error:
        bound.close()
        raise ListenError(
            f"port {port} on this machine, where 'redirect_uri' wants the browser to come back, "
            f"cannot be had ({error.strerror}): free it, or register another with the issuer"
        ) from error
    return bound
