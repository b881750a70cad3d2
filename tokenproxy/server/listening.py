"""The listeners of the config in force, and how they change with it.

Each config gets sockets of its own: a new one for an address that nobody has listened on, and
a duplicate where there is one. A duplicate is the same queue of connections to the kernel, so
that none is lost when the listeners of the config before are closed. A unix socket's file goes
with the last config that names it.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tokenproxy.config.process import AnyListener, address_of, split_unix
from tokenproxy.server.listeners import Bound, File, Place, bind, place_of

Passed = dict[Place, socket.socket]


@contextlib.contextmanager
def listening(
    listeners: Sequence[AnyListener], passed: Passed | None = None
) -> Iterator["Listeners"]:
    """Listen on all of them, in here. Raises ListenError where one cannot be had."""
    found = Listeners(passed or {})
    with contextlib.closing(found):
        found.adopt(found.prepare(listeners))
        yield found


class Listeners:
    """What is bound; `passed` are sockets that listened before this process was there.

    `key` is where the config names the addresses.
    """

    def __init__(self, passed: Passed, key: str = "listen") -> None:
        self._passed = passed
        self._key = key
        self._addresses: list[str] = []
        self._next: list[str] = []
        self.bound: list[Bound] = []

    def are_those_of(self, listeners: Sequence[AnyListener]) -> bool:
        """Whether another config listens where this one does."""
        return self._addresses == [address_of(listener) for listener in listeners]

    def prepare(self, listeners: Sequence[AnyListener]) -> list[Bound]:
        """Sockets for another config's; give them back by `adopt` or `discard`.

        Raises:
            ListenError: an address cannot be had; nothing has changed.
        """
        same = list(zip(self._addresses, self.bound, strict=True))
        with contextlib.ExitStack() as undo:
            prepared: list[Bound] = []
            undo.callback(self.discard, prepared)
            for listener in listeners:
                made = self._prepared(listener, same)
                prepared.append(made)
            undo.pop_all()
        self._next = [address_of(listener) for listener in listeners]
        return prepared

    def _prepared(self, listener: AnyListener, same: list[tuple[str, Bound]]) -> Bound:
        """One of them; each port that was picked goes to one listener."""
        scheme = "http" if isinstance(listener, str) else "https"
        address = address_of(listener)
        for at, (known, bound) in enumerate(same):
            if known == address:
                del same[at]
                return _twin(bound, scheme)
        made = bind(address, scheme, self._key, self._ready)
        return replace(made, file=made.file or self._file_of(address))

    def _ready(self, place: Place) -> socket.socket | None:
        for one in (*self._sockets(), *self._passed.values()):
            if place_of(one.getsockname()) == place:
                return one.dup()
        return None

    def _sockets(self) -> Iterator[socket.socket]:
        return (one for bound in self.bound for one in bound.sockets)

    def _file_of(self, address: str) -> File | None:
        """Of a unix socket that is ours already, though named otherwise."""
        unix = split_unix(address)
        files = (bound.file for bound in self.bound if bound.file is not None)
        return next((file for file in files if unix and file.path == unix[0]), None)

    def adopt(self, prepared: list[Bound]) -> None:
        """Listen on these, and no more on those before."""
        before, self.bound, self._addresses = self.bound, prepared, self._next
        _close(before, _files(prepared))
        self.bound = [_with_mode(*each) for each in zip(prepared, self._addresses, strict=True)]

    def discard(self, prepared: list[Bound]) -> None:
        """Leave all as it is."""
        _close(prepared, _files(self.bound))

    def let_go(self) -> None:
        """Leave the sockets to those who have them, too; the files stay."""
        for one in (*self._sockets(), *self._passed.values()):
            one.close()

    def close(self) -> None:
        """Listen no more."""
        gone, self.bound = self.bound, []
        _close(gone, set())
        for one in self._passed.values():
            one.close()


def _twin(bound: Bound, scheme: str) -> Bound:
    url = bound.url
    if "://" in url:
        url = f"{scheme}://{url.partition('://')[2]}"
    return replace(bound, url=url, sockets=tuple(one.dup() for one in bound.sockets))


def _with_mode(bound: Bound, address: str) -> Bound:
    """The file of a unix socket has the mode that its address names last."""
    unix, file = split_unix(address), bound.file
    if unix is None or file is None or stat.S_IMODE(os.lstat(file.path).st_mode) == unix[1]:
        return bound
    Path(file.path).chmod(unix[1])
    return replace(bound, file=File.at(file.path))


def _files(bound: Iterable[Bound]) -> set[File]:
    return {one.file for one in bound if one.file is not None}


def _close(bound: Iterable[Bound], kept: set[File]) -> None:
    for one in bound:
        (replace(one, file=None) if one.file in kept else one).close()
