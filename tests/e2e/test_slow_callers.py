"""Callers who send a byte now and then cost the others nothing, and are sent away."""

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.conftest import Program, ProxyFactory
from tests.wire import LIMIT, Peer, Upstream
from tokenproxy.clock import SystemClock
from tokenproxy.tasks import cancelled, spawn

CLOCK = SystemClock()
SLOW = 300  # callers of each kind
OTHERS = 8
HEAD = 2.0  # seconds for a head
BODY_IDLE = 2.0  # seconds between two pieces of a body
SPREAD = 1.5  # seconds in which they all come: this process is the crowd, and no faster
NOW_AND_THEN = 0.25  # seconds between two bytes
Outcome = tuple[int, float]
PIECES = [b"a", b"b", b"c"]  # of a body, and then nothing more


def config(upstream: Upstream) -> dict[str, Any]:
    return {
        "timeouts": {"request_head": HEAD, "request_body_idle": BODY_IDLE},
        "routes": [{"upstream": upstream.url, "max_connections": 2 * SLOW}],
    }


async def connect(program: Program) -> Peer:
    port = int(program.url.rpartition(":")[2])
    return Peer(*await asyncio.open_connection("127.0.0.1", port, limit=LIMIT))


def request(program: Program, line: bytes, *fields: bytes) -> bytes:
    host = program.url.removeprefix("http://").encode()
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: " + host, *fields])


async def trickle(peer: Peer) -> None:
    """A byte now and then, for as long as anybody takes it."""
    while True:
        await asyncio.sleep(NOW_AND_THEN)
        await peer.send(b"x")


async def slow_head(program: Program) -> Outcome:
    """Its answer's status, and the seconds until it is closed."""
    async with await connect(program) as peer:
        began = CLOCK.now().steady
        await peer.send(request(program, b"GET /items", b"X-Slow: "))
        sending = spawn(trickle(peer), name="trickle")
        try:
            status = (await peer.answer()).status
            took = CLOCK.now().steady - began
        finally:
            await cancelled(sending)
        await peer.ended()
        return status, took


async def slow_body(program: Program) -> Outcome:
    """Its answer's status, and the seconds from its last piece until then."""
    async with await connect(program) as peer:
        await peer.send(
            request(program, b"POST /items", b"Content-Length: 1000", b"\r\n"), PIECES[0]
        )
        for piece in PIECES[1:]:
            await asyncio.sleep(NOW_AND_THEN)
            await peer.send(piece)
        began = CLOCK.now().steady
        status = (await peer.answer()).status
        took = CLOCK.now().steady - began
        await peer.ended()
        return status, took


class Others:
    """Callers who ask again and again on connections that they keep."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.times: list[float] = []

    @contextmanager
    def asking(self) -> Iterator[list[float]]:
        """In here they ask; the list gets the seconds that each answer took."""
        self.times = []
        self._over = False
        yield self.times
        self._over = True

    async def ask(self) -> None:
        """One of them; raises where an answer is not as it should be."""
        async with await connect(self._program) as peer:
            while not self._over:
                began = CLOCK.now().steady
                await peer.send(request(self._program, b"GET /items", b"\r\n"))
                answer = await peer.answer()
                assert (answer.status, answer.body) == (200, b"ok")
                self.times.append(CLOCK.now().steady - began)
                await asyncio.sleep(0.01)


def p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


async def times_while(program: Program, meanwhile: Any) -> tuple[list[float], Any]:
    """How long the others' answers took meanwhile, and what came of that."""
    others = Others(program)
    with others.asking() as times:
        asking = [spawn(others.ask(), name="other") for _ in range(OTHERS)]
        outcome = await meanwhile
    await asyncio.gather(*asking)
    return times, outcome


async def later(number: int, slow: Coroutine[Any, Any, Outcome]) -> Outcome:
    """One of them, in its turn."""
    await asyncio.sleep(SPREAD * number / SLOW)
    return await slow


async def attack(program: Program) -> tuple[list[Outcome], list[Outcome]]:
    """All who are slow, at once."""
    heads = asyncio.gather(*(later(at, slow_head(program)) for at in range(SLOW)))
    bodies = asyncio.gather(*(later(at, slow_body(program)) for at in range(SLOW)))
    return list(await heads), list(await bodies)


async def test_slow_callers_are_sent_away_while_others_are_served(
    proxy: ProxyFactory, upstream: Upstream
) -> None:
    program = proxy(config(upstream))

    times, (heads, bodies) = await times_while(program, attack(program))

    assert {status for status, _ in heads} == {408}
    assert {status for status, _ in bodies} == {408}
    assert len(times) > OTHERS
    await upstream.until(lambda: upstream.open <= OTHERS)  # what is kept for the next requests


@pytest.mark.soak
async def test_slow_callers_do_not_slow_others_down(
    proxy: ProxyFactory, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    program = proxy(config(upstream))
    idle, _ = await times_while(program, asyncio.sleep(5))

    slow, (heads, bodies) = await times_while(program, repeated(program, rounds=5))

    with capsys.disabled():
        sys.stdout.write(
            f"\nslow callers: p99 of others {p99(slow) * 1000:.1f} ms, idle "
            f"{p99(idle) * 1000:.1f} ms; heads sent away after {max(t for _, t in heads):.1f} s, "
            f"bodies after {max(t for _, t in bodies):.1f} s\n"
        )
    assert {status for status, _ in [*heads, *bodies]} == {408}


async def repeated(program: Program, *, rounds: int) -> tuple[Any, Any]:
    """The attack, again and again."""
    heads: list[Outcome] = []
    bodies: list[Outcome] = []
    for _ in range(rounds):
        more = await attack(program)
        heads += more[0]
        bodies += more[1]
    return heads, bodies
