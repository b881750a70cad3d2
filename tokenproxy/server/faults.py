"""Faults on their way to the log: those that repeat are written once in an interval.

Libraries tell of theirs from any thread.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from threading import RLock
from typing import Generic, TypeVar

from tokenproxy.server.repeats import Line, Repeats

F = TypeVar("F")


class Faults(Generic[F]):
    """Writes faults by `write`, which is told how many a line stands for; `now` is steady."""

    def __init__(self, write: Callable[[F, int | None], None], now: Callable[[], float]) -> None:
        self._write = write
        self._now = now
        self._repeats: Repeats[F] = Repeats()
        self._timer: asyncio.TimerHandle | None = None
        # A collection of garbage can tell of a fault while one is being written.
        self._lock = RLock()

    def came(self, kind: Hashable, fault: F) -> None:
        """Write it now, or later together with others of its kind."""
        with self._lock:
            self._write_all(self._repeats.came(kind, fault, self._now()))
            self._wait()

    def end(self) -> None:
        """Write what is held."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._write_all(self._repeats.rest())

    def _wait(self) -> None:
        """Have the next interval end in time; without a loop it does with the next fault."""
        ends = self._repeats.ends
        if self._timer is not None or ends is None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._timer = loop.call_later(max(0.0, ends - self._now()), self._ended)

    def _ended(self) -> None:
        with self._lock:
            self._timer = None
            self._write_all(self._repeats.due(self._now()))
            self._wait()

    def _write_all(self, lines: Iterable[Line[F]]) -> None:
        for line in lines:
            self._write(line.fault, line.repeated)
