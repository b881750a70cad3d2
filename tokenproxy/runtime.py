"""Builds everything from a Config, and owns every lifetime.

    async with Runtime(config) as runtime:
        ...  # runtime.handler answers requests

Nothing is fetched before it is entered, and nothing runs after it is left.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import aiohttp

from tokenproxy.clock import Clock, SystemClock, system_random
from tokenproxy.config.model import Config
from tokenproxy.environment import state_folder, variables
from tokenproxy.events import Event, Observe
from tokenproxy.proxy.handler import Handler
from tokenproxy.proxy.outbound import Upstream, open_session
from tokenproxy.proxy.parts import Parts
from tokenproxy.proxy.route import RouteTable
from tokenproxy.settings.credential import NetworkCredential
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.tls import Tls
from tokenproxy.tokens import endpoint
from tokenproxy.tokens.build import build_source, build_stores
from tokenproxy.tokens.fingerprint import config_label, record_key
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.store import StoreFactory
from tokenproxy.tokens.stores.memory import MemoryStores


def unheard(event: Event) -> None:
    """Observe nothing."""
    del event


@dataclass(frozen=True, slots=True)
class World:
    """All that a runtime takes from outside: time, chance, the environment, who listens."""

    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=system_random)
    variables: Mapping[str, str] = field(default_factory=variables)
    state_folder: Path = field(default_factory=state_folder)
    observe: Observe = unheard


class Runtime:
    """A config at work: keepers that hold tokens, and the handler that answers requests.

    Building it raises ConfigError for what only shows when it is put together, such as a CA
    file that cannot be read. `close_grace` is how many seconds renewals under way are given
    when it is left; it may be set until then.
    """

    def __init__(
        self, config: Config, world: World | None = None, *, close_grace: float = 5.0
    ) -> None:
        self._config = config
        self._world = world or World()
        self.close_grace = close_grace
        self._table = RouteTable(config.routes)
        self._upstreams = {
            route.name: Upstream(route, tls=endpoint.tls_context(route.settings.tls))
            for route in self._table.routes
        }
        self._token_tls = {
            name: endpoint.tls_context(
                settings.tls if isinstance(settings, NetworkCredential) else Tls()
            )
            for name, settings in config.credentials.items()
        }
        self._stack = AsyncExitStack()
        self.keepers: dict[str, Keeper] = {}
        self._handler: Handler | None = None

    @property
    def handler(self) -> Handler:
        """What answers requests, once the runtime has been entered."""
        if self._handler is None:
            raise RuntimeError("enter the runtime first: `async with runtime:`")
        return self._handler

    @property
    def table(self) -> RouteTable:
        """The routes."""
        return self._table

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handler = None
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        stores = build_stores(self._config.store, state_folder=self._world.state_folder)
        stack.push_async_callback(stores.close)
        for name, settings in self._config.credentials.items():
            opened = endpoint.open_session(tls=self._token_tls[name])
            session = await stack.enter_async_context(opened)
            self.keepers[name] = self._build_keeper(name, settings, session, stores)
        stack.push_async_callback(self._close_keepers)
        for keeper in self.keepers.values():
            await keeper.start()
        parts = Parts(
            table=self._table,
            upstreams=self._upstreams,
            keepers=self.keepers,
            session=await stack.enter_async_context(open_session()),
            clock=self._world.clock,
            observe=self._world.observe,
        )
        self._handler = Handler(parts, self._config.allowed_hosts)

    def _build_keeper(
        self,
        name: str,
        settings: AnyCredential,
        session: aiohttp.ClientSession,
        stores: StoreFactory,
    ) -> Keeper:
        world = self._world
        source = build_source(
            name, settings, session=session, environment=world.variables, clock=world.clock
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
        """All at once: together they get the grace that each of them may need."""
        closing = (keeper.close(self.close_grace) for keeper in self.keepers.values())
        await asyncio.gather(*closing)
