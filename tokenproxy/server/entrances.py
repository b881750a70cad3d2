"""Taking connections from the bound sockets, for whoever serves at the moment.

A socket that the next config listens on, too, and speaks as before on, is not touched when the
config changes. Where its TLS has changed, connections are taken by the new one before the old one
ends. Whoever waits in the kernel's queue when a socket is closed for good is let in before:
what it has sent would be lost otherwise.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tokenproxy.server.listeners import Bound, Place, accept, handshakes, place_of
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


class Server(Protocol):
    """What takes connections from one socket."""

    def close(self) -> None:
        """Take no more."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """A socket, and what takes connections from it."""

    place: Place
    speech: Speech
    socket: socket.socket  # of our own: the queue lives while it is open
    server: Server


class Entrances:
    """All of them, for the factory of protocols that `front` gives at the moment.

    `connections` tells how many we have; `turns` where others take from the same sockets.
    """

    def __init__(
        self,
        front: Callable[[], Factory],
        connections: Callable[[], int],
        turns: Turns | None = None,
    ) -> None:
        self._front = front
        self._connections = connections
        self._turns = turns
        self._open: list[Entrance] = []
        self._welcoming: set[asyncio.Task[None]] = set()

    async def change(self, listeners: Sequence[tuple[Bound, Speech]]) -> None:
        """Take connections from these sockets, and from no others; or from those as before."""
        wanted = [(one, speech) for bound, speech in listeners for one in bound.sockets]
        known = {(each.place, each.speech.terms): each for each in self._open}
        made: list[Entrance] = []
        kept: list[Entrance] = []
        try:
            for one, speech in wanted:
                same = known.get((place_of(one.getsockname()), speech.terms))
                if same is None:
                    made.append(await self._opened(one, speech))
                else:
                    kept.append(same)
        except BaseException:
            self._close(made)
            raise
        gone = [each for each in self._open if each not in kept]
        self._open = kept + made
        places = {each.place for each in self._open}
        self._close(gone, lets_in=[each for each in gone if each.place not in places])
        if self._turns is not None:
            self._turns.is_ours(self._connections())

    async def _opened(self, listener: socket.socket, speech: Speech) -> Entrance:
        ours, place = listener.dup(), place_of(listener.getsockname())
        try:
            if self._turns is None:
                server: Server = await accept(listener.dup(), self._made, speech.told())
            else:
                server = self._taking(ours, speech, self._turns)
        except BaseException:
            ours.close()
            raise
        return Entrance(place, speech, ours, server)

    def _taking(self, ours: socket.socket, speech: Speech, turns: Turns) -> Taking:
        return Taking(ours, self._made, turns, self._connections, speech.told())

    def _made(self) -> asyncio.BaseProtocol:
        return self._front()()

    def _close(self, entrances: Iterable[Entrance], lets_in: Sequence[Entrance] = ()) -> None:
        """Take no more; from some of them those who wait already are let in."""
        for each in entrances:
            each.server.close()
            if each in lets_in:
                self._let_in(each)
            each.socket.close()

    async def close(self, patience: float) -> None:
        """Take no more, but those who wait already; `patience` is for their handshakes."""
        gone, self._open = self._open, []
        self._close(gone, lets_in=gone)
        if self._welcoming:
            await asyncio.wait(self._welcoming, timeout=patience)
        await cancelled(*self._welcoming)

    def _let_in(self, entrance: Entrance) -> None:
        factory = self._front()
        while True:
            try:
                connection, _ = entrance.socket.accept()
            except OSError:  # mostly: none waits
                return
            connection.settimeout(0)
            welcoming = spawn(_welcome(factory, connection, entrance.speech), name="let in")
            self._welcoming.add(welcoming)
            welcoming.add_done_callback(self._welcoming.discard)


async def _welcome(factory: Factory, connection: socket.socket, speech: Speech) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_accepted_socket(factory, connection, **speech.told())
    except (OSError, asyncio.CancelledError):
        connection.close()
