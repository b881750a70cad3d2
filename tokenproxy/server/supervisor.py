"""The process that binds the listeners, starts the workers and serves nothing itself.

A worker is a new interpreter and no fork: this process has an event loop and threads, which a
fork would leave half there. It inherits the bound sockets and is sent all else by `channel`,
also the one that takes a dead one's place. In a session of its own, it is not reached by the
signals of a terminal; of these, and of SIGTERM and SIGHUP, the supervisor alone tells it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from tokenproxy.config.model import Config
from tokenproxy.events import Observe, WorkerStarted
from tokenproxy.runtime import Runtime, World
from tokenproxy.server.channel import Brief, Changed, Channel, Failed, NewConfig, Order, Serves
from tokenproxy.server.crew import End
from tokenproxy.server.crews import LEEWAY, Briefing, Crews
from tokenproxy.server.listening import Listeners, Passed, listening
from tokenproxy.server.serve import Announce, Changes, none_come, running
from tokenproxy.server.share import number
from tokenproxy.server.turns import Turns
from tokenproxy.tasks import Bell

LAST_BREATH = 5.0  # seconds in which a worker that has said its last is over

# A service manager's signals go to all processes of a service: a handler that does nothing
# leaves them to the supervisor, and is not handed on to commands that a worker runs. Imports are
# looked for where the supervisor does, and not in the working directory.
START = """\
import signal, sys
for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(sign, lambda *_: None)
sys.path[:] = sys.argv[2:]
from tokenproxy.server.worker import main
sys.exit(main(int(sys.argv[1])))
"""


async def supervise(
    config: Config,
    world: World,
    announce: Announce,
    workers: int,
    stopping: asyncio.Event,
    *,
    changes: Changes = none_come,
    passed: Passed | None = None,
) -> None:
    """Have that many workers serve until `stopping` is set, then drain.

    Raises:
        ListenError: an address cannot be had.
        ConfigError: a file that the config names cannot be used; nothing has listened then.
        WorkerError: a worker does not come to serve.
    """
    async with Runtime(config, world).built():
        pass  # what is wrong is told once, and before anything listens
    with listening(config.listen, passed) as listeners, _lifeline() as lifeline:
        launch = partial(_launch, world.observe)
        async with Crews(launch, lifeline, world.clock, world.observe) as crews:
            supervision = Supervision(world, announce, crews, listeners, stopping)
            await supervision.begin(config, workers)
            async with running(changes(supervision.change)):
                await stopping.wait()
            await supervision.end()


class Supervision:
    """The config in force, and the workers who serve by it."""

    def __init__(
        self,
        world: World,
        announce: Announce,
        crews: Crews,
        listeners: Listeners,
        stopping: asyncio.Event,
    ) -> None:
        self._world = world
        self._announce = announce
        self._crews = crews
        self._listeners = listeners
        self._stopping = stopping
        self._config: Config | None = None
        self._workers = 0

    async def begin(self, config: Config, workers: int) -> None:
        """Have so many serve by it. Raises WorkerError."""
        self._config, self._workers = config, workers
        if await self._crews.relieve(config, workers, self._listeners.bound, self._stopping):
            for listener in self._listeners.bound:
                self._announce(f"listening on {listener.url}")

    async def change(self, config: Config) -> None:
        """Have them serve by another one. Raises ConfigError, ListenError or WorkerError."""
        async with Runtime(config, self._world).built():
            pass
        workers = number(config.workers)
        if workers == 1:  # one is no crew: that needs a restart
            workers = self._workers
        if workers == self._workers and self._listeners.are_those_of(config.listen):
            await self._crews.take_up(config)
        else:
            await self._relieve(config, workers)
        self._config, self._workers = config, workers

    async def _relieve(self, config: Config, workers: int) -> None:
        prepared = self._listeners.prepare(config.listen)
        known = {listener.url for listener in self._listeners.bound}
        with ExitStack() as undo:
            undo.callback(self._listeners.discard, prepared)
            await self._crews.relieve(config, workers, prepared, self._stopping)
            undo.pop_all()
        self._listeners.adopt(prepared)
        for listener in self._listeners.bound:
            if listener.url not in known:
                self._announce(f"listening on {listener.url}")

    async def end(self) -> None:
        """Have them drain, and wait until they have."""
        if self._config is None:
            return
        grace = self._config.shutdown_grace + LEEWAY
        self._crews.drain()
        self._listeners.let_go()  # a queue ends with the last who lets in from it: a worker
        await self._crews.ended(self._config.shutdown_delay)
        self._listeners.close()
        await self._crews.ended(grace)
        await self._crews.left(0.0)


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end to read of a pipe that nobody writes to: it is over when this process is."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


async def _launch(observe: Observe, brief: Briefing, index: int) -> "Process":
    """A worker by the brief of the moment: nothing is waited for between that and its sending."""
    ours, theirs = socket.socketpair()
    with theirs:
        channel = await Channel.over(ours)
        told = brief(index)
        try:
            process = _started(theirs.fileno(), told)
        except OSError:
            await channel.close()
            raise
    channel.send(told)
    return Process(told, process, channel, observe)


def _started(channel: int, told: Brief) -> subprocess.Popen[bytes]:
    handed = [one for listener in told.listeners for one in listener.descriptors]
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-P", "-c", START, str(channel), *sys.path],
        pass_fds=[channel, told.lifeline, told.turns, *handed],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


class Process:
    """A worker, as its supervisor has it."""

    def __init__(
        self, told: Brief, process: subprocess.Popen[bytes], channel: Channel, observe: Observe
    ) -> None:
        self._told = told
        self._process = process
        self._channel = channel
        self._observe = observe
        self._changed = Bell()
        self._is_over = False

    def order(self, order: Order) -> None:
        """Tell it to do something."""
        self._channel.send(order)

    async def take_up(self, config: Config) -> None:
        """Have it serve by another config; wait until it does, or ends."""
        if not self._is_over:
            changed = self._changed.next_ring
            self._channel.send(NewConfig(config))
            await asyncio.wait({changed})

    def kill(self) -> None:
        """End it by force."""
        self._process.kill()

    async def attended(self, serves: Callable[[], None]) -> End:
        """Wait for its end; `serves` is called once it accepts connections."""
        error: str | None = None
        while (said := await self._channel.receive()) is not None:
            if isinstance(said, Failed):
                error = said.error
            elif isinstance(said, Serves):
                self._observe(WorkerStarted(self._told.index, self._process.pid))
                serves()
            elif isinstance(said, Changed):
                self._changed.ring()
        self._is_over = True
        self._changed.ring()
        await self._channel.close()
        code = await asyncio.to_thread(self._over)
        Turns(self._told.turns, self._told.index).leave()
        return _end(code, error)

    def _over(self) -> int:
        try:
            return self._process.wait(LAST_BREATH)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _end(code: int, error: str | None) -> End:
    if code >= 0:
        return End(code=code, error=error)
    try:
        return End(signal=signal.Signals(-code).name, error=error)
    except ValueError:  # a real-time signal has no name
        return End(signal=str(-code), error=error)
