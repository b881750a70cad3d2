"""Serve a config until a signal says to stop, then drain.

SIGTERM and SIGINT begin the shutdown: after `shutdown_delay` the listeners close, requests in
flight get `shutdown_grace` seconds, and a renewal under way is finished and stored. A second
signal ends it now.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial

from tokenproxy.clock import Clock
from tokenproxy.config.model import Config
from tokenproxy.proxy.wire.server import Wire
from tokenproxy.runtime import Runtime, World
from tokenproxy.server.listeners import BACKLOG, Bound, bind
from tokenproxy.server.log import ForeignLog, open_log, subscriber
from tokenproxy.tasks import cancelled, done_within, spawn

Announce = Callable[[str], None]
LAST_MOMENT = 0.5  # seconds for requests that were cut off to notice
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(config: Config, announce: Announce) -> None:
    """Serve until a signal comes; `announce` is given one line a listener.

    Raises:
        ListenError: an address cannot be had.
        ConfigError: a file that the config names cannot be used.
    """
    log = open_log(config.log, sys.stderr)
    with _library_logs(ForeignLog(log)), asyncio.Runner(loop_factory=loop_factory()) as runner:
        world = replace(World(), observe=subscriber(log))
        runner.run(_serve_until_told(config, world, announce))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every machine
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve_until_told(config: Config, world: World, announce: Announce) -> None:
    stopping, ending = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (ending if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, told)
    serving = spawn(serve(config, world, announce, stopping), name="serve")
    end = spawn(ending.wait(), name="a second signal")
    try:
        await asyncio.wait({serving, end}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled(end, serving)
    if not serving.cancelled():
        serving.result()


async def serve(config: Config, world: World, announce: Announce, stopping: asyncio.Event) -> None:
    """Serve until `stopping` is set, then drain and give everything back.

    Raises:
        ListenError: an address cannot be had.
        ConfigError: a file that the config names cannot be used; nothing has listened then.
    """
    runtime = Runtime(config, world, close_grace=0)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(runtime.built())
        listeners = stack.enter_context(_listeners(config))
        await stack.enter_async_context(runtime)
        server = await stack.enter_async_context(_wire(runtime, config))
        async with _accepting(server, listeners):
            for listener in listeners:
                announce(f"listening on {listener.url}")
            await stopping.wait()
            await world.clock.sleep(config.shutdown_delay)
        ends = world.clock.now().after(config.shutdown_grace)
        await _drain(server, config.shutdown_grace, world.clock)
        runtime.close_grace = max(0.0, world.clock.now().until(ends))


@contextlib.asynccontextmanager
async def _wire(runtime: Runtime, config: Config) -> AsyncIterator[Wire]:
    """What serves callers; its connections to the upstreams end with it."""
    server = Wire(runtime.parts, runtime.connectors, allowed_hosts=config.allowed_hosts)
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def _accepting(server: Wire, listeners: list[Bound]) -> AsyncIterator[None]:
    """Take new connections, and at the end no more; on an error the open ones end too."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as undo:
        for listener in listeners:
            undo.callback(listener.close)
            create = loop.create_unix_server if listener.file else loop.create_server
            for one in listener.sockets:
                undo.callback((await create(server, sock=one, backlog=BACKLOG)).close)
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


@contextlib.contextmanager
def _listeners(config: Config) -> Iterator[list[Bound]]:
    with contextlib.ExitStack() as stack:
        bound: list[Bound] = []
        for address in config.listen:
            bound.append(bind(address))
            stack.callback(bound[-1].close)
        yield bound


@contextlib.contextmanager
def _library_logs(handler: logging.Handler) -> Iterator[None]:
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
