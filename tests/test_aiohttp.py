"""The door for aiohttp programs: routes in an application, tokens in a client session."""

import asyncio
import gzip
import json
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

import tokenproxy.aiohttp
from tests.conftest import AheadClock, shop
from tests.wire import Message, Peer, Upstream, answer
from tokenproxy.aiohttp import Credentials
from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError
from tokenproxy.runtime import Runtime, World
from tokenproxy.testing import Api, Issuer
from tokenproxy.testing.serving import listening


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as issuer:
        yield issuer


@pytest.fixture
async def api(issuer: Issuer) -> AsyncIterator[Api]:
    async with Api(issuer) as api:
        yield api


def config(issuer: Issuer, api: Api) -> dict[str, Any]:
    return {
        "store": {"type": "memory"},
        "credentials": {
            "shop": {
                "type": "simplejwt",
                "base_url": issuer.url,
                "username": issuer.username,
                "password": issuer.password,
                "refresh": {"min_interval": 0},
            }
        },
        "routes": [{"path": "/shop", "upstream": api.url, "credential": "shop"}],
    }


async def test_routes_are_mounted_behind_those_of_the_application(issuer: Issuer, api: Api) -> None:
    async def own(request: web.Request) -> web.Response:
        return web.Response(text=f"own {request.path}")

    app = web.Application()
    app.router.add_get("/own", own)
    tokenproxy.aiohttp.setup(app, config(issuer, api))

    async with listening(app) as url, aiohttp.ClientSession() as client:
        async with client.get(f"{url}/own") as response:
            assert await response.text() == "own /own"
        async with client.get(f"{url}/shop/items/") as response:
            assert response.status == 200
        async with client.get(f"{url}/elsewhere") as response:
            assert (await response.json())["code"] == "no_route"


async def test_a_session_gets_tokens_renewal_and_one_replay(issuer: Issuer, api: Api) -> None:
    async with (
        tokenproxy.aiohttp.credentials(config(issuer, api)) as credentials,
        aiohttp.ClientSession(middlewares=[credentials.middleware("shop")]) as client,
    ):
        async with client.get(f"{api.url}/items/") as response:
            assert response.status == 200
        issuer.expire_now()
        async with client.post(f"{api.url}/items/", json={"name": "cup"}) as response:
            assert (response.status, (await response.json())["name"]) == (201, "cup")

    assert [request.authorized for request in api.requests] == [True, False, True]
    assert issuer.refreshes == 1


async def test_a_token_goes_to_no_other_origin(issuer: Issuer, api: Api) -> None:
    async with (
        Api(issuer) as other,
        tokenproxy.aiohttp.credentials(config(issuer, api)) as credentials,
        aiohttp.ClientSession(middlewares=[credentials.middleware("shop")]) as client,
    ):
        async with client.get(f"{other.url}/items/") as response:
            assert response.status == 401

        assert other.requests[0].values("Authorization") == []


async def test_an_unknown_credential_is_a_config_error(issuer: Issuer, api: Api) -> None:
    async with tokenproxy.aiohttp.credentials(config(issuer, api)) as credentials:
        with pytest.raises(ConfigError, match="no credential is called 'shpo'"):
            credentials.middleware("shpo")


# -- answers whose bodies tell ---------------------------------------------------------------

EXPIRED = b'{"errcode": 40001}'
PACKED = {
    "gzip": gzip.compress(EXPIRED, mtime=0),
    "deflate": zlib.compress(EXPIRED),
    "identity": EXPIRED,
}
BY_BODY = {"refresh_on": [{"status": 200, "json": {"errcode": 40001}}]}


def to(upstream: Upstream, issuer: Issuer, **route: Any) -> dict[str, Any]:
    """A config whose tokens go to `upstream`."""
    return {
        "store": {"type": "memory"},
        "credentials": {"shop": shop(issuer)},
        "routes": [{"upstream": upstream.url, "credential": "shop", **route}],
    }


@asynccontextmanager
async def session(config: dict[str, Any], **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that gets the tokens of `shop`, of which it has one that may be renewed."""
    clock = AheadClock()
    async with Runtime(Config.model_validate(config), World(clock=clock)) as runtime:
        await runtime.keepers["shop"].get()
        clock.skip(2)
        middlewares = [Credentials(runtime).middleware("shop")]
        async with aiohttp.ClientSession(middlewares=middlewares, **options) as client:
            yield client


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("decompresses", [True, False])
async def test_a_rejection_is_told_by_a_body_in_any_coding(
    issuer: Issuer, upstream: Upstream, coding: str, decompresses: bool
) -> None:
    fields = [(b"Content-Encoding", coding.encode())]
    upstream.replies = [answer(PACKED[coding], fields=fields)]

    config = to(upstream, issuer, **BY_BODY)
    async with (
        session(config, auto_decompress=decompresses) as client,
        client.get(upstream.url) as response,
    ):
        assert await response.read() == b"ok"

    assert len(upstream.requests) == 2


async def test_a_request_may_ask_for_its_own_answer_as_it_is(
    issuer: Issuer, upstream: Upstream
) -> None:
    upstream.replies = [answer(PACKED["gzip"], fields=[(b"Content-Encoding", b"gzip")])]

    async with (
        session(to(upstream, issuer, **BY_BODY)) as client,
        client.get(upstream.url, auto_decompress=False) as response,
    ):
        assert await response.read() == b"ok"


async def test_a_body_that_rejects_nothing_can_be_read_in_every_way(
    issuer: Issuer, upstream: Upstream
) -> None:
    body = b'{"errcode": 0,\n"name": "x"}'
    upstream.reply = answer(body, fields=[(b"Content-Type", b"application/json")])

    async with session(to(upstream, issuer, **BY_BODY)) as client:
        async with client.get(upstream.url) as response:
            assert await response.json() == json.loads(body)
            assert await response.read() == body
        async with client.get(upstream.url) as response:
            assert await response.content.read(5) == body[:5]
            assert not response.content.at_eof()
            assert await response.content.readline() == body[5:15]
            assert [piece async for piece in response.content.iter_any()] == [body[15:]]
            assert response.content.at_eof()
            assert response.content.exception() is None
            await response.content.wait_eof()

    assert upstream.connections == 1  # it went back to the pool


async def test_a_body_without_end_is_passed_on_as_it_comes(
    issuer: Issuer, upstream: Upstream
) -> None:
    async def endless(peer: Peer, request: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")
        while True:
            await peer.send(b'{"errcode": 0}\n' * 1000)

    upstream.act = endless
    async with session(to(upstream, issuer, **BY_BODY)) as client:
        async with client.get(upstream.url) as response:
            for _ in range(20_000):  # far more than the matcher reads
                assert await response.content.readline() == b'{"errcode": 0}\n'
        await upstream.all_gone()


async def test_no_more_is_waited_for_than_a_matcher_reads(
    issuer: Issuer, upstream: Upstream
) -> None:
    async def begin(peer: Peer, request: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100003\r\n\r\n", bytes(100_000))
        await goes_on.wait()
        await peer.send(b"end")

    goes_on = asyncio.Event()
    upstream.act = begin
    async with (
        session(to(upstream, issuer, **BY_BODY)) as client,
        client.get(upstream.url) as response,
    ):
        assert await response.content.readexactly(100_000) == bytes(100_000)
        goes_on.set()
        assert await response.content.readchunk() == (b"end", False)
        assert await response.content.readchunk() == (b"", False)


async def test_an_event_stream_is_never_held_back(issuer: Issuer, upstream: Upstream) -> None:
    async def begin(peer: Peer, request: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await peer.ended()

    upstream.act = begin
    async with (
        session(to(upstream, issuer, **BY_BODY)) as client,
        client.get(upstream.url) as response,
    ):
        assert await response.content.readline() == b"data: 1\n"


@pytest.mark.parametrize("size", [0, 10, 100_000])
async def test_a_body_that_breaks_off_breaks_off_for_who_reads_it(
    issuer: Issuer, upstream: Upstream, size: int
) -> None:
    async def break_off(peer: Peer, request: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", bytes(size))
        peer.close()

    upstream.act = break_off
    async with (
        session(to(upstream, issuer, **BY_BODY)) as client,
        client.get(upstream.url) as response,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_the_answer_to_a_head_has_no_body_to_look_at(
    issuer: Issuer, upstream: Upstream
) -> None:
    upstream.reply = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"

    async with (
        session(to(upstream, issuer, **BY_BODY)) as client,
        client.head(upstream.url) as response,
    ):
        assert (response.status, await response.read()) == (200, b"")


# -- whose route, and which origin -----------------------------------------------------------


async def test_the_upstream_that_is_asked_says_where_its_token_goes(
    issuer: Issuer, upstream: Upstream
) -> None:
    def route(name: str, base: str) -> dict[str, Any]:
        inject = {"header": f"X-{name}", "value": "{token}"}
        return {"path": f"/{name}", "upstream": base, "credential": "shop", "inject": inject}

    elsewhere = "http://127.0.0.1:1/a/b/c"
    bases = {"Elsewhere": elsewhere, "A": "/a", "Ab": "/a/b/", "C": "/c"}
    routes = [
        route(name, base if base == elsewhere else upstream.url + base)
        for name, base in bases.items()
    ]
    paths = ["/a", "/a/x?y=/a/b", "/ab", "/a/b", "/a/b/c", "/c/a/b", "/"]
    async with session({**to(upstream, issuer), "routes": routes}) as client:
        for path in paths:
            await (await client.get(upstream.url + path)).read()

    names = [name for request in upstream.requests for name, _ in request.fields]
    assert [name for name in names if name.startswith(b"X-")] == [
        b"X-A",
        b"X-A",
        b"X-A",  # of no upstream's path: the first of its origin
        b"X-Ab",
        b"X-Ab",
        b"X-C",
        b"X-A",
    ]


async def test_the_upstream_that_is_asked_says_what_rejects_its_token(
    issuer: Issuer, upstream: Upstream
) -> None:
    def route(name: str, status: int) -> dict[str, Any]:
        base = f"{upstream.url}/{name}"
        return {"path": f"/{name}", "upstream": base, "credential": "shop", "refresh_on": status}

    routes = [route("a", 401), route("b", 403)]
    async with session({**to(upstream, issuer), "routes": routes}) as client:
        for path in ("a", "b"):
            upstream.replies = [answer(status=b"403 Forbidden")]
            async with client.get(f"{upstream.url}/{path}") as response:
                assert response.status == {"a": 403, "b": 200}[path]


class Nearby(AbstractResolver):
    """Finds every name on this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = ResolveResult(
            hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
        )
        return [found]

    async def close(self) -> None:
        pass


def alone() -> dict[str, Any]:
    """A credential without routes."""
    return {"store": {"type": "memory"}, "credentials": {"c": {"type": "static", "token": "t"}}}


async def test_without_routes_the_first_origin_is_the_one(upstream: Upstream) -> None:
    async with (
        tokenproxy.aiohttp.credentials(alone()) as credentials,
        aiohttp.ClientSession(middlewares=[credentials.middleware("c")]) as client,
    ):
        await (await client.get(upstream.url)).read()
        await (await client.get(upstream.url.replace("127.0.0.1", "localhost"))).read()

    sent = [request.values(b"authorization") for request in upstream.requests]
    assert sent == [[b"Bearer t"], []]


async def test_an_origin_that_nobody_named_gets_no_token_unencrypted(upstream: Upstream) -> None:
    url = upstream.url.replace("127.0.0.1", "shop.example")
    async with (
        tokenproxy.aiohttp.credentials(alone()) as credentials,
        aiohttp.TCPConnector(resolver=Nearby()) as connector,
    ):
        first = [credentials.middleware("c")]
        async with aiohttp.ClientSession(connector=connector, middlewares=first) as client:
            for _ in range(2):
                with pytest.raises(ConfigError, match="of credential 'c' would go to http://shop"):
                    await client.get(url)

    assert upstream.connections == 0


async def test_an_origin_that_is_named_gets_it_as_it_says(upstream: Upstream) -> None:
    url = upstream.url.replace("127.0.0.1", "shop.example")
    async with tokenproxy.aiohttp.credentials(alone()) as credentials:
        named = [credentials.middleware("c", origins=[url])]
        async with (
            aiohttp.TCPConnector(resolver=Nearby()) as connector,
            aiohttp.ClientSession(connector=connector, middlewares=named) as client,
        ):
            await (await client.get(url)).read()

    assert upstream.requests[0].values(b"authorization") == [b"Bearer t"]


async def test_a_port_that_is_the_schemes_own_may_be_left_out() -> None:
    config = alone()
    config["routes"] = [{"upstream": "https://shop.example:443", "credential": "c"}]
    async with tokenproxy.aiohttp.credentials(config) as credentials:
        sent: list[aiohttp.ClientRequest] = []

        async def stop(request: aiohttp.ClientRequest, _: Any) -> aiohttp.ClientResponse:
            sent.append(request)
            raise aiohttp.ClientConnectionError

        middlewares = [credentials.middleware("c"), stop]
        async with aiohttp.ClientSession(middlewares=middlewares) as client:
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.get("https://shop.example/items")

    assert sent[0].headers["Authorization"] == "Bearer t"


# -- lifetimes -------------------------------------------------------------------------------


async def test_what_only_shows_when_files_are_opened_keeps_the_application_from_starting(
    tmp_path: Path,
) -> None:
    ca = tmp_path / "none.pem"
    app = web.Application()
    tokenproxy.aiohttp.setup(app, {"routes": [{"upstream": "https://a", "tls": {"ca": str(ca)}}]})

    with pytest.raises(ConfigError, match=r"^routes\.0\.tls\.ca: .*none\.pem cannot be read"):
        async with listening(app):
            pass
