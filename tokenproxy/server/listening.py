"""The listeners of the config in force, and how they change with it.

Each config gets sockets of its own: a new one for an address that nobody has listened on, and
a duplicate where there is one. A duplicate is the same queue of connections to the kernel, so
that none is lost when the listeners of the config before are closed. A unix socket's file goes
with the last config that names it.
"""

import contextlib
import errno
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tokenproxy.config.process import AnyListener, address_of, split_address, split_unix
from tokenproxy.errors import ListenError
from tokenproxy.server.listeners import Bound, File, Place, bind, place_of, reason

Passed = dict[Place, socket.socket]

OURS = (
    "cannot listen on {} (this program has that port by the config in force: restart it for "
    "another address with the same port, or name another '{}')"
)


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

    def are_those_of(self, listeners: Sequence[AnyListener], prepared: list[Bound]) -> bool:
        """Whether another config listens where this one does, on the sockets that there are."""
        same = self._addresses == [address_of(listener) for listener in listeners]
        return same and _files(self.bound) == _files(prepared)

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
            if known == address and not bound.is_gone:
                del same[at]
                return self._twin(bound, scheme, address)
        try:
            made = bind(address, scheme, self._key, self._ready)
        except ListenError as error:
            if self._is_in_its_way(address, error):
                raise ListenError(OURS.format(address, self._key)) from error
            raise
        return replace(made, file=made.file or self._file_of(address))

    def _is_in_its_way(self, address: str, error: ListenError) -> bool:
        """Whether a socket of our own has the port: `0.0.0.0` cannot be had beside `127.0.0.1`."""
        tcp, cause = split_address(address), error.__cause__
        if tcp is None or not isinstance(cause, OSError) or cause.errno != errno.EADDRINUSE:
            return False
        ours = (place_of(one.getsockname()) for one in self._all())
        return any(not isinstance(place, str) and place[1] == tcp[1] for place in ours)

    def _ready(self, place: Place) -> socket.socket | None:
        for one in self._all():
            if place_of(one.getsockname()) == place:
                return one.dup()
        return None

    def _all(self) -> Iterator[socket.socket]:
        yield from self._sockets()
        yield from self._passed.values()

    def _sockets(self) -> Iterator[socket.socket]:
        """All that callers can reach; what was lost with its file is bound anew."""
        return (one for bound in self.bound if not bound.is_gone for one in bound.sockets)

    def _twin(self, bound: Bound, scheme: str, address: str) -> Bound:
        url = bound.url
        if "://" in url:
            url = f"{scheme}://{url.partition('://')[2]}"
        try:
            return replace(bound, url=url, sockets=_duplicates(bound.sockets))
        except OSError as error:
            raise ListenError(f"cannot listen on {address} ({reason(error, self._key)})") from error

    def _file_of(self, address: str) -> File | None:
        """Of a unix socket that is ours already, though named otherwise."""
        unix = split_unix(address)
        files = [bound.file for bound in self.bound if bound.file and not bound.is_gone]
        return next((file for file in files if unix and file.path == unix[0]), None)

    def adopt(self, prepared: list[Bound]) -> None:
        """Listen on these, and no more on those before; nothing of it can fail."""
        before, self.bound, self._addresses = self.bound, prepared, self._next
        _close(before, _files(prepared))
        self.bound = [_with_mode(*each) for each in zip(prepared, self._addresses, strict=True)]

    def discard(self, prepared: list[Bound]) -> None:
        """Leave all as it is."""
        _close(prepared, _files(self.bound))

    def let_go(self) -> None:
        """Leave the sockets to those who have them, too; the files stay."""
        ours = (one for bound in self.bound for one in bound.sockets)
        for one in (*ours, *self._passed.values()):
            one.close()

    def close(self) -> None:
        """Listen no more."""
        gone, self.bound = self.bound, []
        _close(gone, set())
        for one in self._passed.values():
            one.close()


def _duplicates(sockets: Iterable[socket.socket]) -> tuple[socket.socket, ...]:
    with contextlib.ExitStack() as undo:
        found = [undo.enter_context(one.dup()) for one in sockets]
        undo.pop_all()
    return tuple(found)


def _with_mode(bound: Bound, address: str) -> Bound:
    """The file of a unix socket has the mode that its address names last."""
    unix, file = split_unix(address), bound.file
    if unix is None or file is None:
        return bound
    return replace(bound, file=file.with_mode(unix[1]))


def _files(bound: Iterable[Bound]) -> set[File]:
    return {one.file for one in bound if one.file is not None}


def _close(bound: Iterable[Bound], kept: set[File]) -> None:
    for one in bound:
        (replace(one, file=None) if one.file in kept else one).close()
