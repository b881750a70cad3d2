"""The door for aiohttp programs: routes in an application, or tokens in a client session.

    tokenproxy.aiohttp.setup(app, config)

mounts the config's routes in an application of one's own. Make its runner with
`auto_decompress=False`, and with `handler_cancellation=True` to have the upstream's request
dropped when a caller leaves.

    async with tokenproxy.aiohttp.credentials(config) as c:
        aiohttp.ClientSession(middlewares=[c.middleware("shop")])

gives a session the same tokens, renewal and one replay, with no proxy between.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse, web
from yarl import URL

from tokenproxy.config.load import load_config
from tokenproxy.config.model import Config
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError
from tokenproxy.proxy.answers import ErrorCode, answer
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.inbound import Own, text_fields
from tokenproxy.proxy.inject import Injector
from tokenproxy.proxy.matching import MAX_BODY, RefreshRules, Verdict
from tokenproxy.proxy.route import CompiledRoute
from tokenproxy.proxy.verdict import Step, decide
from tokenproxy.runtime import Runtime
from tokenproxy.settings.injection import HeaderInjection
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.slot import Held

__all__ = ["Credentials", "credentials", "setup"]

AnyConfig = Config | Mapping[str, Any] | Path | str
UNAUTHORIZED = 401
WOULD_BE_DECODED = (
    "This server decodes bodies before they can be passed on: send it without Content-Encoding."
)


def setup(app: web.Application, config: AnyConfig) -> None:
    """Mount the config's routes: all that no earlier route of the application has taken.

    Listeners, log and shutdown are the application's own. A request with a Content-Encoding is
    answered 415 where the runner would have decoded its body.

    Raises:
        ConfigError: the config has mistakes.
    """
    runtime = Runtime(_loaded(config))

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        async with runtime:
            yield

    async def handle(request: web.Request) -> web.StreamResponse:
        if "Content-Encoding" in request.headers and _decodes(request):
            return Own(answer(ErrorCode.UNSUPPORTED_MEDIA_TYPE, detail=WOULD_BE_DECODED))
        return await runtime.handler(request)

    app.cleanup_ctx.append(lifetime)
    app.router.add_route("*", "/{tail:.*}", handle, expect_handler=_expect_nothing)


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
        and where there are none, to the origin of the first request. What else is sent with the
        session goes on without it. The route says where the token goes and which answers
        reject it, else an Authorization header and a 401.

        Raises:
            ConfigError: no credential has that name.
        """
        keeper = self._runtime.keepers.get(name)
        if keeper is None:
            raise ConfigError(f"no credential is called '{name}': add it to the config")
        routes = [
            route for route in self._runtime.table.routes if route.settings.credential == name
        ]
        allowed = {URL(origin).origin() for origin in origins or ()}
        allowed |= {URL(route.settings.upstream).origin() for route in routes if not allowed}
        return _Middleware(keeper, routes[0] if routes else None, allowed)


class _Middleware:
    """Called for each request of a session."""

    def __init__(self, keeper: Keeper, route: CompiledRoute | None, origins: set[URL]) -> None:
        self._keeper = keeper
        self._origins = origins
        self._injector = route.injector if route else Injector((HeaderInjection(),))
        self._rules = route.refresh if route else RefreshRules((UNAUTHORIZED,))

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send with a token, and once more where the answer rejects it."""
        if not self._origins:
            self._origins.add(request.url.origin())
        if request.url.origin() not in self._origins:
            return await handler(request)
        plain = _Plain(request)
        held = self._keeper.peek() or await self._keeper.get()
        response = await handler(plain.with_token(self._injector, held))
        rejection = None
        if await self._rejects(response):
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
                return await handler(plain.with_token(self._injector, newer))

    async def _rejects(self, response: ClientResponse) -> bool:
        headers = response.raw_headers
        match self._rules.by_head(response.status, headers):
            case Verdict.REJECTED:
                return True
            case Verdict.ACCEPTED:
                return False
            case Verdict.NEEDS_BODY:
                body = await response.read()  # kept by the response, for who asks next
                complete = len(body) <= MAX_BODY
                return self._rules.by_body(
                    response.status, headers, body[:MAX_BODY], complete=complete
                )


class _Plain:
    """A request as it was before it got a token."""

    def __init__(self, request: ClientRequest) -> None:
        self._request = request
        self._url = request.url
        self._headers: list[Header] = [
            (name.encode(), value.encode("utf-8", "surrogateescape"))
            for name, value in request.headers.items()
        ]

    def with_token(self, injector: Injector, held: Held) -> ClientRequest:
        """The request itself, changed."""
        target = self._url.raw_path_qs.encode("ascii")
        headers, target = injector.apply(self._headers, target, held.token.access.reveal())
        self._request.headers = text_fields(headers)
        self._request.url = URL.build(
            scheme=self._url.scheme,
            host=self._url.raw_host or "",
            port=self._url.port,
            path=target.decode("ascii"),
            encoded=True,
        )
        return self._request


def _can_be_sent_again(request: ClientRequest) -> bool:
    body = request.body
    return not body or not body.consumed


def _loaded(config: AnyConfig) -> Config:
    if isinstance(config, Config):
        return config
    return load_config(config, environment=variables()).config
