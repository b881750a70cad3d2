"""Builds everything from a Config, and owns every lifetime.

    async with Runtime(config) as runtime:
        ...  # runtime.handler answers requests

Nothing is fetched before it is entered, and nothing runs after it is left. Who wants to know
whether all of it can be put together, and start nothing yet, enters `runtime.built()` first.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from tokenproxy.clock import Clock, SystemClock, system_random
from tokenproxy.config.confidential import without_secrets
from tokenproxy.config.model import Config
from tokenproxy.config.process import TlsListener
from tokenproxy.environment import state_folder, variables
from tokenproxy.errors import ConfigError
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
from tokenproxy.tokens import endpoint
from tokenproxy.tokens.estate import Estate, Surroundings
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.mistakes import Mistakes
from tokenproxy.tokens.namedfiles import Contents, contents

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

    One that is `heir_of` another, which still runs, shares with it all of its tokens whose
    settings are the same. The other is left by itself, before or after this one.
    """

    def __init__(
        self,
        config: Config,
        world: World | None = None,
        *,
        close_grace: float | None = None,
        ahead: bool = True,
        heir_of: "Runtime | None" = None,
    ) -> None:
        self._config = config
        self._ahead = ahead
        self._world = world or World()
        self.longest_renewal = _longest_renewal(config)
        self.close_grace = self.longest_renewal if close_grace is None else close_grace
        self._table = RouteTable(config.routes)
        self._upstreams: dict[str, Upstream] = {}
        self.connectors: dict[str, Connector] = {}  # by the route's name
        self.listener_tls: dict[int, ssl.SSLContext] = {}  # by the index in `listen`
        self.files: Contents = {}  # that the config names, as they were when they were read
        self._parts: Parts | None = None
        self._stack = AsyncExitStack()
        self._before = None if heir_of is None else heir_of.estate
        self.estate: Estate = Estate(config.store, config.credentials, _around(self._world, config))
        self.bound: Bound = Bound(self._world.clock) if heir_of is None else heir_of.bound
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
    def keepers(self) -> dict[str, Keeper]:
        """What holds the tokens, by the credential's name, once it has been put together."""
        return self.estate.keepers

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
        mistakes = Mistakes()
        before, self._before = self._before, None
        self.files = await asyncio.to_thread(contents, self._config)
        await self.estate.build(stack, mistakes, before, self.files)
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
        await self.estate.start(ahead=self._ahead)
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

    async def _close_keepers(self) -> None:
        await self.estate.close(self.close_grace)


def _around(world: World, config: Config) -> Surroundings:
    return Surroundings(
        clock=world.clock,
        random=world.random,
        observe=world.observe,
        variables=world.variables,
        environment=without_secrets(world.variables, config),
        state_folder=world.state_folder,
    )


def _longest_renewal(config: Config) -> float:
    """Seconds in which a request to a token endpoint that has begun is over, and stored."""
    timeouts = [settings.refresh.timeout for settings in config.credentials.values()]
    return max(timeouts, default=0.0) + TO_STORE
