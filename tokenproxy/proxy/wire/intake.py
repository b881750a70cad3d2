"""What a caller sends on its way to the reader, which gets no more of it than can be used.

| not read on while                      | for     | what has come already              |
|----------------------------------------|---------|------------------------------------|
| nobody can take more of a body, or of  | UPLOAD  | goes on: who takes it has the room |
| what goes through a tunnel             |         |                                    |
| many requests wait for their turn      | QUEUE   | is held back, for the parser       |
| a request to switch protocols is not   | SWITCH  | is held back, for whichever        |
| answered                               |         | protocol it turns out to be in     |

While nothing is read, nothing has to come in time either, and callers who leave must be looked
for (`leaving`).
"""

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from tokenproxy.proxy.wire.leaving import LAST_REQUEST, Paused, Socket, unread
from tokenproxy.proxy.wire.reading import Phase, Reader
from tokenproxy.proxy.wire.sweep import NEVER

if TYPE_CHECKING:
    from tokenproxy.proxy.wire.server import Wire

SLICE = 16 << 10  # bytes that are looked through for requests at once
UPLOAD, QUEUE, SWITCH = 1, 2, 4  # why a caller is not read from
_HOLDS_BACK = QUEUE | SWITCH


class Connection(Paused, Protocol):
    """The connection that it is for."""

    def taken_in(self, data: bytes, before: Phase) -> None:
        """The reader has parsed `data`; `before` is the phase that it was in."""


class Intake:
    """Feeds one connection's reader. `pauses` are the reasons not to read, together."""

    __slots__ = ("_connection", "_held", "_reader", "_server", "_transport", "_unread", "pauses")

    def __init__(
        self,
        connection: Connection,
        reader: Reader[Any],
        transport: asyncio.Transport,
        server: "Wire",
    ) -> None:
        self.pauses = 0
        self._connection = connection
        self._reader = reader
        self._transport = transport
        self._server = server
        self._held = b""
        self._unread = b""  # the last piece before reading was paused

    def move(self, server: "Wire") -> None:
        """The connection is that server's from now on."""
        self._server = server

    def feed(self, data: bytes) -> None:
        """Parse what has come, but no more than may be taken in."""
        reader = self._reader
        while data and reader.phase is not Phase.NOTHING:
            if self.pauses & _HOLDS_BACK:
                self._held += data
                return
            before = reader.phase
            size = len(data) if before is Phase.BODY else SLICE
            piece = data[:size]
            data = reader.parse(piece) + data[size:]
            self._connection.taken_in(piece, before)
            if self.pauses:
                self._unread = piece

    def hold_back(self, data: bytes) -> None:
        """Read no further until it is known which protocol this is in."""
        self._held = data
        self.pause(SWITCH)

    def take_held(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return held

    def go_on(self, reason: int) -> None:
        """Take in what was held back, and read on."""
        held = self.take_held()
        self.resume(reason)
        self.feed(held)

    def pause(self, reason: int) -> None:
        """Read nothing from the caller."""
        if not self.pauses and not self._transport.is_closing():
            self._transport.pause_reading()
            self._unread = b""
            self._server.watch.add(self._connection)
        self.pauses |= reason
        self._reader.deadline = NEVER

    def resume(self, reason: int) -> None:
        """Read on, unless there is another reason not to."""
        if not self.pauses:
            return
        self.pauses &= ~reason
        if not self.pauses and not self._transport.is_closing():
            self._unread = b""
            self._transport.resume_reading()
            self._wait()

    def _wait(self) -> None:
        """From now on the rest of what has begun has to come."""
        reader, server = self._reader, self._server
        if reader.phase is Phase.BODY:
            reader.deadline = server.sweep.after(server.timeouts.request_body_idle)
        elif reader.phase is Phase.HEAD:
            reader.deadline = server.sweep.after(server.timeouts.request_head)

    # -- while nothing is read ---------------------------------------------------------------

    @property
    def socket(self) -> Socket | None:
        """The caller's, while it is open and not read from."""
        if not self.pauses or self._transport.is_closing():
            return None
        found: Socket | None = self._transport.get_extra_info("socket")
        return found

    @property
    def ends(self) -> bool:
        """Whether what was read last, or lies unread, seems to be the caller's last request."""
        sock = self.socket
        return sock is not None and LAST_REQUEST.search(self._unread + unread(sock)) is not None
