"""Callers of all kinds: those who ask properly, and those who go away, garble, stall or insist.

Each is given the chances of its own act, so that one act can be done again by its number.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

import aiohttp

from tests.e2e.mixed_upstream import MixedUpstream
from tests.wire import LIMIT, Peer, chunked

SPOOLED = 20_000  # bytes of a body that is kept in a file
TOO_LONG = 200_000  # bytes of one that is not kept
MALFORMED = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n",
    b"GET / HTTP/1.1\nHost: localhost\n\n",
    b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
    b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
)
BAD_FIELDS = (
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Content-Length: -1",
    b"Transfer-Encoding: gzip, chunked",
    b"Name : value",
    b"Expect: the unexpected",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5",
)
BAD_CHUNKS = (b"g\r\n", b"5;\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"3\r\nfour\r\n", b"5\r\nso")
GONE = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


@dataclass(frozen=True)
class Place:
    """Where they call; `routes` are the prefixes that they may choose from."""

    url: str
    admin: str
    routes: tuple[str, ...]
    session: aiohttp.ClientSession

    async def connect(self) -> Peer:
        """To the proxy."""
        return await _connected(self.url)

    async def connect_to_admin(self) -> Peer:
        """To its admin listener."""
        return await _connected(self.admin)

    def target(self, dice: Random) -> str:
        """A route, and what its upstream is to do."""
        return f"/{dice.choice(self.routes)}/{dice.choice(list(MixedUpstream.BEHAVIOURS))}"

    def head(self, dice: Random, *fields: bytes, method: bytes = b"GET") -> bytes:
        """Of a good request."""
        return head_of(self.url, self.target(dice), *fields, method=method)


Caller = Callable[[Place, Random], Awaitable[None]]


async def _connected(url: str) -> Peer:
    port = int(url.rpartition(":")[2])
    return Peer(*await asyncio.open_connection("127.0.0.1", port, limit=LIMIT))


def head_of(
    url: str, target: str, *fields: bytes, method: bytes = b"GET", version: bytes = b"1.1"
) -> bytes:
    """Of a request for the server with that URL."""
    host = b"Host: " + url.removeprefix("http://").encode()
    line = b"%b %b HTTP/%b" % (method, target.encode(), version)
    return b"\r\n".join([line, host, *fields, b"", b""])


def reset(peer: Peer) -> None:
    """End the connection with a RST, whatever was read and sent."""
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.reset()


def _leave(peer: Peer, dice: Random) -> None:
    dice.choice((Peer.close, reset))(peer)


def _body(dice: Random) -> tuple[bytes, bytes]:
    """A field that frames one, and the body."""
    size = dice.choice((0, 10, SPOOLED, TOO_LONG))
    body = b"x" * size
    if dice.random() < 0.5:
        return b"Content-Length: %d" % size, body
    return b"Transfer-Encoding: chunked", chunked(body) if body else chunked()


# -- those who ask properly -----------------------------------------------------------------------


async def get(place: Place, dice: Random) -> None:
    """Some requests, one after the other, on one connection."""
    async with await place.connect() as peer:
        for _ in range(dice.randint(1, 3)):
            await peer.send(place.head(dice))
            await peer.answer()


async def post(place: Place, dice: Random) -> None:
    """A body, in one go or in pieces, with or without asking for leave."""
    framing, body = _body(dice)
    fields = (framing, b"Expect: 100-continue") if dice.random() < 0.2 else (framing,)
    async with await place.connect() as peer:
        await peer.send(place.head(dice, *fields, method=dice.choice((b"POST", b"PUT"))))
        for at in range(0, len(body), 7000):
            await peer.send(body[at : at + 7000])
        await peer.answer()


async def pipeline(place: Place, dice: Random) -> None:
    """Several requests at once, and perhaps no patience for the answers."""
    count = dice.randint(2, 5)
    async with await place.connect() as peer:
        await peer.send(*[place.head(dice) for _ in range(count)])
        for _ in range(dice.randint(0, count)):
            await peer.answer()
        _leave(peer, dice)


async def by_aiohttp(place: Place, dice: Random) -> None:
    """A client that people use."""
    method = dice.choice(("GET", "POST", "HEAD", "OPTIONS"))
    data = b"x" * SPOOLED if method == "POST" else None
    async with place.session.request(method, place.url + place.target(dice), data=data) as answer:
        if dice.random() < 0.8:
            await answer.read()


# -- those who go away ----------------------------------------------------------------------------


async def leave_within_the_head(place: Place, dice: Random) -> None:
    """Before the request is whole."""
    head = place.head(dice)
    async with await place.connect() as peer:
        await peer.send(head[: dice.randrange(len(head))])
        _leave(peer, dice)


async def leave_within_the_body(place: Place, dice: Random) -> None:
    """With a part of the upload sent."""
    async with await place.connect() as peer:
        await peer.send(place.head(dice, b"Content-Length: 100000", method=b"POST"))
        for _ in range(dice.randint(0, 10)):
            await peer.send(b"x" * 3000)
            await asyncio.sleep(0)
        _leave(peer, dice)


async def leave_before_the_answer(place: Place, dice: Random) -> None:
    """At once, or a little later."""
    async with await place.connect() as peer:
        await peer.send(place.head(dice))
        await asyncio.sleep(dice.choice((0, 0.01, 0.1)))
        _leave(peer, dice)


async def leave_within_the_answer(place: Place, dice: Random) -> None:
    """With the head read, and the body on its way."""
    async with await place.connect() as peer:
        await peer.send(place.head(dice))
        await peer.head()
        _leave(peer, dice)


async def half_close(place: Place, dice: Random) -> None:
    """Nothing more to send: some wait for their answer, and others have gone."""
    fields, version = dice.choice((((), b"1.1"), ((b"Connection: close",), b"1.1"), ((), b"1.0")))
    async with await place.connect() as peer:
        await peer.send(head_of(place.url, place.target(dice), *fields, version=version))
        peer.writer.write_eof()
        await peer.ended()


# -- those who garble and stall -------------------------------------------------------------------


async def garble(place: Place, dice: Random) -> None:
    """What is no request."""
    async with await place.connect() as peer:
        bad = place.head(dice, dice.choice(BAD_FIELDS), method=b"POST")
        await peer.send(dice.choice((*MALFORMED, bad)))
        await peer.answer()


async def garble_chunks(place: Place, dice: Random) -> None:
    """A body that goes wrong on its way."""
    async with await place.connect() as peer:
        await peer.send(place.head(dice, b"Transfer-Encoding: chunked", method=b"POST"))
        await peer.send(chunked(b"x" * SPOOLED)[:-5], dice.choice(BAD_CHUNKS))
        await peer.answer()


async def stall(place: Place, dice: Random) -> None:
    """A part of a head or of a body, and then nothing, until one is sent away."""
    head = place.head(dice, b"Content-Length: 100", method=b"POST")
    async with await place.connect() as peer:
        await peer.send(dice.choice((head[:-5], head, head + b"some")))
        await peer.answer()


async def tunnel(place: Place, dice: Random) -> None:
    """Another protocol, until either side breaks off."""
    target = f"/{dice.choice(place.routes)}/tunnel"
    fields = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
    async with await place.connect() as peer:
        await peer.send(head_of(place.url, target, *fields))
        await peer.head()
        for _ in range(dice.randint(0, 8)):
            await peer.send(b"x" * dice.choice((1, 1000)))
            await asyncio.sleep(0)
        if dice.random() < 0.5:
            await peer.ended()
        _leave(peer, dice)


# -- those who look after it ----------------------------------------------------------------------

LOOKED_AT = ("/metrics", "/api/status", "/readyz", "/healthz", "/", "/page.js", "/nowhere")


async def look(place: Place, dice: Random) -> None:
    """At figures and pages."""
    async with await place.connect_to_admin() as peer:
        for _ in range(dice.randint(1, 2)):
            await peer.send(head_of(place.admin, dice.choice(LOOKED_AT)))
            await peer.answer()
        _leave(peer, dice)


async def watch(place: Place, dice: Random) -> None:
    """The stream of the status page, for a while."""
    async with await place.connect_to_admin() as peer:
        await peer.send(head_of(place.admin, "/api/events"))
        await peer.head()
        for _ in range(dice.randint(0, 2)):
            await peer.chunk()
        _leave(peer, dice)


async def renew(place: Place, dice: Random) -> None:
    """By hand, and not all wait for it."""
    target = f"/api/credentials/{dice.choice(('shop', 'lost', 'none'))}/refresh"
    async with await place.connect_to_admin() as peer:
        await peer.send(head_of(place.admin, target, b"Content-Length: 0", method=b"POST"))
        if dice.random() < 0.5:
            await peer.answer()
        _leave(peer, dice)


CALLERS: tuple[Caller, ...] = (
    *(get, post, pipeline, by_aiohttp, half_close, tunnel),
    *(leave_within_the_head, leave_within_the_body),
    *(leave_before_the_answer, leave_within_the_answer),
    *(garble, garble_chunks, stall),
    *(look, watch, renew),
)
