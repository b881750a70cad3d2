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
from contextlib import AsyncExitStack, contextmanager
from functools import partial

from tokenproxy.admin.parts import ConfigState
from tokenproxy.config.model import Config
from tokenproxy.events import WorkerStarted
from tokenproxy.runtime import World
from tokenproxy.server.channel import (
    Brief,
    Changed,
    Channel,
    Failed,
    Happened,
    NewConfig,
    Order,
    Report,
    Serves,
)
from tokenproxy.server.crew import End
from tokenproxy.server.crews import Briefing, Crews
from tokenproxy.server.listening import Listeners, Passed
from tokenproxy.server.office import Office
from tokenproxy.server.serve import Announce, Changes, none_come, running
from tokenproxy.server.staff import Workers
from tokenproxy.server.supervision import Supervision
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
    stopping: asyncio.Event,
    *,
    changes: Changes = none_come,
    state: ConfigState | None = None,
    passed: Passed | None = None,
) -> None:
    """Have the config's workers serve until `stopping` is set, then drain.

    `changes` brings other configs, and `state` is how the one in force came about; `passed` are
    sockets that listen already, by their address.

    Raises:
        ListenError: an address cannot be had.
        ConfigError: a file that the config names cannot be used; nothing has listened then.
        WorkerError: a worker does not come to serve.
    """
    staff, listeners = Workers(), Listeners(passed or {})
    office = Office(config, world, staff, state, passed)
    async with AsyncExitStack() as stack:
        stack.callback(listeners.close)
        supervision = Supervision(office, listeners, announce, world.clock, stopping)
        await stack.enter_async_context(supervision)
        await stack.enter_async_context(office)
        lifeline = stack.enter_context(_lifeline())
        launch = partial(_launch, staff, office)
        crews = Crews(launch, lifeline, world.clock, office.world.observe)
        await stack.enter_async_context(crews)
        change = partial(supervision.change, crews)
        await change(config)
        async with running(changes(change), world.observe):
            await stopping.wait()
        await supervision.drain(crews)


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end to read of a pipe that nobody writes to: it is over when this process is."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)


async def _launch(staff: Workers, office: Office, brief: Briefing, index: int) -> "Process":
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
        index, pid = self._told.index, self._process.pid
        while (said := await self._channel.receive()) is not None:
            match said:
                case Failed():
                    error = said.error
                case Serves():
                    self._staff.joined(index, pid, partial(self.order, Order.REPORT))
                    self._office.world.observe(WorkerStarted(index, pid))
                    serves()
                case Changed():
                    self._changed.ring()
                case Report():
                    self._staff.heard(pid, said)
                case Happened(event):
                    self._office.told_by(index, event)
                case _:
                    pass
        self._is_over = True
        self._changed.ring()
        self._staff.left(pid)
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
