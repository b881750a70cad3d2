"""Callers who leave while nothing is read from them.

Reading from a caller is paused while the upstream does not take the body, and while requests
queue up behind one that takes long. No event loop tells of a FIN or a reset then. So the
sockets of such connections are looked at now and then, all of them at once, by one timer that
only runs while there are any.

| seen                                    | the caller                                        |
|-----------------------------------------|---------------------------------------------------|
| a reset, an error, both sides closed    | has gone                                          |
| a FIN, maybe behind what was not read   | has gone, unless what it sent ends with a request |
|                                         | after which it may close its side (contract 3.1)  |

Whether it does is not known before all has been read, and to read it is what nobody wants now.
It is enough that the words for it are there: to wait for one that has gone costs an upstream
connection until a time-out, to drop one that has not costs it its answers.
"""

import asyncio
import re
import select
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from enum import Enum, auto
from typing import Protocol

LOOK_EVERY = 0.5
MAX_UNREAD = 8 << 20  # more than a kernel keeps for one connection
LAST_REQUEST = re.compile(rb" HTTP/1\.0\r\n|\nconnection:[^\r\n]*\bclose\b", re.IGNORECASE)

# Linux alone tells a FIN from both sides being closed, whatever lies unread before it.
_RDHUP: int = getattr(select, "POLLRDHUP", 0)
_DONT_TAKE = socket.MSG_PEEK | socket.MSG_DONTWAIT


class Sight(Enum):
    """What a look at a caller's socket shows."""

    HERE = auto()
    FINISHED = auto()  # a FIN
    GONE = auto()


class Socket(Protocol):
    """A transport's socket: not one that could be read from by mistake."""

    def fileno(self) -> int:
        """Its descriptor."""

    def dup(self) -> socket.socket:
        """A socket that can be read."""


class Paused(Protocol):
    """A connection that may not be read from."""

    @property
    def paused_socket(self) -> Socket | None:
        """Its socket; None where it is read from again, or has ended."""

    def seen(self, sight: Sight) -> None:
        """Act on what its socket shows."""


class Watch:
    """Looks every so many seconds at the connections it was given, until they are read again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, every: float) -> None:
        self._loop = loop
        self._every = every
        self._watched: set[Paused] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Paused) -> None:
        """Watch a connection from now on."""
        self._watched.add(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._every, self._look)

    def _look(self) -> None:
        found = ((connection, connection.paused_socket) for connection in self._watched)
        paused = {connection: sock for connection, sock in found if sock is not None}
        self._watched = set(paused)
        again = bool(paused)
        self._timer = self._loop.call_later(self._every, self._look) if again else None
        for connection, sight in zip(paused, look(paused.values()), strict=True):
            connection.seen(sight)


def look(sockets: Iterable[Socket]) -> Iterator[Sight]:
    """What each of them shows, in their order."""
    return _poll([sock.fileno() for sock in sockets]) if _RDHUP else map(peek, sockets)


def _poll(descriptors: list[int]) -> Iterator[Sight]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, _RDHUP)  # the others are told unasked
    events = dict(poll.poll(0))
    return (_sight(events.get(descriptor, 0)) for descriptor in descriptors)


def _sight(events: int) -> Sight:
    if events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
        return Sight.GONE
    return Sight.FINISHED if events & _RDHUP else Sight.HERE


def readable(transports: Iterable[asyncio.BaseTransport]) -> set[asyncio.BaseTransport]:
    """Those on which something has come that nobody has read yet."""
    sockets = [(each, each.get_extra_info("socket")) for each in transports]
    by_descriptor = {sock.fileno(): each for each, sock in sockets if sock is not None}
    poll = select.poll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    return {by_descriptor[descriptor] for descriptor, _ in poll.poll(0)}


def peek(sock: Socket) -> Sight:
    """The same where polling tells less: a FIN shows once all before it has been read."""
    with closing(sock.dup()) as twin:
        if twin.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return Sight.GONE
        try:
            return Sight.HERE if twin.recv(1, _DONT_TAKE) else Sight.FINISHED
        except BlockingIOError:
            return Sight.HERE
        except OSError:
            return Sight.GONE


def unread(sock: Socket) -> bytes:
    """What has come and lies in the kernel; it goes on lying there."""
    with closing(sock.dup()) as twin, suppress(OSError):
        return twin.recv(MAX_UNREAD, _DONT_TAKE)
    return b""
