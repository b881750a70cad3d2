"""Three hundred callers with slow heads and as many with slow bodies, in a process of their own.

    python -m tests.e2e.slow_crowd URL HEADS SECONDS

where HEADS is how many have slow heads, and SECONDS how long the bodies trickle before nothing
more comes. It prints what came of them as JSON: `[[status, seconds], …]` of the heads, and of the
bodies.
"""

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import Any

from tests.wire import LIMIT, Peer
from tokenproxy.clock import SystemClock
from tokenproxy.tasks import cancelled, spawn

CLOCK = SystemClock()
SLOW = 300  # callers of each kind
SPREAD = 1.5  # seconds in which they all come
NOW_AND_THEN = 0.25  # seconds between two bytes
Outcome = tuple[int, float]


async def connect(url: str) -> Peer:
    """A connection to it."""
    port = int(url.rpartition(":")[2])
    return Peer(*await asyncio.open_connection("127.0.0.1", port, limit=LIMIT))


def request(url: str, line: bytes, *fields: bytes) -> bytes:
    """A request for it, as far as the fields go."""
    host = url.removeprefix("http://").encode()
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: " + host, *fields])


async def trickle(peer: Peer) -> None:
    """A byte now and then, for as long as anybody takes it."""
    while True:
        await asyncio.sleep(NOW_AND_THEN)
        await peer.send(b"x")


async def slow_head(url: str) -> Outcome:
    """Its answer's status, and the seconds until it is closed."""
    async with await connect(url) as peer:
        began = CLOCK.now().steady
        await peer.send(request(url, b"GET /items", b"X-Slow: "))
        sending = spawn(trickle(peer), name="trickle")
        try:
            status = (await peer.answer()).status
            took = CLOCK.now().steady - began
        finally:
            await cancelled(sending)
        await peer.ended()
        return status, took


async def slow_body(url: str, seconds: float) -> Outcome:
    """Its answer's status, and the seconds from its last piece until then."""
    async with await connect(url) as peer:
        await peer.send(request(url, b"POST /items", b"Content-Length: 1000", b"\r\n"))
        for _ in range(1 + int(seconds / NOW_AND_THEN)):
            await peer.send(b"x")
            await asyncio.sleep(NOW_AND_THEN)
        began = CLOCK.now().steady
        status = (await peer.answer()).status
        took = CLOCK.now().steady - began
        await peer.ended()
        return status, took


async def later(number: int, slow: Coroutine[Any, Any, Outcome]) -> Outcome:
    """One of them, in its turn."""
    await asyncio.sleep(SPREAD * number / SLOW)
    return await slow


async def attack(url: str, heads: int, seconds: float) -> tuple[list[Outcome], list[Outcome]]:
    """All who are slow, at once."""
    both = await asyncio.gather(
        asyncio.gather(*(later(at, slow_head(url)) for at in range(heads))),
        asyncio.gather(*(later(at, slow_body(url, seconds)) for at in range(SLOW))),
    )
    return both[0], both[1]


async def crowd(url: str, *, heads: int, seconds: float) -> tuple[list[Outcome], list[Outcome]]:
    """The attack, by a process of its own; what came of the heads, and of the bodies."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.slow_crowd", url, str(heads), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    of_heads, of_bodies = json.loads(told)
    return of_heads, of_bodies


if __name__ == "__main__":
    _, url, heads, seconds = sys.argv
    sys.stdout.write(json.dumps(asyncio.run(attack(url, int(heads), float(seconds)))))
