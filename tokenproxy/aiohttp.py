"""The door for aiohttp programs: routes in an application, or tokens in a client session.

    tokenproxy.aiohttp.setup(app, config)

mounts the config's routes in an application of one's own. Make its runner with
`auto_decompress=False`, and with `handler_cancellation=True` to have the upstream's request
dropped when a caller leaves.

    async with tokenproxy.aiohttp.credentials(config) as c:
        aiohttp.ClientSession(middlewares=[c.middleware("shop")])

gives a session the same tokens, renewal and one replay, with no proxy between.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import (
    ClientHandlerType,
    ClientMiddlewareType,
    ClientRequest,
    ClientResponse,
    StreamReader,
    web,
)
from aiohttp.base_protocol import BaseProtocol
from yarl import URL

from tokenproxy.config.load import load_config
from tokenproxy.config.model import Config
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError, Problem
from tokenproxy.proxy.answers import ErrorCode, answer
from tokenproxy.proxy.bound import Bound, wants_nonce
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.inbound import Own, text_fields
from tokenproxy.proxy.inject import Injector
from tokenproxy.proxy.matching import MAX_BODY, RefreshRules, Verdict
from tokenproxy.proxy.outbound import beginning
from tokenproxy.proxy.route import CompiledRoute
from tokenproxy.proxy.verdict import Step, decide
from tokenproxy.runtime import Runtime
from tokenproxy.settings.base import is_loopback
from tokenproxy.settings.injection import HeaderInjection
from tokenproxy.settings.upstream import unix_path
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.slot import Held

__all__ = ["Credentials", "credentials", "setup"]

AnyConfig = Config | Mapping[str, Any] | Path | str
Origin = tuple[str, str, int | None]  # scheme, host and port, the scheme's own one spelt out
UNAUTHORIZED = 401
SECURE = frozenset({"https", "wss"})
WOULD_BE_DECODED = (
    "This server decodes bodies before they can be passed on: send it without Content-Encoding."
)


def setup(app: web.Application, config: AnyConfig) -> None:
    """Mount the config's routes: all that no earlier route of the application has taken.

    Listeners, log and shutdown are the application's own; its `on_shutdown` ends what has switched
    to WebSocket. A request with a Content-Encoding is answered 415 where the runner would have
    decoded its body.

    Raises:
        ConfigError: the config has mistakes. What only shows when files are opened is raised
            when the application starts.
    """
    runtime = Runtime(_mountable(_loaded(config)))

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        async with runtime:
            yield

    async def handle(request: web.Request) -> web.StreamResponse:
        if "Content-Encoding" in request.headers and _decodes(request):
            return Own(answer(ErrorCode.UNSUPPORTED_MEDIA_TYPE, detail=WOULD_BE_DECODED))
        return await runtime.handler(request)

    async def end_tunnels(_: web.Application) -> None:
        runtime.handler.end_tunnels()

    app.cleanup_ctx.append(lifetime)
    app.on_shutdown.append(end_tunnels)
    app.router.add_route("*", "/{tail:.*}", handle, expect_handler=_expect_nothing)


def _mountable(config: Config) -> Config:
    """The config, if this way in can reach all its upstreams. Raises ConfigError."""
    problems = []
    for index, route in enumerate(config.routes):
        if unix_path(route.upstream) is not None:
            problems.append(Problem(f"routes.{index}.upstream", f"is a unix socket{ONLY_RUN}"))
        if route.egress_proxy is not None:
            problems.append(Problem(f"routes.{index}.egress_proxy", f"is set{ONLY_RUN}"))
    if problems:
        raise ConfigError(problems)
    return config


ONLY_RUN = ", which only `tokenproxy run` can use: take it out, or run the proxy beside the program"


async def _expect_nothing(request: web.Request) -> None:
    """Leave the 100 to whoever reads the body."""


def _decodes(request: web.Request) -> bool:
    """Whether the runner inflates bodies, which leaves them without their Content-Length."""
    server = request.protocol._manager  # noqa: SLF001 - aiohttp tells nobody else
    return server is None or bool(server._kwargs.get("auto_decompress", True))  # noqa: SLF001


@asynccontextmanager
async def credentials(config: AnyConfig) -> AsyncIterator["Credentials"]:
    """The config's credentials at work, for as long as the context lasts.

    Raises:
        ConfigError: the config has mistakes.
    """
    async with Runtime(_loaded(config)) as runtime:
        yield Credentials(runtime)


class Credentials:
    """Tokens for client sessions."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def middleware(
        self, name: str, *, origins: Collection[str] | None = None
    ) -> ClientMiddlewareType:
        """A middleware that puts the credential's token into requests, and renews it.

        The token goes to `origins` (such as `https://api.shop.example`) and nowhere else, also
        not by a redirect: by default to the upstreams of the routes that use the credential,
        and where there are none, to the origin of the first request, which must then be https
        or this machine. What else is sent with the session goes on without it.

        A route says where in a request the token goes and which answers reject it: the one
        whose upstream is asked, and of several the one with the longest path; the first one
        where no upstream fits. Without routes these are an Authorization header and a 401.

        Raises:
            ConfigError: no credential has that name.
        """
        keeper = self._runtime.keepers.get(name)
        if keeper is None:
            raise ConfigError(f"no credential is called '{name}': add it to the config")
        routes = [
            route for route in self._runtime.table.routes if route.settings.credential == name
        ]
        ways = [_way(route) for route in routes]
        allowed = {_origin(URL(origin)) for origin in origins or ()}
        allowed = allowed or {way.origin for way in ways if way.origin}
        return _Middleware(keeper, ways, allowed, self._runtime.bound)


@dataclass(frozen=True, slots=True)
class _Way:
    """A route's upstream, and what is done with requests to it."""

    origin: Origin | None
    base: str
    injector: Injector
    rules: RefreshRules

    def fit(self, url: URL) -> int:
        """How well it fits: by the origin, then by the length of the path, on whole segments."""
        if self.origin != _origin(url):
            return 0
        path = url.raw_path
        is_below = path == self.base or path.startswith(f"{self.base}/")
        return 2 + len(self.base) if is_below else 1


def _way(route: CompiledRoute) -> _Way:
    origin = _origin(URL(route.settings.upstream))
    return _Way(origin, route.base.decode(), route.injector, route.refresh)


def _usual_way() -> _Way:
    return _Way(None, "", Injector((HeaderInjection(),)), RefreshRules((UNAUTHORIZED,)))


def _origin(url: URL) -> Origin:
    return url.scheme, url.raw_host or "", url.port


class _Middleware:
    """Called for each request of a session."""

    def __init__(
        self, keeper: Keeper, ways: Sequence[_Way], origins: set[Origin], bound: Bound
    ) -> None:
        self._keeper = keeper
        self._bound = bound
        self._ways = ways or [_usual_way()]
        self._origins = origins

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send with a token, and once more where the answer rejects it."""
        if not self._origins:
            self._origins.add(self._first(request.url))
        if _origin(request.url) not in self._origins:
            return await handler(request)
        way = max(self._ways, key=lambda way: way.fit(request.url))
        plain = _Plain(request, self._bound)
        held = self._keeper.peek() or await self._keeper.get()
        response = await self._send(plain, way, held, handler)
        rejection = None
        if not plain.wants_nonce(held, response) and await _rejects(way.rules, response):
            rejection = self._keeper.rejected(held.generation)
        match decide(rejection, attempt=1, replayable=_can_be_sent_again(request)):
            case Step.FORWARD:
                return response
            case Step.RENEW_AND_FORWARD:
                self._keeper.renew_behind()
                return response
            case Step.RENEW_AND_RESEND | Step.RESEND_WITH_NEWER:
                newer = await self._keeper.replaced(held.generation)
                if newer is None:
                    return response
                response.release()
                return await self._send(plain, way, newer, handler)

    async def _send(
        self, plain: "_Plain", way: _Way, held: Held, handler: ClientHandlerType
    ) -> ClientResponse:
        """Send with that token; once more where the API wants its nonce with it (RFC 9449 9)."""
        request = plain.with_token(way.injector, held)
        response = await handler(request)
        if not plain.wants_nonce(held, response) or not _can_be_sent_again(request):
            return response
        response.release()
        response = await handler(plain.with_token(way.injector, held))
        plain.wants_nonce(held, response)
        return response

    def _first(self, url: URL) -> Origin:
        """The origin that the token goes to from now on; only a config may name a bare one."""
        if url.scheme not in SECURE and not is_loopback(url.host or ""):
            raise ConfigError(
                f"the token of credential '{self._keeper.name}' would go to {url.origin()} "
                "unencrypted: use https, or name the origin in 'origins'"
            )
        return _origin(url)


async def _rejects(rules: RefreshRules, response: ClientResponse) -> bool:
    """Whether the answer rejects the token; what has to be read of it can be read again."""
    match rules.by_head(response.status, response.raw_headers):
        case Verdict.REJECTED:
            return True
        case Verdict.ACCEPTED:
            return False
        case Verdict.NEEDS_BODY:
            headers = _as_read(response)
            begun, complete = await beginning(response, MAX_BODY)
            if begun:
                response.content = _Rejoined(begun, response.content, complete=complete)
            return rules.by_body(response.status, headers, begun, complete=complete)


def _as_read(response: ClientResponse) -> list[Header]:
    """The header of the body as it is read: sessions decompress, unless they are told not to."""
    # Counted by aiohttp where it decompresses; the empty body of a HEAD counts nothing.
    if getattr(response.content, "total_compressed_bytes", None) is None:
        return [*response.raw_headers]
    return [field for field in response.raw_headers if field[0].lower() != b"content-encoding"]


class _NoConnection(BaseProtocol):
    """Nothing to hold back: the rest of the body has a connection, and holds it back itself."""

    def pause_reading(self) -> None:
        """Nothing."""

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's
        """Nothing."""


class _Rejoined(StreamReader):
    """A body that begins with what has been read of it already.

    aiohttp's own way to give back what was read, `unread_data`, is deprecated. All ways to read
    wait here when nothing is left of the beginning; the rest is read piece by piece from then on.
    """

    def __init__(self, begun: bytes, rest: StreamReader, *, complete: bool) -> None:
        loop = asyncio.get_running_loop()
        limit, _ = rest.get_read_buffer_limits()
        super().__init__(_NoConnection(loop), limit, loop=loop)
        self._rest = rest
        self.total_compressed_bytes = rest.total_compressed_bytes
        self.feed_data(begun)
        if complete:
            self.feed_eof()

    def exception(self) -> BaseException | None:
        """Why there is no more to read, if so."""
        return super().exception() or self._rest.exception()

    async def wait_eof(self) -> None:
        """Wait until all has arrived, read or not."""
        await self._rest.wait_eof()

    async def _wait(self, func_name: str) -> None:
        del func_name
        piece = await self._rest.readany()
        self.total_compressed_bytes = self._rest.total_compressed_bytes
        if piece:
            self.feed_data(piece)
        else:
            self.feed_eof()


class _Plain:
    """A request as it was before it got a token."""

    def __init__(self, request: ClientRequest, bound: Bound) -> None:
        self._request = request
        self._bound = bound
        self._url = request.url
        self._headers: list[Header] = [
            (name.encode(), value.encode("utf-8", "surrogateescape"))
            for name, value in request.headers.items()
        ]

    def with_token(self, injector: Injector, held: Held) -> ClientRequest:
        """The request itself, changed."""
        target = self._url.raw_path_qs.encode("ascii")
        if held.dpop_key is None:
            headers, target = injector.apply(self._headers, target, held.token.access.reveal())
        else:
            headers, target = self._bound.apply(
                self._headers,
                target,
                held,
                key=held.dpop_key,
                method=self._request.method,
                origin=self._asked,
            )
        self._request.headers = text_fields(headers)
        self._request.url = URL.build(
            scheme=self._url.scheme,
            host=self._url.raw_host or "",
            port=self._url.port,
            path=target.decode("ascii"),
            encoded=True,
        )
        return self._request

    def wants_nonce(self, held: Held, response: ClientResponse) -> bool:
        """Whether the same is wanted with a nonce, which is kept."""
        if held.dpop_key is None:
            return False
        self._bound.learn(response.raw_headers, self._asked)
        return wants_nonce(response.status, response.raw_headers)

    @property
    def _asked(self) -> str:
        return str(self._url.origin())


def _can_be_sent_again(request: ClientRequest) -> bool:
    body = request.body
    return not body or not body.consumed


def _loaded(config: AnyConfig) -> Config:
    if isinstance(config, Config):
        return config
    return load_config(config, environment=variables()).config
