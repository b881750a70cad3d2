"""Taking connections from the bound sockets, for whoever serves at the moment.

A socket that the next config listens on, too, and speaks as before on, is not touched when the
config changes. Where its TLS has changed, connections are taken by the new one before the old one
ends. Whoever waits in the kernel's queue when a socket is closed for good is let in before:
what it has sent would be lost otherwise.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenproxy.errors import ListenError
from tokenproxy.server.listeners import Bound, Place, handshakes, place_of
from tokenproxy.server.turns import Taking, Turns
from tokenproxy.tasks import cancelled, spawn

Factory = Callable[[], asyncio.BaseProtocol]
PLAIN = ("plain",)


@dataclass(frozen=True, slots=True)
class Speech:
    """How connections of a listener speak; equal `terms` are the same speech."""

    terms: Hashable = PLAIN
    tls: ssl.SSLContext | None = None
    patience: float = 0.0  # seconds for a handshake

    def told(self) -> dict[str, Any]:
        """What event loops are told of it."""
        return handshakes(self.tls, self.patience)


Queue = tuple[Place, int]
"""Where callers wait: the address, and what all duplicates of one socket have in common."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A socket of our own that nothing is taken from yet."""

    speech: Speech
    socket: socket.socket


@dataclass(frozen=True, slots=True)
class Entrance:
    """A socket, and what takes connections from it."""

    queue: Queue
    speech: Speech
    socket: socket.socket  # of our own: the queue lives while it is open
    taking: Taking


class Entrances:
    """All of them, for the factory of protocols that `front` gives at the moment.

    `connections` tells how many we have; `turns` where others take from the same sockets; `short`
    is called where there are no descriptors for more.
    """

    def __init__(
        self,
        front: Callable[[], Factory],
        connections: Callable[[], int],
        turns: Turns | None = None,
        short: Callable[[], None] = lambda: None,
    ) -> None:
        self._front = front
        self._connections = connections
        self._turns = turns
        self._short = short
        self._open: list[Entrance] = []
        self._connecting: set[asyncio.Task[None]] = set()

    def prepare(self, listeners: Sequence[tuple[Bound, Speech]]) -> list[Prepared]:
        """Have sockets for them; give them back by `adopt` or `discard`.

        Raises:
            ListenError: there are no descriptors for them; nothing has changed.
        """
        with contextlib.ExitStack() as undo:
            prepared: list[Prepared] = []
            undo.callback(self.discard, prepared)
            for bound, speech in listeners:
                prepared += (Prepared(speech, _own(one, bound.url)) for one in bound.sockets)
            undo.pop_all()
        return prepared

    def discard(self, prepared: Sequence[Prepared]) -> None:
        """Leave all as it is."""
        for each in prepared:
            each.socket.close()

    def adopt(self, prepared: Sequence[Prepared]) -> None:
        """Take connections from these sockets, and from no others; or from those as before."""
        known = {(each.queue, each.speech.terms): each for each in self._open}
        before, self._open = self._open, []
        for each in prepared:
            same = known.get((_queue(each.socket), each.speech.terms))
            if same is not None:
                each.socket.close()
            self._open.append(same or self._opened(each))
        queues = {entrance.queue for entrance in self._open}
        for entrance in before:
            if entrance not in self._open:
                self._close(entrance, lets_in=entrance.queue not in queues)
        if self._turns is not None:
            self._turns.is_ours(self._connections())

    def _opened(self, prepared: Prepared) -> Entrance:
        ours, speech = prepared.socket, prepared.speech
        taking = Taking(
            ours, self._made, self._turns, self._connections, speech.told(), short=self._short
        )
        return Entrance(_queue(ours), speech, ours, taking)

    def _made(self) -> asyncio.BaseProtocol:
        return self._front()()

    def _close(self, entrance: Entrance, *, lets_in: bool) -> None:
        """Take no more from it; those who wait already may be let in."""
        entrance.taking.close()
        self._connecting |= entrance.taking.connecting
        if lets_in:
            self._let_in(entrance)
        entrance.socket.close()

    async def close(self, patience: float) -> None:
        """Take no more, but those who wait already; `patience` is for their handshakes."""
        gone, self._open = self._open, []
        for each in gone:
            self._close(each, lets_in=True)
        if self._connecting:
            await asyncio.wait(self._connecting, timeout=patience)
        await cancelled(*self._connecting)

    def _let_in(self, entrance: Entrance) -> None:
        factory = self._front()
        while True:
            try:
                connection, _ = entrance.socket.accept()
            except OSError:  # mostly: none waits
                return
            connection.settimeout(0)
            welcoming = spawn(_welcome(factory, connection, entrance.speech), name="let in")
            self._connecting.add(welcoming)
            welcoming.add_done_callback(self._connecting.discard)


def _own(listener: socket.socket, url: str) -> socket.socket:
    try:
        return listener.dup()
    except OSError as error:
        raise ListenError(f"cannot listen on {url} ({error.strerror})") from error


def _queue(listener: socket.socket) -> Queue:
    return place_of(listener.getsockname()), os.fstat(listener.fileno()).st_ino


async def _welcome(factory: Factory, connection: socket.socket, speech: Speech) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_accepted_socket(factory, connection, **speech.told())
    except (OSError, asyncio.CancelledError):
        connection.close()
