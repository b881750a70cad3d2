"""A supervisor in the test's own loop, and workers that are real processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError, ListenError, WorkerError
from tokenproxy.events import Event, WorkerDied, WorkerStarted
from tokenproxy.runtime import World
from tokenproxy.server import crew, supervisor
from tokenproxy.server.listeners import bind
from tokenproxy.server.serve import Change
from tokenproxy.server.supervisor import LAST_BREATH, START, supervise
from tokenproxy.tasks import cancelled, spawn

WORKERS = 2
ROUTE = {"upstream": "https://a.example"}
HANGS = """
import os, sys, time
os.close(int(sys.argv[1]))
time.sleep(600)
"""


class Scene:
    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.events: list[Event] = []
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        self.stopping = asyncio.Event()
        told = {"admin": None, "workers": WORKERS, "routes": [ROUTE], **config}
        told.setdefault("listen", f"unix:{folder / 's'}")
        world = World(variables={}, state_folder=folder / "state", observe=self.events.append)
        config_ = Config.model_validate(told)
        self.next: asyncio.Queue[dict[str, Any]] = asyncio.Queue()  # what its config is changed by

        async def changes(change: Change) -> None:
            while True:
                await change(Config.model_validate({**told, **await self.next.get()}))
                self.next.task_done()

        self.work = supervise(config_, world, self.lines.put_nowait, self.stopping, changes=changes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[None]"]:
        """Until it listens, and then until it has ended."""
        task = spawn(self.work, name="supervise")
        line = spawn(self.lines.get(), name="line")
        try:
            await asyncio.wait({task, line}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            yield task
        finally:
            await cancelled(line, task)

    def started(self) -> list[int]:
        return [event.pid for event in self.events if isinstance(event, WorkerStarted)]


Staged = Callable[..., Scene]


@pytest.fixture
def staged(nothing_left_behind: None, tmp_path: Path) -> Staged:
    return lambda **config: Scene(tmp_path, config)


def descriptors() -> set[str]:
    return set(os.listdir("/dev/fd"))


async def test_nothing_is_left_of_it(staged: Staged, tmp_path: Path) -> None:
    await asyncio.to_thread(int)  # the pool and its thread come for good
    scene, before = staged(), descriptors()
    async with scene.running() as task:
        assert (tmp_path / "s").is_socket()
        assert len(set(scene.started())) == WORKERS
        scene.stopping.set()
        await task
    assert not (tmp_path / "s").exists()
    assert descriptors() == before
    assert scene.lines.empty()
    assert [event for event in scene.events if isinstance(event, WorkerDied)] == []


async def test_nothing_is_left_of_one_that_is_cancelled(staged: Staged, tmp_path: Path) -> None:
    scene = staged()
    async with scene.running() as task:
        await cancelled(task)
    assert not (tmp_path / "s").exists()
    for pid in scene.started():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_what_is_wrong_is_told_before_anything_listens(
    staged: Staged, tmp_path: Path
) -> None:
    scene = staged(routes=[{**ROUTE, "tls": {"ca": "/none.pem"}}])
    with pytest.raises(ConfigError, match=r"^routes\.0\.tls\.ca"):
        await scene.work
    assert (scene.events, (tmp_path / "s").exists()) == ([], False)


async def test_an_address_in_use_starts_no_worker(staged: Staged, tmp_path: Path) -> None:
    taken, scene = bind(f"unix:{tmp_path / 's'}"), staged()
    with pytest.raises(ListenError, match="another program listens there"):
        await scene.work
    assert (scene.events, (tmp_path / "s").exists()) == ([], True)
    taken.close()


async def test_a_worker_says_itself_what_keeps_it_from_serving(
    staged: Staged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    """The certificate goes away between the look of the supervisor and that of its workers."""
    gone = f"import pathlib\npathlib.Path({str(certificate)!r}).unlink(missing_ok=True)\n"
    monkeypatch.setattr(supervisor, "START", gone + START)

    with pytest.raises(WorkerError, match=r"^worker . does not come to serve \(routes\.0\.tls\.ca"):
        await staged(routes=[{**ROUTE, "tls": {"ca": str(certificate)}}]).work


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    trustme = pytest.importorskip("trustme")
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


async def test_without_an_interpreter_there_is_one_sentence(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/python")
    before = descriptors()
    with pytest.raises(WorkerError, match="no process can be started: No such file"):
        await staged().work
    assert descriptors() == before


async def test_one_that_has_said_its_last_and_does_not_end_is_killed(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "START", HANGS)
    monkeypatch.setattr(supervisor, "LAST_BREATH", LAST_BREATH / 100)
    with pytest.raises(WorkerError, match="killed by SIGKILL"):
        await staged().work


async def test_it_is_not_ready_while_no_worker_serves(staged: Staged, tmp_path: Path) -> None:
    scene = staged(admin=f"unix:{tmp_path / 'a'}")
    connector = aiohttp.UnixConnector(str(tmp_path / "a"))
    async with scene.running(), aiohttp.ClientSession(connector=connector) as session:

        async def told() -> tuple[int, list[str]]:
            async with session.get("http://localhost/readyz") as answer:
                return answer.status, (await answer.json())["reasons"]

        await scene.lines.get()  # of the admin listener
        assert await told() == (200, [])
        for pid in scene.started():
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while await told() != (503, ["workers: none serves"]):
                pass
            while await told() != (200, []):
                pass


async def test_one_that_hangs_as_the_config_changes_is_killed_and_replaced(
    staged: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "TO_TAKE_UP", 0.5)
    scene = staged()
    async with scene.running(), asyncio.timeout(30):
        hung = scene.started()[0]
        os.kill(hung, signal.SIGSTOP)
        scene.next.put_nowait({"shutdown_grace": "1s"})
        await scene.next.join()
        while len(scene.started()) <= WORKERS:  # noqa: ASYNC110 - another process comes
            await asyncio.sleep(0.01)
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)
    [died] = [event for event in scene.events if isinstance(event, WorkerDied)]
    assert (died.signal, died.error) == ("SIGKILL", crew.HUNG.format(crew.TO_TAKE_UP))
