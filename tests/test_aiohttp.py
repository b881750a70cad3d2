"""The door for aiohttp programs: routes in an application, tokens in a client session."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import tokenproxy.aiohttp
from tokenproxy.errors import ConfigError
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


# -- which answers reject a token, told by their bodies --------------------------------------

EXPIRED = b'{"errcode": 40001}'
BY_BODY = {"refresh_on": [{"status": 200, "json": {"errcode": 40001}}]}
NDJSON = [(b"Content-Type", b"application/x-ndjson")]


def with_tokens(issuer: Issuer, upstream: Upstream, **route: Any) -> dict[str, Any]:
    """A config whose tokens go to `upstream`."""
    return {
        "store": {"type": "memory"},
        "credentials": {"shop": shop(issuer)},
        "routes": [{"upstream": upstream.url, "credential": "shop", **route}],
    }


@asynccontextmanager
async def session(config: dict[str, Any], **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that gets the tokens of `shop`."""
    async with tokenproxy.aiohttp.credentials(config) as credentials:
        middlewares = [credentials.middleware("shop")]
        async with aiohttp.ClientSession(middlewares=middlewares, **options) as client:
            yield client


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize("decompresses", [True, False])
async def test_a_rejection_is_told_by_a_body_in_any_coding(
    issuer: Issuer, upstream: Upstream, coding: str, decompresses: bool
) -> None:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[coding]
    fields = [(b"Content-Encoding", coding.encode())]
    upstream.replies = [answer(pack(EXPIRED), fields=fields)]

    async with session(
        with_tokens(issuer, upstream, **BY_BODY), auto_decompress=decompresses
    ) as client:
        async with client.get(upstream.url) as response:
            assert await response.read() == b"ok"

    assert len(upstream.requests) == 2


async def test_one_request_alone_may_be_left_compressed(issuer: Issuer, upstream: Upstream) -> None:
    upstream.replies = [answer(gzip.compress(EXPIRED), fields=[(b"Content-Encoding", b"gzip")])]

    async with session(with_tokens(issuer, upstream, **BY_BODY)) as client:
        async with client.get(upstream.url, auto_decompress=False) as response:
            assert await response.read() == b"ok"


async def test_a_body_that_rejects_nothing_is_there_to_be_read(
    issuer: Issuer, upstream: Upstream
) -> None:
    body = json.dumps({"errcode": 0, "name": "é"}).encode()
    upstream.reply = answer(body, fields=[(b"Content-Type", b"application/json")])

    async with session(with_tokens(issuer, upstream, **BY_BODY)) as client:
        async with client.get(upstream.url) as response:
            assert await response.json() == {"errcode": 0, "name": "é"}
            assert await response.read() == body
        async with client.get(upstream.url) as response:
            assert response.content.exception() is None
            assert await response.content.read(5) == body[:5]
            assert not response.content.at_eof()
            assert b"".join([piece async for piece in response.content.iter_any()]) == body[5:]
            assert response.content.at_eof()
            await response.content.wait_eof()

    assert upstream.connections == 1  # given back to the pool


async def test_a_body_without_end_is_passed_on_as_it_comes(
    issuer: Issuer, upstream: Upstream
) -> None:
    async def endless(peer: Peer, request: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n")
        while True:
            await peer.send(b'{"errcode": 0}\n' * 1000)

    upstream.act = endless
    async with session(with_tokens(issuer, upstream, **BY_BODY)) as client:
        async with client.get(upstream.url) as response:
            for _ in range(20_000):  # more than had to be read to know
                assert await response.content.readline() == b'{"errcode": 0}\n'
        await upstream.all_gone()


async def test_no_more_is_waited_for_than_a_matcher_reads(
    issuer: Issuer, upstream: Upstream
) -> None:
    async def begin(peer: Peer, request: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100003\r\n\r\n" + bytes(100_000))
        await goes_on.wait()
        await peer.send(b"end")

    goes_on = asyncio.Event()
    upstream.act = begin
    async with session(with_tokens(issuer, upstream, **BY_BODY)) as client:
        async with client.get(upstream.url) as response:
            assert await response.content.readexactly(100_000) == bytes(100_000)
            goes_on.set()
            assert await response.content.readchunk() == (b"end", False)
            assert await response.content.readchunk() == (b"", False)


async def test_events_are_passed_on_as_they_come(issuer: Issuer, upstream: Upstream) -> None:
    async def begin(peer: Peer, request: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await peer.ended()

    upstream.act = begin
    async with session(with_tokens(issuer, upstream, **BY_BODY)) as client:
        async with client.get(upstream.url) as response:
            assert await response.content.readline() == b"data: 1\n"


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_body_that_breaks_off_breaks_off_for_who_reads_it(
    issuer: Issuer, upstream: Upstream, size: int
) -> None:
    async def break_off(peer: Peer, request: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(size))
        peer.close()

    upstream.act = break_off
    async with session(with_tokens(issuer, upstream, **BY_BODY)) as client:
        async with client.get(upstream.url) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_a_head_has_no_body_to_look_at(issuer: Issuer, upstream: Upstream) -> None:
    fields = [(b"Content-Encoding", b"gzip")]
    upstream.reply = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"
    async with session(with_tokens(issuer, upstream, **BY_BODY)) as client:
        async with client.head(upstream.url) as response:
            assert (response.status, await response.read()) == (200, b"")
    assert fields


# -- which route is a request's --------------------------------------------------------------


async def test_the_route_with_the_longest_path_says_where_the_token_goes(
    issuer: Issuer, upstream: Upstream
) -> None:
    def route(name: str, base: str) -> dict[str, Any]:
        return {
            "path": f"/{name}",
            "upstream": upstream.url + base,
            "credential": "shop",
            "inject": {"header": f"X-{name}", "value": "{token}"},
            "refresh_on": [{"status": 200, "header": {"X-Rejects": name}}],
        }

    config = {
        **with_tokens(issuer, upstream),
        "routes": [
            route("Elsewhere", ":1/a/b/c".replace(":1", "")) | {"upstream": "http://127.0.0.1:1/a"},
            route("A", "/a"),
            route("Ab", "/a/b/"),
            route("C", "/c"),
        ],
    }
    paths = ["/a", "/a/x?y=1", "/ab", "/a/b", "/a/b/c", "/c/a", "/"]
    async with session(config) as client:
        for path in paths:
            async with client.get(upstream.url + path) as response:
                assert response.status == 200
        upstream.requests.clear()
        upstream.replies = [answer(fields=[(b"X-Rejects", b"C")])] * 2
        async with client.get(f"{upstream.url}/a") as response:
            assert response.status == 200
        async with client.get(f"{upstream.url}/c") as response:
            assert response.status == 200
""" placeholder """
