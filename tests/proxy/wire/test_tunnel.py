"""Callers that switch to another protocol: a tunnel, or an answer and the next request."""

import asyncio
import gc
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from tests.conftest import STATIC, Proxy, Serving
from tests.proxy.test_streaming import (
    MIB,
    PIECE,
    forget_peak,
    hash_what_comes,
    memory,
    pour,
    program,
    sent_until_blocked,
)
from tests.wire import OK, UNAUTHORIZED, Message, Peer, Upstream, answer
from tokenproxy.events import RequestServed
from tokenproxy.proxy.wire.tunnel import Tunnel
from tokenproxy.testing import Issuer

ASKS = (b"Connection: Upgrade", b"Upgrade: websocket")
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: abc=\r\n\r\n"
)
VIA = (b"Via", b"1.1 tokenproxy")
Ends = tuple[Peer, Peer]


@asynccontextmanager
async def switched(
    proxy: Proxy,
    upstream: Upstream,
    *fields: bytes,
    early: bytes = b"",
    reply: bytes = SWITCHING,
) -> AsyncIterator[Ends]:
    """Both ends of a tunnel; `early` comes behind the handshake, in the same piece."""
    met: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
    left = asyncio.Event()

    async def act(peer: Peer, _: Message) -> None:
        await peer.send(reply)
        met.set_result(peer)
        await left.wait()
        raise ConnectionAbortedError

    upstream.act = act
    async with await proxy.connect() as caller:
        try:
            await caller.send(proxy.request(b"/chat", *(fields or ASKS)), early)
            assert Message(await caller.head(), b"").status == 101
            yield caller, await met
        finally:
            left.set()


def reset(peer: Peer) -> None:
    """End the connection with a RST, whatever was read and sent."""
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.reset()


async def told(proxy: Proxy) -> RequestServed:
    """The one request that has been served, as soon as that is told."""
    async with asyncio.timeout(5):
        while not proxy.served:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
    [served] = proxy.served
    return served


def either_way(ends: Ends, way: str) -> Ends:
    caller, far = ends
    return (caller, far) if way == "up" else (far, caller)


# -- the handshake -------------------------------------------------------------------------------


async def test_the_handshake_goes_on_and_so_does_the_101(plain: Proxy, upstream: Upstream) -> None:
    upstream.replies = [SWITCHING]
    async with await plain.connect() as caller:
        key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        await caller.send(plain.request(b"/chat?a=%7e", *ASKS, key))
        assert await caller.head() == (
            b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: abc=\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
    [request] = upstream.requests
    assert request.start == b"GET /chat?a=%7e HTTP/1.1"
    assert sorted(request.fields[1:]) == [
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"Upgrade", b"websocket"),
        VIA,
    ]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((b"Connection: keep-alive, Upgrade", b"Upgrade: websocket"), id="firefox"),
        pytest.param((b"connection: upgrade", b"upgrade: WebSocket"), id="case"),
        pytest.param((b"Upgrade: websocket", b"Connection: Upgrade"), id="order"),
        pytest.param(
            (b"Connection: x-a", b"Connection: Upgrade", b"Upgrade: websocket"), id="two fields"
        ),
        pytest.param(
            (b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"), id="first field"
        ),
    ],
)
async def test_a_handshake_in_whatever_words_is_one(
    plain: Proxy, upstream: Upstream, fields: Sequence[bytes]
) -> None:
    await is_a_handshake(plain, upstream, fields)


LISTS = [
    pytest.param((b"Connection: Upgrade", b"Upgrade: h2c, websocket"), id="second of a list"),
    pytest.param((b"Connection: Upgrade", b"Upgrade: websocket,h2c"), id="first of a list"),
    pytest.param(
        (b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: websocket"), id="second field"
    ),
]


@pytest.mark.only("wire")
@pytest.mark.parametrize("fields", LISTS)
async def test_a_handshake_with_a_list_of_protocols_is_one(
    plain: Proxy, upstream: Upstream, fields: Sequence[bytes]
) -> None:
    await is_a_handshake(plain, upstream, fields)


async def is_a_handshake(plain: Proxy, upstream: Upstream, fields: Sequence[bytes]) -> None:
    async with switched(plain, upstream, *fields) as (caller, far):
        await caller.send(b"ping")
        assert await far.reader.readexactly(4) == b"ping"
    [request] = upstream.requests
    assert [value.lower() for value in request.values(b"upgrade")] == [b"websocket"]
    assert [value.lower() for value in request.values(b"connection")] == [b"upgrade"]


@pytest.mark.only("wire")
async def test_what_else_connection_must_name_stands_in_the_same_field(
    plain: Proxy, upstream: Upstream
) -> None:
    """aiohttp, for one, reads the first Connection alone."""
    async with switched(plain, upstream, *ASKS, b"TE: trailers"):
        pass
    assert upstream.requests[0].values(b"connection") == [b"TE, Upgrade"]


@pytest.mark.parametrize("name", [b"WebSocket", b"websocket", b"WEBSOCKET"])
async def test_the_upstream_may_write_the_protocols_name_as_it_likes(
    plain: Proxy, upstream: Upstream, name: bytes
) -> None:
    reply = SWITCHING.replace(b"websocket", name)
    async with switched(plain, upstream, reply=reply) as (caller, far):
        await far.send(b"hello")
        assert await caller.reader.readexactly(5) == b"hello"


@pytest.mark.only("wire")
@pytest.mark.parametrize("early", [b"103 Early Hints", b"102 Processing"])
async def test_what_comes_before_the_101_goes_on_too(
    plain: Proxy, upstream: Upstream, early: bytes
) -> None:
    upstream.replies = [b"HTTP/1.1 " + early + b"\r\nX-A: 1\r\n\r\n" + SWITCHING + b"hello"]
    async with await plain.connect() as caller:
        await caller.send(plain.request(b"/", *ASKS))
        assert (await caller.head()).startswith(b"HTTP/1.1 " + early)
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.reader.readexactly(5) == b"hello"


@pytest.mark.only("wire")
async def test_another_protocol_that_the_route_names_is_tunnelled(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url, "upgrade": ["spdy/3.1"]}]})
    reply = SWITCHING.replace(b"websocket", b"SPDY/3.1")
    asks = (b"Connection: Upgrade", b"Upgrade: SPDY/3.1")
    async with switched(proxy, upstream, *asks, reply=reply) as (caller, far):
        await caller.send(b"ping")
        assert await far.reader.readexactly(4) == b"ping"
    assert upstream.requests[0].values(b"upgrade") == [b"SPDY/3.1"]


# -- bytes ---------------------------------------------------------------------------------------

ALL_BYTES = bytes(range(256)) * 17


@pytest.mark.parametrize("way", ["up", "down"])
async def test_bytes_pass_as_they_are(plain: Proxy, upstream: Upstream, way: str) -> None:
    async with switched(plain, upstream) as ends:
        sender, receiver = either_way(ends, way)
        for data in (b"\x00", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ALL_BYTES, OK):
            await sender.send(data)
            assert await receiver.reader.readexactly(len(data)) == data


async def test_both_ways_at_once_are_byte_for_byte(plain: Proxy, upstream: Upstream) -> None:
    size = 8 * MIB
    async with switched(plain, upstream) as (caller, far), asyncio.timeout(20):
        sent_up, sent_down, up, down = await asyncio.gather(
            pour(caller, size),
            pour(far, size),
            hash_what_comes(far, size),
            hash_what_comes(caller, size),
        )
    assert (up, down) == (sent_up, sent_down)


@pytest.mark.parametrize("early", [b"x", ALL_BYTES, PIECE * 4, b"GET / HTTP/1.1\r\n\r\n"])
async def test_what_comes_with_the_101_is_the_tunnels(
    plain: Proxy, upstream: Upstream, early: bytes
) -> None:
    async with switched(plain, upstream, reply=SWITCHING + early) as (caller, far):
        await far.send(b"more")
        expected = early + b"more"
        assert await caller.reader.readexactly(len(expected)) == expected


@pytest.mark.parametrize("early", [b"x", ALL_BYTES, PIECE * 4, b"GET / HTTP/1.1\r\n\r\n"])
async def test_what_comes_right_behind_the_handshake_is_the_tunnels(
    plain: Proxy, upstream: Upstream, early: bytes
) -> None:
    async with switched(plain, upstream, early=early) as (caller, far):
        await caller.send(b"more")
        expected = early + b"more"
        assert await far.reader.readexactly(len(expected)) == expected
    assert len(upstream.requests) == 1


async def test_what_comes_before_the_101_waits_for_it(plain: Proxy, upstream: Upstream) -> None:
    """In pieces, while the upstream still thinks; and none of it goes out before the 101."""

    async def act(peer: Peer, _: Message) -> None:
        await go_on.wait()
        assert not peer.reader._buffer  # type: ignore[attr-defined]  # nothing may have come
        await peer.send(SWITCHING)
        await peer.send(await peer.reader.readexactly(6))

    go_on = asyncio.Event()
    upstream.act = act
    async with await plain.connect() as caller:
        await caller.send(plain.request(b"/", *ASKS))
        await upstream.until(lambda: bool(upstream.requests))
        await caller.send(b"one")
        await asyncio.sleep(0.01)
        await caller.send(b"two")
        go_on.set()
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.reader.readexactly(6) == b"onetwo"


async def test_a_handshake_that_comes_byte_by_byte_is_one(plain: Proxy, upstream: Upstream) -> None:
    upstream.replies = [SWITCHING + b"hello"]
    async with await plain.connect() as caller:
        for byte in plain.request(b"/", *ASKS):
            await caller.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.reader.readexactly(5) == b"hello"


async def test_a_101_that_comes_byte_by_byte_is_one(plain: Proxy, upstream: Upstream) -> None:
    async def act(peer: Peer, _: Message) -> None:
        for byte in SWITCHING + b"hello":
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)
        await peer.ended()

    upstream.act = act
    async with await plain.connect() as caller:
        await caller.send(plain.request(b"/", *ASKS))
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.reader.readexactly(5) == b"hello"


async def test_a_tunnel_may_follow_other_requests_on_both_connections(
    plain: Proxy, upstream: Upstream
) -> None:
    upstream.replies = [OK, OK, SWITCHING + b"hello"]
    async with await plain.connect() as caller:
        await caller.send(plain.request(b"/1"), plain.request(b"/2"), plain.request(b"/3", *ASKS))
        assert [(await caller.answer()).status, (await caller.answer()).status] == [200, 200]
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.reader.readexactly(5) == b"hello"
    assert upstream.connections == 1


async def test_a_connection_that_was_a_tunnel_is_used_for_nothing_else(
    plain: Proxy, upstream: Upstream
) -> None:
    async with switched(plain, upstream) as (caller, far):
        await caller.send(b"ping")
        await far.reader.readexactly(4)
    await upstream.all_gone()
    upstream.act = None
    assert (await plain.ask()).body == b"ok"
    assert upstream.connections == 2


@pytest.mark.only("wire")
async def test_tunnels_count_as_connections_to_the_upstream(
    serving: Serving, upstream: Upstream
) -> None:
    route = {"upstream": upstream.url, "max_connections": 1, "timeouts": {"connect": 0.05}}
    proxy = await serving({"routes": [route]})
    async with switched(proxy, upstream):
        assert (await proxy.ask()).status == 503
    await upstream.all_gone()
    upstream.act = None
    assert (await proxy.ask()).status == 200


# -- back-pressure -------------------------------------------------------------------------------


async def filled(peer: Peer, *, most: int = 256 * MIB) -> int:
    """Send until nothing more is taken; how much that was, with what waits in the test itself."""
    return min(most, await sent_until_blocked(peer, most=most) + len(PIECE))


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_side_that_does_not_read_stops_the_other(
    plain: Proxy, upstream: Upstream, way: str
) -> None:
    async with switched(plain, upstream) as ends:
        sender, receiver = either_way(ends, way)
        receiver.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        sent = await filled(sender)
        assert sent < 64 * MIB  # what the kernel's own buffers take, and little more

        await receiver.send(b"the other way is open")
        assert await sender.reader.readexactly(21) == b"the other way is open"

        receiver.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await hash_what_comes(receiver, sent)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
async def test_64_mib_each_way_to_slow_readers_need_little_memory(
    upstream: Upstream, tmp_path: Path
) -> None:
    async def slow(sender: Peer, receiver: Peer) -> None:
        sent = await filled(sender, most=64 * MIB)
        rest = 64 * MIB - sent
        await asyncio.gather(pour(sender, rest), hash_what_comes(receiver, 64 * MIB))

    async with program(upstream, tmp_path) as (proxy, pid):
        forget_peak(pid)
        before = memory(pid, "VmRSS")
        async with switched(proxy, upstream) as (caller, far):
            await asyncio.gather(slow(caller, far), slow(far, caller))
        assert memory(pid, "VmHWM") - before < 16 * MIB


# -- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["up", "down"])
async def test_one_sides_end_is_passed_on_and_the_other_way_stays_open(
    plain: Proxy, upstream: Upstream, way: str
) -> None:
    async with switched(plain, upstream) as ends, asyncio.timeout(5):
        first, second = either_way(ends, way)
        await first.send(b"my last")
        first.writer.write_eof()
        assert await second.reader.read() == b"my last"

        for piece in (b"still", ALL_BYTES):
            await second.send(piece)
            assert await first.reader.readexactly(len(piece)) == piece
        second.writer.write_eof()
        assert await first.reader.read() == b""
    await upstream.all_gone()
    served = await told(plain)
    assert served.complete


@pytest.mark.parametrize("way", ["up", "down"])
async def test_what_was_sent_before_both_ends_arrives_whole(
    plain: Proxy, upstream: Upstream, way: str
) -> None:
    """The last bytes are much, and the second end comes while they are still on their way."""
    size = 4 * MIB
    async with switched(plain, upstream) as ends, asyncio.timeout(10):
        sender, receiver = either_way(ends, way)
        receiver.writer.write_eof()
        assert await sender.reader.read() == b""
        sent, came = await asyncio.gather(pour(sender, size), hash_what_comes(receiver, size))
        assert came == sent
        sender.writer.write_eof()
        assert await receiver.reader.read() == b""
    await upstream.all_gone()
    assert (await told(plain)).complete


async def test_a_caller_that_ends_behind_a_bulk_still_reading_slowly_loses_nothing(
    plain: Proxy, upstream: Upstream
) -> None:
    async with switched(plain, upstream) as (caller, far), asyncio.timeout(10):
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        sent = await filled(far)
        far.writer.write_eof()
        caller.writer.write_eof()
        assert await far.reader.read() == b""
        caller.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await hash_what_comes(caller, sent)
        assert await caller.reader.read() == b""


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_reset_is_passed_on_as_one(plain: Proxy, upstream: Upstream, way: str) -> None:
    async with switched(plain, upstream) as ends, asyncio.timeout(5):
        first, second = either_way(ends, way)
        await first.send(b"ping")
        await second.reader.readexactly(4)
        reset(first)
        with pytest.raises(ConnectionResetError):
            await second.reader.read()
    assert not (await told(plain)).complete


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_reset_after_an_end_is_passed_on_once_there_is_something_to_send(
    plain: Proxy, upstream: Upstream, way: str
) -> None:
    async with switched(plain, upstream) as ends, asyncio.timeout(5):
        first, second = either_way(ends, way)
        first.writer.write_eof()
        assert await second.reader.read() == b""
        reset(first)
        while not plain.served:
            with suppress(ConnectionError):
                await second.send(b"anybody there?")
            await asyncio.sleep(0.005)
    assert not (await told(plain)).complete


async def test_a_caller_that_leaves_while_it_is_not_read_from_is_noticed(
    plain: Proxy, upstream: Upstream
) -> None:
    async with switched(plain, upstream) as (caller, far), asyncio.timeout(5):
        far.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        await filled(caller)
        reset(caller)
        assert not (await told(plain)).complete


async def test_a_caller_that_ends_while_it_is_not_read_from_has_not_left(
    plain: Proxy, upstream: Upstream
) -> None:
    async with switched(plain, upstream) as (caller, far), asyncio.timeout(20):
        far.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        sent = await filled(caller)
        caller.writer.write_eof()
        await asyncio.sleep(0.7)  # in which it is looked at
        far.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await hash_what_comes(far, sent)
        assert await far.reader.read() == b""
        await far.send(b"bye")
        assert await caller.reader.readexactly(3) == b"bye"


# -- an upstream with TLS ------------------------------------------------------------------------


@asynccontextmanager
async def tls_upstream(
    folder: Path, talk: Callable[[Peer], Awaitable[None]]
) -> AsyncIterator[dict[str, object]]:
    """A route to an upstream with TLS that speaks another protocol from the start."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with Peer(reader, writer) as peer:
            await peer.head()
            await peer.send(SWITCHING)
            await talk(peer)

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield {"upstream": f"https://localhost:{port}", "tls": {"ca": "ca.pem"}}


async def test_an_end_with_tls_is_the_end_of_both_ways_and_no_reset(
    serving: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a WebSocket server ends after the closing handshake: nothing may be lost (RFC 6455 7)."""

    async def bye(peer: Peer) -> None:
        assert await peer.reader.readexactly(4) == b"ping"
        await peer.send(PIECE, b"bye")

    async with tls_upstream(tmp_path, bye) as route:
        proxy = await serving({"routes": [route]})
        async with await proxy.connect() as caller, asyncio.timeout(5):
            await caller.send(proxy.request(b"/", *ASKS))
            assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
            await caller.send(b"ping")
            assert await caller.reader.read() == PIECE + b"bye"
        assert (await told(proxy)).complete
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


async def test_a_callers_end_ends_a_tunnel_with_tls(serving: Serving, tmp_path: Path) -> None:
    async def echo(peer: Peer) -> None:
        while data := await peer.reader.read(100):
            await peer.send(data)
        ended.set()

    ended = asyncio.Event()
    async with tls_upstream(tmp_path, echo) as route:
        proxy = await serving({"routes": [route]})
        async with await proxy.connect() as caller, asyncio.timeout(5):
            await caller.send(proxy.request(b"/", *ASKS))
            await caller.head()
            await caller.send(b"ping")
            assert await caller.reader.readexactly(4) == b"ping"
            caller.writer.write_eof()
            await ended.wait()
            assert await caller.reader.read() == b""
        assert (await told(proxy)).complete


# -- unix sockets --------------------------------------------------------------------------------


@pytest.mark.only("wire")
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_tunnel_over_unix_sockets_has_two_halves_too(
    serving: Serving, tmp_path: Path, way: str
) -> None:
    """From the caller's socket to the upstream's."""

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        await peer.head()
        await peer.send(SWITCHING)
        met.set_result(peer)

    met: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    server = await asyncio.start_unix_server(meet, theirs)
    route = {"upstream": f"unix:{theirs}", "upstream_host": "api.example"}
    async with server:
        await serving({"listen": f"unix:{ours}", "routes": [route]})
        async with Peer(*await asyncio.open_unix_connection(ours)) as caller, asyncio.timeout(5):
            lines = [b"GET / HTTP/1.1", b"Host: localhost", *ASKS, b"", b""]
            await caller.send(b"\r\n".join(lines))
            assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
            async with await met as far:
                first, second = either_way((caller, far), way)
                await first.send(b"my last")
                first.writer.write_eof()
                assert await second.reader.read() == b"my last"
                await second.send(b"still")
                second.writer.write_eof()
                assert await first.reader.read() == b"still"


# -- an upstream that does not switch ------------------------------------------------------------

REFUSALS = [
    answer(b"no", status=b"200 OK"),
    answer(b"no", status=b"400 Bad Request"),
    answer(b"no", status=b"401 Unauthorized"),
    answer(b"no", status=b"403 Forbidden"),
    answer(b"no", status=b"426 Upgrade Required"),
    answer(b"no", status=b"426 Upgrade Required", fields=[(b"Connection", b"Upgrade")]),
    answer(b"", status=b"503 Service Unavailable"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    b"HTTP/1.1 426 N\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
]


@pytest.mark.parametrize("reply", REFUSALS, ids=range(len(REFUSALS)))
@pytest.mark.parametrize("together", [True, False], ids=["together", "afterwards"])
async def test_where_the_upstream_does_not_switch_the_next_request_is_one(
    plain: Proxy, upstream: Upstream, reply: bytes, together: bool
) -> None:
    upstream.replies = [reply, answer(b"next"), SWITCHING + b"hello"]
    async with await plain.connect() as caller, asyncio.timeout(5):
        rest = plain.request(b"/2") + plain.request(b"/3", *ASKS)
        await caller.send(plain.request(b"/1", *ASKS), rest if together else b"")
        assert (await caller.answer()).status == Message(reply, b"").status
        await caller.send(b"" if together else rest)
        assert (await caller.answer()).body == b"next"
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.reader.readexactly(5) == b"hello"
    assert [request.target for request in upstream.requests] == [b"/1", b"/2", b"/3"]
    assert [served.status for served in plain.served][1:2] == [200]


async def test_what_was_meant_for_the_tunnel_is_no_request(
    plain: Proxy, upstream: Upstream
) -> None:
    """Frames that came too early, where the answer is a 403, are taken for what they are."""
    upstream.replies = [answer(b"no", status=b"403 Forbidden")]
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(plain.request(b"/1", *ASKS), b"\x81\x85\x00\x00\x00\x00hello")
        assert (await caller.answer()).status == 403
        assert (await caller.answer()).status in {400, 501}
        await caller.ended()
    assert len(upstream.requests) == 1


async def test_a_handshake_that_is_split_behind_one_that_failed_is_one(
    plain: Proxy, upstream: Upstream
) -> None:
    upstream.replies = [OK, SWITCHING]
    second = plain.request(b"/2", *ASKS)
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(plain.request(b"/1", *ASKS), second[:30])
        assert (await caller.answer()).status == 200
        await caller.send(second[30:])
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.only("wire")  # aiohttp drops what comes in one piece with an h2c handshake
async def test_however_many_handshakes_for_h2c_come_at_once_each_is_answered(
    plain: Proxy, upstream: Upstream
) -> None:
    await each_is_answered(plain, upstream, b"h2c")


async def test_however_many_handshakes_come_at_once_each_is_answered(
    plain: Proxy, upstream: Upstream
) -> None:
    await each_is_answered(plain, upstream, b"websocket")


async def each_is_answered(plain: Proxy, upstream: Upstream, protocol: bytes) -> None:
    many = 3000
    asks = (b"Connection: Upgrade", b"Upgrade: " + protocol)
    async with await plain.connect() as caller, asyncio.timeout(20):
        sending = asyncio.gather(caller.send(plain.request(b"/", *asks) * many))
        for _ in range(many):
            assert (await caller.answer()).status == 200
        await sending
    assert len(upstream.requests) == many


@pytest.mark.parametrize("target", [b"/nowhere", b"/here"])
async def test_however_many_requests_come_at_once_each_is_answered(
    serving: Serving, upstream: Upstream, target: bytes
) -> None:
    many = 3000
    proxy = await serving({"routes": [{"path": "/here", "upstream": upstream.url}]})
    async with await proxy.connect() as caller, asyncio.timeout(20):
        sending = asyncio.gather(caller.send(proxy.request(target) * many))
        for _ in range(many):
            assert (await caller.answer()).status == (200 if target == b"/here" else 404)
        await sending


# -- a 101 that nobody may have ------------------------------------------------------------------

BAD_SWITCHES = [
    pytest.param(ASKS, SWITCHING.replace(b"websocket", b"h2c"), id="another protocol"),
    pytest.param(ASKS, SWITCHING.replace(b"websocket", b"websocket, h2c"), id="two protocols"),
    pytest.param(
        ASKS, SWITCHING.replace(b"websocket", "websoc\N{KELVIN SIGN}et".encode()), id="another k"
    ),
    pytest.param(ASKS, SWITCHING.replace(b"Upgrade: websocket\r\n", b""), id="no Upgrade"),
    pytest.param(ASKS, SWITCHING.replace(b"Connection: Upgrade\r\n", b""), id="no Connection"),
    pytest.param(ASKS, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="nothing"),
    pytest.param((), SWITCHING, id="unasked"),
    pytest.param((), b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="unasked, nothing"),
    pytest.param((b"Upgrade: websocket",), SWITCHING, id="asked without Connection"),
    pytest.param((b"Connection: Upgrade",), SWITCHING, id="asked without Upgrade"),
    pytest.param((b"Connection: Upgrade", b"Upgrade: h2c"), SWITCHING, id="asked for h2c"),
    pytest.param(
        (b"Connection: Upgrade", b"Upgrade: h2c"),
        SWITCHING.replace(b"websocket", b"h2c"),
        id="h2c for h2c",
    ),
    pytest.param(
        ASKS, SWITCHING[:-2] + b"Content-Length: 5\r\n\r\nhello", id="with Content-Length"
    ),
    pytest.param(
        ASKS,
        SWITCHING[:-2] + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        id="with chunks",
    ),
    pytest.param(ASKS, SWITCHING.replace(b"abc=", b"a\x01c="), id="control character"),
]


@pytest.mark.parametrize("next_one", [b"", OK], ids=["alone", "and an answer"])
@pytest.mark.parametrize(("asks", "reply"), BAD_SWITCHES)
async def test_a_101_that_does_not_match_is_502(
    plain: Proxy, upstream: Upstream, asks: Sequence[bytes], reply: bytes, next_one: bytes
) -> None:
    upstream.replies = [reply + next_one]
    async with asyncio.timeout(5):
        got = await plain.ask(b"/", *asks)
        assert (got.status, plain.served[0].code) == (502, "upstream_protocol_error")
        await upstream.all_gone()
        assert (await plain.ask()).body == b"ok"
    assert upstream.connections == 2


async def test_after_such_a_101_the_next_request_is_one(plain: Proxy, upstream: Upstream) -> None:
    upstream.replies = [SWITCHING.replace(b"websocket", b"h2c"), answer(b"next")]
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(plain.request(b"/1", *ASKS), plain.request(b"/2"))
        assert (await caller.answer()).status == 502
        assert (await caller.answer()).body == b"next"


# -- what is taken off ---------------------------------------------------------------------------


UNLISTED = [
    pytest.param(["websocket"], (b"Connection: Upgrade", b"Upgrade: h2c"), id="h2c"),
    pytest.param(
        ["websocket"],
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA"),
        id="h2c with its settings",
    ),
    pytest.param(["websocket"], (b"Connection: Upgrade", b"Upgrade: TLS/1.0"), id="TLS"),
    pytest.param([], ASKS, id="none is allowed"),
    pytest.param(["spdy/3.1"], ASKS, id="another one is allowed"),
    pytest.param(["spdy/3.1"], (b"Connection: Upgrade", b"Upgrade: spdy/3"), id="version"),
    pytest.param(["websocket"], (b"Connection: Upgrade",), id="no Upgrade"),
    pytest.param(["websocket"], (b"Upgrade: websocket",), id="no Connection"),
    pytest.param(["websocket"], (b"Connection: Upgrade", b"Upgrade: "), id="empty"),
    pytest.param(["websocket"], (b"Connection: Upgrade", b"Upgrade: websockets"), id="longer"),
]


@pytest.mark.parametrize(("allowed", "fields"), UNLISTED)
async def test_what_the_route_does_not_list_is_taken_off_and_the_request_goes_on(
    serving: Serving,
    upstream: Upstream,
    way_in: str,
    allowed: list[str],
    fields: Sequence[bytes],
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url, "upgrade": allowed}]})
    async with await proxy.connect() as caller, asyncio.timeout(5):
        await caller.send(proxy.request(b"/1", *fields))
        answer = await caller.answer()
        assert answer.body == b"ok"
        if way_in == "handler" and answer.values(b"connection") == [b"close"]:
            await caller.ended()  # aiohttp may have lost what came behind it
        else:
            await caller.send(proxy.request(b"/2"))
            assert (await caller.answer()).body == b"ok"
    assert [request.target for request in upstream.requests] in ([b"/1", b"/2"], [b"/1"])
    assert upstream.requests[0].fields == [(b"Host", upstream.authority), VIA]


@pytest.mark.only("wire")  # aiohttp drops what comes in one piece with it: the handler closes
@pytest.mark.parametrize(("allowed", "fields"), UNLISTED)
async def test_behind_what_the_route_does_not_list_the_next_request_is_one(
    serving: Serving, upstream: Upstream, allowed: list[str], fields: Sequence[bytes]
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url, "upgrade": allowed}]})
    async with await proxy.connect() as caller, asyncio.timeout(5):
        await caller.send(proxy.request(b"/1", *fields), proxy.request(b"/2"))
        assert [(await caller.answer()).body, (await caller.answer()).body] == [b"ok", b"ok"]
    assert [request.target for request in upstream.requests] == [b"/1", b"/2"]
    assert upstream.requests[0].fields == [(b"Host", upstream.authority), VIA]


async def test_in_http_1_0_nobody_switches(plain: Proxy, upstream: Upstream) -> None:
    """RFC 9110 7.8: a server must ignore an Upgrade in an HTTP/1.0 request."""
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await caller.answer()).status == 200
        await caller.ended()
    assert upstream.requests[0].values(b"upgrade") == []


async def test_a_request_that_is_the_last_does_not_switch_or_does_whole(
    plain: Proxy, upstream: Upstream
) -> None:
    """`close` beside `Upgrade`: whichever of them wins, no byte is taken for another's."""
    async with await plain.connect() as caller, asyncio.timeout(5):
        asks = (b"Connection: close, Upgrade", b"Upgrade: websocket")
        await caller.send(plain.request(b"/1", *asks), plain.request(b"/2"))
        assert (await caller.answer()).status == 200
        await caller.ended()
    assert [request.target for request in upstream.requests] == [b"/1"]


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
    ],
)
async def test_a_handshake_with_a_body_is_400_and_the_connection_closes(
    plain: Proxy, upstream: Upstream, protocol: bytes, framing: bytes, body: bytes
) -> None:
    async with await plain.connect() as caller, asyncio.timeout(5):
        asks = (b"Connection: Upgrade", b"Upgrade: " + protocol, framing)
        await caller.send(plain.request(b"/", *asks, method=b"POST"), body, plain.request())
        got = await caller.answer()
        assert (got.status, got.values(b"connection")) == (400, [b"close"])
        await caller.ended()
    assert upstream.requests == []


async def test_a_handshake_with_an_empty_body_is_one(plain: Proxy, upstream: Upstream) -> None:
    async with switched(plain, upstream, *ASKS, b"Content-Length: 0") as (caller, far):
        await caller.send(b"ping")
        assert await far.reader.readexactly(4) == b"ping"


# -- the credential ------------------------------------------------------------------------------


async def test_one_authorization_leaves_on_the_handshake_and_it_is_ours(
    with_token: Proxy, upstream: Upstream
) -> None:
    theirs = (
        b"Authorization: Bearer theirs",
        b"authorization: Basic dGhlaXJz",
        b"Connection: Upgrade, authorization",
        b"Upgrade: websocket",
    )
    async with switched(with_token, upstream, *theirs) as (caller, far):
        await far.send(b"hello")
        assert await caller.reader.readexactly(5) == b"hello"
    [request] = upstream.requests
    assert request.values(b"authorization") == [b"Bearer the-token"]
    assert b"theirs" not in request.head


async def test_a_query_credential_is_put_into_the_handshake(
    serving: Serving, upstream: Upstream
) -> None:
    """As browsers have it, which can set no header on a WebSocket."""
    route = {"upstream": upstream.url, "credential": "c", "inject": {"query": "access_token"}}
    proxy = await serving({"credentials": {"c": STATIC}, "routes": [route]})
    async with switched(proxy, upstream):
        pass
    assert upstream.requests[0].target == b"/chat?access_token=the-token"


@pytest.mark.parametrize("early", [b"", b"early bytes"], ids=["alone", "early"])
async def test_a_rejected_handshake_is_renewed_and_tried_again_with_the_new_token(
    renewing: Callable[..., Awaitable[Proxy]], upstream: Upstream, issuer: Issuer, early: bytes
) -> None:
    proxy = await renewing()
    upstream.replies = [UNAUTHORIZED, SWITCHING + b"hello"]
    async with await proxy.connect() as caller, asyncio.timeout(5):
        await caller.send(proxy.request(b"/", *ASKS), early)
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.reader.readexactly(5) == b"hello"
    first, second = upstream.requests[:2]
    assert first.values(b"authorization") != second.values(b"authorization")
    assert [len(each.values(b"authorization")) for each in (first, second)] == [1, 1]
    assert second.values(b"upgrade") == [b"websocket"]
    assert issuer.refreshes == 1
    assert (await told(proxy)).replayed


async def test_a_second_rejection_of_a_handshake_is_passed_on(
    renewing: Callable[..., Awaitable[Proxy]], upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await renewing()
    upstream.replies = [UNAUTHORIZED, UNAUTHORIZED, answer(b"next")]
    async with await proxy.connect() as caller, asyncio.timeout(5):
        await caller.send(proxy.request(b"/", *ASKS), proxy.request(b"/next"))
        assert [(await caller.answer()).status, (await caller.answer()).body] == [401, b"next"]
    assert (len(upstream.requests), issuer.refreshes) == (3, 1)


async def test_a_handshake_whose_kept_alive_connection_was_closed_is_sent_again(
    plain: Proxy, upstream: Upstream
) -> None:
    async def once(peer: Peer, request: Message) -> None:
        if request.target == b"/first":
            await peer.send(OK)
        elif upstream.connections == 1:
            peer.close()
        else:
            await peer.send(SWITCHING, b"hello")

    upstream.act = once
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(plain.request(b"/first"))
        await caller.answer()
        await caller.send(plain.request(b"/second", *ASKS))
        assert (await caller.head()).startswith(b"HTTP/1.1 101 ")
        assert await caller.reader.readexactly(5) == b"hello"
    assert upstream.connections == 2


# -- who may call --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((b"Origin: https://evil.example",), 403),
        ((b"Origin: null",), 403),
        ((b"Sec-Fetch-Site: cross-site",), 403),
        ((b"Sec-Fetch-Site: same-site",), 403),
        ((b"Origin: https://evil.example", b"Sec-Fetch-Site: same-origin"), 403),
        ((b"Origin: http://OURS",), 101),
        ((b"Origin: http://OURS", b"Sec-Fetch-Site: same-origin"), 101),
        ((b"Sec-Fetch-Site: same-origin",), 101),
        ((), 101),
    ],
)
async def test_a_page_of_another_site_opens_no_tunnel(
    plain: Proxy, upstream: Upstream, fields: Sequence[bytes], status: int
) -> None:
    upstream.replies = [SWITCHING]
    theirs = [field.replace(b"OURS", plain.authority) for field in fields]
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(plain.request(b"/", *ASKS, *theirs), b"early bytes")
        assert Message(await caller.head(), b"").status == status
    assert len(upstream.requests) == (status == 101)


@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1", b"localhost:1"])
async def test_a_handshake_for_another_host_is_421(
    plain: Proxy, upstream: Upstream, host: bytes
) -> None:
    async with await plain.connect() as caller, asyncio.timeout(5):
        lines = [b"GET / HTTP/1.1", b"Host: " + host, *ASKS, b"", b""]
        await caller.send(b"\r\n".join(lines))
        assert (await caller.answer()).status == 421
    assert upstream.requests == []


# -- time ----------------------------------------------------------------------------------------


async def ends_reset(*peers: Peer) -> None:
    for peer in peers:
        with pytest.raises(ConnectionResetError):
            await peer.reader.read()


async def test_a_tunnel_in_which_both_are_silent_is_ended(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url, "timeouts": {"idle": 0.05}}]})
    async with switched(proxy, upstream) as ends, asyncio.timeout(5):
        await ends_reset(*ends)
        served = await told(proxy)
    assert (served.status, served.complete) == (101, False)
    assert served.seconds >= 0.05


@pytest.mark.parametrize("way", ["up", "down"])
async def test_one_side_that_speaks_keeps_a_tunnel_open(
    serving: Serving, upstream: Upstream, way: str
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url, "timeouts": {"idle": 0.5}}]})
    async with switched(proxy, upstream) as ends:
        sender, receiver = either_way(ends, way)
        for _ in range(15):
            await asyncio.sleep(0.05)
            await sender.send(b"tick")
            assert await receiver.reader.readexactly(4) == b"tick"
        assert proxy.served == []


async def test_the_time_for_a_head_is_over_with_the_101(
    serving: Serving, upstream: Upstream
) -> None:
    timeouts = {"response_head": 0.05, "idle": 30}
    callers = {"request_head": 0.05, "keep_alive": 0.05, "request_body_idle": 0.05}
    routes = [{"upstream": upstream.url, "timeouts": timeouts}]
    proxy = await serving({"timeouts": callers, "routes": routes})
    async with switched(proxy, upstream) as (caller, far):
        await asyncio.sleep(0.2)
        await caller.send(b"ping")
        assert await far.reader.readexactly(4) == b"ping"


async def test_a_handshake_that_is_not_answered_in_time_is_504(
    serving: Serving, upstream: Upstream
) -> None:
    async def silent(peer: Peer, _: Message) -> None:
        await peer.ended()

    timeouts = {"response_head": 0.05}
    proxy = await serving({"routes": [{"upstream": upstream.url, "timeouts": timeouts}]})
    upstream.act = silent
    async with asyncio.timeout(5):
        assert (await proxy.ask(b"/", *ASKS)).status == 504
        await upstream.all_gone()


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_caller_that_leaves_before_the_101_is_gone(
    plain: Proxy, upstream: Upstream, how: str
) -> None:
    async def silent(peer: Peer, _: Message) -> None:
        await peer.ended()

    upstream.act = silent
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(plain.request(b"/", *ASKS), b"early")
        await upstream.until(lambda: bool(upstream.requests))
        caller.close() if how == "fin" else reset(caller)
        await upstream.all_gone()
    assert (await told(plain)).status == 499


async def test_a_101_with_an_empty_length_is_one_without(plain: Proxy, upstream: Upstream) -> None:
    """Old servers send it; RFC 9110 8.6 says that nobody may."""
    reply = SWITCHING[:-2] + b"Content-Length: 0\r\n\r\nhello"
    upstream.replies = [reply]
    async with await plain.connect() as caller, asyncio.timeout(5):
        await caller.send(plain.request(b"/", *ASKS))
        assert b"content-length" not in (await caller.head()).lower()
        assert await caller.reader.readexactly(5) == b"hello"


async def test_a_caller_that_reads_slowly_is_not_silence(
    serving: Serving, upstream: Upstream
) -> None:
    """What waits for a slow reader is no silence, as little as in an answer."""
    proxy = await serving({"routes": [{"upstream": upstream.url, "timeouts": {"idle": 0.25}}]})
    async with switched(proxy, upstream) as (caller, far), asyncio.timeout(20):
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        before = await filled(far, most=128 * MIB)  # which takes longer than `idle`
        caller.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await hash_what_comes(caller, before)
        await far.send(b"more")
        assert await caller.reader.readexactly(4) == b"more"


# -- the end of the program ----------------------------------------------------------------------


@pytest.mark.only("wire")
async def test_a_tunnel_goes_on_in_the_drain_and_may_end_well(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url}]})
    async with (
        await proxy.connect() as idle,
        switched(proxy, upstream) as (caller, far),
        asyncio.timeout(5),
    ):
        proxy.stop()
        await idle.ended()  # the drain has begun
        await caller.send(b"ping")
        assert await far.reader.readexactly(4) == b"ping"
        far.writer.write_eof()
        caller.writer.write_eof()
        assert await caller.reader.read() == b""
    assert (await told(proxy)).complete


async def test_a_tunnel_that_outlives_the_grace_is_reset(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving({"shutdown_grace": 0.05, "routes": [{"upstream": upstream.url}]})
    async with switched(proxy, upstream) as ends, asyncio.timeout(5):
        proxy.stop()
        await ends_reset(*ends)
    assert not (await told(proxy)).complete


# -- what is told --------------------------------------------------------------------------------


async def test_a_tunnel_is_told_of_once_at_its_end_with_all_that_went_through(
    with_token: Proxy, upstream: Upstream
) -> None:
    async with AsyncExitStack() as stack:
        caller, far = await stack.enter_async_context(
            switched(with_token, upstream, early=b"early", reply=SWITCHING + b"with it")
        )
        await caller.send(b"up" * 500)
        await far.reader.readexactly(1005)
        await far.send(b"down" * 500)
        await caller.reader.readexactly(2007)
        assert with_token.served == []
        caller.writer.write_eof()
        await far.reader.read()
        far.writer.write_eof()
        await caller.reader.read()
    served = await told(with_token)
    assert (served.method, served.path, served.status, served.code) == ("GET", "/chat", 101, None)
    assert (served.bytes_in, served.bytes_out) == (1005, 2007)
    assert served.complete
    assert not served.replayed


async def test_many_tunnels_leave_nothing(plain: Proxy, upstream: Upstream) -> None:
    async def echo(peer: Peer, _: Message) -> None:
        await peer.send(SWITCHING)
        while data := await peer.reader.read(1 << 16):
            await peer.send(data)
        raise ConnectionAbortedError

    async def one(number: int) -> None:
        async with await plain.connect() as caller:
            await caller.send(plain.request(b"/", *ASKS), b"%06d" % number)
            await caller.head()
            assert await caller.reader.readexactly(6) == b"%06d" % number
            if number % 3 == 0:
                reset(caller)

    upstream.act = echo
    for batch in range(5):
        await asyncio.gather(*(one(batch * 40 + number) for number in range(40)))
    async with asyncio.timeout(5):
        await upstream.all_gone()
        while any(isinstance(each, Tunnel) for each in gc.get_objects()):
            await asyncio.sleep(0.1)
            gc.collect()
    assert len(plain.served) == 200
