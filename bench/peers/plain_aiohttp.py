"""A reverse proxy as one writes it on aiohttp: `python -m bench.peers.plain_aiohttp JSON`."""

import json
import ssl
import sys
from collections.abc import AsyncIterator
from importlib.metadata import version

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from bench.peer import TOKEN, Command, Place

HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "TE", "Trailer", "Upgrade")


class PlainAiohttp:
    """`aiohttp.web` before a `ClientSession`; bodies are streamed, and there is no log."""

    name = "aiohttp"
    renews = False

    def version(self) -> str:
        """The libraries'."""
        return f"aiohttp {aiohttp.__version__}, uvloop {version('uvloop')}"

    def command(self, place: Place) -> Command:
        """This module."""
        told = json.dumps(
            [place.port, place.upstream, str(place.authority) if place.authority else None]
        )
        return Command([sys.executable, "-m", "bench.peers.plain_aiohttp", told])


class Proxy:
    """Sends each request on."""

    def __init__(self, upstream: str, authority: str | None) -> None:
        self._upstream = upstream
        self._tls = ssl.create_default_context(cafile=authority) if authority else True
        self._session: aiohttp.ClientSession | None = None

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """With a session."""
        del app
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as self._session:
            yield

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        assert self._session  # noqa: S101 - for mypy
        headers = _without(request.headers, "Host", *HOP_BY_HOP)
        headers["Authorization"] = f"Bearer {TOKEN}"
        async with self._session.request(
            request.method,
            self._upstream + request.raw_path,
            headers=headers,
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(
                status=answer.status, headers=_without(answer.headers, *HOP_BY_HOP)
            )
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


def _without(headers: CIMultiDictProxy[str], *names: str) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in names:
        kept.popall(name, None)
    return kept


def _main() -> None:
    port, upstream, authority = json.loads(sys.argv[1])
    uvloop.install()
    proxy = Proxy(upstream, authority)
    app = web.Application()
    app.cleanup_ctx.append(proxy.running)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, backlog=4096)


if __name__ == "__main__":
    _main()
