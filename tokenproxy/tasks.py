"""Tasks that somebody owns, and waiting that cancels nobody."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def spawn(coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start a task; the caller keeps it, and ends it with `cancelled`."""
    return asyncio.create_task(coroutine, name=name)  # noqa: TID251 - the one place that may


async def cancelled(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel what still runs and wait until all of it has ended, whatever it ends with."""
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


async def unless(work: Coroutine[Any, Any, object], ending: asyncio.Event) -> bool:
    """Do the work, or cancel it once `ending` is set; whether it was done."""
    working = spawn(work, name="work")
    end = spawn(ending.wait(), name="end")
    try:
        await asyncio.wait({working, end}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled(end, working)
    if not working.cancelled():
        working.result()
    return not working.cancelled()


async def done_within(
    future: asyncio.Future[Any], seconds: float, sleep: Callable[[float], Awaitable[None]]
) -> bool:
    """Wait for `future` without ever cancelling it; False if `seconds` passed first.

    A caller who is cancelled here leaves the future as it is: others may wait for it.
    """
    if future.done():
        await asyncio.sleep(0)  # its callbacks come first: what they change is what is waited for
        return True
    timer = asyncio.ensure_future(sleep(seconds))  # noqa: TID251 - ended below, whatever happens
    try:
        await asyncio.wait({future, timer}, return_when=asyncio.FIRST_COMPLETED)
        return future.done()
    finally:
        timer.cancel()


class Bell:
    """Wakes all who wait at that moment; whoever comes later waits for the next ring."""

    def __init__(self) -> None:
        self._ring: asyncio.Future[None] | None = None

    @property
    def next_ring(self) -> asyncio.Future[None]:
        """Done at the next ring; whoever takes it before looking round misses nothing.

        It is shared: wait for it with `done_within`, which leaves it alone if you are cancelled.
        """
        if self._ring is None:
            self._ring = asyncio.get_running_loop().create_future()
        return self._ring

    def ring(self) -> None:
        """Wake them."""
        ring, self._ring = self._ring, None
        if ring is not None and not ring.done():
            ring.set_result(None)
