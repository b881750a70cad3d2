"""No caller is taken while descriptors are short, and all who wait are as soon as they are not."""

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager

import pytest

from tokenproxy.server import turns as module
from tokenproxy.server.listeners import Bound, bind
from tokenproxy.server.turns import Taking

LOOKS = 3


class Held(asyncio.Protocol):
    """A connection that was taken."""

    def __init__(self, held: "list[Held]") -> None:
        self._held = held

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._held.append(self)


class Looking(Taking):
    """One that notes what it finds each time it looks for room."""

    def __init__(self, bound: Bound, held: list[Held], short: Callable[[], None]) -> None:
        self.found: list[bool] = []
        super().__init__(bound.sockets[0], lambda: Held(held), None, lambda: len(held), short=short)

    def _has_room(self) -> bool:
        self.found.append(super()._has_room())
        return self.found[-1]


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110 - sockets and timers
            await asyncio.sleep(0)


@contextmanager
def share(number: int) -> Iterator[None]:
    """Callers may have no descriptor of that number: it is for upstreams and the store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "for_callers", lambda: number)
        yield


@contextmanager
def limit(number: int) -> Iterator[None]:
    """The process may have no descriptor of that number, though callers might."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with share(number):
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def bound(nothing_left_behind: None) -> Iterator[Bound]:
    with closing(bind("127.0.0.1:0")) as bound:
        yield bound


@pytest.fixture
def held(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Held]]:
    monkeypatch.setattr(module, "RECOVERY", module.MOMENT)
    held: list[Held] = []
    yield held
    for one in held:
        one.transport.close()


@pytest.fixture
def callers(bound: Bound) -> Iterator[Callable[[int], None]]:
    """Have so many connect, and stay."""
    with ExitStack() as stack:

        def call(count: int) -> None:
            address = bound.sockets[0].getsockname()
            for _ in range(count):
                stack.enter_context(socket.create_connection(address))

        yield call


@pytest.mark.parametrize(
    ("shortage", "taken_at_once"),
    [
        pytest.param(limit, 0, id="the process has no more"),
        pytest.param(share, 1, id="what is left is for others"),  # the first that shows it
    ],
)
async def test_none_is_taken_until_there_is_room_again(
    bound: Bound,
    held: list[Held],
    callers: Callable[[int], None],
    shortage: Callable[[int], AbstractContextManager[None]],
    taken_at_once: int,
) -> None:
    told: list[str] = []
    callers(taken_at_once + 1)
    last = os.dup(bound.sockets[0].fileno())
    with shortage(last + 1):
        taking = Looking(bound, held, lambda: told.append("short"))
        await until(lambda: len(taking.found) == LOOKS)
        assert (taking.found, len(held)) == ([False] * LOOKS, taken_at_once)
        os.close(last)
        await until(lambda: len(held) == taken_at_once + 1)
        taking.close()
    assert (taking.found[-1], taking.found.count(True), told) == (True, 1, ["short"])


async def test_one_that_ends_while_it_is_short_looks_no_more(
    bound: Bound, held: list[Held], callers: Callable[[int], None]
) -> None:
    callers(2)
    with share(0):
        taking = Looking(bound, held, lambda: None)
        await until(lambda: len(taking.found) == LOOKS)
        taking.close()
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * module.MOMENT, later.set)
        await later.wait()
    assert (len(taking.found), len(held)) == (LOOKS, 1)
