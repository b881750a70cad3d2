"""What `tokenproxy run` is: one process that serves, or a supervisor with its workers.

SIGTERM and SIGINT begin the shutdown; a second signal ends it now.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tokenproxy.config.confidential import known
from tokenproxy.config.model import Config
from tokenproxy.runtime import World
from tokenproxy.server.log import EventLog, ForeignLog
from tokenproxy.server.serve import Announce, serve
from tokenproxy.server.supervisor import supervise
from tokenproxy.tasks import cancelled, spawn

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Work = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def _settle() -> None:
    """What has been imported by now is never garbage: no collection need look at it."""
    gc.collect()
    gc.freeze()


def run(config: Config, announce: Announce, file: Path | None = None) -> None:
    """Serve until a signal comes; `announce` is given one line a listener.

    `file` is where the config was read.

    Raises:
        ListenError: an address cannot be had.
        ConfigError: a file that the config names cannot be used.
        WorkerError: a worker does not come to serve.
    """
    world = World()
    log = EventLog(config.log, sys.stderr)
    workers = number(config.workers)
    with (
        known(config),
        log,
        library_logs(ForeignLog(log.logger)),
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        _settle()
        world = replace(world, observe=log)
        work: Work = partial(serve, config, world, announce, file=file)
        if workers > 1:
            work = partial(supervise, config, world, announce, workers, file=file)
        runner.run(_until_told(work))


def number(workers: int | Literal["auto"]) -> int:
    """How many there are: `auto` is one for each core that this process may use."""
    if workers != "auto":
        return workers
    usable = getattr(os, "sched_getaffinity", None)  # macOS has none
    return len(usable(0)) if usable else os.cpu_count() or 1


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every machine
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_told(work: Work) -> None:
    stopping, ending = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (ending if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for sign in STOP_SIGNALS:
        loop.add_signal_handler(sign, told)
    await unless(work(stopping), ending)


async def unless(work: Coroutine[Any, Any, None], ending: asyncio.Event) -> None:
    """Do the work, or cancel it once `ending` is set."""
    working = spawn(work, name="work")
    end = spawn(ending.wait(), name="end")
    try:
        await asyncio.wait({working, end}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled(end, working)
    if not working.cancelled():
        working.result()


@contextlib.contextmanager
def library_logs(handler: logging.Handler) -> Iterator[None]:
    """What libraries log goes to `handler` in here; it is closed at the end."""
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
