"""Two connections that have switched to another protocol: bytes both ways, as they are.

Each side's end of sending is passed on and leaves the other way open, back-pressure goes
through, and where one side breaks off, so does the other.
"""

from typing import TYPE_CHECKING, Protocol

from tokenproxy.proxy.inbound import reset
from tokenproxy.proxy.wire.sweep import NEVER

if TYPE_CHECKING:
    from tokenproxy.proxy.wire.downstream import Downstream
    from tokenproxy.proxy.wire.upstream import Upstream


class Ended(Protocol):
    """Who is told of a tunnel's end."""

    def __call__(self, bytes_in: int, bytes_out: int, *, complete: bool) -> None:
        """So many bytes went from and to the caller; `complete` if neither side broke off."""


class Tunnel:
    """Between a caller and an upstream; `idle` is how long both may be silent, in seconds."""

    def __init__(
        self, caller: "Downstream", upstream: "Upstream", idle: float, ended: Ended
    ) -> None:
        self._caller = caller
        self._upstream = upstream
        self._idle = idle
        self._ended = ended
        self._bytes_in = self._bytes_out = 0
        self._caller_done = self._upstream_done = False
        self._told = False
        self._deadline = NEVER

    def begin(self, rest: bytes) -> None:
        """Pass on what has come already, and all that comes."""
        self._upstream.switch(self)
        early = self._caller.switch(self)
        if rest:
            self.from_upstream(rest)
        if early:
            self.from_caller(early)
        self._touch()
        if self._caller.is_full:
            self.pause_upstream()
        if self._upstream.is_full:
            self.pause_caller()

    def _touch(self) -> None:
        self._deadline = self._caller.sweep.after(self._idle)

    def from_caller(self, data: bytes) -> None:
        """Bytes have come from the caller."""
        self._bytes_in += len(data)
        self._touch()
        if not self._upstream.is_lost:
            self._upstream.transport.write(data)

    def from_upstream(self, data: bytes) -> None:
        """Bytes have come from the upstream."""
        self._bytes_out += len(data)
        self._touch()
        self._caller.write(data)

    # -- ends --------------------------------------------------------------------------------

    def caller_ended(self) -> bool:
        """The caller sends no more; whether its connection stays open the other way."""
        self._caller_done = True
        if self._upstream_done or not self._upstream.transport.can_write_eof():
            self._close()
            return False
        self._upstream.transport.write_eof()
        return True

    def upstream_ended(self) -> bool:
        """The upstream sends no more; whether its connection stays open the other way."""
        self._upstream_done = True
        if self._caller_done or not self._caller.transport.can_write_eof():
            self._close()
            return False
        self._caller.transport.write_eof()
        return True

    def _close(self) -> None:
        self._tell(complete=True)
        self._caller.transport.close()
        if not self._upstream.is_lost:
            self._upstream.transport.close()

    def lost_caller(self) -> None:
        """The caller's connection has ended."""
        self._tell(complete=self._caller_done and self._upstream_done)
        if not self._upstream.is_lost and not self._upstream.transport.is_closing():
            self._upstream.transport.abort()

    def lost_upstream(self) -> None:
        """The upstream's connection has ended."""
        self._tell(complete=self._caller_done and self._upstream_done)
        if not self._caller.transport.is_closing():
            reset(self._caller.transport)

    def _tell(self, *, complete: bool) -> None:
        if not self._told:
            self._told = True
            self._deadline = NEVER
            self._ended(self._bytes_in, self._bytes_out, complete=complete)

    def tick(self, now: float) -> None:
        """End it where both sides have been silent for too long."""
        if self._deadline < now:
            self._deadline = NEVER
            reset(self._caller.transport)

    # -- the flow ----------------------------------------------------------------------------

    def pause_caller(self) -> None:
        """The upstream takes no more for the moment."""
        if not self._caller.transport.is_closing():
            self._caller.transport.pause_reading()

    def resume_caller(self) -> None:
        """It takes more."""
        if not self._caller.transport.is_closing():
            self._caller.transport.resume_reading()

    def pause_upstream(self) -> None:
        """The caller takes no more for the moment."""
        self._upstream.pause_reading()

    def resume_upstream(self) -> None:
        """It takes more."""
        self._upstream.resume_reading()
