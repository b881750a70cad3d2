"""One of the processes that serve, as its supervisor starts it (`supervisor.START`)."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from threading import Thread

from tokenproxy.admin.figures import Figures
from tokenproxy.config.confidential import Known
from tokenproxy.config.model import Config
from tokenproxy.errors import TokenproxyError
from tokenproxy.events import (
    Event,
    LoginRequired,
    Observe,
    RequestServed,
    TokenTakenUp,
    to_all,
)
from tokenproxy.load import Load
from tokenproxy.runtime import World
from tokenproxy.server.channel import (
    Brief,
    Changed,
    Channel,
    Failed,
    Happened,
    Inherited,
    NewConfig,
    Order,
    Report,
    Serves,
)
from tokenproxy.server.lines import open_lines
from tokenproxy.server.listeners import Bound
from tokenproxy.server.log import EventLog, ForeignLog
from tokenproxy.server.run import library_logs, loop_factory
from tokenproxy.server.serve import Change, serve
from tokenproxy.server.share import apportioned
from tokenproxy.server.turns import Turns
from tokenproxy.tasks import cancelled, spawn, unless

STDERR = 2
FAILED = 1
ORPHANED = 1  # whole seconds that a worker outlives its supervisor


def main(descriptor: int) -> int:
    """Serve as the supervisor at the other end of the socket says; an exit code."""
    # It stays open until this process is over: its end is what the supervisor waits for.
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - it has no name
    twin = socket.socket(fileno=os.dup(descriptor))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_work(twin))


async def _work(sock: socket.socket) -> int:
    channel = await Channel.over(sock)
    brief = await channel.receive()
    if not isinstance(brief, Brief):
        return FAILED
    for handed in (brief.lifeline, brief.turns):
        os.set_inheritable(handed, False)  # noqa: FBT003 - it has no name
    Thread(target=_end_with, args=(brief.lifeline,), daemon=True).start()
    try:
        await _serve(brief, channel)
    except TokenproxyError as error:
        channel.send(Failed(str(error)))
        return FAILED
    finally:
        await channel.close()
    return 0


async def _serve(brief: Brief, channel: Channel) -> None:
    config = apportioned(brief.config, brief.workers, brief.index)
    log, figures, load = EventLog(config.log, open_lines(STDERR)), Figures(), Load()
    told = asyncio.Event()

    def accepts(line: str) -> None:
        """All listeners accept by the time that the first one is announced."""
        del line
        if not told.is_set():
            told.set()
            channel.send(Serves())

    def report() -> None:
        channel.send(Report(figures.with_in_flight(load.in_flight()), load.connections))

    orders = Orders(brief, channel, log, report)
    observe = log if brief.config.admin is None else to_all(log, figures, _telling(channel))
    world = World(observe=observe, load=load)
    with Known(config), log, library_logs(ForeignLog(lambda: log.logger)), orders.secrets:
        obeying = spawn(orders.obey(), name="obey")
        try:
            serving = serve(
                config,
                world,
                accepts,
                orders.stopping,
                bound=[_bound(listener) for listener in brief.listeners],
                turns=Turns(brief.turns, brief.index),
                changes=orders.changes,
            )
            await unless(serving, orders.ending)
        finally:
            await cancelled(obeying)
            report()


class Orders:
    """What the supervisor has ordered."""

    def __init__(
        self, brief: Brief, channel: Channel, log: EventLog, report: Callable[[], None]
    ) -> None:
        self.stopping, self.ending = asyncio.Event(), asyncio.Event()
        self._brief = brief
        self._channel = channel
        self._log = log
        self._report = report
        self._configs: asyncio.Queue[Config] = asyncio.Queue()
        self.secrets = Known()  # of all configs that came: some may still be in use

    async def obey(self) -> None:
        """Do what is ordered; end now where nobody is left to order anything."""
        while True:
            match await self._channel.receive():
                case Order.DRAIN:
                    self.stopping.set()
                case Order.REPORT:
                    self._report()
                case NewConfig(config):
                    self._configs.put_nowait(config)
                case _:
                    self.ending.set()
                    return

    async def changes(self, change: Change) -> None:
        """Serve by each config that comes; one that cannot be served ends this worker."""
        brief = self._brief
        while True:
            config = apportioned(await self._configs.get(), brief.workers, brief.index)
            self.secrets.add(config)
            try:
                await change(config)
                self._log.change(config.log)
            except TokenproxyError as error:
                self._end_by(str(error))
            except Exception as error:  # noqa: BLE001 - whoever takes its place begins afresh
                self._end_by(f"a fault of the program: {type(error).__name__}")
            finally:
                self._channel.send(Changed())  # the supervisor waits for it, whatever has come

    def _end_by(self, error: str) -> None:
        self._channel.send(Failed(error))
        self.stopping.set()


def _telling(channel: Channel) -> Observe:
    """What tells the supervisor of all that it does not see for itself."""

    def tell(event: Event) -> None:
        match event:
            case RequestServed() | TokenTakenUp() | LoginRequired(seconds=None):
                pass  # it counts the first, and learns the others from the store, as we did
            case _:
                channel.send(Happened(event))

    return tell


def _end_with(lifeline: int) -> None:
    """Have the kernel end this process soon after its supervisor, whatever holds it up then."""
    os.read(lifeline, 1)
    signal.alarm(ORPHANED)


def _bound(listener: Inherited) -> Bound:
    return Bound(listener.url, tuple(_inherited(one) for one in listener.descriptors))


def _inherited(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    sock.settimeout(0)
    return sock
