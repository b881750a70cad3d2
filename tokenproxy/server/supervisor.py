"""The process that binds the listeners, starts the workers and serves nothing itself.

A worker is a new interpreter and no fork: this process has an event loop and threads, which a
fork would leave half there. It inherits the bound sockets and is sent all else by `channel`,
also the one that takes a dead one's place: all run the config that was loaded at the start. In
a session of its own, it is not reached by the signals of a terminal; of these, and of SIGTERM,
the supervisor alone tells it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path

from tokenproxy.config.model import Config
from tokenproxy.events import WorkerStarted
from tokenproxy.runtime import Runtime, World
from tokenproxy.server.channel import (
    Brief,
    Channel,
    Failed,
    Happened,
    Inherited,
    Order,
    Report,
    Serves,
)
from tokenproxy.server.crew import Crew, End
from tokenproxy.server.listeners import Bound, listening
from tokenproxy.server.office import Office
from tokenproxy.server.serve import Announce
from tokenproxy.server.staff import Workers
from tokenproxy.server.turns import Turns, shared

LEEWAY = 1.0  # seconds that workers may take beyond `shutdown_grace`
LAST_BREATH = 5.0  # seconds in which a worker that has said its last is over

# A service manager's SIGTERM goes to all processes of a service: a handler that does nothing
# leaves it to the supervisor, and is not handed on to commands that a worker runs. Imports are
# looked for where the supervisor does, and not in the working directory.
START = """\
import signal, sys
for sign in (signal.SIGTERM, signal.SIGINT):
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
    file: Path | None = None,
) -> None:
    """Have that many workers serve until `stopping` is set, then drain.

    `file` is where the config was read.

    Raises:
        ListenError: an address cannot be had.
        ConfigError: a file that the config names cannot be used; nothing has listened then.
        WorkerError: a worker does not come to serve.
    """
    staff = Workers()
    office = Office(config, world, staff, file)
    runtime = Runtime(config, office.world, close_grace=0)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(runtime.built())  # what is wrong is told once
        listeners = stack.enter_context(listening(config.listen))
        stack.enter_context(office.bound())
        turns, lifeline = stack.enter_context(shared(workers)), stack.enter_context(_lifeline())
        await stack.enter_async_context(runtime)
        await stack.enter_async_context(office.open(runtime))
        inherited = tuple(_inherited(bound) for bound in listeners)
        brief = partial(Brief, config, workers, inherited, turns, lifeline)
        launch = partial(_launch, brief, staff, office)
        async with Crew(workers, launch, world.clock, office.world.observe) as crew:
            if await crew.serves(stopping):
                for listener in listeners:
                    announce(f"listening on {listener.url}")
                office.announce(announce)
                await stopping.wait()
            office.stopping()
            crew.drain()
            await crew.ended(config.shutdown_delay)
            for listener in listeners:
                listener.close()
            ends = world.clock.now().after(config.shutdown_grace)
            await crew.ended(config.shutdown_grace + LEEWAY)
        runtime.close_grace = max(0.0, world.clock.now().until(ends))


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end to read of a pipe that nobody writes to: it is over when this process is."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


def _inherited(bound: Bound) -> Inherited:
    return Inherited(bound.url, tuple(one.fileno() for one in bound.sockets))


async def _launch(
    brief: Callable[[int], Brief], staff: Workers, office: Office, index: int
) -> "Process":
    told = brief(index)
    ours, theirs = socket.socketpair()
    with theirs:
        channel = await Channel.over(ours)
        try:
            process = _started(theirs.fileno(), told)
        except OSError:
            await channel.close()
            raise
    channel.send(told)
    return Process(told, process, channel, staff, office)


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
        self,
        told: Brief,
        process: subprocess.Popen[bytes],
        channel: Channel,
        staff: Workers,
        office: Office,
    ) -> None:
        self._told = told
        self._process = process
        self._channel = channel
        self._staff = staff
        self._office = office

    def order(self, order: Order) -> None:
        """Tell it to do something."""
        self._channel.send(order)

    def kill(self) -> None:
        """End it by force."""
        self._process.kill()

    async def attended(self, serves: Callable[[], None]) -> End:
        """Wait for its end; `serves` is called once it accepts connections."""
        error: str | None = None
        index, pid = self._told.index, self._process.pid
        while (said := await self._channel.receive()) is not None:
            match said:
                case Failed():
                    error = said.error
                case Serves():
                    self._staff.joined(index, pid, partial(self.order, Order.REPORT))
                    self._office.world.observe(WorkerStarted(index, pid))
                    serves()
                case Report():
                    self._staff.heard(index, said)
                case Happened(event):
                    self._office.told_by(index, event)
                case _:
                    pass
        self._staff.left(index)
        self._office.whereabouts.ended(index)
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
