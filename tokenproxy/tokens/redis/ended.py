"""Waiting for what redis-py does.

It waits with `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes with
its outcome. So whatever may be cancelled goes to redis-py in a task of its own.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tokenproxy.tasks import spawn

T = TypeVar("T")

CANCEL_AGAIN = 0.1  # seconds until a cancellation counts as swallowed


async def ended(work: Coroutine[Any, Any, T], *, cancels: bool) -> T:
    """The result of `work`, which has ended when this returns or raises.

    A caller who is cancelled meanwhile has the CancelledError then, in any case; `cancels` says
    whether `work` is cancelled too, or goes on to its own end.
    """
    task = spawn(work, name="ask redis")
    cancellation: asyncio.CancelledError | None = None
    while not task.done():
        if cancels and cancellation is not None:
            task.cancel()
        try:
            await asyncio.wait({task}, timeout=None if cancellation is None else CANCEL_AGAIN)
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # has been seen
    raise cancellation
