"""The admin listener of a process: what it tells of is gathered here, and it is served here.

    office = Office(config, world)
    runtime = Runtime(config, office.world)
    with office.bound():
        async with runtime, office.open(runtime):
            office.announce(announce)

`staff` tells of the processes that serve. Where the config has no `admin` nothing is gathered, and
all of it does nothing.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import tokenproxy
from tokenproxy.admin.api import Api
from tokenproxy.admin.figures import Figures, merged
from tokenproxy.admin.happenings import Happenings
from tokenproxy.admin.history import History, keep_looking, step_before
from tokenproxy.admin.parts import ConfigState, Count, Parts, Served, WorkerState
from tokenproxy.admin.server import AdminServer
from tokenproxy.admin.whereabouts import Whereabouts
from tokenproxy.config.model import Config
from tokenproxy.events import Event, RequestServed, to_all
from tokenproxy.load import Load
from tokenproxy.runtime import Runtime, World
from tokenproxy.server.listeners import Bound, bind
from tokenproxy.server.turns import Taking
from tokenproxy.tasks import cancelled, spawn

LAST_ANSWERS = 1.0  # seconds that what is being answered has at the end


class Staff(Protocol):
    """The processes that serve."""

    async def count(self, ours: Figures) -> Count:
        """What they have counted, and this process with `ours`; and how they are."""


class Alone:
    """This process is the only one, and has that load."""

    def __init__(self, load: Load) -> None:
        self._load = load

    async def count(self, ours: Figures) -> Count:
        """What it has counted."""
        worker = WorkerState(0, os.getpid(), self._load.connections)
        return Count(merged([ours]).with_in_flight(self._load.in_flight()), (worker,))


class Office:
    """Observes what happens in `world`, and tells of it where the config says."""

    def __init__(
        self, config: Config, world: World, staff: Staff | None = None, file: Path | None = None
    ) -> None:
        self._config = config
        self._clock = world.clock
        self._staff = staff or Alone(world.load)
        self._figures = Figures()
        self._file = file
        self.happenings = Happenings(lambda: world.clock.now().wall)
        self.whereabouts = Whereabouts()
        self._began = world.clock.now()
        self._bound: Bound | None = None
        self._parts: Parts | None = None
        observe = to_all(world.observe, self._note)
        self.world = world if config.admin is None else replace(world, observe=observe)

    def _note(self, event: Event) -> None:
        self._figures(event)
        if type(event) is not RequestServed:  # they are many, and nothing else is said of them
            self.happenings(event)
            self.whereabouts.note(event)

    @contextmanager
    def bound(self) -> Iterator[None]:
        """Listen in here, and answer nothing yet. Raises ListenError."""
        if self._config.admin is None:
            yield
            return
        self._bound = bind(self._config.admin, key="admin")
        try:
            yield
        finally:
            self._bound.close()

    @asynccontextmanager
    async def open(self, runtime: Runtime) -> AsyncIterator[None]:
        """Answer what is asked, in here."""
        if self._bound is None:
            yield
            return
        parts = self._parts = self._gathered(runtime)
        api = Api(parts)
        server = AdminServer(api.routes, self._config.allowed_hosts, self.world.observe)
        async with AsyncExitStack() as undo:
            looking = spawn(keep_looking(parts.history, parts.figures, self._clock), name="history")
            undo.push_async_callback(cancelled, looking)
            undo.push_async_callback(server.close, LAST_ANSWERS)
            undo.callback(api.end)
            for one in self._bound.sockets:
                undo.callback(Taking(one, server, None, lambda: 0).close)
            yield

    def announce(self, announce: Callable[[str], None]) -> None:
        """All listeners accept by now: say where to ask."""
        if self._bound is not None and self._parts is not None:
            self._parts.withheld = None
            announce(f"admin on {self._bound.url}")

    def told_by(self, worker: int, event: Event) -> None:
        """A worker has told of something; what counts of it, it counts itself."""
        self.happenings(event)
        self.whereabouts.note(event, worker)

    def stopping(self) -> None:
        """Shutdown has begun: send no more work here."""
        if self._parts is not None:
            self._parts.withheld = "stopping"

    def _gathered(self, runtime: Runtime) -> Parts:
        config = self._config
        return Parts(
            version=tokenproxy.__version__,
            clock=self._clock,
            began=self._began,
            served=Served(
                routes=runtime.table.routes,
                credentials=config.credentials,
                keepers=runtime.keepers,
                wanted=config.readiness,
            ),
            config=ConfigState(None if self._file is None else str(self._file), self._began.wall),
            count=self._count,
            happenings=self.happenings,
            whereabouts=self.whereabouts,
            history=History(until=step_before(self._began.wall)),
        )

    async def _count(self) -> Count:
        return await self._staff.count(self._figures)
