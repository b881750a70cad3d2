"""A real Chromium for tests, headless, that knows this machine's loopback and no other network.

with Browser(folder) as browser, browser.tab() as tab:
    tab.goto(url)                    # the status of the answer
    tab.run("document.title")        # any script; what a promise resolves with
    tab.do(lambda page: page.click("text=Sign in"))     # all else that Playwright can
    tab.screenshot(path)
    tab.errors                       # what the console said, and what no script caught

Playwright drives it, from a thread and a loop of its own: a test may have a loop, or none.
"""

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest
from playwright.async_api import Browser as Driven
from playwright.async_api import ConsoleMessage, Error, Page, Response, async_playwright

from tokenproxy.environment import variables

PROGRAMS = ("chromium", "google-chrome", "chromium-browser")
FOREIGN_NAME = "evil.example"  # a name of somebody else's that leads to this machine
RESOLVER_RULES = (
    f"MAP {FOREIGN_NAME} 127.0.0.1",
    "MAP localhost 127.0.0.1",  # the same port of ::1 may be somebody else's
    "MAP * ~NOTFOUND",  # what a browser asks its maker by itself stays here
    "EXCLUDE *.localhost",
    "EXCLUDE 127.0.0.1",
)
ARGUMENTS = (
    "--no-proxy-server",
    "--disable-dev-shm-usage",  # /dev/shm of a container is too small
    f"--host-resolver-rules={', '.join(RESOLVER_RULES)}",
)
SECONDS = 50  # any one step takes far less; a loaded machine takes longer

T = TypeVar("T")


def needs_chromium() -> str:
    """The path of a Chromium; without one the test is skipped, or fails where CI runs it."""
    for program in PROGRAMS:
        if path := shutil.which(program):
            return path
    if variables().get("CI") == "true":
        pytest.fail("no Chromium is installed: run tests/install.sh as root", pytrace=False)
    pytest.skip("no Chromium is installed")


class Tab:
    """One page in a context of its own: cookies, cache and storage begin empty, and end with it.

    Made in the browser's loop, since it asks for events.
    """

    def __init__(self, browser: "Browser", page: Page) -> None:
        self._browser = browser
        self._page = page
        self.errors: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def goto(self, url: str) -> int:
        """As from the address bar: the status of what is shown then, once it has loaded."""
        response = self.do(lambda page: page.goto(url))
        assert response is not None
        return response.status

    def run(self, script: str, argument: Any = None) -> Any:
        """What an expression of the page's, or a function of `argument`, gives or resolves with."""
        return self.do(lambda page: page.evaluate(script, argument))

    def led_away(self, script: str, argument: Any = None) -> int:
        """The status of what is shown once a function of the page's has led elsewhere."""
        response = self.do(lambda page: _led_away(page, script, argument))
        assert response is not None
        return response.status

    def add_script(self, file: Path) -> None:
        """Run it as the page's own."""
        self.do(lambda page: page.add_script_tag(path=file))

    def screenshot(self, file: Path) -> None:
        """The whole page as a PNG."""
        self.do(lambda page: page.screenshot(path=file, full_page=True))

    def do(self, act: Callable[[Page], Awaitable[T]]) -> T:
        """What `act` comes to in the browser's loop, the only place that may touch a page."""
        return self._browser.wait(_awaited(act, self._page))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)


class Browser:
    """One Chromium, from `with` to its end; what it keeps in a home goes to `home`."""

    _driven: Driven

    def __init__(self, home: Path) -> None:
        self._program = needs_chromium()
        self._home = home
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser")
        self._running = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.wait(self._start())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def wait(self, doing: Coroutine[Any, Any, T]) -> T:
        """What it gives, done in the browser's loop."""
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(SECONDS)

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A new one, closed in the end with all that it has opened."""
        tab = self.wait(self._opened())
        try:
            yield tab
        finally:
            tab.do(lambda page: page.context.close())

    async def _opened(self) -> Tab:
        context = await self._driven.new_context()
        return Tab(self, await context.new_page())

    async def _start(self) -> None:
        home = {name: str(self._home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
        driver = await self._running.enter_async_context(async_playwright())
        launching = driver.chromium.launch(
            executable_path=self._program, args=ARGUMENTS, env={**variables(), **home}
        )
        self._driven = await self._running.enter_async_context(await launching)

    def _end(self) -> None:
        try:
            self.wait(self._running.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def _led_away(page: Page, script: str, argument: Any) -> Response | None:
    async with page.expect_navigation() as navigation:
        await page.evaluate(script, argument)
    return await navigation.value


async def _awaited(act: Callable[[Page], Awaitable[T]], page: Page) -> T:
    try:
        return await act(page)
    except Error as error:
        raise AssertionError(f"{page.url}: {error.message}") from error
