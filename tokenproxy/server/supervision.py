"""A supervisor's part in a change of the config: it is tried here first, then the workers get it.

The supervisor has a runtime of its own, since it renews ahead of need and serves admin. Like that
of a process which serves alone, each inherits from the one before it what has not changed.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Self

from tokenproxy.clock import Clock
from tokenproxy.config.model import Config
from tokenproxy.runtime import Runtime
from tokenproxy.server.crews import LEEWAY, Crews
from tokenproxy.server.listeners import Bound
from tokenproxy.server.listening import Listeners
from tokenproxy.server.office import Office
from tokenproxy.server.share import number
from tokenproxy.tasks import cancelled, spawn, unless


class Supervision:
    """The config in force, and what this process has of it, in `async with`."""

    def __init__(
        self,
        office: Office,
        listeners: Listeners,
        announce: Callable[[str], None],
        clock: Clock,
        stopping: asyncio.Event,
    ) -> None:
        self._office = office
        self._listeners = listeners
        self._announce = announce
        self._clock = clock
        self._stopping = stopping
        self._config: Config | None = None
        self._workers = 0
        self._runtime: Runtime | None = None
        self._owned = AsyncExitStack()
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancelled(*self._ending)
        await self._owned.aclose()

    async def change(self, crews: Crews, config: Config) -> None:
        """Have the workers serve by it; the first one not, where it is told to stop before that.

        Raises:
            ConfigError: a file that it names cannot be used.
            ListenError: an address cannot be had.
            WorkerError: a worker that it needs does not come to serve.
            All is as it was then.
        """
        async with AsyncExitStack() as undo:
            owned = AsyncExitStack()
            undo.push_async_exit(owned)
            before = self._runtime
            runtime = Runtime(config, self._office.world, close_grace=0, heir_of=before)
            await owned.enter_async_context(runtime.built())
            prepared = self._listeners.prepare(config.listen)
            undo.callback(self._listeners.discard, prepared)
            admin = self._office.prepare(config)
            undo.callback(self._office.discard, admin)
            if before is not None:
                await owned.enter_async_context(runtime)
            elif not await unless(owned.enter_async_context(runtime), self._stopping):
                return
            else:
                self._office.adopt(admin, config, runtime)
            await self._man(crews, config, prepared)
            undo.pop_all()
        if before is not None:
            self._office.adopt(admin, config, runtime)
            self._end(before)
        self._config, self._runtime, self._owned = config, runtime, owned
        if not self._stopping.is_set():
            self._office.announce(self._announce)

    async def _man(self, crews: Crews, config: Config, prepared: list[Bound]) -> None:
        """The workers that there are take it up, or a new crew does. Raises WorkerError."""
        workers = number(config.workers)
        if workers == 1 and self._workers:  # one is no crew: that needs a restart
            workers = self._workers
        if workers == self._workers and self._listeners.are_those_of(config.listen, prepared):
            self._listeners.discard(prepared)
            await crews.take_up(config)
            return
        known = {listener.url for listener in self._listeners.bound}
        serves = await crews.relieve(config, workers, prepared, self._stopping)
        self._listeners.adopt(prepared)
        self._workers = workers
        for listener in self._listeners.bound:
            if serves and listener.url not in known:
                self._announce(f"listening on {listener.url}")

    def _end(self, runtime: Runtime) -> None:
        """Let a renewal that only this one waits for be stored."""
        runtime.close_grace = runtime.longest_renewal
        ending = spawn(self._owned.aclose(), name="end a runtime")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def drain(self, crews: Crews) -> None:
        """Have the workers drain, and wait until they have."""
        config, clock = self._config, self._clock
        if config is None or self._runtime is None:
            return
        self._office.stopping()
        crews.drain()
        self._listeners.let_go()  # a queue ends with the last who lets in from it: a worker
        await crews.ended(config.shutdown_delay)
        self._listeners.close()
        ends = clock.now().after(config.shutdown_grace)
        await crews.ended(config.shutdown_grace + LEEWAY)
        await crews.left(clock.now().until(ends))
        self._runtime.close_grace = max(0.0, clock.now().until(ends))
