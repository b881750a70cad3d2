"""A service manager is told, whatever there is to tell."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenproxy.environment import Service
from tokenproxy.server.notify import MAX_STATUS, Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(10)
        yield manager


@pytest.mark.parametrize("letter", ["x", "é", "\N{GRINNING FACE}"])
def test_a_status_of_any_length_leaves_it_ready(manager: socket.socket, letter: str) -> None:
    Notifier(Service(notify_socket=manager.getsockname())).ready("a" + letter * 300_000)

    ready, status = manager.recv(1 << 20).decode().split("\n")
    assert ready == "READY=1"
    assert set(status.removeprefix("STATUS=a")) == {letter}
    assert MAX_STATUS - 4 < len(status.removeprefix("STATUS=").encode()) <= MAX_STATUS
