"""Sockets to listen on: addresses and unix sockets, bound before anything starts."""

import contextlib
import errno
import os
import socket
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenproxy.config.process import split_address, split_unix
from tokenproxy.errors import ListenError

BACKLOG = 1024
PORT_TRIES = 20  # where one is picked for 127.0.0.1, and ::1 has it in use
NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})  # no IPv6 here, say
LOCALHOST = "localhost"
NO_TLS: Mapping[str, Any] = {}
LAST_WORDS = 5.0  # seconds in which a caller may say that it has heard the end of a TLS connection


Place = tuple[str, int] | str  # host and port, or the path of a unix socket
Ready = Callable[[Place], socket.socket | None]


def none_ready(place: Place) -> None:
    """No socket listens yet."""
    del place


def place_of(sockname: Any) -> Place:
    """A socket's own address, without what only IPv6 has."""
    return (str(sockname[0]), int(sockname[1])) if isinstance(sockname, tuple) else str(sockname)


@dataclass(frozen=True, slots=True)
class Bound:
    """One listener: its URL for people, its sockets, and the file of a unix socket."""

    url: str
    sockets: tuple[socket.socket, ...]
    file: "File | None" = None

    @property
    def is_gone(self) -> bool:
        """Whether nobody can find it any more: the file of a unix socket has been removed."""
        return self.file is not None and not os.path.lexists(self.file.path)

    def close(self) -> None:
        """Stop listening, and leave no file behind."""
        for bound in self.sockets:
            bound.close()
        if self.file is not None:
            self.file.remove()


@dataclass(frozen=True, slots=True)
class File:
    """The file of a unix socket, told from one that another process has put in its place.

    An inode alone does not tell: it is given to the next file as soon as it is free.
    """

    path: str
    device: int
    inode: int
    changed: int  # nanoseconds

    @classmethod
    def at(cls, path: str) -> "File":
        """What is at the path now."""
        found = os.lstat(path)
        return cls(path, found.st_dev, found.st_ino, found.st_ctime_ns)

    def remove(self) -> None:
        """Remove it, unless there is another one in its place, or none."""
        with contextlib.suppress(OSError):
            if File.at(self.path) == self:
                Path(self.path).unlink()

    def with_mode(self, mode: int) -> "File":
        """The same with that mode, unless there is another one in its place, or none."""
        with contextlib.suppress(OSError, NotImplementedError):
            found = os.lstat(self.path)
            if File.at(self.path) == self and stat.S_IMODE(found.st_mode) != mode:
                Path(self.path).chmod(mode, follow_symlinks=False)
                return File.at(self.path)
        return self


def handshakes(tls: ssl.SSLContext | None, patience: float) -> dict[str, Any]:
    """What a loop is told of the TLS of connections; a handshake has `patience` seconds."""
    if tls is None:
        return {}
    return {"ssl": tls, "ssl_handshake_timeout": patience, "ssl_shutdown_timeout": LAST_WORDS}


def bind(
    address: str, scheme: str = "http", key: str = "listen", ready: Ready = none_ready
) -> Bound:
    """Listen on `host:port` (port 0 picks a free one) or `unix:/path`, with its `?mode=`.

    `key` is where the config names it. A socket that listens there already is used, where `ready`
    has one.

    Raises:
        ListenError: the address cannot be had.
    """
    tcp, unix = split_address(address), split_unix(address)
    try:
        if tcp is not None:
            return _bind_tcp(*tcp, scheme, ready)
        if unix is not None:
            return _bind_unix(*unix, ready)
    except OSError as error:
        raise ListenError(f"cannot listen on {address} ({reason(error, key)})") from error
    except UnicodeError as error:  # IDNA: a label that is empty, too long or of odd letters
        wrong = f"that is no host's name: name another '{key}'"
        raise ListenError(f"cannot listen on {address} ({wrong})") from error
    raise ListenError(f"cannot listen on {address}: it is not 'host:port' or 'unix:/path'")


def places(address: str) -> list[Place]:
    """What sockets that listen there are told by; none where a port is to be picked."""
    tcp, unix = split_address(address), split_unix(address)
    if unix is not None:
        return [unix[0]]
    if tcp is None or tcp[1] == 0:
        return []
    try:
        return [(place, tcp[1]) for _, place in _addresses(tcp[0])]
    except (OSError, UnicodeError):  # `bind` tells of it
        return []


def _bind_tcp(host: str, port: int, scheme: str, ready: Ready) -> Bound:
    """All addresses of the host, on one port: `localhost` is 127.0.0.1 and, where it works, ::1."""
    for _ in range(PORT_TRIES if port == 0 else 1):
        bound = _bind_each(list(_addresses(host)), port, ready)
        if bound:
            name = f"[{host}]" if ":" in host else host
            return Bound(f"{scheme}://{name}:{bound[0].getsockname()[1]}", bound)
    raise OSError(errno.EADDRINUSE, "in use")


def _bind_each(
    addresses: list[tuple[socket.AddressFamily, str]], port: int, ready: Ready
) -> tuple[socket.socket, ...]:
    """A socket for each; none where a port that was picked for the first is taken for another."""
    picks = port == 0
    with contextlib.ExitStack() as undo:
        bound: list[socket.socket] = []
        for family, place in addresses:
            try:
                one = ready((place, port)) or _listen(family, (place, port))
            except OSError as error:
                if error.errno in NO_SUCH_ADDRESS and len(addresses) > 1:
                    continue
                if error.errno == errno.EADDRINUSE and picks and bound:
                    return ()
                raise
            undo.callback(one.close)
            bound.append(one)
            port = one.getsockname()[1]
        if not bound:
            raise OSError(errno.EADDRNOTAVAIL, "no address of that name is this machine's")
        undo.pop_all()
        return tuple(bound)


def _addresses(host: str) -> Iterator[tuple[socket.AddressFamily, str]]:
    if host == LOCALHOST:  # RFC 6761 6.3: loopback, whatever this machine's resolver says
        yield socket.AF_INET, "127.0.0.1"
        yield socket.AF_INET6, "::1"
        return
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, place in sorted(set(found), key=lambda info: info[0] != socket.AF_INET):
        yield family, str(place[0])


def _listen(family: socket.AddressFamily, place: tuple[str, int]) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(place)
        listening.listen(BACKLOG)
        listening.settimeout(0)
    except BaseException:
        listening.close()
        raise
    return listening


def _bind_unix(path: str, mode: int, ready: Ready) -> Bound:
    found = ready(path)
    if found is not None:
        return Bound(f"unix:{path}", (found,))
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(~mode & 0o777)  # from the start: nobody may slip in before a chmod
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
        listening.settimeout(0)
        return Bound(f"unix:{path}", (listening,), File.at(path))
    except BaseException:
        listening.close()
        raise


def _remove_stale(path: str) -> None:
    """Take away a socket that nobody listens on any more; leave anything else."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError("a file that is no socket has that name: move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # one that is too busy to answer is alive
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except BlockingIOError:
            raise OSError(errno.EADDRINUSE, "in use") from None
        else:
            raise OSError(errno.EADDRINUSE, "in use")


def reason(error: OSError, key: str) -> str:
    """Why a socket cannot be had, where the config names it by `key`."""
    if error.errno == errno.EADDRINUSE:
        return f"another program listens there: stop it, or name another '{key}'"
    return error.strerror or str(error)
