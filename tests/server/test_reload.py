"""Reading a config again goes on, whatever comes of one try."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import AheadClock
from tokenproxy.config.load import load_config
from tokenproxy.config.model import Config
from tokenproxy.errors import ListenError
from tokenproxy.events import Event, InternalError, Reloaded, ReloadFailed, ReloadUnneeded
from tokenproxy.server.configfile import ConfigFile
from tokenproxy.server.reload import Reloading
from tokenproxy.server.serve import running
from tokenproxy.tasks import cancelled, spawn

ROUTES = "routes: [{upstream: 'https://a.example'}]\n"


class Scene:
    """A config file that is read again; `meets` is what putting it into force meets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "tokenproxy.yaml"
        self.path.write_text(ROUTES)
        self.file = ConfigFile(self.path, load_config(self.path, environment={}), {})
        self.events: list[Event] = []
        self.asked, self.tried = asyncio.Event(), asyncio.Event()
        self.taken: list[Config] = []
        self.meanwhile: Callable[[], int] = int  # what happens while a config is taken up
        self.meets: list[Exception] = []  # by one try each
        self.reloading = Reloading(
            self.file,
            self.asked,
            AheadClock(),
            self.events.append,
            done=lambda _: self.tried.set(),
        )

    async def change(self, config: Config) -> None:
        self.meanwhile()
        if self.meets:
            raise self.meets.pop()
        self.taken.append(config)

    async def tries(self, text: str) -> list[Event]:
        """Have it read that; what was told of it."""
        self.events.clear()
        self.tried.clear()
        self.path.write_text(text)
        self.asked.set()
        async with asyncio.timeout(10):
            await self.tried.wait()
        return list(self.events)


@pytest.mark.parametrize(
    ("meets", "faults"),
    [
        (ListenError("no such address"), []),
        (FileNotFoundError(2, "No such file"), [InternalError("", "FileNotFoundError")]),
        (UnicodeError("label too long"), [InternalError("", "UnicodeError")]),
        (KeyError("of our own"), [InternalError("", "KeyError")]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_whatever_a_reload_meets_is_told_and_reloading_goes_on(
    nothing_left_behind: None, tmp_path: Path, meets: Exception, faults: list[Any]
) -> None:
    scene = Scene(tmp_path)
    work = spawn(scene.reloading(scene.change), name="changes")
    try:
        scene.meets.append(meets)
        told = await scene.tries(ROUTES + "max_connections: 7\n")
        assert [event for event in told if isinstance(event, InternalError)] == faults
        assert isinstance(told[-1], ReloadFailed)
        assert scene.reloading.state.failed_reloads == 1
        assert scene.taken == []

        [event] = await scene.tries(ROUTES + "max_connections: 8\n")
        assert isinstance(event, Reloaded)
        assert [config.max_connections for config in scene.taken] == [8]
        assert scene.reloading.state.error is None

        [event] = await scene.tries(ROUTES + "max_connections: 8  # the same\n")
        assert isinstance(event, ReloadUnneeded)
    finally:
        await cancelled(work)


async def test_a_certificate_that_is_replaced_while_it_is_taken_up_is_taken_up_next(
    nothing_left_behind: None, tmp_path: Path
) -> None:
    scene, certificate = Scene(tmp_path), tmp_path / "ca.pem"
    certificate.write_text("one")
    text = ROUTES.replace("}]", f", tls: {{ca: '{certificate}'}}}}]")
    work = spawn(scene.reloading(scene.change), name="changes")
    try:
        scene.meanwhile = lambda: certificate.write_text("two")
        assert [type(event) for event in await scene.tries(text)] == [Reloaded]
        scene.meanwhile = int
        assert [type(event) for event in await scene.tries(text)] == [Reloaded]
        assert [type(event) for event in await scene.tries(text)] == [ReloadUnneeded]
    finally:
        await cancelled(work)


async def test_work_that_ends_by_a_fault_is_told_of_at_once(nothing_left_behind: None) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()

    async def work() -> None:
        raise KeyError("of our own")

    async with running(work(), events.put_nowait), asyncio.timeout(10):
        told = await events.get()

    assert [told] == [InternalError("", "KeyError in 'changes'")]
