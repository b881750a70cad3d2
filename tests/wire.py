"""Both ends of the wire in raw bytes: a caller, and an upstream that notes all that it gets."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

Field = tuple[bytes, bytes]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno!"
LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """One request or answer; `head` is as it came, `body` without its chunks.

    `framing` is `length`, `chunked`, `close` or `none`.
    """

    head: bytes
    body: bytes
    framing: str = "none"

    @property
    def start(self) -> bytes:
        return self.head.partition(b"\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    @property
    def fields(self) -> list[Field]:
        lines = self.head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


class Peer:
    """One connection, from either end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        await self.writer.drain()

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> Message:
        head = await self.head()
        if _coding(head):
            return Message(head, await self.chunks(), "chunked")
        length = _length(head)
        if length is None:
            return Message(head, b"")
        return Message(head, await self.reader.readexactly(length), "length")

    async def answer(self, *, to_head: bool = False) -> Message:
        """The next final answer; one that breaks off raises IncompleteReadError."""
        head = await self.head()
        status, length = Message(head, b"").status, _length(head)
        if status // 100 == 1:
            return await self.answer(to_head=to_head)
        if to_head or status in {204, 304}:
            return Message(head, b"")
        if _coding(head):
            return Message(head, await self.chunks(), "chunked")
        if length is not None:
            return Message(head, await self.reader.readexactly(length), "length")
        return Message(head, await self.reader.read(), "close")

    async def chunk(self) -> bytes:
        size = int(await self.reader.readuntil(b"\r\n"), 16)
        data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def chunks(self) -> bytes:
        body = bytearray()
        while piece := await self.chunk():
            body += piece
        return bytes(body)

    async def ended(self) -> None:
        """Until the other side has closed; what still comes is read away."""
        with suppress(ConnectionError):
            while await self.reader.read(LIMIT):
                pass

    def reset(self) -> None:
        """End the connection as a crash would: with a RST, where something was unread or unsent."""
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


def _length(head: bytes) -> int | None:
    values = Message(head, b"").values(b"content-length")
    return int(values[0]) if values else None


def _coding(head: bytes) -> list[bytes]:
    return Message(head, b"").values(b"transfer-encoding")


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def answer(body: bytes = b"", *, status: bytes = b"200 OK", fields: Sequence[Field] = ()) -> bytes:
    lines = [b"HTTP/1.1 " + status, *(b"%b: %b" % field for field in fields)]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


Act = Callable[[Peer, Message], Awaitable[None]]
Meet = Callable[[Peer], Awaitable[None]]


class Upstream:
    """A server that speaks bytes: answers `replies` in their order, then `reply`.

    Where `act` is set, it answers instead, once for each request; where `meet` is set, it has
    the whole connection, and requests are noted by nobody.
    """

    def __init__(self, reply: bytes = OK) -> None:
        self.reply = reply
        self.replies: list[bytes] = []
        self.act: Act | None = None
        self.meet: Meet | None = None
        self.requests: list[Message] = []
        self.connections = 0
        self.open = 0
        self._changed = asyncio.Condition()
        self._peers: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1") -> None:
        self._server = await asyncio.start_server(self._serve, host, limit=LIMIT)
        self.host = f"[{host}]" if ":" in host else host
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def authority(self) -> bytes:
        return f"{self.host}:{self.port}".encode()

    async def stop(self) -> None:
        self._server.close()
        for task in self._peers:
            task.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait for something that changes with a connection or a request."""
        async with self._changed:
            await self._changed.wait_for(fact)

    async def all_gone(self) -> None:
        await self.until(lambda: self.open == 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._peers.add(task)
        await self._count(1)
        try:
            async with Peer(reader, writer) as peer:
                await self._talk(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._peers.discard(task)
            await self._count(-1)

    async def nudge(self) -> None:
        """Look again at what is waited for."""
        async with self._changed:
            self._changed.notify_all()

    async def _count(self, step: int) -> None:
        self.connections += step > 0
        self.open += step
        await self.nudge()

    async def _talk(self, peer: Peer) -> None:
        if self.meet is not None:
            await self.meet(peer)
            return
        while True:
            request = await peer.request()
            self.requests.append(request)
            await self.nudge()
            if self.act is not None:
                await self.act(peer, request)
            else:
                await peer.send(self.replies.pop(0) if self.replies else self.reply)
