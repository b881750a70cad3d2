"""A caller's connection without sockets: pieces go in as they are cut, and nothing else moves."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from tests.proxy.raw.stage import ANSWERS, CONTINUE, Record, Story, answer_to, sent
from tests.proxy.raw.strict import Unreadable, read, read_head
from tests.proxy.wire import fakes
from tests.wire import Message
from tokenproxy.proxy.wire.downstream import Downstream
from tokenproxy.proxy.wire.server import Wire
from tokenproxy.proxy.wire.upstream import Upstream
from tokenproxy.runtime import Runtime

PORT = 8080
TURNS = 25  # of the loop: more than any exchange takes


class CallersTransport(asyncio.Transport):
    """Notes what is written; it ends as soon as it is told to."""

    def __init__(self, protocol: Downstream) -> None:
        super().__init__({"sockname": ("127.0.0.1", PORT), "peername": ("127.0.0.1", 50000)})
        self._protocol = protocol
        self.written = b""
        self.ended = False
        self.reads = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += b"" if self.ended else bytes(data)

    def is_closing(self) -> bool:
        return self.ended

    def can_write_eof(self) -> bool:
        return False

    def abort(self) -> None:
        if not self.ended:
            self.ended = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    close = abort

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Answering(fakes.Transport):
    """Reads requests as strictly as `Record` does, and answers them in the loop's next turn."""

    def __init__(self, protocol: Upstream, record: Record) -> None:
        super().__init__(protocol)
        self._record = record
        self._waits = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        found = read_head(self.written)
        if self._waits and found is not None and found[0].values(b"expect"):
            self._waits = False
            self._say(CONTINUE)
        with suppress(Unreadable):
            while (whole := read(self.written)) is not None:
                request, self.written = whole
                self._waits = True
                self._record.requests.append(request)
                told = answer_to(request)
                self._say(
                    b"HTTP/1.1 200 OK\r\n%b: %b\r\nContent-Length: 0\r\n\r\n" % (ANSWERS, told)
                )
            return
        self._record.unreadable.append(self.written)

    def _say(self, data: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._hears, data)

    def _hears(self, data: bytes) -> None:
        if not self.closing:
            self.protocol.data_received(data)

    def abort(self) -> None:
        if not self.closing:
            self.closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    close = abort


class Connector(fakes.Connector):
    """Connects to what answers."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record

    async def connect(self, make: Callable[[], Upstream]) -> Upstream:
        connection = make()
        connection.connection_made(Answering(connection, self._record))
        return connection


class InMemory:
    """A `Wire` of a runtime's, with nothing but memory at both of its ends."""

    def __init__(self, runtime: Runtime, authority: bytes) -> None:
        self.record = Record()
        connectors: dict[str, Any] = {
            route.name: Connector(self.record) for route in runtime.table.routes
        }
        self._authority = authority
        self.wire = Wire(runtime.parts, connectors)

    async def play(self, pieces: Sequence[bytes]) -> Story:
        """What comes of these pieces, each as a segment of its own."""
        self.record.clear()
        connection = self.wire()
        transport = CallersTransport(connection)
        connection.connection_made(transport)
        for piece in pieces:
            await _until(lambda: transport.reads or transport.ended)
            if transport.ended:
                break
            connection.data_received(piece)
        await _until(lambda: transport.ended)
        transport.abort()
        await asyncio.sleep(0)
        return self._story(transport.written)

    def _story(self, written: bytes) -> Story:
        answers = _answers(written)
        arrived = [sent(each, self._authority) for each in self.record.requests]
        told = [value for each in answers for value in each.values(ANSWERS)]
        statuses = [each.status for each in answers]
        return Story(statuses, told, arrived, list(self.record.unreadable))


def _answers(written: bytes) -> list[Message]:
    found = []
    while written:
        head, mark, written = written.partition(b"\r\n\r\n")
        assert mark
        answer = Message(head + mark, b"")
        length = int((answer.values(b"content-length") or [b"0"])[0])
        written = written[length:]
        if answer.status != 100:
            found.append(answer)
    return found


async def _until(fact: Callable[[], bool]) -> None:
    for _ in range(TURNS):
        if fact():
            return
        await asyncio.sleep(0)
