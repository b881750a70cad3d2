"""Proxies and an upstream that go on running between the examples of a property, on any loop."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest
import uvloop

from tests.wire import LIMIT, Message, Peer, Upstream
from tokenproxy.clock import SystemClock
from tokenproxy.config.model import Config
from tokenproxy.events import Event
from tokenproxy.proxy.wire.known import Memory
from tokenproxy.proxy.wire.recognition import Known
from tokenproxy.proxy.wire.server import Wire
from tokenproxy.runtime import World
from tokenproxy.server.serve import serve
from tokenproxy.tasks import spawn

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass
class Reply:
    """An answer in the pieces that it is sent in; `closes`: the connection ends with it."""

    pieces: Sequence[bytes]
    closes: bool = False


@dataclass
class Script:
    """Notes requests, and gives the answers that it has in their order."""

    got: list[Message] = field(default_factory=list)
    replies: deque[Reply] = field(default_factory=deque)

    async def meet(self, peer: Peer) -> None:
        while True:
            head = Message(await peer.head(), b"")
            if head.values(b"expect"):
                await peer.send(CONTINUE)
            if head.values(b"transfer-encoding"):
                body, framing = await peer.chunks(), "chunked"
            elif length := head.values(b"content-length"):
                body, framing = await peer.reader.readexactly(int(length[0])), "length"
            else:
                body, framing = b"", "none"
            self.got.append(Message(head.head, body, framing))
            reply = self.replies.popleft()
            await in_pieces(peer, reply.pieces)
            if reply.closes:
                peer.close()
                return


async def in_pieces(peer: Peer, pieces: Sequence[bytes]) -> None:
    """Send each so that it is read by itself, where the other end reads as fast."""
    for piece in pieces:
        await peer.send(piece)
        await asyncio.sleep(0)


class Forgetful(Memory[T]):
    """A memory that keeps nothing."""

    def keep(self, head: bytes, meaning: T) -> None:
        pass


class ForgetfulWire(Wire):
    """One that works everything out anew each time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for pool in self.pools.values():
            pool.known = Forgetful()

    def known(self, transport: asyncio.Transport) -> Known:
        nothing = Known(super().known(transport).guard)
        nothing.fields, nothing.requests = Forgetful(), Forgetful()
        nothing.shapes, nothing.lines = Forgetful(), Forgetful()
        return nothing


class Served:
    """A proxy that serves."""

    def __init__(
        self,
        port: int,
        events: list[Event],
        stopping: asyncio.Event,
        task: "asyncio.Task[None]",
    ) -> None:
        self.port = port
        self.events = events
        self.stopping = stopping
        self.task = task

    @property
    def authority(self) -> bytes:
        return b"127.0.0.1:%d" % self.port

    async def connect(self) -> Peer:
        return Peer(*await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT))


class Running:
    """A loop with a scripted upstream and as many proxies as are started."""

    def __init__(self, loop: str, folder: Path) -> None:
        self._runner = asyncio.Runner(loop_factory=LOOPS[loop])
        self._folder = folder
        self._served: list[Served] = []
        self.complaints: list[dict[str, Any]] = []
        self.upstream = Upstream()
        self.script = Script()
        self.upstream.meet = self.script.meet

    def __enter__(self) -> Self:
        self._runner.__enter__()
        loop = self._runner.get_loop()
        loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self.run(self.upstream.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.run(self._stop())
        self._runner.__exit__(kind, error, traceback)
        assert self.complaints == []

    async def _stop(self) -> None:
        for served in self._served:
            served.stopping.set()
            await served.task
        await self.upstream.stop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def in_time() -> T:
            async with asyncio.timeout(20):
                return await work

        return self._runner.run(in_time())

    def serve(self, config: dict[str, Any], wire: type[Wire] = Wire) -> Served:
        """Serve it; what `{upstream}` stands for is filled in by the caller."""
        return self.run(self._serve(config, wire))

    async def _serve(self, config: dict[str, Any], wire: type[Wire]) -> Served:
        settings = {"listen": "127.0.0.1:0", "admin": None, "store": {"type": "memory"}, **config}
        events: list[Event] = []
        lines: asyncio.Queue[str] = asyncio.Queue()
        stopping = asyncio.Event()
        clock = SystemClock()
        world = World(clock=clock, variables={}, state_folder=self._folder, observe=events.append)
        parsed = Config.model_validate(settings, context={"folder": self._folder})
        with pytest.MonkeyPatch.context() as patch:  # until it has begun
            patch.setattr("tokenproxy.server.generations.Wire", wire)
            task = spawn(serve(parsed, world, lines.put_nowait, stopping), name="serve")
            port = int((await lines.get()).rpartition(":")[2])
        served = Served(port, events, stopping, task)
        self._served.append(served)
        return served


def normal(said: bytes, served: Served) -> bytes:
    """What is said, without the port and the time."""
    said = said.replace(b":%d" % served.port, b":PORT")
    return re.sub(rb"\r\nDate: [^\r]*", b"\r\nDate: NOW", said)
