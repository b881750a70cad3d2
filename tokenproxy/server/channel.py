"""What a supervisor and a worker say to each other, over a socket pair that only they hold.

| from the supervisor | from the worker                                    |
|---------------------|----------------------------------------------------|
| `Brief`, first      | `Serves`: it accepts connections                   |
| `Order.DRAIN`       | `Failed`: it cannot, and why; it ends after that   |
| `Order.END`         | `Happened`: what a person should know              |
| `Order.REPORT`      | `Report`: what it has counted; also when it ends   |

The end of either side's stream means that its process is over. The config goes this way since a
command line, and on some systems an environment, can be read by others.
"""

import asyncio
import contextlib
import pickle
import socket
import struct
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from tokenproxy.admin.figures import Figures
from tokenproxy.config.model import Config
from tokenproxy.events import Event

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Brief:
    """All that a worker needs to know: its place among them, and the listeners it inherits."""

    config: Config
    workers: int
    listeners: tuple["Inherited", ...]
    turns: int  # the descriptor of what `Turns` counts in
    lifeline: int  # a descriptor that is at its end once the supervisor is gone
    index: int


@dataclass(frozen=True, slots=True)
class Inherited:
    """One listener, as the descriptors of its sockets."""

    url: str
    descriptors: tuple[int, ...]


class Order(Enum):
    """What a worker is told to do."""

    DRAIN = auto()  # as a first signal does where there is one process
    END = auto()  # as a second one
    REPORT = auto()


@dataclass(frozen=True, slots=True)
class Serves:
    """The worker accepts connections."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot go on; `error` is a sentence."""

    error: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker has counted so far, and how many connections it has."""

    figures: Figures = field(default_factory=Figures)
    connections: int = 0


@dataclass(frozen=True, slots=True)
class Happened:
    """An event in a worker that its supervisor does not see for itself."""

    event: Event


Message = Brief | Order | Serves | Failed | Report | Happened


class Channel:
    """One end of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> "Channel":
        """The end that a socket is."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: Message) -> None:
        """Say something; nobody hears it where the other side is over."""
        if not self._writer.is_closing():
            content = pickle.dumps(message)
            self._writer.write(_LENGTH.pack(len(content)) + content)

    async def receive(self) -> Any:
        """What the other side says next; None once it is over."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            content = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return None
        return pickle.loads(content)  # noqa: S301 - only our own process can write there

    async def close(self) -> None:
        """Have what was said arrive, and end this side."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
