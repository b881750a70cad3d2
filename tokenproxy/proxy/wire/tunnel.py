"""Two connections that have switched to another protocol: bytes both ways, as they are.

Back-pressure goes through, and so does each side's end:

| a side                                         | the other                                   |
|------------------------------------------------|---------------------------------------------|
| ends what it sends                             | is sent an end; its own way stays open      |
| ends, and one of them speaks TLS, which cannot | gets what has come, and both are closed     |
| be closed by half; or both have ended          |                                             |
| breaks off                                     | is reset                                    |
| and the other are silent for `idle` seconds    | both are reset                              |
| takes no more                                  | is not read from; where the caller is who   |
|                                                | takes no more, that is no silence           |
"""

import asyncio
from typing import Protocol

from tokenproxy.proxy.inbound import reset
from tokenproxy.proxy.wire.sweep import NEVER, Sweep


class CallerSide(Protocol):
    """A caller's connection: the wire's, or one that aiohttp has given up."""

    @property
    def transport(self) -> asyncio.Transport:
        """What is written to, and closed."""

    @property
    def sweep(self) -> Sweep:
        """Whose ticks end it where nothing comes."""

    @property
    def is_full(self) -> bool:
        """Whether the caller takes no more for the moment."""

    def switch(self, tunnel: "Tunnel") -> bytes:
        """From here on everything goes through `tunnel`; what has come too early is given."""

    def write(self, data: bytes) -> None:
        """Send, while the connection is open."""

    def read_on(self, *, reads: bool) -> None:
        """Whether what comes is wanted now."""


class UpstreamSide(Protocol):
    """A connection to an upstream, likewise."""

    @property
    def transport(self) -> asyncio.Transport:
        """What is written to, and closed."""

    @property
    def is_full(self) -> bool:
        """Whether the upstream takes no more for the moment."""

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""

    def switch(self, tunnel: "Tunnel") -> None:
        """From here on everything goes through `tunnel`."""

    def pause_reading(self) -> None:
        """Read nothing for the moment."""

    def resume_reading(self) -> None:
        """Read on."""


class Ended(Protocol):
    """Who is told of a tunnel's end."""

    def __call__(self, bytes_in: int, bytes_out: int, *, complete: bool) -> None:
        """So many bytes went from and to the caller; `complete` if neither side broke off."""


class Tunnel:
    """Between a caller and an upstream; `idle` is how long both may be silent, in seconds."""

    def __init__(
        self, caller: CallerSide, upstream: UpstreamSide, idle: float, ended: Ended
    ) -> None:
        self._caller = caller
        self._upstream = upstream
        self._idle = idle
        self._ended = ended
        self._bytes_in = self._bytes_out = 0
        self._caller_done = self._upstream_done = False
        self._caller_lost = False
        self._told = False
        self._deadline = NEVER

    def begin(self, rest: bytes) -> None:
        """Pass on what has come already, and all that comes."""
        self._upstream.switch(self)
        early = self._caller.switch(self)
        self._caller.sweep.add(self)
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
        waits = self._caller.is_full and not self._told
        self._deadline = NEVER if waits else self._caller.sweep.after(self._idle)

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
        if self._upstream_done or not self._has_halves:
            self._close()
            return False
        self._upstream.transport.write_eof()
        return True

    def upstream_ended(self) -> bool:
        """The upstream sends no more; whether its connection stays open the other way."""
        self._upstream_done = True
        if self._caller_done or not self._has_halves:
            self._close()
            return False
        self._caller.transport.write_eof()
        return True

    @property
    def _has_halves(self) -> bool:
        """Whether each way can end by itself."""
        return (
            self._caller.transport.can_write_eof()
            and self._upstream.transport.can_write_eof()
            and not self._caller.transport.is_closing()
            and not self._upstream.transport.is_closing()
        )

    def _close(self) -> None:
        """Both have what was sent to them; who does not take the last of it has `idle` seconds."""
        self._tell(complete=True)
        self._touch()
        # One with TLS that is closed twice can't be reset any more (CPython 3.11's `sslproto`).
        if not self._caller.transport.is_closing():
            self._caller.transport.close()
        if not self._upstream.is_lost and not self._upstream.transport.is_closing():
            self._upstream.transport.close()

    def lost_caller(self) -> None:
        """The caller's connection has ended."""
        self._caller_lost = True
        self._tell(complete=False)
        if not self._upstream.is_lost and not self._upstream.transport.is_closing():
            reset(self._upstream.transport)
        self._forget()

    def lost_upstream(self) -> None:
        """The upstream's connection has ended."""
        self._tell(complete=False)
        if not self._caller.transport.is_closing():
            reset(self._caller.transport)
        self._forget()

    def _tell(self, *, complete: bool) -> None:
        if not self._told:
            self._told = True
            self._ended(self._bytes_in, self._bytes_out, complete=complete)

    def _forget(self) -> None:
        if self._caller_lost and self._upstream.is_lost:
            self._caller.sweep.discard(self)

    def tick(self, now: float) -> None:
        """End it where both sides have been silent for too long."""
        if self._deadline < now:
            self._deadline = NEVER
            if not self._caller_lost:
                reset(self._caller.transport)
            if not self._upstream.is_lost:
                reset(self._upstream.transport)

    # -- the flow ----------------------------------------------------------------------------

    def pause_caller(self) -> None:
        """The upstream takes no more for the moment."""
        self._caller.read_on(reads=False)

    def resume_caller(self) -> None:
        """It takes more."""
        self._touch()
        self._caller.read_on(reads=True)

    def pause_upstream(self) -> None:
        """The caller takes no more for the moment."""
        self._touch()
        self._upstream.pause_reading()

    def resume_upstream(self) -> None:
        """It takes more."""
        self._touch()
        self._upstream.resume_reading()
