"""WebSocket frames, good and broken: a real server answers the same bytes through the proxy.

Each case is a list of steps: bytes that are sent, and how many frames are then waited for, so
that no answer depends on how the bytes fell into segments. After the last, all is read.
"""

import asyncio
import http
import random
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.conftest import STATIC, Proxy, Serving
from tests.wire import Message, Peer

KIB, MIB = 1 << 10, 1 << 20
TEXT, BINARY, CLOSE, PING, PONG, MORE = 0x1, 0x2, 0x8, 0x9, 0xA, 0x0
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
MASK = b"\x37\xfa\x21\x3d"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", KEY)
Steps = list[tuple[bytes, int]]


# -- the server ----------------------------------------------------------------------------------


async def echo(connection: ServerConnection) -> None:
    """Everything back; `close CODE` closes with that code."""
    async for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            await connection.close(int(message.removeprefix("close ")), "as you wish")
        else:
            await connection.send(message)


def demands_token(connection: ServerConnection, request: Request) -> Response | None:
    if request.headers.get_all("Authorization") == ["Bearer the-token"]:
        return None
    return connection.respond(http.HTTPStatus.UNAUTHORIZED, "no token")


def chooses(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return offered[-1] if offered else None


@dataclass(frozen=True, slots=True)
class EchoServer:
    port: int


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    """In a thread of its own, as somebody else's would be."""
    ready: list[int] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def run() -> None:
        async with serve(
            echo,
            "127.0.0.1",
            0,
            process_request=demands_token,
            select_subprotocol=chooses,
            max_size=8 * MIB,
            ping_interval=None,  # what comes back is an answer, and nothing else
            close_timeout=2,
        ) as running:
            ready.append(next(iter(running.sockets)).getsockname()[1])
            started.set()
            await stopping.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    started.wait(10)
    yield EchoServer(ready[0])
    loop.call_soon_threadsafe(stopping.set)
    thread.join()
    loop.close()


@pytest.fixture
async def proxy(serving: Serving, server: EchoServer) -> Proxy:
    route = {"upstream": f"http://127.0.0.1:{server.port}", "credential": "c"}
    return await serving({"credentials": {"c": STATIC}, "routes": [route]})


# -- frames --------------------------------------------------------------------------------------


def frame(
    opcode: int, payload: bytes = b"", *, flags: int = FIN, mask: bytes | None = MASK
) -> bytes:
    """As a client sends it (RFC 6455 5.2)."""
    masked = 0x80 if mask is not None else 0
    if len(payload) < 126:
        head = struct.pack("!BB", flags | opcode, masked | len(payload))
    elif len(payload) < 1 << 16:
        head = struct.pack("!BBH", flags | opcode, masked | 126, len(payload))
    else:
        head = struct.pack("!BBQ", flags | opcode, masked | 127, len(payload))
    return head + (payload if mask is None else mask + covered(payload, mask))


def covered(payload: bytes, mask: bytes) -> bytes:
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    size = len(payload)
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size) if size else b""


def closing(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def pieces(payload: bytes, size: int, opcode: int = BINARY) -> list[bytes]:
    """A message in fragments."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    last = len(parts) - 1
    return [
        frame(opcode if number == 0 else MORE, part, flags=FIN if number == last else 0)
        for number, part in enumerate(parts)
    ]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def one_frame(peer: Peer) -> bytes:
    head = await peer.reader.readexactly(2)
    size = head[1] & 0x7F
    if size == 126:
        head += await peer.reader.readexactly(2)
        size = int.from_bytes(head[2:])
    elif size == 127:
        head += await peer.reader.readexactly(8)
        size = int.from_bytes(head[2:])
    return head + await peer.reader.readexactly(size)


# -- the table -----------------------------------------------------------------------------------

END: Steps = [(closing(), 0)]


def echoed(*steps: bytes) -> Steps:
    return [*((step, 1) for step in steps), *END]


WHOLE: dict[str, Steps] = {
    "text": echoed(frame(TEXT, b"hello")),
    "text, of all lengths of UTF-8": echoed(frame(TEXT, "aé€𝄞".encode())),
    "empty text": echoed(frame(TEXT)),
    "empty binary": echoed(frame(BINARY)),
    "binary": echoed(frame(BINARY, bytes(range(256)))),
    "what looks like HTTP": echoed(frame(TEXT, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
    "masked with zeros": echoed(frame(TEXT, b"\r\n\r\n", mask=bytes(4))),
    "many": echoed(*(frame(TEXT, b"%d" % number) for number in range(50))),
    "many at once": [(frame(TEXT, b"x") * 500, 500), *END],
    **{
        f"{size} bytes": echoed(frame(BINARY, noise(size)))
        for size in (1, 125, 126, 127, 65535, 65536, 64 * KIB + 1, MIB, 4 * MIB)
    },
    "1 MiB text": echoed(frame(TEXT, b"\xc3\xa9" * (MIB // 2))),
    "a length in more bytes than it needs": [
        (b"\x82\xfe\x00\x05" + MASK + covered(b"hello", MASK), 1),
        *END,
    ],
}
FRAGMENTS: dict[str, Steps] = {
    "two fragments": echoed(b"".join(pieces(b"hello", 3, TEXT))),
    "byte by byte": echoed(b"".join(pieces(b"hello world", 1, TEXT))),
    "1 MiB in fragments of 4 KiB": echoed(b"".join(pieces(noise(MIB), 4 * KIB))),
    "a character split over two": echoed(b"".join(pieces("€".encode(), 1, TEXT))),
    "empty fragments": echoed(
        frame(TEXT, flags=0) + frame(MORE, b"x", flags=0) + frame(MORE, flags=FIN)
    ),
    "in three steps": [
        (frame(TEXT, b"a", flags=0), 0),
        (frame(MORE, b"b", flags=0), 0),
        (frame(MORE, b"c"), 1),
        *END,
    ],
    "a ping between": [
        (frame(TEXT, b"a", flags=0) + frame(PING, b"p") + frame(MORE, b"c"), 2),
        *END,
    ],
    "pings between, in steps": [
        (frame(BINARY, b"a", flags=0), 0),
        (frame(PING, b"1"), 1),
        (frame(MORE, b"b", flags=0), 0),
        (frame(PING, b"2"), 1),
        (frame(PONG, b"unasked"), 0),
        (frame(MORE, b"c"), 1),
        *END,
    ],
    "a close between": [(frame(TEXT, b"a", flags=0), 0), *END],
    "a frame that comes in two": [
        (frame(TEXT, b"hello")[:3], 0),
        (frame(TEXT, b"hello")[3:], 1),
        *END,
    ],
}
CONTROL: dict[str, Steps] = {
    "ping": [(frame(PING), 1), *END],
    "ping with a payload": [(frame(PING, b"\x00\xff payload"), 1), *END],
    "ping with 125 bytes": [(frame(PING, noise(125)), 1), *END],
    "many pings": [(frame(PING, b"x") * 100, 100), *END],
    "pong unasked": [(frame(PONG, b"x"), 0), (frame(TEXT, b"still here"), 1), *END],
    "ping and text in turn": [
        (frame(PING, b"1"), 1),
        (frame(TEXT, b"2"), 1),
        (frame(PING, b"3"), 1),
        *END,
    ],
}
CODES = [*range(1000, 1016), 3000, 3999, 4000, 4999]
CLOSES: dict[str, Steps] = {
    "close without a code": [(closing(None), 0)],
    **{f"close {code}": [(closing(code), 0)] for code in CODES},
    **{f"close {code} with a reason": [(closing(code, b"bye"), 0)] for code in (1000, 1001, 4999)},
    "close with the longest reason": [(closing(1000, b"x" * 123), 0)],
    **{f"close {code}, which is none": [(closing(code), 0)] for code in (0, 999, 1016, 2999, 5000)},
    "close with half a code": [(frame(CLOSE, b"\x03"), 0)],
    "close with a reason that is no UTF-8": [(closing(1000, b"\xff"), 0)],
    "something behind a close": [(closing() + frame(TEXT, b"late"), 0)],
    **{
        f"the server closes with {code}": [(frame(TEXT, b"close %d" % code), 1), (closing(code), 0)]
        for code in (1000, 1001, 1011, 3000, 4999)
    },
}
BROKEN: dict[str, Steps] = {
    **{
        f"reserved bit {bit:#x}": [(frame(TEXT, b"x", flags=FIN | bit), 0)]
        for bit in (RSV1, RSV2, RSV3, RSV1 | RSV2 | RSV3)
    },
    **{
        f"opcode {opcode:#x}": [(frame(opcode, b"x"), 0)]
        for opcode in (0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF)
    },
    **{
        f"control frame {opcode:#x} of 126 bytes": [(frame(opcode, b"x" * 126), 0)]
        for opcode in (CLOSE, PING, PONG)
    },
    "ping of 64 KiB": [(frame(PING, b"x" * 64 * KIB), 0)],
    "ping in fragments": [(frame(PING, b"x", flags=0), 0)],
    "unmasked text": [(frame(TEXT, b"x", mask=None), 0)],
    "unmasked close": [(frame(CLOSE, b"\x03\xe8", mask=None), 0)],
    "bad UTF-8": [(frame(TEXT, b"\xff\xfe"), 0)],
    "bad UTF-8, overlong": [(frame(TEXT, b"\xc0\xaf"), 0)],
    "bad UTF-8, a surrogate": [(frame(TEXT, b"\xed\xa0\x80"), 0)],
    "bad UTF-8, cut off": [(frame(TEXT, "€".encode()[:2]), 0)],
    "bad UTF-8 in a fragment": [(frame(TEXT, b"ok", flags=0) + frame(MORE, b"\xff"), 0)],
    "a fragment of nothing": [(frame(MORE, b"x"), 0)],
    "a message within another": [(frame(TEXT, b"a", flags=0) + frame(TEXT, b"b"), 0)],
    "a length with its highest bit": [(b"\x82\xff" + b"\xff" * 8 + MASK, 0)],
    "a longer message than is taken": [(b"\x82\xff" + struct.pack("!Q", 1 << 40) + MASK, 0)],
    "no frame at all": [(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0)],
    "good ones before a broken one": [(frame(TEXT, b"good"), 1), (frame(0x3, b"bad"), 0)],
}
TABLE = {**WHOLE, **FRAGMENTS, **CONTROL, **CLOSES, **BROKEN}
CASES = [pytest.param(steps, id=name) for name, steps in TABLE.items()]


async def conversation(
    port: int, steps: Steps, *fields: bytes, cut: int | None = None
) -> tuple[Message, list[bytes]]:
    """The 101, and what the server says to each step; sent in pieces of `cut` bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=8 * MIB)
    async with Peer(reader, writer) as peer, asyncio.timeout(20):
        lines = [b"GET /chat HTTP/1.1", b"Host: 127.0.0.1:%d" % port, *HANDSHAKE, *fields]
        await peer.send(b"\r\n".join(lines), b"\r\n\r\n")
        head = Message(await peer.head(), b"")
        assert head.status == 101
        said = []
        for data, count in steps:
            await sent(peer, data, cut)
            said += [await one_frame(peer) for _ in range(count)]
        said.append(await peer.reader.read())
        return head, said


async def sent(peer: Peer, data: bytes, cut: int | None) -> None:
    for at in range(0, len(data), cut or len(data)):
        await peer.send(data[at : at + (cut or len(data))])
        if cut is not None:
            await asyncio.sleep(0)


async def straight(server: EchoServer, steps: Steps, *fields: bytes) -> tuple[Message, list[bytes]]:
    """The same with nothing between."""
    return await conversation(server.port, steps, b"Authorization: Bearer the-token", *fields)


@pytest.mark.parametrize("steps", CASES)
async def test_the_same_bytes_come_back_through_the_proxy(
    proxy: Proxy, server: EchoServer, steps: Steps
) -> None:
    _, expected = await straight(server, steps)
    _, said = await conversation(proxy.port, steps)
    assert said == expected
    assert said[-1] or len(said) > 1  # the server has said something


@pytest.mark.parametrize("cut", [1, 2, 7])
@pytest.mark.parametrize(
    "name",
    [
        "text, of all lengths of UTF-8",
        "127 bytes",
        "pings between, in steps",
        "many pings",
        "bad UTF-8",
        "the server closes with 1011",
    ],
)
async def test_the_same_bytes_come_back_however_they_are_cut(
    proxy: Proxy, server: EchoServer, name: str, cut: int
) -> None:
    _, expected = await straight(server, TABLE[name])
    assert (await conversation(proxy.port, TABLE[name], cut=cut))[1] == expected


async def test_the_101_says_what_the_server_has_said(proxy: Proxy, server: EchoServer) -> None:
    asks = (
        b"Sec-WebSocket-Protocol: chat.v1, chat.v2",
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    )
    theirs, _ = await straight(server, END, *asks)
    ours, _ = await conversation(proxy.port, END, *asks)
    passing = {b"date"}  # the second of the clock
    assert sorted(field for field in ours.fields if field[0].lower() not in passing) == sorted(
        field for field in theirs.fields if field[0].lower() not in passing
    )
    assert ours.values(b"sec-websocket-protocol") == [b"chat.v2"]
    assert ours.values(b"sec-websocket-accept") == [b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]


# -- permessage-deflate (RFC 7692) ---------------------------------------------------------------


def deflated(payload: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return (squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
        b"\x00\x00\xff\xff"
    )


DEFLATED = {
    "text": frame(TEXT, deflated(b"hello" * 1000), flags=FIN | RSV1),
    "empty": frame(TEXT, deflated(b""), flags=FIN | RSV1),
    "binary": frame(BINARY, deflated(noise(MIB)), flags=FIN | RSV1),
    "not compressed": frame(TEXT, b"hello"),
    "fragments": frame(TEXT, deflated(b"hello")[:3], flags=RSV1)
    + frame(MORE, deflated(b"hello")[3:]),
}


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in DEFLATED.items()])
async def test_compressed_frames_come_back_the_same(
    proxy: Proxy, server: EchoServer, data: bytes
) -> None:
    asks = b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"
    steps = [(data, 1), (data, 1), *END]
    _, expected = await straight(server, steps, asks)
    head, said = await conversation(proxy.port, steps, asks)
    assert head.values(b"sec-websocket-extensions") != []
    assert said == expected
    assert said[0][0] & RSV1


async def test_what_is_no_compressed_data_is_refused_the_same(
    proxy: Proxy, server: EchoServer
) -> None:
    asks = b"Sec-WebSocket-Extensions: permessage-deflate"
    steps = [(frame(TEXT, b"\xff\xff\xff", flags=FIN | RSV1), 0)]
    assert (await conversation(proxy.port, steps, asks))[1] == (
        await straight(server, steps, asks)
    )[1]


# -- real clients --------------------------------------------------------------------------------


@pytest.fixture
def client(proxy: Proxy) -> Callable[..., connect]:
    def open_(path: str = "/chat", **more: object) -> connect:
        url = proxy.url.replace("http://", "ws://") + path
        return connect(url, proxy=None, ping_interval=None, **more)  # type: ignore[arg-type]

    return open_


def negotiated(connection: ClientConnection) -> list[type]:
    return [type(extension) for extension in connection.protocol.extensions]


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_a_client_that_knows_nothing_of_tokens_talks_to_a_server_that_wants_one(
    client: Callable[..., connect], compression: str | None
) -> None:
    async with client(compression=compression, max_size=8 * MIB) as connection:
        assert negotiated(connection) == ([PerMessageDeflate] if compression else [])
        for message in ("hello", "", "é" * 70_000, b"", noise(MIB), b"x" * MIB):
            await connection.send(message)
            assert await connection.recv() == message
        await (await connection.ping(b"anybody there?"))


async def test_a_message_in_fragments_is_one(client: Callable[..., connect]) -> None:
    async with client(max_size=8 * MIB) as connection:
        await connection.send(["frag", "men", "", "ted"])
        assert await connection.recv() == "fragmented"


async def test_the_servers_close_is_the_clients(client: Callable[..., connect]) -> None:
    async with client() as connection:
        await connection.send("close 4321")
        with pytest.raises(ConnectionClosedError) as caught:
            await connection.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4321, "as you wish")


async def test_the_clients_close_is_the_servers(client: Callable[..., connect]) -> None:
    async with client() as connection:
        await connection.close(1000, "bye")
        with pytest.raises(ConnectionClosedOK) as caught:
            await connection.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1000, "bye")


async def test_many_clients_at_once_hear_only_their_own(client: Callable[..., connect]) -> None:
    async def talk(number: int) -> None:
        async with client() as connection:
            for turn in range(20):
                await connection.send(f"{number}: {turn}")
            for turn in range(20):
                assert await connection.recv() == f"{number}: {turn}"

    await asyncio.gather(*(talk(number) for number in range(50)))


async def test_without_the_proxys_token_the_server_lets_nobody_in(server: EchoServer) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(f"ws://127.0.0.1:{server.port}/chat", proxy=None):
            pass


async def test_a_client_that_vanishes_is_gone_at_the_server_too(
    proxy: Proxy, client: Callable[..., connect]
) -> None:
    async with client() as connection:
        await connection.send("hello")
        assert await connection.recv() == "hello"
        sock = connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.transport.abort()
    async with asyncio.timeout(5):
        while not proxy.served:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
    assert not proxy.served[0].complete
