"""Who of many takes a connection from the listener that they share."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import pytest

from tokenproxy.server import turns as module
from tokenproxy.server.listeners import Bound, bind
from tokenproxy.server.turns import Taking, Turns, shared


@pytest.fixture(params=["memfd", "file"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    if request.param == "file":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    with shared(3) as descriptor:
        yield descriptor


def test_it_is_the_turn_of_those_that_have_the_fewest(memory: int) -> None:
    first, second = Turns(memory, 0), Turns(memory, 1)
    assert first.is_ours(0)
    assert second.is_ours(0)
    assert not first.is_ours(1)
    assert second.is_ours(0)
    assert second.is_ours(1)
    assert first.is_ours(1)


def test_one_that_never_came_or_has_left_is_not_waited_for(memory: int) -> None:
    first, second = Turns(memory, 0), Turns(memory, 2)
    assert second.is_ours(0)
    assert not first.is_ours(5)
    Turns(memory, 2).leave()
    assert first.is_ours(5)


# -- taking ------------------------------------------------------------------------------------


class Held(asyncio.Protocol):
    """A connection that is counted until it ends."""

    def __init__(self, held: "set[Held]", came: asyncio.Event) -> None:
        self._held = held
        self._came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._held.add(self)
        self._came.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._held.discard(self)


class Worker:
    def __init__(self, bound: Bound, memory: int, index: int) -> None:
        self.held: set[Held] = set()
        self.came = asyncio.Event()
        self._listener = bound.sockets[0].dup()
        self.taking = Taking(
            self._listener,
            lambda: Held(self.held, self.came),
            Turns(memory, index),
            lambda: len(self.held),
        )

    def close(self) -> None:
        self.taking.close()
        self._listener.close()
        for one in self.held:
            one.transport.close()


@pytest.fixture
def bound(nothing_left_behind: None) -> Iterator[Bound]:
    with closing(bind("127.0.0.1:0")) as bound:
        yield bound


@pytest.fixture
async def three(bound: Bound, memory: int) -> AsyncIterator[list[Worker]]:
    made = [Worker(bound, memory, index) for index in range(3)]
    yield made
    for worker in made:
        worker.close()


def called(bound: Bound) -> socket.socket:
    return socket.create_connection(bound.sockets[0].getsockname())


async def test_connections_that_stay_are_spread_evenly(bound: Bound, three: list[Worker]) -> None:
    callers = []
    for number in range(30):
        callers.append(called(bound))
        while sum(len(worker.held) for worker in three) <= number:  # noqa: ASYNC110 - sockets
            await asyncio.sleep(0)
    assert [len(worker.held) for worker in three] == [10, 10, 10]
    for caller in callers:
        caller.close()


async def test_one_that_does_not_take_its_turn_holds_nobody_up(bound: Bound, memory: int) -> None:
    assert Turns(memory, 0).is_ours(0)  # and never takes any
    with closing(Worker(bound, memory, 1)) as other:
        for number in range(3):
            other.came.clear()
            with called(bound):
                await other.came.wait()
            assert len(other.held) <= number + 1


async def test_none_is_taken_after_the_end(bound: Bound, memory: int) -> None:
    with closing(Worker(bound, memory, 0)) as worker:
        worker.taking.close()
        with called(bound):
            for _ in range(10):
                await asyncio.sleep(0)
        assert worker.held == set()


class Exhausted(socket.socket):
    """A listener of a process that is short of descriptors, as often as `failures` says."""

    failures = 1

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_descriptors_callers_wait_and_that_is_told_once(
    bound: Bound, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    came = asyncio.Event()
    held: set[Held] = set()
    monkeypatch.setattr(module, "RECOVERY", module.MOMENT)
    with Exhausted(fileno=bound.sockets[0].dup().detach()) as listener:
        listener.settimeout(0)
        taking = Taking(
            listener,
            lambda: Held(held, came),
            Turns(memory, 0),
            lambda: len(held),
            short=lambda: told.append("short"),
        )
        with called(bound):
            await came.wait()
        taking.close()
    assert told == ["short"]
    for one in held:
        one.transport.close()


async def test_descriptors_are_left_for_other_things_than_callers(
    bound: Bound, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    came = asyncio.Event()
    held: set[Held] = set()
    monkeypatch.setattr(module, "for_callers", lambda: 0)  # all that are left are for others
    monkeypatch.setattr(module, "RECOVERY", 60.0)
    taking = Taking(
        bound.sockets[0],
        lambda: Held(held, came),
        None,
        lambda: len(held),
        short=lambda: told.append("short"),
    )
    with called(bound), called(bound):
        await came.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(held) == 1
    taking.close()
    assert told == ["short"]
    for one in held:
        one.transport.close()
