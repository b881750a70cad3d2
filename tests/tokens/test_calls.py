import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens.calls import Calls, TooLong

PATIENCE = 0.05  # seconds
LONG = 5.0


class Blocked:
    """Work that goes on until it is let go, and says how it went."""

    def __init__(self) -> None:
        self._let_go = threading.Event()
        self.begun = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        self._let_go.wait(LONG)
        self.ended.set()
        return "late"

    def let_go(self) -> None:
        self._let_go.set()

    async def has(self, what: threading.Event) -> None:
        async with asyncio.timeout(LONG):
            while not what.is_set():  # noqa: ASYNC110 - a thread tells
                await asyncio.sleep(0.001)


def _fail() -> None:
    raise ZeroDivisionError


async def _run(calls: Calls, work: Callable[[], Any], patience: float = LONG) -> Any:
    return await calls.run(work, patience, writes=False)


async def test_a_call_gives_what_it_gives() -> None:
    assert await _run(Calls(), lambda: "it") == "it"


async def test_a_call_raises_what_it_raises() -> None:
    calls = Calls()
    with pytest.raises(ZeroDivisionError):
        await _run(calls, _fail)
    assert await _run(calls, lambda: "next") == "next"


async def test_calls_run_in_daemon_threads_one_at_a_time() -> None:
    running, most, daemons = 0, 0, set[bool]()

    def _count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        daemons.add(threading.current_thread().daemon)
        time.sleep(0.001)
        running -= 1

    calls = Calls()
    await asyncio.gather(*(_run(calls, _count) for _ in range(20)))
    assert (most, daemons) == (1, {True})


async def test_a_call_that_takes_too_long_is_given_up_and_goes_on() -> None:
    calls, blocked = Calls(), Blocked()
    with pytest.raises(TooLong):
        await _run(calls, blocked, PATIENCE)
    blocked.let_go()
    await blocked.has(blocked.ended)
    assert await _run(calls, lambda: "next") == "next"


async def test_while_a_call_that_was_given_up_goes_on_no_other_is_made_or_waited_for() -> None:
    calls, blocked, made = Calls(), Blocked(), []
    with pytest.raises(TooLong):
        await _run(calls, blocked, PATIENCE)
    began = time.perf_counter()
    for _ in range(10):
        with pytest.raises(TooLong):
            await _run(calls, lambda: made.append(1))
    assert time.perf_counter() - began < PATIENCE
    assert made == []
    blocked.let_go()


async def test_a_reader_who_is_cancelled_leaves_at_once_and_the_next_waits_for_the_call() -> None:
    calls, blocked = Calls(), Blocked()
    reader = spawn(_run(calls, blocked), name="reader")
    await blocked.has(blocked.begun)
    await cancelled(reader)
    assert reader.cancelled()
    assert not blocked.ended.is_set()

    following = spawn(_run(calls, blocked.ended.is_set), name="following")
    await asyncio.wait({following}, timeout=PATIENCE)
    assert not following.done()
    blocked.let_go()
    assert await following is True


async def test_a_writer_who_is_cancelled_waits_for_the_end_of_the_call() -> None:
    calls, blocked = Calls(), Blocked()
    writer = spawn(calls.run(blocked, LONG, writes=True), name="writer")
    await blocked.has(blocked.begun)
    writer.cancel()
    await asyncio.wait({writer}, timeout=PATIENCE)
    assert not writer.done()
    blocked.let_go()
    await asyncio.wait({writer})
    assert writer.cancelled()
    assert blocked.ended.is_set()


async def test_a_writer_who_is_cancelled_waits_no_longer_than_any_other() -> None:
    calls, blocked = Calls(), Blocked()
    writer = spawn(calls.run(blocked, PATIENCE, writes=True), name="writer")
    await blocked.has(blocked.begun)
    async with asyncio.timeout(LONG):
        await cancelled(writer)
    assert writer.cancelled()
    assert not blocked.ended.is_set()
    blocked.let_go()


async def test_one_who_is_cancelled_before_its_turn_makes_no_call() -> None:
    calls, blocked, made = Calls(), Blocked(), []
    reader = spawn(_run(calls, blocked), name="reader")
    await blocked.has(blocked.begun)
    waiting = spawn(calls.run(lambda: made.append(1), LONG, writes=True), name="waiting")
    await asyncio.sleep(0)
    await cancelled(waiting)
    blocked.let_go()
    assert await reader == "late"
    assert await _run(calls, lambda: "next") == "next"
    assert made == []


async def test_a_failure_that_nobody_waited_for_is_no_complaint() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    calls, blocked = Calls(), Blocked()

    def _fail_late() -> None:
        blocked()
        raise ZeroDivisionError

    reader = spawn(_run(calls, _fail_late), name="reader")
    await blocked.has(blocked.begun)
    await cancelled(reader)
    blocked.let_go()
    assert await _run(calls, lambda: "next") == "next"
    del reader
    gc.collect()
    assert complaints == []


def test_a_call_that_outlives_its_loop_harms_nobody() -> None:
    blocked = Blocked()

    async def _give_up() -> None:
        with pytest.raises(TooLong):
            await _run(Calls(), blocked, PATIENCE)

    asyncio.run(_give_up())
    blocked.let_go()
    assert blocked.ended.wait(LONG)


def test_one_loop_may_follow_another() -> None:
    calls = Calls()
    for _ in range(3):
        assert asyncio.run(_run(calls, lambda: "it")) == "it"
