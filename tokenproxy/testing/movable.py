"""The machine's clocks, which a test puts forward: an hour later is at once.

    clock = MovableClock()
    clock.advance(3600)     # whoever slept no longer than that has been woken

Unlike that of a `ManualClock` its time goes on by itself, so that pauses between tries and
time-outs end with nobody's help. Doubles and a proxy in threads of their own can share it.
"""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock

from tokenproxy.clock import Moment, SystemClock

SETTLE_TURNS = 20  # of a loop, for those who were woken to begin what they slept for
LOOP_BUSY = 1.0  # seconds after which a loop that has no turn to give is waited for no longer

_Sleeper = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class MovableClock(SystemClock):
    """A `tokenproxy.clock.Clock` for any number of loops and threads."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._lock = Lock()
        self._sleeping: list[_Sleeper] = []

    def now(self) -> Moment:
        """This instant, put forward."""
        return super().now().after(self._ahead)

    async def sleep(self, seconds: float) -> None:
        """Wait that long, or until the clock has been put forward that far."""
        end = self.now().steady + seconds
        with self._watching() as moved:
            await asyncio.sleep(0)
            while (left := end - self.now().steady) > 0:
                moved.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await moved.wait()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once, and let those who sleep no longer begin; from any thread.

        Raises:
            ValueError: `seconds` is negative, or not finite.
        """
        if not math.isfinite(seconds):
            raise ValueError(f"time cannot go on by {seconds} seconds: name a finite number")
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} seconds")
        with self._lock:
            self._ahead += seconds
            sleeping = list(self._sleeping)
        for loop, moved in sleeping:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(moved.set)
        for loop in {loop for loop, _ in sleeping} - {_running()}:
            _settle(loop)

    @contextmanager
    def _watching(self) -> Iterator[asyncio.Event]:
        sleeper = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._sleeping.append(sleeper)
        try:
            yield sleeper[1]
        finally:
            with self._lock:
                self._sleeping.remove(sleeper)

    def __repr__(self) -> str:
        return f"MovableClock(ahead={self._ahead})"


def _running() -> asyncio.AbstractEventLoop | None:
    """The loop of the caller, who cannot wait for it."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _settle(loop: asyncio.AbstractEventLoop) -> None:
    turns = _turns()
    try:
        asyncio.run_coroutine_threadsafe(turns, loop).result(LOOP_BUSY)
    except (RuntimeError, TimeoutError):
        turns.close()


async def _turns() -> None:
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)
