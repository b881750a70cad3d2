"""Sockets that a service manager has opened for us (sd_listen_fds(3))."""

import os
import socket
from collections.abc import Iterable

from tokenproxy.config.model import Config
from tokenproxy.config.process import address_of
from tokenproxy.errors import ListenError
from tokenproxy.server.listeners import Place, place_of, places
from tokenproxy.server.listening import Passed

FIRST = 3  # SD_LISTEN_FDS_START


def passed_sockets(count: int) -> Passed:
    """Those descriptors as sockets, by their address; nobody that we start inherits them.

    Raises:
        ListenError: one of them is no socket that listens.
    """
    return dict(_opened(descriptor) for descriptor in range(FIRST, FIRST + count))


def _opened(descriptor: int) -> tuple[Place, socket.socket]:
    wrong = (
        f"the service manager passed descriptor {descriptor}, which is no stream socket that "
        "listens: have its socket unit say ListenStream="
    )
    try:
        found = socket.socket(fileno=descriptor)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(wrong) from error
    if not listens or found.type != socket.SOCK_STREAM:
        raise ListenError(wrong)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - it has no name
    found.settimeout(0)
    return place_of(found.getsockname()), found


def check_wanted(passed: Iterable[Place], config: Config) -> None:
    """Raise ListenError where one of them is no address of the config's."""
    named = [*map(address_of, config.listen), *([config.admin] if config.admin else [])]
    wanted = {place for address in named for place in places(address)}
    for place in passed:
        if place not in wanted:
            shown = f"unix:{place}" if isinstance(place, str) else ":".join(map(str, place))
            raise ListenError(
                f"the service manager passed a socket on {shown}, which the config does not "
                f"name: 'listen' and 'admin' say {', '.join(named)}"
            )
