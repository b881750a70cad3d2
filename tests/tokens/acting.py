"""A stage for keepers: a clock that is moved, a source that follows a script, a fussy store."""

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

from tokenproxy.errors import SourceUnavailable, StoreError
from tokenproxy.events import Event
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.slot import Held, State
from tokenproxy.tokens.source import Attempt, Seed, Source
from tokenproxy.tokens.store import Conflict, Lease, Saved
from tokenproxy.tokens.stores.memory import MemoryStore, MemoryStores
from tokenproxy.tokens.token import Granted, Record, Token

LIFE = 100.0
WINDOW = LIFE / 4  # less than `before_expiry`
LOGIN, RENEW = Attempt.LOGIN, Attempt.RENEW

DOWN = SourceUnavailable("the issuer is down", retriable=True)
SLOW = SourceUnavailable("the issuer did not answer in time")
DOUBT = SourceUnavailable("the issuer turned us away", doubtful=True)

E = TypeVar("E", bound=Event)
Step = Granted | BaseException | Callable[["ScriptedSource"], Granted]


class NoJitter(Random):
    """Chance that never strikes, so that a test can name the second."""

    def random(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Call:
    """What a source was asked, and when by the steady clock."""

    attempt: Attempt
    refresh: str | None
    at: float


class ScriptedSource(Source):
    """Gives `access-1`, `access-2` … unless `script` or `always` says otherwise."""

    helpless = "sign in again"

    def __init__(
        self,
        clock: ManualClock,
        *,
        life: float | None = LIFE,
        can_login: bool = True,
        rotates: bool = True,
        seed: str | None = None,
        renewable: bool = True,
    ) -> None:
        self.clock = clock
        self.life = life
        self.can_login = can_login
        self.rotates = rotates
        self.seed = None if seed is None else Seed(Secret(seed))
        self.renewable = renewable
        self.script: list[Step] = []  # for the next calls, in their order
        self.always: dict[Attempt, Step] = {}  # for all calls after that
        self.delay = 0.0
        self.gate = asyncio.Event()  # no answer comes while it is closed
        self.gate.set()
        self.changed = asyncio.Event()
        self.calls: list[Call] = []
        self.granted = 0

    @property
    def asked(self) -> list[Attempt]:
        return [call.attempt for call in self.calls]

    def fail(self, step: Step | None) -> None:
        """From now on, whatever is asked; None ends it."""
        self.always = {} if step is None else {LOGIN: step, RENEW: step}

    def grant(self, **changes: Any) -> Granted:
        """A new token, as this source makes them."""
        self.granted += 1
        now = self.clock.now().wall
        token = Token(
            Secret(f"access-{self.granted}"), now, None if self.life is None else now + self.life
        )
        refresh = Secret(f"refresh-{self.granted}") if self.rotates else None
        return replace(Granted(token, refresh), **changes)

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        renew = (RENEW,) if record.refresh is not None else ()
        return renew + ((LOGIN,) if self.can_login else ())

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        refresh = None if record.refresh is None else record.refresh.reveal()
        self.calls.append(Call(attempt, refresh, self.clock.now().steady))
        if self.delay:
            await self.clock.sleep(self.delay)
        await self.gate.wait()
        step = self.script.pop(0) if self.script else self.always.get(attempt)
        match step:
            case None:
                return self.grant()
            case Granted():
                return step
            case BaseException():
                raise step
            case _:
                return step(self)

    async def changes(self) -> AsyncGenerator[None, None]:
        while True:
            await self.changed.wait()
            self.changed.clear()
            yield


def again(source: ScriptedSource) -> Granted:
    """The first token once more, with its old end: what a source does that caches."""
    now = source.clock.now()
    ends = None if source.life is None else 1_800_000_000.0 + source.life
    return Granted(Token(Secret("access-1"), now.wall, ends))


class _Failing:
    """The lock of a fussy store."""

    def __init__(self, store: "FussyStore") -> None:
        self._store = store
        self._lock = MemoryStore.lock(store)

    async def __aenter__(self) -> Lease:
        self._store.check("lock")
        lease = await self._lock.__aenter__()
        return self._store.lease or lease

    async def __aexit__(self, *error: object) -> None:
        await self._lock.__aexit__(None, None, None)
        self._store.check("unlock")


@dataclass
class LostLease:
    """A lease that somebody else may have taken."""

    fence: int = 1
    lost: bool = True


class FussyStore(MemoryStore):
    """A memory store that fails where `failing` says, and holds saves while `gate` is closed."""

    def __init__(self, stores: MemoryStores, key: str = "shop") -> None:
        super().__init__(stores.open(key)._cell)
        self.failing: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.needs_lock = False
        self.lease: Lease | None = None
        self.conflicts: list[Record] = []
        self.tries = 0  # to save
        self.watches = 0

    @property
    def renews_without_lock(self) -> bool:  # type: ignore[override]
        return not self.needs_lock

    def check(self, what: str) -> None:
        if what in self.failing:
            raise StoreError(f"the store cannot {what}")
        if f"{what}: fault" in self.failing:
            raise ZeroDivisionError(what)

    @property
    def record(self) -> Record:
        """What is in it, past all failures."""
        return self._cell.record

    def put(self, record: Record) -> None:
        """By hand, or by another process that keeps no lock."""
        self._put(record)

    async def load(self) -> Record:
        self.check("load")
        return await super().load()

    async def save(self, record: Record, *, after: int, lease: Lease | None) -> Saved | Conflict:
        self.tries += 1
        await self.gate.wait()
        self.check("save")
        if self.conflicts:
            self._put(self.conflicts.pop(0))
        return await super().save(record, after=after, lease=lease)

    def lock(self) -> Any:
        return _Failing(self)

    async def watch(self) -> AsyncGenerator[None, None]:
        self.watches += 1
        self.check("watch")
        watch = super().watch()
        try:
            async for _ in watch:
                yield
        finally:
            await watch.aclose()


@dataclass
class Stage:
    """Everything round a keeper; `await keeper()` makes one more, as another process would."""

    clock: ManualClock
    source: ScriptedSource
    stores: MemoryStores
    store: FussyStore
    settings: dict[str, Any]
    events: list[Event] = field(default_factory=list)
    keepers: list[Keeper] = field(default_factory=list)

    async def keeper(
        self,
        source: Source | None = None,
        store: FussyStore | None = None,
        config: str = "",
        **settings: Any,
    ) -> Keeper:
        keeper = Keeper(
            "shop",
            source or self.source,
            store or self.store,
            Refresh.model_validate(self.settings | settings),
            clock=self.clock,
            random=NoJitter(),
            observe=self.events.append,
            config=lambda: config,
        )
        self.keepers.append(keeper)
        await keeper.start()
        return keeper

    def told(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def settle(self) -> None:
        await self.clock.settle()


@asynccontextmanager
async def stage(*, source: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Stage]:
    """A stage that is left empty: no task, no sleeper, no complaint of the event loop's."""
    loop, noise = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: noise.append(context))
    before = asyncio.all_tasks()
    clock, stores = ManualClock(), MemoryStores()
    told = {"background": False, "jitter": 0} | settings
    scene = Stage(clock, ScriptedSource(clock, **source or {}), stores, FussyStore(stores), told)
    try:
        yield scene
    finally:
        for keeper in scene.keepers:
            await keeper.close()
    await clock.settle()
    assert asyncio.all_tasks() == before
    assert clock.sleepers == 0
    scene.keepers.clear()
    gc.collect()
    assert noise == []


def name(held: Held | None) -> str | None:
    """The text of a token."""
    return None if held is None else held.token.access.reveal()


async def ended(*tasks: asyncio.Task[Any]) -> list[Any]:
    """What tasks that have come to their end gave, or raised."""
    return await asyncio.gather(*tasks, return_exceptions=True)


def crowd(keeper: Keeper, number: int) -> list[asyncio.Task[Held]]:
    """So many who want a token."""
    return [spawn(keeper.get(), name=f"waiter {n}") for n in range(number)]


async def leave(*tasks: asyncio.Task[Any]) -> None:
    """They do not want it any more."""
    await cancelled(*tasks)


def state_of(keeper: Keeper) -> State:
    """The state now: asked anew each time, which a type checker does not expect of a property."""
    return keeper.state
