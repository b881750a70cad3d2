"""Ends of the wire that are none: transports, clients and loops that note what they are told."""

import asyncio
from collections.abc import Callable
from typing import Any

from tokenproxy.errors import UpstreamFault
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.wire.outbound import AnswerHead
from tokenproxy.proxy.wire.pool import Pool
from tokenproxy.proxy.wire.sweep import Sweep
from tokenproxy.proxy.wire.upstream import Upstream


class Transport(asyncio.Transport):
    """Notes what is written; its connection is lost when a test says so."""

    def __init__(self, protocol: Upstream) -> None:
        super().__init__()
        self.protocol = protocol
        self.written = b""
        self.closing = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing, "what is written here is lost"
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True

    close = abort

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def lose(self, error: Exception | None = None) -> None:
        self.closing = True
        self.protocol.connection_lost(error)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Client:
    """Notes what it is told; `at_head` is called with each final head."""

    def __init__(self, at_head: Callable[[], None] = lambda: None, *, takes: bool = False) -> None:
        self.told: list[object] = []
        self._at_head = at_head
        self._takes = takes

    def answer_head(self, head: AnswerHead) -> None:
        self.told.append(head.status)
        if head.is_final:
            self._at_head()

    def answer_piece(self, piece: bytes) -> None:
        self.told.append(piece)

    def takes(self, head: AnswerHead) -> bool:
        return self._takes

    def answer_whole(self, head: AnswerHead, body: bytes) -> None:
        self.told += [head.status, body, "end"]

    def answer_end(self, trailers: list[Header]) -> None:
        self.told.append("end")

    def answer_lost(self, fault: UpstreamFault) -> None:
        self.told.append(fault)

    def switched(self, head: AnswerHead, rest: bytes) -> None:
        self.told.append(("switched", rest))

    def fault(self, error: Exception) -> None:
        raise error

    def flush(self) -> None:
        pass

    def upstream_full(self) -> None:
        self.told.append("full")

    def upstream_ready(self) -> None:
        self.told.append("ready")


class Connector:
    """Makes connections to nowhere; `gate` holds them back while it is not set."""

    asks_a_proxy = None

    def __init__(self) -> None:
        self.made: list[Upstream] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: Exception | None = None

    async def connect(self, make: Callable[[], Upstream]) -> Upstream:
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        connection = make()
        connection.connection_made(Transport(connection))
        self.made.append(connection)
        return connection

    def answered(self, connection: Upstream) -> None:
        pass


def transport(connection: Upstream) -> Transport:
    found = connection.transport
    assert isinstance(found, Transport)
    return found


def pool(connector: Connector, *, limit: int = 2, patience: float = 60.0) -> Pool:
    sweep = Sweep(asyncio.get_running_loop(), 1.0)
    return Pool(connector, sweep, limit=limit, patience=patience)


async def turns(number: int = 10) -> None:
    """Let everything that can go on go on."""
    for _ in range(number):
        await asyncio.sleep(0)
