"""Where raw requests are played: a proxy that goes on running, and an upstream that trusts nobody.

The upstream reads by `strict` and notes what it cannot read. Its answers say which request they
are for, so that an answer to another one shows.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import STATIC, WAYS, line_of
from tests.proxy.raw.case import Outcome, Sent
from tests.proxy.raw.strict import Read, Unreadable, read, read_head
from tests.wire import LIMIT, Message, Peer, Upstream
from tokenproxy.config.model import Config
from tokenproxy.events import Event, InternalError
from tokenproxy.runtime import World
from tokenproxy.tasks import spawn

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ANSWERS = b"X-Answers"
VICTIM = b"GET /victim HTTP/1.1\r\nHost: HOST\r\nX-Victim: 1\r\nConnection: close\r\n\r\n"
PROBE = VICTIM.replace(b"victim", b"probe").replace(b"Victim", b"Probe")
_OURS = {b"host", b"via", b"authorization", b"content-length", b"transfer-encoding"}


def answer_to(request: Read | Sent) -> bytes:
    return request.method + b" " + request.target


def sent(request: Read, authority: bytes) -> Sent:
    """What a row says of a request that has arrived, once our own fields are as they must be."""
    assert request.version == b"1"
    assert request.fields[0] == (b"Host", authority)
    assert request.values(b"host") == [authority]
    assert request.values(b"authorization") == [b"Bearer the-token"]
    assert [via[3:] for via in request.values(b"via")] == [b" tokenproxy"]
    theirs = [each for each in request.fields if each[0].lower() not in _OURS and not _asks(each)]
    return Sent(request.method, request.target, tuple(theirs), request.body, request.framing)


def _asks(pair: tuple[bytes, bytes]) -> bool:
    return pair[0].lower() == b"expect" and pair[1].lower() == b"100-continue"


@dataclass
class Record:
    """What has come on all connections: requests, what was none, and what broke off."""

    requests: list[Read] = field(default_factory=list)
    unreadable: list[bytes] = field(default_factory=list)
    broken: list[bytes] = field(default_factory=list)

    def clear(self) -> None:
        self.requests.clear()
        self.unreadable.clear()
        self.broken.clear()

    async def meet(self, peer: Peer) -> None:
        """One connection, from its beginning to its end."""
        data, waits = b"", True
        with suppress(ConnectionError):
            while piece := await peer.reader.read(LIMIT):
                data += piece
                if waits and self._expects(data):
                    waits = False
                    await peer.send(CONTINUE)
                while (found := self._read(data)) is not None:
                    request, data = found
                    waits = True
                    self.requests.append(request)
                    await peer.send(self._answer(request))
        if data:
            self.broken.append(data)

    @staticmethod
    def _answer(request: Read) -> bytes:
        told = answer_to(request)
        return b"HTTP/1.1 200 OK\r\n%b: %b\r\nContent-Length: 2\r\n\r\nok" % (ANSWERS, told)

    @staticmethod
    def _expects(data: bytes) -> bool:
        found = read_head(data)
        return found is not None and bool(found[0].values(b"expect"))

    def _read(self, data: bytes) -> tuple[Read, bytes] | None:
        try:
            return read(data)
        except Unreadable:
            self.unreadable.append(data)
            raise ConnectionError from None


@dataclass
class Story:
    """What was answered, to which requests by the upstream's own word, and what it has got."""

    statuses: list[int]
    answered: list[bytes]
    arrived: list[Sent]
    unreadable: list[bytes] = field(default_factory=list)


def told(outcome: Outcome) -> Story:
    """What is to come of a row with the victim behind it, and of the probe."""
    behind = () if outcome.closes else (_VICTIM,)
    forwarded = [*outcome.arrives, *behind]
    statuses = [*outcome.answers, *(200 for _ in behind)]
    return Story(statuses, [answer_to(each) for each in forwarded], [*forwarded, _PROBE])


class Stage:
    """A proxy before such an upstream, and what plays against it."""

    def __init__(self, port: int, record: Record, authority: bytes) -> None:
        self.port = port
        self.record = record
        self.authority = authority  # the upstream's

    def filled(self, raw: bytes) -> bytes:
        return raw.replace(b"HOST", b"127.0.0.1:%d" % self.port)

    async def connect(self) -> Peer:
        return Peer(*await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT))

    async def play(
        self, pieces: Sequence[bytes], *, waits: int = 0, finishes: bool = False
    ) -> list[Message]:
        """All answers to these pieces, sent one by one; the last after as many answers.

        `finishes`: nothing more comes from the caller.
        """
        *early, late = map(self.filled, pieces)
        got: list[Message] = []
        async with await self.connect() as peer:
            with suppress(ConnectionError):
                for piece in early:
                    await peer.send(piece)
                    await asyncio.sleep(0)
            await self._take(peer, got, waits)
            with suppress(ConnectionError):
                await peer.send(late)
                if finishes:
                    peer.writer.write_eof()
            await self._take(peer, got, LIMIT)
        return got

    @staticmethod
    async def _take(peer: Peer, got: list[Message], number: int) -> None:
        """As many more answers, or all that come until the connection ends."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while len(got) < number:
                got.append(await peer.answer())

    async def seen(self, got: list[Message]) -> "Story":
        """What has come of a play that was answered so, once a last request has been through."""
        [probe] = await self.play([PROBE])
        assert probe.values(ANSWERS) == [b"GET /probe"]
        self._check_broken()
        return Story(
            [each.status for each in got],
            [value for each in got for value in each.values(ANSWERS)],
            [sent(each, self.authority) for each in self.record.requests],
            list(self.record.unreadable),
        )

    def _check_broken(self) -> None:
        """What broke off is a request of the row's own, and is not whole."""
        for data in self.record.broken:
            found = read_head(data)
            assert found is not None
            assert found[0].target == b"/x"
            assert found[0].framing == "chunked"


_VICTIM = Sent(target=b"/victim", fields=((b"X-Victim", b"1"),))
_PROBE = Sent(target=b"/probe", fields=((b"X-Probe", b"1"),))


@asynccontextmanager
async def staged(way: str, folder: Path) -> AsyncIterator[Stage]:
    """One that serves that way, and has met no fault of its own at the end."""
    record, upstream = Record(), Upstream()
    upstream.meet = record.meet
    await upstream.start()
    config = Config.model_validate(
        {
            "listen": "127.0.0.1:0",
            "admin": None,
            "store": {"type": "memory"},
            "credentials": {"c": STATIC},
            "routes": [{"upstream": upstream.url, "credential": "c"}],
        },
        context={"folder": folder},
    )
    events: list[Event] = []
    lines: asyncio.Queue[str] = asyncio.Queue()
    stopping = asyncio.Event()
    world = World(variables={}, state_folder=folder, observe=events.append)
    task = spawn(WAYS[way](config, world, lines.put_nowait, stopping), name="serve")
    try:
        port = int((await line_of(lines, task)).rpartition(":")[2])
        yield Stage(port, record, upstream.authority)
    finally:
        stopping.set()
        await task
        await upstream.stop()
    assert [event for event in events if isinstance(event, InternalError)] == []
