"""An upstream that does to each request what its target asks for: `/any/path/NAME`.

Nothing is noted: what counts is what the proxy is left with.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar, Self

from tests.wire import OK, UNAUTHORIZED, Message, Peer, Upstream, answer, chunked

Behaviour = Callable[[Peer, Message], Awaitable[None]]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"a\r\ndata: one\n\n\r\n"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: abc=\r\n\r\n"
)
MALFORMED = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Odd: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"SSH-2.0-of-another-kind\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
    b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200_000 + b"\r\n\r\n",
)
PIECES = 5
KEPT = 0.5  # seconds that a connection is kept for its next request


def _sending(*pieces: bytes, after: Callable[[Peer], None] = lambda _: None) -> Behaviour:
    """Take the request whole, send these, and then do that."""

    async def behave(peer: Peer, head: Message) -> None:
        await _body(peer, head)
        for piece in pieces:
            await peer.send(piece)
            await asyncio.sleep(0)
        after(peer)

    return behave


async def _body(peer: Peer, head: Message) -> None:
    if head.values(b"expect"):
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    if head.values(b"transfer-encoding"):
        await peer.chunks()
    elif length := head.values(b"content-length"):
        await peer.reader.readexactly(int(length[0]))


async def _hang(peer: Peer, head: Message) -> None:
    del head
    await peer.ended()


async def _stall(peer: Peer, head: Message) -> None:
    """A part of an answer, and nothing more."""
    await _sending(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome")(peer, head)
    await peer.ended()


async def _early(peer: Peer, head: Message) -> None:
    """An answer while the body is still on its way, which nobody reads."""
    del head
    await peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
    peer.close()


async def _early_and_patient(peer: Peer, head: Message) -> None:
    await peer.send(answer(b"no", status=b"401 Unauthorized"))
    await _body(peer, head)


async def _tunnel(peer: Peer, head: Message) -> None:
    """Speak as one is spoken to, a few times, and break off; no tunnel is like any other."""
    if not head.values(b"upgrade"):
        await _sending(OK)(peer, head)
        return
    await peer.send(SWITCHING)
    for _ in range(PIECES):
        if not (data := await peer.reader.read(1000)):
            peer.close()
            return
        await peer.send(data)
    peer.reset()


async def _slow(peer: Peer, head: Message) -> None:
    await _body(peer, head)
    for at in range(len(OK)):
        await peer.send(OK[at : at + 1])
        await asyncio.sleep(0.002)


class MixedUpstream:
    """Serves in `async with`; `BEHAVIOURS` are what it can be asked for."""

    BEHAVIOURS: ClassVar[dict[str, Behaviour]] = {
        "ok": _sending(OK),
        "chunked": _sending(CHUNKED, chunked(b"some", b"more")),
        "large": _sending(answer(b"x" * 300_000)),
        "to-the-end": _sending(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 5000, after=Peer.close),
        "empty": _sending(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "error": _sending(answer(b"oh", status=b"500 Internal Server Error")),
        "unauthorized": _sending(UNAUTHORIZED),
        "slow": _slow,
        "continue": _sending(b"HTTP/1.1 100 Continue\r\n\r\n" * PIECES, OK),
        "hints": _sending(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", OK),
        "events": _sending(EVENTS, *[EVENT] * PIECES, b"0\r\n\r\n"),
        "events-cut": _sending(EVENTS, *[EVENT] * PIECES, after=Peer.reset),
        "cut-length": _sending(
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b"x", after=Peer.close
        ),
        "cut-chunked": _sending(CHUNKED, b"5\r\nsome", after=Peer.reset),
        "cut-head": _sending(b"HTTP/1.1 200 OK\r\nContent-", after=Peer.close),
        "reset": _sending(after=Peer.reset),
        "close": _sending(after=Peer.close),
        "close-after": _sending(OK, after=Peer.close),
        "switching": _sending(SWITCHING),
        "too-much": _sending(OK + b"and something behind it"),
        "early": _early,
        "early-and-patient": _early_and_patient,
        "hang": _hang,
        "stall": _stall,
        "tunnel": _tunnel,
        **{f"malformed-{at}": _sending(one, after=Peer.close) for at, one in enumerate(MALFORMED)},
    }

    def __init__(self, most: int) -> None:
        self._upstream = Upstream()
        self._upstream.meet = self._meet
        self._most = most

    async def __aenter__(self) -> Self:
        self._all_at_once = asyncio.Barrier(self._most)
        await self._upstream.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._upstream.stop()

    @property
    def url(self) -> str:
        return self._upstream.url

    @property
    def open(self) -> int:
        """How many are connected."""
        return self._upstream.open

    async def _meet(self, peer: Peer) -> None:
        while not peer.writer.is_closing():
            try:
                async with asyncio.timeout(KEPT):
                    head = Message(await peer.head(), b"")
            except TimeoutError:
                return
            name = head.target.decode().rpartition("/")[2]
            if name == "all-at-once":  # nobody is answered until `most` have come
                await self._all_at_once.wait()
                await peer.send(OK)
            else:
                await self.BEHAVIOURS[name](peer, head)
