"""All faults at once, in a mix that its seed settles; afterwards everything is as it was before."""

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import line_of
from tests.e2e.conftest import Program, ProxyFactory
from tests.e2e.mixed_acts import MOST, NAMES, Mix, Reload, Stage
from tests.e2e.mixed_callers import Place, head_of
from tests.e2e.mixed_upstream import MixedUpstream
from tests.e2e.test_failing_well import CLOCK, free_port
from tests.wire import Peer
from tokenproxy.config.model import Config
from tokenproxy.events import Event
from tokenproxy.runtime import World
from tokenproxy.server.serve import Change, serve
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import Issuer, running

PATIENCE = 30.0  # seconds in which all must have been given back
COUNTS = [
    pytest.param((100, 400), id="400"),
    pytest.param((1000, 10_000), id="10,000", marks=pytest.mark.soak),
]
# Bytes. What has a limit fills up to it, and the heap gets its holes: 10,000 acts cost about 4 MiB.
# An exchange that is kept with its buffers is 10 KiB and more: one of six is over this.
GROWTH = 16 << 20
COMPLAINTS = (
    "never retrieved",
    "never awaited",
    "unclosed",
    "Traceback",
    "Task was destroyed",
    "ResourceWarning",
    "internal_error",
)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    folder = tmp_path / "stage"
    (folder / "spool").mkdir(parents=True)
    with (
        running(MixedUpstream(MOST)) as upstream,
        running(Issuer(access_life=2)) as shop,
        running(Issuer(access_life=2)) as lost,
        socket.socket() as nobody,
    ):
        nobody.bind(("127.0.0.1", 0))  # and never listens
        yield Stage(folder, upstream, shop, lost, nobody.getsockname()[1])


# -- what is looked at afterwards -----------------------------------------------------------------


async def until(fact: Callable[[], Awaitable[bool]], what: Callable[[], object]) -> None:
    """Look again and again until it is so; `what` is told where it never is."""
    end = CLOCK.now().steady + PATIENCE
    while not await fact():
        assert CLOCK.now().steady < end, what()
        await asyncio.sleep(0.05)


async def ask(url: str, target: str, method: bytes = b"GET") -> tuple[int, bytes]:
    """One request by itself."""
    host, port = url.removeprefix("http://").split(":")
    async with Peer(*await asyncio.open_connection(host, int(port))) as peer:
        await peer.send(head_of(url, target, b"Content-Length: 0", method=method))
        answer = await peer.answer()
        return answer.status, answer.body


async def all_at_once(url: str, route: str) -> None:
    """As many requests as there may be connections: none has been lost to an earlier one."""
    asking = [ask(url, f"/{route}/all-at-once") for _ in range(MOST)]
    async with asyncio.timeout(PATIENCE):
        assert {status for status, _ in await asyncio.gather(*asking)} == {200}


async def in_flight(admin: str) -> dict[str, float]:
    """By route, where there are any."""
    _, text = await ask(admin, "/metrics")
    return {
        sample.labels["route"]: sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == "tokenproxy_requests_in_flight" and sample.value
    }


async def well_again(mix: Mix) -> None:
    """The issuer is asked again until it gives a token, and that is used."""
    mix.stage.shop.recover()

    async def renewed() -> bool:
        return (await ask(mix.place.admin, "/api/credentials/shop/refresh", b"POST"))[0] == 200

    await until(renewed, lambda: "the credential does not get well")
    assert (await ask(mix.place.url, "/shop/ok"))[0] == 200


async def settled(mix: Mix) -> None:
    """Nothing is in flight any more, and no connection to an upstream lost or left open."""
    await well_again(mix)

    async def idle() -> bool:
        return not await in_flight(mix.place.admin)

    async def alone() -> bool:
        return mix.stage.upstream.open == 0

    await until(idle, lambda: "requests are still in flight")
    for route in ("plain", "shop"):
        await all_at_once(mix.place.url, route)
    await until(alone, lambda: "connections to the upstream are still open")


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Of callers who keep no connection."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


# -- the program ----------------------------------------------------------------------------------


class Process:
    """What the system knows of a program."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def descriptors(self) -> Counter[str]:
        """What it has open, by kind."""
        found: Counter[str] = Counter()
        for entry in (self._folder / "fd").iterdir():
            with suppress(FileNotFoundError):
                found[str(entry.readlink()).partition(":[")[0]] += 1
        return found

    def memory(self) -> int:
        """Bytes that it holds."""
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS in /proc")


def written(stage: Stage, file: Path, told: dict[str, Any]) -> None:
    """As an editor does: a new file takes the place of the old one."""
    fresh = file.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({**told, **stage.settings()}))
    fresh.replace(file)


def reloading(stage: Stage, program: Program, told: dict[str, Any]) -> Reload:
    """Has it take up another config."""

    def reload() -> None:
        written(stage, program.folder / "tokenproxy.yaml", told)
        os.kill(program.pid, signal.SIGHUP)

    return reload


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors and memory are read from /proc")
@pytest.mark.parametrize("counts", COUNTS)
async def test_the_program_gives_back_all_that_it_took(
    proxy: ProxyFactory, stage: Stage, counts: tuple[int, int]
) -> None:
    warm_up, count = counts
    admin = free_port()
    told = {"admin": f"127.0.0.1:{admin}", "log": {"level": "debug"}}
    program = proxy({**told, **stage.settings()}, PYTHONWARNINGS="default")
    process = Process(program.pid)
    async with session() as callers:
        place = Place(program.url, f"http://127.0.0.1:{admin}", NAMES, callers)
        mix = Mix(stage, place, reloading(stage, program, {"listen": place.url[7:], **told}))
        await mix.play(warm_up)
        await settled(mix)
        before = process.descriptors(), process.memory(), stage.litter()
        await mix.play(count)
        await settled(mix)

        async def given_back() -> bool:
            return process.descriptors() <= before[0]

        await until(given_back, lambda: process.descriptors() - before[0])
    grown = process.memory() - before[1]
    assert program.terminate() == 0
    text = program.stderr_text()
    assert [word for word in COMPLAINTS if word in text] == []
    assert stage.litter() == before[2]
    assert grown < GROWTH


# -- in this process ------------------------------------------------------------------------------


@asynccontextmanager
async def served(stage: Stage, happened: Counter[str]) -> AsyncIterator[tuple[str, str, Reload]]:
    """The URLs of a proxy in the test's own loop, and what has it take up another config."""
    wanted: asyncio.Queue[None] = asyncio.Queue()
    lines: asyncio.Queue[str] = asyncio.Queue()
    stopping = asyncio.Event()
    admin = f"127.0.0.1:{free_port()}"

    def config() -> Config:
        told = {"listen": "127.0.0.1:0", "admin": admin, **stage.settings()}
        return Config.model_validate(told, context={"folder": stage.folder})

    async def changes(change: Change) -> None:
        while True:
            await wanted.get()
            await change(config())

    def observe(event: Event) -> None:
        happened[type(event).__name__] += 1

    world = World(variables={}, state_folder=stage.folder, observe=observe)
    serving = serve(config(), world, lines.put_nowait, stopping, changes=changes)
    task = spawn(serving, name="serve")
    try:
        urls = [await line_of(lines, task) for _ in ("listen", "admin")]
        yield urls[0], urls[1], lambda: wanted.put_nowait(None)
        stopping.set()
        await task
    finally:
        await cancelled(task)


def tasks() -> Counter[str]:
    """By name, where they have one; the others are of libraries."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return Counter("" if name.startswith("Task-") else name for name in names)


@pytest.mark.parametrize("counts", COUNTS)
async def test_no_task_is_left_behind(
    nothing_left_behind: None, stage: Stage, counts: tuple[int, int]
) -> None:
    warm_up, count = counts
    happened: Counter[str] = Counter()
    async with session() as callers, served(stage, happened) as (url, admin, reload):
        mix = Mix(stage, Place(url, admin, NAMES, callers), reload)
        await mix.play(warm_up)
        await settled(mix)
        before = tasks()
        await mix.play(count)
        await settled(mix)

        async def ended() -> bool:
            return tasks() <= before

        await until(ended, lambda: tasks() - before)
    assert happened["InternalError"] == 0
