"""Callers who send a byte now and then cost the others nothing, and are sent away."""

import asyncio
import sys
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from tests.e2e.conftest import ProxyFactory
from tests.e2e.slow_crowd import CLOCK, SLOW, connect, crowd, request
from tests.wire import Upstream
from tokenproxy.tasks import spawn

T = TypeVar("T")
OTHERS = 8
HEAD = 2.0  # seconds for a head
BODY_IDLE = 2.0  # seconds between two pieces of a body
ROUNDS = 2  # idle and beside slow bodies, in turn
SECONDS = 15.0  # of each


def config(upstream: Upstream) -> dict[str, Any]:
    return {
        "timeouts": {"request_head": HEAD, "request_body_idle": BODY_IDLE},
        "routes": [{"upstream": upstream.url, "max_connections": 2 * SLOW}],
    }


class Others:
    """Callers who ask again and again on connections that they keep."""

    def __init__(self, url: str) -> None:
        self._url = url
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
        async with await connect(self._url) as peer:
            while not self._over:
                began = CLOCK.now().steady
                await peer.send(request(self._url, b"GET /items", b"\r\n"))
                answer = await peer.answer()
                assert (answer.status, answer.body) == (200, b"ok")
                self.times.append(CLOCK.now().steady - began)
                await asyncio.sleep(0.01)


def p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


async def times_while(url: str, meanwhile: Awaitable[T]) -> tuple[list[float], T]:
    """How long the others' answers took meanwhile, and what came of that."""
    others = Others(url)
    with others.asking() as times:
        asking = [spawn(others.ask(), name="other") for _ in range(OTHERS)]
        outcome = await meanwhile
    await asyncio.gather(*asking)
    return times, outcome


async def test_slow_callers_are_sent_away_while_others_are_served(
    proxy: ProxyFactory, upstream: Upstream
) -> None:
    url = proxy(config(upstream)).url

    times, (heads, bodies) = await times_while(url, crowd(url, heads=SLOW, seconds=0.5))

    assert {status for status, _ in heads} == {408}
    assert {status for status, _ in bodies} == {408}
    assert len(times) > OTHERS
    await upstream.until(lambda: upstream.open <= OTHERS)  # what is kept for the next requests


@pytest.mark.soak
async def test_slow_bodies_do_not_slow_others_down(
    proxy: ProxyFactory, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    url = proxy(config(upstream)).url
    idle: list[float] = []
    slow: list[float] = []
    for _ in range(ROUNDS):
        idle += (await times_while(url, asyncio.sleep(SECONDS)))[0]
        times, (_, bodies) = await times_while(url, crowd(url, heads=0, seconds=SECONDS))
        slow += times
        assert {status for status, _ in bodies} == {408}

    with capsys.disabled():
        sys.stdout.write(
            f"\nslow bodies: p99 of others {p99(slow) * 1000:.1f} ms, idle "
            f"{p99(idle) * 1000:.1f} ms\n"
        )
