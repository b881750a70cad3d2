"""Sockets to listen on: loopback addresses and unix sockets, bound before anything starts."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenproxy.config.process import split_address
from tokenproxy.errors import ListenError

BACKLOG = 1024
PRIVATE = 0o177  # the umask under which a unix socket is made: nobody but its owner connects


@dataclass(frozen=True, slots=True)
class Bound:
    """One listener: its sockets, its URL for people, and the file to remove at the end."""

    url: str
    sockets: tuple[socket.socket, ...]
    path: str | None = None

    def close(self) -> None:
        """Stop listening, and leave no file behind."""
        for bound in self.sockets:
            bound.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                Path(self.path).unlink()


def bind(address: str) -> Bound:
    """Listen on `host:port` (port 0 picks a free one) or `unix:/path`.

    Raises:
        ListenError: the address cannot be had.
    """
    if address.startswith("unix:"):
        return _bind_unix(address.removeprefix("unix:"))
    split = split_address(address)
    if split is None:
        raise ListenError(f"cannot listen on {address}: it is not 'host:port' or 'unix:/path'")
    try:
        return _bind_tcp(*split)
    except OSError as error:
        raise ListenError(f"cannot listen on {address} ({_reason(error)})") from error


def _bind_tcp(host: str, port: int) -> Bound:
    """All addresses of the host, on one port: `localhost` is 127.0.0.1 and, where it works, ::1."""
    bound: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for family, place in _addresses(host):
            try:
                one = _listen(family, (place, port))
            except OSError:
                if not bound:
                    raise
                continue
            undo.callback(one.close)
            bound.append(one)
            port = one.getsockname()[1]
        undo.pop_all()
    name = f"[{host}]" if ":" in host else host
    return Bound(f"http://{name}:{port}", tuple(bound))


def _addresses(host: str) -> Iterator[tuple[socket.AddressFamily, str]]:
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


def _bind_unix(path: str) -> Bound:
    try:
        _remove_stale(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(PRIVATE)
        try:
            listening.bind(path)
        except BaseException:
            listening.close()
            raise
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
        listening.settimeout(0)
    except OSError as error:
        raise ListenError(f"cannot listen on unix:{path} ({_reason(error)})") from error
    return Bound(f"unix:{path}", (listening,), path)


def _remove_stale(path: str) -> None:
    """Take away a socket that nobody listens on any more; leave anything else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        else:
            raise OSError(errno.EADDRINUSE, "another program listens there")


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there: stop it, or name another 'listen'"
    return error.strerror or type(error).__name__
