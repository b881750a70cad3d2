"""A proxy for tests: what `tokenproxy run` serves with, inside `async with` or `running`.

    with running(Proxy(load_config("tokenproxy.yaml"))) as proxy:
        requests.get(proxy.url + "/items")
        assert proxy.requests[-1].status == 200
        assert proxy.renewals("shop") == 1

It is one process, whatever `workers` says, and ends within a second.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from tokenproxy.clock import Clock
from tokenproxy.config.model import Config
from tokenproxy.errors import TokenproxyError
from tokenproxy.events import Event, Observe, RequestServed, TokenRenewed, to_all
from tokenproxy.load import Load
from tokenproxy.runtime import Runtime, World, unheard
from tokenproxy.server.generations import Generations
from tokenproxy.server.listening import Listeners
from tokenproxy.server.office import Office
from tokenproxy.settings.stores import MemoryStore
from tokenproxy.testing.movable import MovableClock
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.status import Status

ANY_PORT = "127.0.0.1:0"
TURNS = 50  # of the loop, in which what has been answered is told of; under a millisecond
PATIENCE = 30.0  # seconds; who waits longer for a renewal waits for one that hangs
LAST_BYTES = 1.0  # seconds for answers under way to end, before a stream is what they must be
LOOK_AGAIN = 0.002
SHUTDOWN_GRACE = 0.5

T = TypeVar("T")


def for_tests(config: Config) -> Config:
    """The same on a free port, without admin and with a memory store, where it names none."""
    defaults = {"listen": (ANY_PORT,), "admin": None, "store": MemoryStore(type="memory")}
    unnamed = {key: defaults[key] for key in defaults.keys() - config.model_fields_set}
    return config.model_copy(update=unnamed)


class UnknownName(TokenproxyError, LookupError):
    """Ask for one that the config has."""


class Proxy:
    """A proxy that serves `config`; what it tells and offers can be used from any thread.

    `clock` tells it the time, and `observe` is told what happens, in its own thread.
    """

    def __init__(
        self, config: Config, *, clock: Clock | None = None, observe: Observe = unheard
    ) -> None:
        quick = {"shutdown_delay": 0.0, "shutdown_grace": SHUTDOWN_GRACE}
        self.config = for_tests(config).model_copy(update=quick)
        self.clock = clock or MovableClock()
        self._events: list[Event] = []
        observe = to_all(self._events.append, observe)
        self._world = replace(World(), clock=self.clock, observe=observe)
        self._stack = AsyncExitStack()
        self._serving: _Serving | None = None

    async def __aenter__(self) -> Self:
        """Raise ConfigError or ListenError where it cannot serve."""
        async with AsyncExitStack() as stack:
            office = Office(self.config, self._world)
            listeners = Listeners({})
            stack.callback(listeners.close)
            generations = Generations(office, self.clock, listeners)
            await stack.enter_async_context(generations)
            await stack.enter_async_context(office)
            bound = await generations.change(self.config)
            office.announce(lambda _: None)
            stack.push_async_callback(generations.drain)
            urls = [each.url for each in bound]
            self._serving = _Serving(asyncio.get_running_loop(), generations.runtime, urls)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # -- where it is ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens, or has listened, with no slash at its end."""
        return self._served.urls[0]

    def url_of(self, route: str) -> str:
        """Where that route begins, its path and host included, with no slash at its end."""
        routes = {each.name: each for each in self._served.runtime.table.routes}
        found = _known(routes, route, "route")
        host = found.settings.host
        url = self.url if host is None else _at_host(self.url, host)
        return url + found.prefix.decode()

    # -- what has happened ---------------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """All that it has told so far (`tokenproxy.events`)."""
        self._settle()
        return tuple(self._events)

    @property
    def requests(self) -> tuple[RequestServed, ...]:
        """What has passed: `route`, `method`, `path`, `status`, `replayed`, and more."""
        return tuple(event for event in self.events if isinstance(event, RequestServed))

    def renewals(self, credential: str | None = None) -> int:
        """How many tokens it has got for that credential, the first included; for all of them.

        One that is on its way is waited for.
        """
        wanted = self.config.credentials.keys() if credential is None else {credential}
        for name in wanted:
            self._do(_landed(self.keeper(name)), otherwise=None)
        renewed = [event for event in self.events if isinstance(event, TokenRenewed)]
        return sum(event.credential in wanted for event in renewed)

    def told(self) -> str:
        """What has happened, one thing a line, for people."""
        return "\n".join(str(event) for event in self.events) or "nothing has passed"

    def __repr__(self) -> str:
        return f"Proxy({self._serving.urls if self._serving else None!r})"

    def clear(self) -> None:
        """Forget what has happened so far."""
        self._settle()
        self._events.clear()

    # -- its credentials -----------------------------------------------------------------------

    @property
    def credentials(self) -> "Credentials":
        """How they stand."""
        return Credentials(self)

    def keeper(self, credential: str) -> Keeper:
        """What holds the token, in the proxy's own loop. Raises UnknownName."""
        return _known(self._served.runtime.keepers, credential, "credential")

    def renew(self, credential: str) -> None:
        """Get a new token now, and wait for it.

        Raises:
            SourceUnavailable: the issuer did not answer.
            SourceRefused: it said no.
        """
        self._do(self.keeper(credential).refresh())

    @property
    def _served(self) -> "_Serving":
        if self._serving is None:
            raise RuntimeError(
                "this Proxy does not serve yet: enter it with 'async with' or running"
            )
        return self._serving

    def _settle(self) -> None:
        """Let it tell of what has been answered."""
        if self._serving is not None:
            self._do(_told(self._world.load), otherwise=None)

    def _do(self, work: Coroutine[Any, Any, T], **otherwise: T) -> T:
        """Do the work in its loop; `otherwise` is the outcome where that cannot be waited for."""
        loop = self._served.loop
        if loop.is_running() and loop is not _running():
            return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE)
        work.close()
        if otherwise:
            return otherwise["otherwise"]
        raise RuntimeError("this Proxy cannot be waited for in its own loop: start it by running")


class _Serving:
    """What there is while it serves."""

    def __init__(self, loop: asyncio.AbstractEventLoop, runtime: Runtime, urls: list[str]) -> None:
        self.loop = loop
        self.runtime = runtime
        self.urls = urls


class Credentials:
    """How the credentials of a proxy stand, and what a person could have done with them."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def status(self, name: str) -> Status:
        """State, times and the last error; never a token."""
        return self._proxy.keeper(name).status()

    def refresh(self, name: str) -> Status:
        """Renew now, as `tokenproxy refresh` does. Raises SourceUnavailable or SourceRefused."""
        self._proxy.renew(name)
        return self.status(name)


def _known(found: dict[str, T], name: str, what: str) -> T:
    if name not in found:
        names = ", ".join(sorted(found)) or "none"
        raise UnknownName(f"the config has no {what} {name!r}: it has {names}")
    return found[name]


def _at_host(url: str, host: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{host}:{parts.port}"))


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _told(load: Load) -> None:
    """Wait for answers whose head somebody has seen already, and for what is told of them."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_BYTES):
            while load.in_flight().total():  # noqa: ASYNC110 - nothing tells of the last
                await asyncio.sleep(LOOK_AGAIN)
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _landed(keeper: Keeper) -> None:
    while keeper.is_renewing:  # noqa: ASYNC110 - nothing tells of an end without an outcome
        await asyncio.sleep(LOOK_AGAIN)
