"""Which connections may stay when the listeners change: those that could come in again."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenproxy.config.process import AnyListener
from tokenproxy.server.listeners import Bound, Place, place_of
from tokenproxy.tokens.namedfiles import Contents

EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what others bind is compared here


@dataclass(frozen=True, slots=True)
class Door:
    """A socket's own address, and how callers come in there.

    `asks` is what their certificates are checked by, where they need one.
    """

    place: Place
    scheme: str
    asks: bytes | None = None

    def takes(self, place: Place, scheme: str) -> bool:
        """Whether a connection with that local address came in here."""
        if scheme != self.scheme or isinstance(place, str) or isinstance(self.place, str):
            return (place, scheme) == (self.place, self.scheme)
        host, port = self.place
        return port == place[1] and (host == place[0] or host in EVERYWHERE)


def doors(listeners: Sequence[tuple[AnyListener, Bound]], files: Contents) -> list[Door]:
    """One for each socket; `files` are those that the listeners name."""
    return [
        Door(place_of(one.getsockname()), *_terms(listener, files))
        for listener, bound in listeners
        for one in bound.sockets
    ]


def _terms(listener: AnyListener, files: Contents) -> tuple[str, bytes | None]:
    if isinstance(listener, str):
        return "http", None
    authority = listener.tls.client_ca
    return "https", None if authority is None else _identity(authority, files)


def _identity(authority: Path, files: Contents) -> bytes:
    return bytes(authority) + (files.get(authority) or b"")


def stays(before: Sequence[Door], after: Sequence[Door]) -> Callable[[asyncio.Transport], bool]:
    """Tells of a connection from before whether it may stay after."""
    kept = frozenset(after)

    def may_stay(transport: asyncio.Transport) -> bool:
        place = place_of(transport.get_extra_info("sockname"))
        scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        asked = {door.asks for door in _taking(before, place, scheme)}
        return any(door.asks in asked for door in _taking(kept, place, scheme))

    return may_stay


def _taking(among: Any, place: Place, scheme: str) -> Iterator[Door]:
    return (door for door in among if door.takes(place, scheme))
