"""A request's body on its way: from the caller into the spool, and on to an upstream.

It goes out while it comes in. What is kept of it (contract 3.3.3) can be sent once more from
the beginning, followed by the rest. The spool is its beginning, as far as it was kept, and what
has come after that and not gone out is pending: until some of that goes, all can be sent anew.
How fast the caller may send is decided here too:

| the upload                                   | the caller is read from                      |
|----------------------------------------------|----------------------------------------------|
| goes out                                     | while less than `BACKLOG` bytes have not gone |
| waits, and all of it is kept                 | until the spool is nearly full               |
| waits, and not all of it is kept             | while less than `BACKLOG` bytes have come     |
| is of no use any more                        | always, and what comes is thrown away        |
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from tokenproxy.proxy.body import Spool
from tokenproxy.settings.route import Replay

BACKLOG = 1 << 16  # bytes
ONE_READ = 1 << 18  # bytes that may come at once, after reading was paused


class Sink(Protocol):
    """Where a body goes."""

    @property
    def is_full(self) -> bool:
        """Whether it wants no more for the moment; it asks for more by `Upload.pump`."""

    def send_piece(self, piece: bytes) -> None:
        """Send the next bytes."""

    def send_end(self) -> None:
        """Send the end."""


def _nobody(reads: bool) -> None:  # noqa: FBT001 - a callback
    """There is nothing more to read."""


class Upload:
    """One body. `read_on` is told whether the caller should be read from.

    `length` is its Content-Length in bytes, None where it comes in chunks; `is_kept` tells whether
    all of it may be kept: else only its beginning is, for an early no.
    """

    __slots__ = (
        "_gone",
        "_is_waiting",
        "_limit",
        "_pending",
        "_read_on",
        "_reads",
        "_sent",
        "_sink",
        "_spool",
        "ended",
        "is_kept",
        "is_useless",
        "length",
        "received",
    )

    def __init__(self, replay: Replay, length: int | None, read_on: Callable[[bool], None]) -> None:
        self._spool = Spool(replay)
        self.is_kept = length is None or length <= replay.max_body
        self._limit = max(replay.max_body - ONE_READ, replay.max_body // 2)
        self._pending: deque[bytes] = deque()  # what came after the spool and has not gone out
        self._gone = 0  # bytes that came after the spool and have gone out
        self._sent = 0  # bytes that have gone out to the present sink
        self._sink: Sink | None = None
        self._is_waiting = True
        self._read_on = read_on
        self._reads = True
        self.length = length
        self.received = 0
        self.ended = False
        self.is_useless = False

    @classmethod
    def whole(cls, replay: Replay, body: bytes) -> "Upload":
        """One that has come already, and is small enough to be kept in memory."""
        upload = cls(replay, len(body), _nobody)
        upload._spool = Spool.holding(replay, body)
        upload.received = len(body)
        upload.ended = True
        return upload

    def sent_with(self, head: bytes) -> bytes:
        """A head and all of a body that is `whole`: it counts as sent."""
        self._sent = self.received
        self._is_waiting = False
        return head + self._spool.read(0)

    @property
    def is_replayable(self) -> bool:
        """Whether all of it, as far as it has come, can be sent from the beginning."""
        return not self._gone

    @property
    def is_sent(self) -> bool:
        """Whether it has gone out whole."""
        return self.ended and self._sink is None and not self._is_waiting

    @property
    def has_begun(self) -> bool:
        """Whether any of it has gone out to the present sink."""
        return self._sent > 0

    # -- from the caller ---------------------------------------------------------------------

    def feed(self, piece: bytes) -> None:
        """The next bytes have come."""
        before = self.received
        self.received += len(piece)
        if self.is_useless:
            return
        self.is_kept = self.is_kept and self._spool.keep(piece)
        sink = self._sink
        if sink is None or self._is_waiting:
            self._hold_back(piece)
        elif self._sent == before and not sink.is_full:
            self._went(len(piece))
            sink.send_piece(piece)
        else:
            self._hold_back(piece)
            self.pump()
        self._regulate()

    def end(self) -> None:
        """All of it has come."""
        self.ended = True
        self.pump()

    def _hold_back(self, piece: bytes) -> None:
        if not self.is_kept:
            self._pending.append(piece)

    # -- to the upstream ---------------------------------------------------------------------

    def attach(self, sink: Sink, *, waits: bool = False) -> None:
        """Send it from the beginning to `sink`, at once or when told to `go_on`.

        It must be replayable, or not have been sent at all.
        """
        self._sink, self._sent, self._is_waiting = sink, 0, waits
        self.pump()

    def hold(self) -> None:
        """Send nothing for the moment: it may have to be sent from the beginning."""
        self._is_waiting = True
        self._regulate()

    def go_on(self) -> None:
        """Send the rest after all."""
        self._is_waiting = False
        self.pump()

    def detach(self) -> None:
        """The sink takes no more."""
        self._sink = None
        self._is_waiting = True
        self._regulate()

    def discard(self) -> None:
        """Nobody wants the rest: it is read away."""
        self._sink = None
        self.is_useless = True
        self.close()
        self._regulate()

    def close(self) -> None:
        """Give back memory and file."""
        self._gone = max(self._gone, 1)
        self.is_kept = False
        self._spool.drop()
        self._pending.clear()

    def pump(self) -> None:
        """Send what has come, as far as the sink takes it. Raises BodyGone."""
        sink = self._sink
        if sink is None or self._is_waiting:
            return
        while self._sent < self.received and not sink.is_full:
            piece = self._next()
            self._went(len(piece))
            sink.send_piece(piece)
        if self.ended and self._sent == self.received:
            self._sink = None
            sink.send_end()
        self._regulate()

    def _next(self) -> bytes:
        kept = self._spool.size - self._sent
        return self._spool.read(self._sent)[:kept] if kept > 0 else self._pending.popleft()

    def _went(self, size: int) -> None:
        self._sent += size
        if self._sent > self._spool.size:
            self._gone += size
            self._spool.drop()

    def _regulate(self) -> None:
        reads = self._may_read()
        if reads is not self._reads:
            self._reads = reads
            self._read_on(reads)

    def _may_read(self) -> bool:
        if self.is_useless or self.ended:
            return True
        if self._sink is not None and not self._is_waiting:
            return self.received - self._sent < BACKLOG
        if self.is_kept:
            return self.received < self._limit
        return self.received - self._spool.size - self._gone < BACKLOG
