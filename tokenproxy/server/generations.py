"""Configs at work, one after the other: the one that serves, and those that still have to end.

| a change of the config | step by step                                                    |
|------------------------|-----------------------------------------------------------------|
| it is put together     | keepers whose settings are the same go on under both            |
| its addresses are had  | what fails up to here changes nothing                           |
| it takes connections   | and whoever has one with nothing under way moves to it          |
| requests under way     | end under the config that they began with                       |
| the one before ends    | with its last request, or `shutdown_grace` seconds later        |
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from tokenproxy.clock import Clock, Moment
from tokenproxy.config.model import Config
from tokenproxy.config.process import AnyListener
from tokenproxy.events import DescriptorsUsedUp
from tokenproxy.proxy.wire.server import LAST_CALL, Wire
from tokenproxy.runtime import Runtime
from tokenproxy.server.descriptors import limit, make_room
from tokenproxy.server.doors import Door, doors, stays
from tokenproxy.server.entrances import PLAIN, Entrances, Factory, Speech
from tokenproxy.server.listeners import Bound
from tokenproxy.server.office import Office, Opening
from tokenproxy.server.turns import Turns
from tokenproxy.tasks import cancelled, done_within, spawn
from tokenproxy.tokens.namedfiles import theirs

NO_ROOM = (
    "callers wait, since nearly all of {} file descriptors are in use: raise their number with "
    "'ulimit -n', or lower 'max_connections'"
)
LAST_MOMENT = 0.5  # seconds for requests that were cut off to notice


class Addresses(Protocol):
    """Where a config listens."""

    def prepare(self, listeners: Sequence[AnyListener]) -> list[Bound]:
        """Those of another one, for `adopt` or `discard`. Raises ListenError."""

    def adopt(self, prepared: list[Bound]) -> None:
        """It is in force."""

    def discard(self, prepared: list[Bound]) -> None:
        """It is not."""

    def close(self) -> None:
        """Nobody is to listen there any more."""


class Inherited:
    """Sockets that another process has bound, for any config that this one is given."""

    def __init__(self, bound: Sequence[Bound]) -> None:
        self._bound = list(bound)

    def prepare(self, listeners: Sequence[AnyListener]) -> list[Bound]:
        """The same as ever."""
        del listeners
        return self._bound

    def adopt(self, prepared: list[Bound]) -> None:
        """They are in use."""

    def discard(self, prepared: list[Bound]) -> None:
        """They stay in use."""

    def close(self) -> None:
        """Give up this process's own."""
        for bound in self._bound:
            bound.close()


@dataclass(frozen=True, slots=True)
class Generation:
    """One config at work; `owned` ends it."""

    config: Config
    runtime: Runtime
    wire: Wire
    listeners: Sequence[tuple[AnyListener, Bound]]
    admin: Opening
    owned: contextlib.AsyncExitStack

    def speech(self) -> list[tuple[Bound, Speech]]:
        """How each of its listeners speaks."""
        return [(bound, self._spoken(at)) for at, (_, bound) in enumerate(self.listeners)]

    def doors(self) -> list[Door]:
        """How callers come in at each of its sockets."""
        return doors(self.listeners, self.runtime.files)

    def _spoken(self, at: int) -> Speech:
        listener, _ = self.listeners[at]
        if isinstance(listener, str):
            return Speech(PLAIN)
        patience = self.config.timeouts.request_head
        files = tuple(sorted(theirs(listener, self.runtime.files).items()))
        terms = (listener.tls, files, patience)
        return Speech(terms, self.runtime.listener_tls[at], patience)


class Generations:
    """Serves by one config after another, in `async with`; on an error all connections end."""

    def __init__(
        self, office: Office, clock: Clock, addresses: Addresses, turns: Turns | None = None
    ) -> None:
        self._office = office
        self._clock = clock
        self._turns = turns
        self._addresses = addresses
        self._current: Generation | None = None
        self._ending: dict[asyncio.Task[None], Generation] = {}
        self._entrances = Entrances(self._front, self._connections, turns, self._short)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self._entrances.close(0.0)
        if kind is not None:
            self._abort()
        await cancelled(*self._ending)
        current, self._current = self._current, None
        if current is not None:
            await current.owned.aclose()

    def _abort(self) -> None:
        for generation in self._all():
            generation.wire.abort()

    def _all(self) -> list[Generation]:
        current = [] if self._current is None else [self._current]
        return [*self._ending.values(), *current]

    def _front(self) -> Factory:
        return self._serving.wire

    @property
    def _serving(self) -> Generation:
        if self._current is None:
            raise RuntimeError("give it a config first: `await generations.change(config)`")
        return self._current

    def _connections(self) -> int:
        return 0 if self._current is None else self._current.wire.total

    @property
    def config(self) -> Config:
        """The one in force."""
        return self._serving.config

    @property
    def runtime(self) -> Runtime:
        """What works by it."""
        return self._serving.runtime

    def _short(self) -> None:
        self._office.world.observe(DescriptorsUsedUp(NO_ROOM.format(limit())))

    # -- another config ------------------------------------------------------------------------

    async def change(self, config: Config) -> list[Bound]:
        """Serve by this config from now on; the listeners that are new.

        Raises:
            ConfigError: a file that it names cannot be used.
            ListenError: an address cannot be had.
            All is as it was then.
        """
        before = self._current
        async with contextlib.AsyncExitStack() as undo:
            after = await self._begun(config, undo)
            entrances = self._entrances.prepare(after.speech())
            undo.pop_all()
        # Nothing fails from here on: no config is in force by half.
        self._current = before or after
        self._entrances.adopt(entrances)
        self._office.adopt(after.admin, config, after.runtime)
        known: set[str] = set()
        if before is not None:
            known = {bound.url for _, bound in before.listeners}
            self._replace(before, after)
        prepared = [bound for _, bound in after.listeners]
        self._addresses.adopt(prepared)
        return [bound for bound in prepared if bound.url not in known]

    async def _begun(self, config: Config, undo: contextlib.AsyncExitStack) -> Generation:
        """All of it but the connections; `undo` gives it back."""
        make_room(config.max_connections)
        before = self._current
        heir_of = None if before is None else before.runtime
        runtime = Runtime(
            config,
            self._office.world,
            close_grace=0,
            heir_of=heir_of,
            ahead=self._turns is None,
        )
        owned = contextlib.AsyncExitStack()
        undo.push_async_exit(owned)
        await owned.enter_async_context(runtime.built())
        prepared = self._addresses.prepare(config.listen)
        undo.callback(self._addresses.discard, prepared)
        admin = self._office.prepare(config)
        undo.callback(self._office.discard, admin)
        await owned.enter_async_context(runtime)
        wire = await owned.enter_async_context(_wire(runtime, config))
        listeners = list(zip(config.listen, prepared, strict=True))
        return Generation(config, runtime, wire, listeners, admin, owned)

    def _replace(self, before: Generation, after: Generation) -> None:
        self._current = after
        before.wire.hand_over(after.wire, stays(before.doors(), after.doors()))
        ends = self._clock.now().after(after.config.shutdown_grace)
        ending = spawn(self._end(before, ends), name="end a generation")
        self._ending[ending] = before
        ending.add_done_callback(self._ending.pop)

    async def _end(self, generation: Generation, ends: Moment) -> None:
        """Let its requests end until then, and a renewal that only it waits for be stored."""
        clock, wire, runtime = self._clock, generation.wire, generation.runtime
        async with generation.owned:
            await _ended(wire, clock.now().until(ends), clock.sleep)
            runtime.close_grace = runtime.longest_renewal

    # -- the end -------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Take no more connections; requests and a renewal have `shutdown_grace` seconds to end."""
        clock, current = self._clock, self._serving
        ends = clock.now().after(current.config.shutdown_grace)
        self._addresses.close()  # the queues live on in the entrances until these are empty
        await self._entrances.close(LAST_CALL)
        for generation in self._all():
            generation.wire.drain()
        await _ended(current.wire, clock.now().until(ends), clock.sleep)
        if self._ending:
            await asyncio.wait(self._ending, timeout=max(0.0, clock.now().until(ends)))
        current.runtime.close_grace = max(0.0, clock.now().until(ends))


@contextlib.asynccontextmanager
async def _wire(runtime: Runtime, config: Config) -> AsyncIterator[Wire]:
    """What serves callers; its connections to the upstreams end with it."""
    wire = Wire(
        runtime.parts,
        runtime.connectors,
        allowed_hosts=config.allowed_hosts,
        client_key=runtime.client_key,
        timeouts=config.timeouts,
        max_connections=config.max_connections,
    )
    try:
        yield wire
    finally:
        await wire.close()


async def _ended(wire: Wire, grace: float, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Wait until nobody is connected any more; after `grace` seconds all are cut off."""
    ended = spawn(wire.empty.wait(), name="drain")
    try:
        if not await done_within(ended, max(0.0, grace), sleep):
            wire.abort()
            await done_within(ended, LAST_MOMENT, sleep)
    except asyncio.CancelledError:
        wire.abort()
        raise
    finally:
        await cancelled(ended)
