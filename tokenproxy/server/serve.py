"""Serve a config, and any that comes in its place, until told to stop; then drain.

After `shutdown_delay` the listeners close, requests in flight get `shutdown_grace` seconds, and a
renewal under way is finished and stored.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from tokenproxy.admin.parts import ConfigState
from tokenproxy.config.model import Config
from tokenproxy.events import InternalError, Observe
from tokenproxy.runtime import World
from tokenproxy.server.generations import Generations, Inherited
from tokenproxy.server.listeners import Bound
from tokenproxy.server.listening import Listeners, Passed
from tokenproxy.server.office import Office
from tokenproxy.server.turns import Turns
from tokenproxy.tasks import cancelled, spawn, unless

Announce = Callable[[str], None]
Change = Callable[[Config], Coroutine[Any, Any, None]]
"""Puts another config into force, or raises ConfigError, ListenError or WorkerError."""
Changes = Callable[[Change], Coroutine[Any, Any, None]]
"""Goes on for as long as there is something to change."""


async def none_come(change: Change) -> None:
    """Change nothing."""
    del change


async def serve(
    config: Config,
    world: World,
    announce: Announce,
    stopping: asyncio.Event,
    *,
    bound: Sequence[Bound] = (),
    turns: Turns | None = None,
    changes: Changes = none_come,
    state: ConfigState | None = None,
    passed: Passed | None = None,
) -> None:
    """Serve until `stopping` is set, then drain and give everything back.

    Where it is set before all has started, nothing is announced or drained.

    `bound` are the config's listeners, where somebody has bound them already, and `turns` says
    which of those who share them takes a connection: who is one of many has a supervisor, which
    renews ahead of need for all. `changes` brings other configs, and `state` is how the one in
    force came about; `passed` are sockets that listen already, by their address.

    Raises:
        ListenError: an address cannot be had.
        ConfigError: a file that the config names cannot be used; nothing has listened then.
    """
    owned = Listeners(passed or {})
    office = Office(config, world, state=state, passed=passed)
    addresses = Inherited(bound) if bound else owned
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(owned.close)
        generations = Generations(office, world.clock, addresses, turns)
        await stack.enter_async_context(generations)
        await stack.enter_async_context(office)

        async def change(config: Config) -> None:
            for listener in await generations.change(config):
                announce(f"listening on {listener.url}")
            office.announce(announce)

        if not await unless(change(config), stopping):
            return
        async with running(changes(change), world.observe):
            await stopping.wait()
        office.stopping()
        await world.clock.sleep(generations.config.shutdown_delay)
        await generations.drain()


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, None], observe: Observe) -> AsyncIterator[None]:
    """The work goes on in here, and no longer; an error that it ends with is told of at once."""
    task = spawn(work, name="changes")
    task.add_done_callback(partial(_tell_of_end, observe))
    try:
        yield
    finally:
        await cancelled(task)


def _tell_of_end(observe: Observe, task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        observe(InternalError("", f"{type(error).__name__} in {task.get_name()!r}"))
