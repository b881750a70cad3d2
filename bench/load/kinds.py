"""The ways of making load: see `order.Kind`."""

import asyncio
from collections import deque
from time import perf_counter

from bench.load.caller import Caller
from bench.load.crowd import Crowd
from bench.load.order import Kind, Order

TICK = 0.001
SETTLE = 0.5  # until a peer has let go of what only the requests needed
UNDER_WAY = 32
TEXT = b"thirty-two bytes of small talk.."
MASKED_BY_NOTHING = bytes(4)  # a key like any other: RFC 6455 5.3
MESSAGE = bytes((0x81, 0x80 | len(TEXT))) + MASKED_BY_NOTHING + TEXT
ECHO = len(TEXT) + 2


class Paced(Crowd):
    """So many requests a second; one that finds no free caller has begun all the same."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._free: list[Caller] = []
        self._waiting: deque[float] = deque()
        self._began = 0.0
        self._due = 0

    def start(self) -> None:
        """All are free."""
        self._free = list(self.callers)
        self._began = perf_counter()
        self._tick()

    def answered(self, caller: Caller) -> None:
        """Note how long it took."""
        if self.window.is_open:
            self.latencies.append(perf_counter() - caller.began)
        super().answered(caller)

    def ready(self, caller: Caller) -> None:
        """It takes the request that has waited longest."""
        if self._waiting:
            self._send(caller, self._waiting.popleft())
        else:
            self._free.append(caller)

    def _tick(self) -> None:
        if self.over.done():
            return
        asyncio.get_running_loop().call_later(TICK, self._tick)
        now = perf_counter()
        before, self._due = self._due, int((now - self._began) * self.order.rate)
        for _ in range(self._due - before):
            self._waiting.append(now)
        while self._waiting and self._free:
            self._send(self._free.pop(), self._waiting.popleft())

    def _send(self, caller: Caller, began: float) -> None:
        caller.began = began
        caller.send()


class Reader(Caller):
    """A stream of server-sent events; each is an answer."""

    _last = b""

    def _take_chunked(self, data: bytes) -> None:
        for _ in range((self._last + data).count(b"\n\n")):
            self._answered(self)
        self._last = data[-1:]


class Events(Crowd):
    """All that arrive once there was one on each stream."""

    CALLER = Reader

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._begun: set[Caller] = set()

    def answered(self, caller: Caller) -> None:
        """Count it."""
        if len(self._begun) < self.order.connections:
            self._begun.add(caller)
        elif self.window.add():
            self.end()


class Talker(Caller):
    """A WebSocket; its first answer is the handshake's, the others are messages."""

    EXPECTED = b"HTTP/1.1 101 "
    _talks = False

    def send(self) -> None:
        """The handshake, then a message each time."""
        if self._talks:
            self._transport.write(MESSAGE)
        else:
            super().send()

    def _take_chunked(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) == ECHO or not self._talks:
            self._buffer, self._talks = b"", True
            self._answered(self)


class Messages(Crowd):
    """Each caller sends its next message when the last has come back."""

    CALLER = Talker
    UPGRADE = True


class Idle(Crowd):
    """Each caller asks once, `UNDER_WAY` of them at a time, and is kept."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._quiet: list[Caller] = []

    def start(self) -> None:
        """The first ask."""
        self.window.open()
        self._quiet = list(self.callers)
        for _ in range(UNDER_WAY):
            self._quiet.pop().send()

    def answered(self, caller: Caller) -> None:
        """The next asks."""
        del caller
        self.window.count += 1
        if self._quiet:
            self._quiet.pop().send()
        elif self.window.count == self.order.connections:
            asyncio.get_running_loop().call_later(SETTLE, self.end)


def crowd(order: Order) -> Crowd:
    """The one that makes that load."""
    match order.kind:
        case Kind.CLOSED:
            return Crowd(order)
        case Kind.PACED:
            return Paced(order)
        case Kind.EVENTS:
            return Events(order)
        case Kind.MESSAGES:
            return Messages(order)
        case Kind.IDLE:
            return Idle(order)
