"""Starts and stops aiohttp applications on loopback, in this loop or in a thread of their own."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from aiohttp import web

LOOPBACK = "127.0.0.1"
PATIENCE = 5.0  # seconds for the double's own loop to start or stop it
SHUTDOWN_GRACE = 0.05  # a test that ends waits for nobody: what still runs then is cancelled


@asynccontextmanager
async def listening(app: web.Application, *, port: int = 0) -> AsyncIterator[str]:
    """Serve `app` on loopback and give its URL, with no slash at its end; port 0 picks a free one.

    Bodies reach the handlers as they were sent, and a handler ends when its caller goes away.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,
        shutdown_timeout=SHUTDOWN_GRACE,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, LOOPBACK, port)
        await site.start()
        yield f"http://{LOOPBACK}:{site.port}"
    finally:
        await runner.cleanup()


class Served(ABC):
    """A double that serves inside `async with`; entered again, it is back at the same URL."""

    def __init__(self, *, port: int = 0) -> None:
        self._port = port
        self._url: str | None = None
        self._serves = False
        self._running = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None

    @abstractmethod
    def application(self) -> web.Application:
        """A new application over this double's state."""

    @property
    def url(self) -> str:
        """Where it serves or has served, with no slash at its end.

        Raises:
            RuntimeError: it was never started.
        """
        if self._url is None:
            name = type(self).__name__
            raise RuntimeError(f"this {name} has no URL yet: enter it with 'async with' or running")
        return self._url

    async def __aenter__(self) -> Self:
        serving = listening(self.application(), port=self._port)
        self._url = await self._running.enter_async_context(serving)
        self._port = urlsplit(self._url).port or 0
        self._loop = asyncio.get_running_loop()
        self._serves = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._serves = False
        await self._running.aclose()

    def go_down(self) -> None:
        """Refuse connections, with no state lost; for one that is `running`, from other threads."""
        self._do(self.__aexit__())

    def come_back(self) -> None:
        """Serve again after `go_down`, at the same URL; one that serves goes on."""
        self._do(self._again())

    async def _again(self) -> None:
        if not self._serves:
            await self.__aenter__()

    def _do(self, work: Coroutine[Any, Any, object]) -> None:
        if self._loop is None or not self._loop.is_running():
            work.close()
            raise RuntimeError(f"this {type(self).__name__} does not run: enter it with running")
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(url={self._url!r})"


S = TypeVar("S", bound=AbstractAsyncContextManager[Any])


@contextmanager
def running(server: S) -> Iterator[S]:
    """Enter `server` on a loop and a thread of its own, so that any test can use its URL."""
    started: Future[Callable[[], object]] = Future()
    with ThreadPoolExecutor(1, thread_name_prefix="tokenproxy-testing") as pool:
        ended = pool.submit(lambda: asyncio.run(_hold(server, started)))
        either: list[Future[Any]] = [started, ended]
        wait(either, return_when=FIRST_COMPLETED)
        if not started.done():
            ended.result()  # raises what kept it from starting
        try:
            yield server
        finally:
            started.result()()
            ended.result()


async def _hold(
    server: AbstractAsyncContextManager[Any], started: Future[Callable[[], object]]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with server:
        started.set_result(lambda: loop.call_soon_threadsafe(stop.set))
        await stop.wait()
