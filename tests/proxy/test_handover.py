"""Connections that are taken from aiohttp behind a 101, and what aiohttp is told of them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web

import tokenproxy.aiohttp
from tests.conftest import STATIC, Proxy, Serving
from tests.proxy.test_streaming import PIECE
from tests.proxy.wire.test_tunnel import (
    ASKS,
    LISTS,
    SWITCHING,
    ends_reset,
    reset,
    switched,
    tls_upstream,
    told,
)
from tests.wire import LIMIT, Message, Peer, Upstream
from tokenproxy.config.model import Config
from tokenproxy.events import Event, RequestServed
from tokenproxy.runtime import Runtime, World

pytestmark = pytest.mark.only("handler")


# -- what is tunnelled ---------------------------------------------------------------------------


@pytest.mark.parametrize("fields", LISTS)
async def test_a_list_of_protocols_is_taken_off_and_the_request_goes_on(
    plain: Proxy, upstream: Upstream, fields: tuple[bytes, ...]
) -> None:
    """aiohttp reads on behind it: what the caller sends early would be taken for a request."""
    assert (await plain.ask(b"/", *fields)).body == b"ok"
    assert upstream.requests[0].values(b"upgrade") == []


async def test_a_protocol_other_than_websocket_is_taken_off_though_the_route_lists_it(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url, "upgrade": ["spdy/3.1"]}]})
    fields = (b"Connection: Upgrade", b"Upgrade: spdy/3.1")
    assert (await proxy.ask(b"/", *fields)).body == b"ok"
    assert upstream.requests[0].values(b"upgrade") == []


@pytest.mark.parametrize("method", [b"POST", b"OPTIONS", b"DELETE"])
async def test_only_a_get_is_a_handshake(plain: Proxy, upstream: Upstream, method: bytes) -> None:
    assert (await plain.ask(b"/", *ASKS, method=method)).status == 200
    assert upstream.requests[0].values(b"upgrade") == []


# -- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bulk", [b"", b"hello", PIECE * 8])
async def test_an_upstream_that_ends_right_behind_the_101_has_had_its_say(
    plain: Proxy, upstream: Upstream, bulk: bytes
) -> None:
    async def act(peer: Peer, _: Message) -> None:
        peer.writer.write(SWITCHING + bulk)
        peer.writer.write_eof()
        heard.set_result(await peer.reader.read())
        raise ConnectionAbortedError

    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    upstream.act = act
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(plain.request(b"/", *ASKS))
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.reader.read() == bulk
        await caller.send(b"still")
        caller.writer.write_eof()
        assert await heard == b"still"
        assert (await told(plain)).complete


@pytest.mark.parametrize("bulk", [b"", b"hello", PIECE])
async def test_an_upstream_with_tls_that_ends_right_behind_the_101_has_had_its_say(
    serving: Serving, tmp_path: Path, bulk: bytes
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.send(bulk)

    async with tls_upstream(tmp_path, talk) as route:
        proxy = await serving({"routes": [route]})
        async with await proxy.connect() as caller, asyncio.timeout(5):
            await caller.send(proxy.request(b"/", *ASKS))
            assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
            assert await caller.reader.read() == bulk
        assert (await told(proxy)).complete


async def test_an_upstream_that_breaks_off_right_behind_the_101_does_so_for_the_caller(
    plain: Proxy, upstream: Upstream
) -> None:
    async def act(peer: Peer, _: Message) -> None:
        await peer.send(SWITCHING, b"hello")
        reset(peer)

    upstream.act = act
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(plain.request(b"/", *ASKS))
        await ends_reset(caller)
        assert not (await told(plain)).complete


# -- in an application ---------------------------------------------------------------------------


@asynccontextmanager
async def mounted(
    upstream: Upstream,
    *,
    tls: ssl.SSLContext | None = None,
    cancels: bool = True,
    shape: Callable[[web.Application], None] = lambda _: None,
) -> AsyncIterator[tuple[Proxy, web.AppRunner]]:
    """The routes in somebody's application; its runner waits long for what is open."""
    app = web.Application()
    route = {"upstream": upstream.url, "credential": "c"}
    config = {"store": {"type": "memory"}, "credentials": {"c": STATIC}, "routes": [route]}
    tokenproxy.aiohttp.setup(app, config)
    shape(app)
    runner = web.AppRunner(
        app, auto_decompress=False, handler_cancellation=cancels, shutdown_timeout=30
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield Proxy([url], [], lambda: None, None), runner  # type: ignore[arg-type]  # no clock
    finally:
        async with asyncio.timeout(5):
            await runner.cleanup()


async def test_the_end_of_the_application_ends_its_tunnels_at_once(upstream: Upstream) -> None:
    async with (
        mounted(upstream) as (proxy, runner),
        switched(proxy, upstream) as ends,
        asyncio.timeout(5),
    ):
        await asyncio.gather(runner.cleanup(), ends_reset(*ends))


async def test_a_handshake_that_is_answered_in_the_shutdown_opens_no_tunnel(
    upstream: Upstream,
) -> None:
    async def act(peer: Peer, _: Message) -> None:
        await go_on.wait()
        await peer.send(SWITCHING)
        await peer.ended()

    async def goes_on(_: web.Application) -> None:
        go_on.set()

    go_on = asyncio.Event()
    upstream.act = act
    async with (
        mounted(upstream, shape=lambda app: app.on_shutdown.append(goes_on)) as (proxy, runner),
        await proxy.connect() as caller,
        asyncio.timeout(5),
    ):
        await caller.send(proxy.request(b"/", *ASKS))
        await upstream.until(lambda: bool(upstream.requests))
        await asyncio.gather(runner.cleanup(), ends_reset(caller))


@pytest.mark.parametrize("cancels", [True, False])
async def test_aiohttp_forgets_both_connections_with_the_tunnel(
    upstream: Upstream, *, cancels: bool
) -> None:
    async with mounted(upstream, cancels=cancels) as (proxy, runner):
        async with switched(proxy, upstream) as (caller, far), asyncio.timeout(5):
            assert runner.server is not None
            assert len(runner.server.connections) == 1
            await caller.send(b"ping")
            assert await far.reader.readexactly(4) == b"ping"
            caller.writer.write_eof()
            assert await far.reader.read() == b""
            await far.send(b"bye")
            far.writer.write_eof()
            assert await caller.reader.read() == b"bye"
        async with asyncio.timeout(5):
            while runner.server.connections:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.005)


async def test_a_caller_that_leaves_is_noticed_without_handler_cancellation(
    upstream: Upstream,
) -> None:
    async with (
        mounted(upstream, cancels=False) as (proxy, _),
        switched(proxy, upstream) as (caller, far),
        asyncio.timeout(5),
    ):
        reset(caller)
        await ends_reset(far)


async def test_an_application_may_add_to_the_101(upstream: Upstream) -> None:
    async def add(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Ours"] = "1"

    upstream.replies = [SWITCHING + b"hello"]
    async with (
        mounted(upstream, shape=lambda app: app.on_response_prepare.append(add)) as (proxy, _),
        await proxy.connect() as caller,
        asyncio.timeout(5),
    ):
        await caller.send(proxy.request(b"/", *ASKS))
        head = Message(await caller.head(), b"")
        assert (head.status, head.values(b"x-ours")) == (101, [b"1"])
        assert await caller.reader.readexactly(5) == b"hello"


async def test_a_callers_tls_is_a_tunnels_too(upstream: Upstream) -> None:
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)

    async def echo(peer: Peer, _: Message) -> None:
        await peer.send(SWITCHING)
        await peer.send(await peer.reader.readexactly(5))
        await peer.send(await peer.reader.readexactly(len(PIECE)))
        peer.close()

    upstream.act = echo
    async with mounted(upstream, tls=ours) as (proxy, _), asyncio.timeout(5):
        opened = await asyncio.open_connection("127.0.0.1", proxy.port, limit=LIMIT, ssl=theirs)
        async with Peer(*opened) as caller:
            await caller.send(proxy.request(b"/", *ASKS), b"early")
            assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
            await caller.send(PIECE)
            assert await caller.reader.read() == b"early" + PIECE


async def test_aiohttps_own_client_talks_to_its_own_server_through_the_application(
    upstream: Upstream,
) -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        assert request.headers["Authorization"] == "Bearer the-token"
        response = web.WebSocketResponse()
        await response.prepare(request)
        async for message in response:
            await response.send_str(message.data)
        return response

    far = web.Application()
    far.router.add_get("/chat", echo)
    runner = web.AppRunner(far, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream.port, port = runner.addresses[0][1], upstream.port
    try:
        async with (
            mounted(upstream) as (proxy, _),
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{proxy.url}/chat") as socket,
            asyncio.timeout(5),
        ):
            for text in ("hello", "x" * 300_000, "é"):
                await socket.send_str(text)
                assert await socket.receive_str() == text
    finally:
        upstream.port = port
        await runner.cleanup()


async def test_a_cancelled_handler_tells_what_went_through(
    upstream: Upstream, tmp_path: Path
) -> None:
    """As by a server that waits no longer."""
    events: list[Event] = []
    settings = {"store": {"type": "memory"}, "routes": [{"upstream": upstream.url}]}
    config = Config.model_validate(settings, context={"folder": tmp_path})
    async with Runtime(config, replace(World(), observe=events.append)) as runtime:
        server = web.Server(runtime.handler, auto_decompress=False)
        runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        proxy = Proxy([url], events, lambda: None, None)  # type: ignore[arg-type]  # no clock
        async with switched(proxy, upstream) as (caller, far), asyncio.timeout(5):
            await caller.send(b"ping")
            assert await far.reader.readexactly(4) == b"ping"
            await asyncio.gather(runner.cleanup(), ends_reset(caller, far))
    [served] = [event for event in events if isinstance(event, RequestServed)]
    assert (served.status, served.bytes_in, served.complete) == (101, 4, False)
