"""Serve a config until told to stop, then drain.

After `shutdown_delay` the listeners close, requests in flight get `shutdown_grace` seconds, and a
renewal under way is finished and stored.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

from tokenproxy.clock import Clock
from tokenproxy.config.model import Config
from tokenproxy.events import DescriptorsUsedUp
from tokenproxy.proxy.wire.server import Wire
from tokenproxy.runtime import Runtime, World
from tokenproxy.server.descriptors import limit, make_room
from tokenproxy.server.listeners import Bound, handshakes, listening
from tokenproxy.server.office import Office
from tokenproxy.server.turns import Taking, Turns
from tokenproxy.tasks import cancelled, done_within, spawn

Announce = Callable[[str], None]
NO_ROOM = (
    "callers wait, since nearly all of {} file descriptors are in use: raise their number with "
    "'ulimit -n', or lower 'max_connections'"
)
LAST_MOMENT = 0.5  # seconds for requests that were cut off to notice


async def serve(
    config: Config,
    world: World,
    announce: Announce,
    stopping: asyncio.Event,
    *,
    bound: Sequence[Bound] = (),
    turns: Turns | None = None,
    file: Path | None = None,
) -> None:
    """Serve until `stopping` is set, then drain and give everything back.

    `bound` are the config's listeners, where somebody has bound them already, and `turns` says
    which of those who share them takes a connection: who is one of many has a supervisor, which
    renews ahead of need for all. `file` is where the config was read.

    Raises:
        ListenError: an address cannot be had.
        ConfigError: a file that the config names cannot be used; nothing has listened then.
    """
    make_room(config.max_connections)
    office = Office(config, world, file=file)
    runtime = Runtime(config, office.world, close_grace=0, ahead=turns is None)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(runtime.built())
        listeners = bound or stack.enter_context(listening(config.listen))
        stack.enter_context(office.bound())
        await stack.enter_async_context(runtime)
        server = await stack.enter_async_context(_wire(runtime, config))
        await stack.enter_async_context(office.open(runtime))
        accepting = [(one, runtime.listener_tls.get(at)) for at, one in enumerate(listeners)]
        short = partial(office.world.observe, DescriptorsUsedUp(NO_ROOM.format(limit())))
        async with _accepting(server, accepting, turns, short):
            for listener in listeners:
                announce(f"listening on {listener.url}")
            office.announce(announce)
            await stopping.wait()
            office.stopping()
            await world.clock.sleep(config.shutdown_delay)
        ends = world.clock.now().after(config.shutdown_grace)
        await _drain(server, config.shutdown_grace, world.clock)
        runtime.close_grace = max(0.0, world.clock.now().until(ends))


@contextlib.asynccontextmanager
async def _wire(runtime: Runtime, config: Config) -> AsyncIterator[Wire]:
    """What serves callers; its connections to the upstreams end with it."""
    server = Wire(
        runtime.parts,
        runtime.connectors,
        allowed_hosts=config.allowed_hosts,
        client_key=runtime.client_key,
        timeouts=config.timeouts,
        max_connections=config.max_connections,
    )
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def _accepting(
    server: Wire,
    listeners: Sequence[tuple[Bound, ssl.SSLContext | None]],
    turns: Turns | None,
    short: Callable[[], None],
) -> AsyncIterator[None]:
    """Take new connections, and at the end no more; on an error the open ones end too."""
    patience = server.timeouts.request_head
    async with contextlib.AsyncExitStack() as undo:
        for listener, tls in listeners:
            undo.callback(listener.close)
            speaking = handshakes(tls, patience)
            for one in listener.sockets:
                count = partial(len, server.connections)
                undo.callback(Taking(one, server, turns, count, speaking, short=short).close)
        undo.push(partial(_abort_on_error, server))
        yield


def _abort_on_error(server: Wire, kind: type[BaseException] | None, *_: object) -> None:
    if kind is not None:
        server.abort()


async def _drain(server: Wire, grace: float, clock: Clock) -> None:
    """Idle connections end at once, the others with their answer, or after `grace` seconds."""
    server.drain()
    drained = spawn(server.empty.wait(), name="drain")
    try:
        if not await done_within(drained, grace, clock.sleep):
            server.abort()
            await done_within(drained, LAST_MOMENT, clock.sleep)
    except asyncio.CancelledError:
        server.abort()
        raise
    finally:
        await cancelled(drained)
