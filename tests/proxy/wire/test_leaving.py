"""What a socket shows of a caller that is not read from."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from tokenproxy.proxy.wire import leaving
from tokenproxy.proxy.wire.leaving import LAST_REQUEST, Sight, Socket, Watch, look, peek, unread

Pair = tuple[socket.socket, socket.socket]
Eye = Callable[[Socket], Sight]


def by_poll(sock: Socket) -> Sight:
    [sight] = look([sock])
    return sight


TELLS_ALL = pytest.param(
    by_poll, id="poll", marks=pytest.mark.skipif(not leaving._RDHUP, reason="Linux has it")
)


@pytest.fixture
def tcp() -> Iterator[Pair]:
    """Our side, and the caller's."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        theirs = stack.enter_context(socket.create_connection(listening.getsockname()))
        ours = stack.enter_context(listening.accept()[0])
        ours.setblocking(False)
        yield ours, theirs


@pytest.fixture
def unix() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Pair:
    found: Pair = request.getfixturevalue(request.param)
    return found


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("eye", [TELLS_ALL, peek])
@pytest.mark.parametrize("data", [b"", b"unread"])
def test_who_is_there_is_seen_and_nothing_is_taken(pair: Pair, eye: Eye, data: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(data)
    assert (eye(ours), eye(ours)) == (Sight.HERE, Sight.HERE)
    assert unread(ours) == data
    if data:
        assert ours.recv(100) == data


@pytest.mark.parametrize("eye", [TELLS_ALL, peek])
def test_a_fin_is_seen(pair: Pair, eye: Eye) -> None:
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    assert eye(ours) is Sight.FINISHED


@pytest.mark.parametrize("eye", [TELLS_ALL])
def test_a_fin_is_seen_behind_what_is_unread(pair: Pair, eye: Eye) -> None:
    ours, theirs = pair
    theirs.sendall(b"unread")
    theirs.shutdown(socket.SHUT_WR)
    assert eye(ours) is Sight.FINISHED
    assert unread(ours) == b"unread"


@pytest.mark.parametrize("eye", [TELLS_ALL, peek])
@pytest.mark.parametrize("data", [b"", b"unread"])
def test_a_reset_is_seen(tcp: Pair, eye: Eye, data: bytes) -> None:
    ours, theirs = tcp
    theirs.sendall(data)
    reset(theirs)
    assert eye(ours) is Sight.GONE


def test_each_of_many_is_told(tcp: Pair, unix: Pair) -> None:
    reset(tcp[1])
    assert list(look([tcp[0], unix[0], unix[1]])) == [Sight.GONE, Sight.HERE, Sight.HERE]


def test_nothing_is_unread_where_the_connection_was_reset(tcp: Pair) -> None:
    reset(tcp[1])
    assert unread(tcp[0]) == b""


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nCONNECTION:Te, Close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET /close HTTP/1.1\r\nConnection: keep-alive\r\nX: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nX-Connection: close\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nConnection: x-closed, closes\r\n\r\n", False),
        (b"", False),
    ],
)
def test_the_words_of_a_last_request_are_known(data: bytes, found: bool) -> None:
    assert (LAST_REQUEST.search(data) is not None) is found


# -- one timer for all ----------------------------------------------------------------------------


class Connection:
    """One that is paused for as long as the test says."""

    def __init__(self, sock: socket.socket) -> None:
        self.paused_socket: Socket | None = sock
        self.seen_: list[Sight] = []

    def seen(self, sight: Sight) -> None:
        self.seen_.append(sight)


class Timers:
    """They ring when the test says."""

    def __init__(self) -> None:
        self.running: list[tuple[float, Callable[[], object]]] = []

    def call_later(self, delay: float, callback: Callable[[], object]) -> object:
        self.running.append((delay, callback))
        return object()

    def ring(self) -> None:
        [(_, callback)], self.running = self.running, []
        callback()

    def watch(self) -> Watch:
        return Watch(cast("asyncio.AbstractEventLoop", self), 7)


def test_all_are_looked_at_by_one_timer(tcp: Pair, unix: Pair) -> None:
    timers = Timers()
    watch = timers.watch()
    connections = [Connection(tcp[0]), Connection(unix[0])]
    for connection in connections * 2:
        watch.add(connection)
    assert [delay for delay, _ in timers.running] == [7]
    reset(tcp[1])
    timers.ring()
    assert [connection.seen_ for connection in connections] == [[Sight.GONE], [Sight.HERE]]
    assert [delay for delay, _ in timers.running] == [7]


def test_who_is_read_again_is_looked_at_no_more_and_the_timer_stops(tcp: Pair) -> None:
    timers = Timers()
    watch = timers.watch()
    connection = Connection(tcp[0])
    watch.add(connection)
    timers.ring()
    connection.paused_socket = None
    timers.ring()
    assert (connection.seen_, timers.running) == ([Sight.HERE], [])
    connection.paused_socket = tcp[0]
    watch.add(connection)
    timers.ring()
    assert connection.seen_ == [Sight.HERE] * 2
