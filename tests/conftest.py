"""What the tests of the request path share: the proxy in the test's own loop, and raw ends.

Each of these fails the test where something was left behind: a task's exception that nobody
saw, a session or connection that nobody closed.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiohttp import web
from hypothesis import settings

from tests import secrecy
from tests.wire import LIMIT, Message, Peer, Upstream, answer
from tokenproxy.clock import Moment, SystemClock
from tokenproxy.config.model import Config
from tokenproxy.events import Event, InternalError, RequestServed
from tokenproxy.runtime import Runtime, World
from tokenproxy.server.serve import serve
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import Api, Issuer


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """No test may pass that shows a secret, except one that says it is to."""
    report = yield
    if call.when == "setup":
        secrecy.begin()
    elif item.get_closest_marker("shows_secrets") is None:
        found = list(secrecy.leaks(report))
        if found and report.passed:
            report.outcome = "failed"
            report.longrepr = "secrets were shown:\n" + "\n".join(found)
    return report


settings.register_profile("a loaded machine", deadline=None)
settings.load_profile("a loaded machine")

STATIC = {"type": "static", "token": "the-token"}


class AheadClock(SystemClock):
    """The machine's clocks, put forward: renewals keep a second apart, and tests have none."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> Moment:
        return super().now().after(self._ahead)

    def skip(self, seconds: float) -> None:
        self._ahead += seconds


class Proxy:
    """One that serves, and what it has told."""

    def __init__(
        self,
        listening: list[str],
        events: list[Event],
        stop: Callable[[], None],
        clock: AheadClock,
        admin: str | None = None,
    ) -> None:
        self.admin = admin  # the URL of its admin listener
        self.listening = listening
        self.events = events
        self.stop = stop  # as a SIGTERM does
        self.clock = clock

    @property
    def url(self) -> str:
        return self.listening[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def authority(self) -> bytes:
        return f"127.0.0.1:{self.port}".encode()

    @property
    def served(self) -> list[RequestServed]:
        return [event for event in self.events if isinstance(event, RequestServed)]

    async def connect(self) -> Peer:
        return Peer(*await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT))

    def request(
        self, target: bytes = b"/", *fields: bytes, method: bytes = b"GET", body: bytes = b""
    ) -> bytes:
        """A request in HTTP/1.1 with a good Host; a body comes with its length."""
        lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: " + self.authority, *fields]
        if body:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    async def ask(
        self, target: bytes = b"/", *fields: bytes, method: bytes = b"GET", body: bytes = b""
    ) -> Message:
        """One request on a connection of its own, and its answer."""
        async with await self.connect() as peer:
            await peer.send(self.request(target, *fields, method=method, body=body))
            return await peer.answer(to_head=method == b"HEAD")


class Serving(Protocol):
    async def __call__(self, config: dict[str, Any], *, faults: int = 0) -> Proxy:
        """Serve the config (on a free port, unless it says); `faults` of our own are expected."""


@pytest.fixture(scope="session", autouse=True)
def _quick_collections() -> None:
    """What is imported by now is never garbage: no collection need look at it."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def nothing_left_behind() -> AsyncIterator[None]:
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    yield
    for _ in range(10):  # what has been cancelled gets to its end
        await asyncio.sleep(0)
    gc.collect()
    assert complaints == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is served is served in both ways, but for what only one can do."""
    if "way_in" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        metafunc.parametrize("way_in", only.args if only else list(WAYS), indirect=True)


@pytest.fixture
def way_in(request: pytest.FixtureRequest) -> str:
    """The way in: `wire` (what `tokenproxy run` serves with) or `handler` (on aiohttp)."""
    return str(request.param)


@pytest.fixture
async def serving(nothing_left_behind: None, tmp_path: Path, way_in: str) -> AsyncIterator[Serving]:
    async with AsyncExitStack() as stack:

        async def start(config: dict[str, Any], *, faults: int = 0) -> Proxy:
            settings = {
                "listen": "127.0.0.1:0",
                "admin": None,
                "store": {"type": "memory"},
                **config,
            }
            events: list[Event] = []
            lines: asyncio.Queue[str] = asyncio.Queue()
            stopping = asyncio.Event()
            clock = AheadClock()
            world = World(clock=clock, variables={}, state_folder=tmp_path, observe=events.append)
            config_ = Config.model_validate(settings, context={"folder": tmp_path})
            task = spawn(WAYS[way_in](config_, world, lines.put_nowait, stopping), name="serve")

            async def end() -> None:
                stopping.set()
                try:
                    async with asyncio.timeout(5):
                        await task
                finally:
                    await cancelled(task)
                assert sum(isinstance(event, InternalError) for event in events) == faults
                assert [each for each in secrecy.held() if each in repr(events)] == []

            stack.push_async_callback(end)
            listening = [await line_of(lines, task) for _ in config_.listen]
            admin = None if config_.admin is None else await line_of(lines, task)
            return Proxy(listening, events, stopping.set, clock, admin)

        yield start


async def _serve_by_handler(
    config: Config, world: World, announce: Callable[[str], None], stopping: asyncio.Event
) -> None:
    """As an aiohttp application of somebody's own does."""
    async with Runtime(config, world) as runtime:
        server = web.Server(runtime.handler, handler_cancellation=True, auto_decompress=False)
        runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            announce(f"listening on http://127.0.0.1:{runner.addresses[0][1]}")
            await stopping.wait()
        finally:
            await runner.cleanup()


WAYS = {"wire": serve, "handler": _serve_by_handler}


async def line_of(lines: "asyncio.Queue[str]", task: "asyncio.Task[None]") -> str:
    """The next line that a proxy prints; raises what it has ended with instead."""
    getting = spawn(lines.get(), name="line")
    waits: set[asyncio.Task[Any]] = {getting, task}
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    await cancelled(None if getting.done() else getting)
    if task.done():
        task.result()
    return getting.result().partition(" on ")[2]


@pytest.fixture
async def upstream(nothing_left_behind: None) -> AsyncIterator[Upstream]:
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def plain(serving: Serving, upstream: Upstream) -> Proxy:
    """A proxy before `upstream` with one route and no credential."""
    return await serving({"routes": [{"upstream": upstream.url}]})


@pytest.fixture
async def with_token(serving: Serving, upstream: Upstream) -> Proxy:
    """A proxy before `upstream` that injects `the-token`, which cannot be renewed."""
    return await serving(
        {
            "credentials": {"c": STATIC},
            "routes": [{"upstream": upstream.url, "credential": "c"}],
        }
    )


@pytest.fixture
async def issuer(nothing_left_behind: None) -> AsyncIterator[Issuer]:
    async with Issuer() as running:
        yield running


@pytest.fixture
async def api(issuer: Issuer) -> AsyncIterator[Api]:
    async with Api(issuer) as running:
        yield running


def shop(issuer: Issuer, **refresh: Any) -> dict[str, Any]:
    """Settings of a credential at that issuer."""
    return {
        "type": "simplejwt",
        "base_url": issuer.url,
        "username": issuer.username,
        "password": issuer.password,
        "refresh": {"min_interval": 0, "background": False, **refresh},
    }


@pytest.fixture
def renewing(
    serving: Serving, upstream: Upstream, issuer: Issuer
) -> Callable[..., Awaitable[Proxy]]:
    """Starts a proxy before `upstream` that has a token of `issuer` and may renew it."""

    async def start(refresh: dict[str, Any] | None = None, **route: Any) -> Proxy:
        proxy = await serving(
            {
                "credentials": {"shop": shop(issuer, **(refresh or {}))},
                "routes": [{"upstream": upstream.url, "credential": "shop", **route}],
            }
        )
        upstream.replies = [answer(fields=[(b"Connection", b"close")])]
        assert (await proxy.ask()).status == 200
        await upstream.all_gone()
        proxy.clock.skip(2)
        upstream.requests.clear()
        upstream.connections = 0
        proxy.events.clear()
        return proxy

    return start
