"""Which worker takes the next connection: one that has the fewest.

A listener that many processes watch wakes all of them that are idle, and whoever is first takes
what waits there: of 64 connections to four workers one got about 50, and kept them for as long as
their callers did. So each worker counts its connections where all of them see it, and one that
has more than another leaves the next to that one for a moment; then it takes it all the same,
for the other may be busy or gone.
"""

import asyncio
import errno
import mmap
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tokenproxy.server.descriptors import for_callers
from tokenproxy.server.listeners import NO_TLS
from tokenproxy.tasks import spawn

MOMENT = 0.001
OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
RECOVERY = 1.0  # seconds in which no connection is taken, for want of descriptors

_SIZE = 4  # bytes for each: written in one go, so that nobody sees half a number


@contextmanager
def shared(workers: int) -> Iterator[int]:
    """A descriptor of memory that has room for the counts of so many, and nobody has begun."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tokenproxy-connections")
        try:
            os.ftruncate(descriptor, workers * _SIZE)
            yield descriptor
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryFile() as file:
            file.truncate(workers * _SIZE)
            yield file.fileno()


class Turns:
    """The counts of all, as the worker of that index reads and writes them."""

    def __init__(self, descriptor: int, index: int) -> None:
        self._counts = memoryview(mmap.mmap(descriptor, 0)).cast("I")
        self._index = index

    def is_ours(self, connections: int) -> bool:
        """Note that we have so many; whether nobody has fewer."""
        ours = self._counts[self._index] = connections + 1
        return all(ours <= count for count in self._counts if count)

    def leave(self) -> None:
        """Be counted no more: nobody waits for one that has gone."""
        self._counts[self._index] = 0


class Taking:
    """Takes connections from a bound listener, each when it is our turn, until it is closed.

    `connections` tells how many we have, and `speaking` what the loop is told of TLS. With no
    `turns` it is always ours. While there are no more descriptors for callers, these wait in the
    listener's queue; `short` is called each time that this is found.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        turns: Turns | None,
        connections: Callable[[], int],
        speaking: Mapping[str, Any] = NO_TLS,
        *,
        short: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._turns = turns
        self._connections = connections
        self._speaking = speaking
        self._short = short
        self._most = for_callers()
        self.connecting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._watch()
        self._is_our_turn()

    def close(self) -> None:
        """Take no more."""
        if self._turns is not None:
            self._turns.leave()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listener.fileno())

    def _watch(self) -> None:
        self._timer = None
        self._loop.add_reader(self._listener.fileno(), self._called)

    def _is_our_turn(self) -> bool:
        if self._turns is None:
            return True
        return self._turns.is_ours(self._connections() + len(self.connecting))

    def _called(self) -> None:
        if self._is_our_turn():
            self._take()
        else:
            self._rest(MOMENT, self._take)

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        def on() -> None:
            self._watch()
            then()

        self._loop.remove_reader(self._listener.fileno())
        self._timer = self._loop.call_later(seconds, on)

    def _take(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # mostly: another has taken it
            if error.errno in OUT_OF_RESOURCES:
                self._recover()
            return
        if connection.fileno() >= self._most:
            self._recover()
        connection.settimeout(0)
        connecting = spawn(self._connect(connection), name="connect")
        self.connecting.add(connecting)
        connecting.add_done_callback(self.connecting.discard)

    def _recover(self) -> None:
        """Take no more until there is room for one that leaves the others theirs."""
        self._short()
        self._loop.remove_reader(self._listener.fileno())
        self._timer = self._loop.call_later(RECOVERY, self._look)

    def _look(self) -> None:
        if self._has_room():
            self._watch()
        else:
            self._timer = self._loop.call_later(RECOVERY, self._look)

    def _has_room(self) -> bool:
        try:
            next_one = os.dup(self._listener.fileno())
        except OSError:
            return False
        os.close(next_one)
        return next_one < self._most

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection, **self._speaking)
        except (OSError, asyncio.CancelledError):
            connection.close()
