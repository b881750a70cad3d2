"""Deadlines by one coarse timer: a sweep over all connections, and not a timer for each.

While it ticks, `now` is the time of the last tick, so that to set a deadline costs no look at a
clock. One that is set to `now` + seconds + one tick is met no sooner than it says, and two ticks
late at most.
"""

import asyncio
import math
from typing import Protocol

NEVER = math.inf
FINENESS = 16  # ticks in the shortest time that is watched
SHORTEST_TICK, LONGEST_TICK = 0.01, 0.5


class Watched(Protocol):
    """What has deadlines of its own."""

    def tick(self, now: float) -> None:
        """Act on those that are over."""


class Sweep:
    """Ticks while there is something to watch; `shortest` is the least time-out, in seconds."""

    __slots__ = ("_loop", "_tick", "_timer", "_watched", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop, shortest: float) -> None:
        self._loop = loop
        self._tick = min(max(shortest / FINENESS, SHORTEST_TICK), LONGEST_TICK)
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.now = loop.time()

    def after(self, seconds: float | None) -> float:
        """The deadline in so many seconds; None is never."""
        if self._timer is None:
            self.now = self._loop.time()  # nothing has told it since the last tick
        return NEVER if seconds is None else self.now + seconds + self._tick

    def add(self, watched: Watched) -> None:
        """Watch it from now on."""
        self._watched.add(watched)
        if self._timer is None:
            self.now = self._loop.time()
            self._timer = self._loop.call_later(self._tick, self._sweep)

    def discard(self, watched: Watched) -> None:
        """Watch it no more."""
        self._watched.discard(watched)

    def _sweep(self) -> None:
        self.now = now = self._loop.time()
        for watched in list(self._watched):
            watched.tick(now)
        again = bool(self._watched)
        self._timer = self._loop.call_later(self._tick, self._sweep) if again else None

    def close(self) -> None:
        """Tick no more."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
