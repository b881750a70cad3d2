"""The admin listener of a process: what it tells of is gathered here, and it is served here.

    async with Office(config, world) as office:
        bound = office.prepare(config)
        async with Runtime(config, office.world) as runtime:
            office.adopt(bound, config, runtime)
            office.announce(announce)

`staff` tells of the processes that serve. Where the config has no `admin` nothing is gathered, and
all of it does nothing.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol, Self

import tokenproxy
from tokenproxy.admin.api import Api
from tokenproxy.admin.figures import Figures, merged
from tokenproxy.admin.happenings import Happenings
from tokenproxy.admin.history import History, keep_looking, step_before
from tokenproxy.admin.parts import ConfigState, Count, Parts, Served, WorkerState
from tokenproxy.admin.server import MOST_CONNECTIONS, AdminServer
from tokenproxy.admin.sign_ins import SignIns
from tokenproxy.admin.whereabouts import Whereabouts
from tokenproxy.config.model import Config
from tokenproxy.errors import ListenError
from tokenproxy.events import Event, Observe, RequestServed, to_all
from tokenproxy.load import Load
from tokenproxy.runtime import Runtime, World
from tokenproxy.server.descriptors import for_admin
from tokenproxy.server.doors import Door, doors, stays
from tokenproxy.server.entrances import Entrances, Prepared, Speech
from tokenproxy.server.listeners import Bound
from tokenproxy.server.listening import Listeners, Passed
from tokenproxy.tasks import cancelled, spawn

LAST_ANSWERS = 1.0  # seconds that what is being answered has at the end


class Staff(Protocol):
    """The processes that serve."""

    async def count(self, ours: Figures) -> Count:
        """What they have counted, and this process with `ours`; and how they are."""

    def serves(self) -> bool:
        """Whether any of them does, at this moment."""


class Alone:
    """This process is the only one, and has that load."""

    def __init__(self, load: Load) -> None:
        self._load = load

    async def count(self, ours: Figures) -> Count:
        """What it has counted."""
        worker = WorkerState(0, os.getpid(), self._load.connections)
        return Count(merged([ours]).with_in_flight(self._load.in_flight()), (worker,))

    def serves(self) -> bool:
        """It does: it is who answers."""
        return True


class Opening(NamedTuple):
    """Where another config has admin, and what takes connections there once it is in force."""

    bound: list[Bound]
    entrances: list[Prepared]


class Office:
    """Observes what happens in `world`, and tells of it where the config says, in `async with`.

    `state` is how the config in force came about, and `passed` are sockets that listen already.
    Whether there is an admin listener at all is settled with the first config.
    """

    def __init__(
        self,
        config: Config,
        world: World,
        staff: Staff | None = None,
        state: ConfigState | None = None,
        passed: Passed | None = None,
    ) -> None:
        self._admin = config.admin
        self._clock = world.clock
        self._staff = staff or Alone(world.load)
        self._figures = Figures()
        self._began = world.clock.now()
        self._state = state or ConfigState(None, self._began.wall)
        self.happenings = Happenings(lambda: world.clock.now().wall)
        self.whereabouts = Whereabouts()
        self._listeners = Listeners(passed or {}, "admin")
        self._entrances = Entrances(lambda: self._desk.server, lambda: 0)
        self._opened: Desk | None = None
        self._announced: set[str] = set()
        observe = to_all(world.observe, self._note)
        self.world = world if config.admin is None else replace(world, observe=observe)

    def _note(self, event: Event) -> None:
        self._figures(event)
        if type(event) is not RequestServed:  # they are many, and nothing else is said of them
            self.happenings(event)
            self.whereabouts.note(event)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listeners.close()
        await self._entrances.close(0.0)
        if self._opened is not None:
            await self._opened.close()

    @property
    def _desk(self) -> "Desk":
        if self._opened is None:
            raise RuntimeError("give it a config first: `office.adopt(…)`")
        return self._opened

    def prepare(self, config: Config) -> Opening:
        """Listen for another config, and answer nothing yet; for `adopt` or `discard`.

        Raises:
            ListenError: the address cannot be had.
        """
        bound = self._listeners.prepare(self._address(config))
        try:
            return Opening(bound, self._entrances.prepare([(one, Speech()) for one in bound]))
        except ListenError:
            self._listeners.discard(bound)
            raise

    def _address(self, config: Config) -> list[str]:
        """Where it is with that config: to have none, or one after all, takes a restart."""
        admin = config.admin or self._admin
        return [] if self._admin is None or admin is None else [admin]

    def discard(self, prepared: Opening) -> None:
        """Leave all as it is."""
        self._entrances.discard(prepared.entrances)
        self._listeners.discard(prepared.bound)

    def adopt(self, prepared: Opening, config: Config, runtime: Runtime) -> None:
        """Tell of that config from now on, and answer what is asked; nothing of it can fail."""
        before, after = _doors(self._listeners.bound), _doors(prepared.bound)
        self._listeners.adopt(prepared.bound)
        if self._admin is None:
            return
        self._admin = config.admin or self._admin
        served = _served(config, runtime)
        if self._opened is None:
            parts = self._gathered(served)
            self._opened = Desk(parts, config, self.world.observe)
        else:
            self._opened.change(served, config)
            self._opened.server.part(stays(before, after))
        self._entrances.adopt(prepared.entrances)

    def announce(self, announce: Callable[[str], None]) -> None:
        """All listeners accept by now: say where to ask."""
        if self._opened is not None:
            self._opened.parts.withheld = None
        for bound in self._listeners.bound:
            if bound.url not in self._announced:
                self._announced.add(bound.url)
                announce(f"admin on {bound.url}")

    def told_by(self, worker: int, event: Event) -> None:
        """A worker has told of something; what counts of it, it counts itself."""
        self.happenings(event)
        self.whereabouts.note(event, worker)

    def stopping(self) -> None:
        """Shutdown has begun: send no more work here."""
        if self._opened is not None:
            self._opened.parts.withheld = "stopping"

    def _gathered(self, served: Served) -> Parts:
        return Parts(
            version=tokenproxy.__version__,
            clock=self._clock,
            began=self._began,
            served=served,
            config=self._state,
            count=self._count,
            serves=self._staff.serves,
            happenings=self.happenings,
            whereabouts=self.whereabouts,
            sign_ins=SignIns(served.keepers, self._clock, self.world.observe),
            history=History(until=step_before(self._began.wall)),
        )

    async def _count(self) -> Count:
        return await self._staff.count(self._figures)


class Desk:
    """What answers, and looks now and then at what there is to tell."""

    def __init__(self, parts: Parts, config: Config, observe: Observe) -> None:
        self.parts = parts
        self._api = Api(parts)
        self.server = AdminServer(
            self._api.routes,
            config.allowed_hosts,
            observe,
            timeouts=config.timeouts,
            most=for_admin(MOST_CONNECTIONS),
        )
        looking = keep_looking(parts.history, parts.figures, parts.clock)
        self._looking = spawn(looking, name="history")

    def change(self, served: Served, config: Config) -> None:
        """Tell of another config."""
        self.parts.served = served
        self.parts.sign_ins.change(served.keepers)
        self.server.change(config.allowed_hosts, config.timeouts)

    async def close(self) -> None:
        """Answer no more; what is being answered has a moment."""
        self._api.end()
        await self.server.close(LAST_ANSWERS)
        await self.parts.sign_ins.close()
        await cancelled(self._looking)


def _doors(bound: list[Bound]) -> list[Door]:
    return doors([(one.url, one) for one in bound], {})


def _served(config: Config, runtime: Runtime) -> Served:
    return Served(
        routes=runtime.table.routes,
        credentials=config.credentials,
        keepers=runtime.keepers,
        wanted=config.readiness,
    )
