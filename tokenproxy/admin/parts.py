"""What the admin listener tells of, and does not own."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tokenproxy.admin.figures import Figures
from tokenproxy.admin.happenings import Happenings
from tokenproxy.admin.history import History
from tokenproxy.admin.readiness import Readiness, Wanted, readiness
from tokenproxy.admin.sign_ins import SignIns
from tokenproxy.admin.whereabouts import Whereabouts
from tokenproxy.clock import Clock, Moment
from tokenproxy.proxy.route import CompiledRoute
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.status import Status

STARTING = "starting"
NOBODY_SERVES = "workers: none serves"
NOT_RELOADED = "config: reload_failed"  # the one before it is in force


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A process that serves, and how many connections of callers it has."""

    index: int
    pid: int
    connections: int


@dataclass(frozen=True, slots=True)
class Count:
    """What all processes together have counted so far."""

    figures: Figures
    workers: Sequence[WorkerState]


@dataclass(slots=True)
class ConfigState:
    """The config that is at work; `error` is why a later one could not be taken."""

    path: str | None
    loaded_at: float
    reloads: int = 0
    failed_reloads: int = 0
    error: str | None = None


@dataclass(slots=True)
class Served:
    """What a config brings: another takes its place when it is reloaded."""

    routes: Sequence[CompiledRoute]
    credentials: Mapping[str, AnyCredential]
    keepers: Mapping[str, Keeper]
    wanted: Wanted


@dataclass(slots=True)
class Parts:
    """All that is told of; `count` asks all processes, and `serves` whether any serves callers.

    `withheld` is why no work is wanted.
    """

    version: str
    clock: Clock
    began: Moment
    served: Served
    config: ConfigState
    count: Callable[[], Awaitable[Count]]
    serves: Callable[[], bool]
    happenings: Happenings
    whereabouts: Whereabouts
    sign_ins: SignIns
    history: History = field(default_factory=History)
    withheld: str | None = STARTING

    async def figures(self) -> Figures:
        """What all processes have counted."""
        return (await self.count()).figures

    def status(self, name: str) -> Status:
        """How a credential stands, over all processes."""
        keeper = self.served.keepers[name]
        status = keeper.status()
        if self.whereabouts.is_unsaved(name):
            status = replace(status, not_persisted=True)
        return self.sign_ins.failures.told(keeper, status)

    def readiness(self, credential: str | None = None) -> Readiness:
        """Whether work may be sent here, or work that needs one credential."""
        served = self.served
        used = {route.settings.credential for route in served.routes}
        names = [name for name in served.keepers if name in used]
        if credential is not None:
            names = [credential]
        statuses = {name: self.status(name) for name in names}
        wanted: Wanted = "all" if credential is not None else served.wanted
        withheld = self.withheld or (None if self.serves() else NOBODY_SERVES)
        found = readiness(statuses, wanted, withheld=withheld)
        if credential is None and self.config.error is not None:
            found.warnings.append(NOT_RELOADED)
        return found
