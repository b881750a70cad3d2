"""Builds everything from a Config, and owns every lifetime.

    async with Runtime(config) as runtime:
        ...  # runtime.handler answers requests

Nothing is fetched before it is entered, and nothing runs after it is left. Who wants to know
whether all of it can be put together, and start nothing yet, enters `runtime.built()` first.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Literal, Self

import aiohttp

from tokenproxy.clock import Clock, SystemClock, system_random
from tokenproxy.config.confidential import without_secrets
from tokenproxy.config.model import Config
from tokenproxy.config.process import TlsListener
from tokenproxy.environment import state_folder, variables
from tokenproxy.errors import ConfigError, Problem
from tokenproxy.events import Event, Observe
from tokenproxy.load import Load
from tokenproxy.proxy.bound import Bound
from tokenproxy.proxy.handler import Handler
from tokenproxy.proxy.outbound import Upstream, open_session
from tokenproxy.proxy.parts import Parts
from tokenproxy.proxy.route import RouteTable
from tokenproxy.proxy.tls import listener_context
from tokenproxy.proxy.wire.connecting import Connector, egress_for
from tokenproxy.secret import Secret
from tokenproxy.settings.credential import NetworkCredential
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.tls import Tls
from tokenproxy.tasks import cancelled, done_within, spawn
from tokenproxy.tokens import endpoint
from tokenproxy.tokens.build import build_source, build_stores
from tokenproxy.tokens.fingerprint import config_label, record_key
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.store import StoreFactory
from tokenproxy.tokens.stores.memory import MemoryStores

TO_STORE = 1.0  # seconds that saving a token takes at most, where nothing is amiss


def unheard(event: Event) -> None:
    """Observe nothing."""
    del event


@dataclass(frozen=True, slots=True)
class World:
    """All that a runtime takes from outside: time, chance, the environment, who listens.

    In `load` it tells what is going on.
    """

    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=system_random)
    variables: Mapping[str, str] = field(default_factory=variables)
    state_folder: Path = field(default_factory=state_folder)
    observe: Observe = unheard
    load: Load = field(default_factory=Load)


class Runtime:
    """A config at work: keepers that hold tokens, and the handler that answers requests.

    Without `ahead` another process renews ahead of need what both find in the store.
    `close_grace` is how many seconds renewals under way are given when it is left: as many as
    the slowest request to a token endpoint may take, unless it is given. It may be set until
    then.
    """

    def __init__(
        self,
        config: Config,
        world: World | None = None,
        *,
        close_grace: float | None = None,
        ahead: bool = True,
    ) -> None:
        self._config = config
        self._ahead = ahead
        self._world = world or World()
        self.close_grace = _longest_renewal(config) if close_grace is None else close_grace
        self._table = RouteTable(config.routes)
        self._upstreams: dict[str, Upstream] = {}
        self.connectors: dict[str, Connector] = {}  # by the route's name
        self.listener_tls: dict[int, ssl.SSLContext] = {}  # by the index in `listen`
        self._parts: Parts | None = None
        self._stack = AsyncExitStack()
        self.keepers: dict[str, Keeper] = {}
        self._variables = without_secrets(self._world.variables, config)
        self.bound = Bound(self._world.clock)
        self._stores: StoreFactory = MemoryStores()
        self._is_built = False
        self._handler: Handler | None = None

    @property
    def handler(self) -> Handler:
        """What answers requests, once the runtime has been entered."""
        if self._handler is None:
            raise RuntimeError("enter the runtime first: `async with runtime:`")
        return self._handler

    @property
    def parts(self) -> Parts:
        """What all requests share, once the runtime has been entered."""
        if self._parts is None:
            raise RuntimeError("enter the runtime first: `async with runtime:`")
        return self._parts

    @property
    def client_key(self) -> Secret | None:
        """What callers must present, where they must."""
        key = self._config.client_key
        return None if key is None else Secret(key.get_secret_value())

    @property
    def table(self) -> RouteTable:
        """The routes."""
        return self._table

    @asynccontextmanager
    async def built(self) -> AsyncIterator[None]:
        """All is put together in here, and nothing started or fetched.

        Raises:
            ConfigError: all that only shows when it is put together, such as a key that cannot
                be read or a package that is missing.
        """
        async with AsyncExitStack() as stack:
            await self._build(stack)
            self._is_built = True
            try:
                yield
            finally:
                self._is_built = False

    async def __aenter__(self) -> Self:
        """Start, and put together first where that has not been done. Raises ConfigError."""
        async with AsyncExitStack() as stack:
            if not self._is_built:
                await stack.enter_async_context(self.built())
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handler = self._parts = None
        await self._stack.aclose()

    async def _build(self, stack: AsyncExitStack) -> None:
        mistakes = _Mistakes()
        stores: StoreFactory = MemoryStores()
        with mistakes.noted("store"):
            stores = build_stores(self._config.store, state_folder=self._world.state_folder)
            self._stores = stores
            stack.push_async_callback(stores.close)
        for name, settings in self._config.credentials.items():
            where = f"credentials.{name}"
            tls: ssl.SSLContext | Literal[True] = True
            with mistakes.noted(where):
                tls = endpoint.tls_context(_tls(settings), f"{where}.tls")
            with mistakes.noted(where):
                session = await stack.enter_async_context(endpoint.open_session(tls=tls))
                self.keepers[name] = self._build_keeper(name, settings, session, stores)
        for index, route in enumerate(self._table.routes):
            where = f"routes.{index}"
            with mistakes.noted(where):
                tls = endpoint.tls_context(route.settings.tls, f"{where}.tls")
                self._upstreams[route.name] = Upstream(route, tls=tls)
                egress = egress_for(route, self._world.variables)
                self.connectors[route.name] = Connector(route, tls=tls, egress=egress)
        for index, listener in enumerate(self._config.listen):
            if isinstance(listener, TlsListener):
                where = f"listen.{index}"
                with mistakes.noted(where):
                    self.listener_tls[index] = listener_context(listener.tls, f"{where}.tls")
        if mistakes.problems:
            raise ConfigError(mistakes.problems)

    async def _start(self, stack: AsyncExitStack) -> None:
        stack.push_async_callback(self._close_keepers)
        for keeper in self.keepers.values():
            await keeper.start(ahead=self._ahead)
        parts = Parts(
            table=self._table,
            upstreams=self._upstreams,
            keepers=self.keepers,
            bound=self.bound,
            session=await stack.enter_async_context(open_session()),
            clock=self._world.clock,
            observe=self._world.observe,
            load=self._world.load,
        )
        self._parts = parts
        self._handler = Handler(parts, self._config.allowed_hosts, self.client_key)

    def _build_keeper(
        self,
        name: str,
        settings: AnyCredential,
        session: aiohttp.ClientSession,
        stores: StoreFactory,
    ) -> Keeper:
        world = self._world
        source = build_source(
            name,
            settings,
            session=session,
            environment=self._variables,
            variables=world.variables,
            clock=world.clock,
        )
        kept_in = stores if source.persistent else MemoryStores()
        return Keeper(
            name,
            source,
            kept_in.open(record_key(name, settings)),
            settings.refresh,
            clock=world.clock,
            random=world.random,
            observe=world.observe,
            config=cache(partial(config_label, record_key(name, settings), settings)),
        )

    async def _close_keepers(self) -> None:
        """All at once: together they get the grace that each of them may need.

        After that the store is given up on, where it does not answer. None is left behind by one
        whose leaving is cancelled: then they get no grace.
        """
        closing = spawn(self._close_all(self.close_grace), name="close keepers")
        try:
            await done_within(closing, self.close_grace, self._world.clock.sleep)
        except asyncio.CancelledError:
            self._stores.hurry()
            await cancelled(closing)
            await self._close_all(0.0)
            raise
        self._stores.hurry()
        await asyncio.wait({closing})
        closing.result()

    async def _close_all(self, grace: float) -> None:
        closing = [keeper.close(grace) for keeper in self.keepers.values()]
        for outcome in await asyncio.gather(*closing, return_exceptions=True):
            if outcome is not None:
                raise outcome


class _Mistakes:
    """What was found wrong, so that one mistake hides no other."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    @contextmanager
    def noted(self, where: str) -> Iterator[None]:
        """Note a ConfigError of what is done in here, as one of that place."""
        try:
            yield
        except ConfigError as error:
            self.problems += [_placed(problem, where) for problem in error.problems]


def _placed(problem: Problem, where: str) -> Problem:
    """With its place, where it has none; its sentence may begin with one that is more exact."""
    if problem.path:
        return problem
    exact, _, what = problem.what.partition(" ")
    if exact.startswith(f"{where}."):
        return replace(problem, path=exact, what=what)
    return replace(problem, path=where)


def _tls(settings: AnyCredential) -> Tls:
    return settings.tls if isinstance(settings, NetworkCredential) else Tls()


def _longest_renewal(config: Config) -> float:
    """Seconds in which a request to a token endpoint that has begun is over, and stored."""
    timeouts = [settings.refresh.timeout for settings in config.credentials.values()]
    return max(timeouts, default=0.0) + TO_STORE
