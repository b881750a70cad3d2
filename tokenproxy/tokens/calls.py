"""Calls that may block for minutes, such as one that asks a person to unlock something.

Each runs in a daemon thread of its own, one at a time, and is waited for so many seconds:

| the call                | whoever asked                       | whoever asks next             |
|-------------------------|-------------------------------------|-------------------------------|
| ends in time            | has its outcome                     | is next                       |
| takes longer            | has TooLong                         | has it too, until it ends     |
| reads, asker cancelled  | leaves at once                      | waits for it as its asker did |
| writes, asker cancelled | leaves when it ends, or in due time | waits for it as its asker did |

A call that was given up goes on, and no thread keeps the process from ending.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class TooLong(Exception):
    """A call was given up."""


class Calls:
    """One call at a time, for the tasks of one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._last: _Call[Any] | None = None

    async def run(self, work: Callable[[], T], patience: float, *, writes: bool) -> T:
        """What `work` gives or raises within `patience` seconds.

        Raises:
            TooLong: it took longer, or the call before it does.
        """
        async with self._turn:
            if self._last is not None and not await self._last.ends():
                raise TooLong
            call = _begun(work, patience)
            self._last = call
            try:
                if not await call.ends():
                    raise TooLong
            except asyncio.CancelledError:
                if writes:
                    await call.ends()
                raise
            return call.outcome.result()


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    outcome: asyncio.Future[T]
    deadline: float  # by the loop's clock

    async def ends(self) -> bool:
        """Whether it ends in time; whoever waits and is cancelled leaves it as it is."""
        left = self.deadline - self.outcome.get_loop().time()
        if not self.outcome.done() and left > 0:
            await asyncio.wait({self.outcome}, timeout=left)
        return self.outcome.done()


def _begun(work: Callable[[], T], patience: float) -> _Call[T]:
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    outcome.add_done_callback(lambda done: done.exception())  # has been seen

    def _tell(settle: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle)

    def _run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            fault = error
            _tell(lambda: outcome.set_exception(fault))
        else:
            _tell(lambda: outcome.set_result(result))

    threading.Thread(target=_run, name="a call that may block", daemon=True).start()
    return _Call(outcome, loop.time() + patience)
