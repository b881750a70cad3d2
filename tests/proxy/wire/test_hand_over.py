"""Connections go on when another config takes over, and requests end by the one they began with."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from tests.conftest import AheadClock, Proxy
from tests.wire import OK, Message, Peer, Upstream, answer
from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError, ListenError
from tokenproxy.events import Event
from tokenproxy.runtime import World
from tokenproxy.server import generations
from tokenproxy.server.generations import Generations
from tokenproxy.server.listening import Listeners
from tokenproxy.server.office import Office

BIG = answer(b"x" * 100_000)
OTHER = 1234  # connections, to tell a config by
ENOUGH = 60  # descriptors for all that it opens


class Scene:
    """A proxy that is given one config after the other, on one port."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        self.events: list[Event] = []
        self.upstream = upstream
        self.listeners = Listeners({})
        self._folder = folder
        world = World(variables={}, state_folder=folder, observe=self.events.append)
        nobody = Config.model_validate({"admin": None})
        self.generations = Generations(Office(nobody, world), world.clock, self.listeners)
        self.proxy = Proxy([], self.events, lambda: None, AheadClock())

    async def take(self, **settings: Any) -> None:
        route = {"upstream": self.upstream.url, **settings.pop("route", {})}
        told = {
            "listen": "127.0.0.1:0",
            "admin": None,
            "store": {"type": "memory"},
            "routes": [route],
        }
        config = Config.model_validate({**told, **settings}, context={"folder": self._folder})
        found = await self.generations.change(config)
        self.proxy.listening += [listener.url for listener in found]

    async def mark(self, value: str, **settings: Any) -> None:
        """A config that is told by what it adds to requests."""
        await self.take(route={"headers": {"set": {"X-Config": value}}}, **settings)

    def marks(self) -> list[bytes]:
        return [mark for request in self.upstream.requests for mark in request.values(b"x-config")]


@pytest.fixture
async def scene(
    nothing_left_behind: None, upstream: Upstream, tmp_path: Path
) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        scene = Scene(tmp_path, upstream)
        stack.callback(scene.listeners.close)
        await stack.enter_async_context(scene.generations)
        await scene.mark("1")
        yield scene
        await scene.generations.drain()


async def test_an_idle_connection_is_served_by_the_next_config(scene: Scene) -> None:
    async with await scene.proxy.connect() as peer:
        for value in ("2", "3"):
            await peer.send(scene.proxy.request())
            assert (await peer.answer()).status == 200
            await scene.mark(value)
        await peer.send(scene.proxy.request())
        assert (await peer.answer()).values(b"connection") == []
    assert scene.marks() == [b"1", b"2", b"3"]


async def test_a_request_ends_by_the_config_that_it_began_with(scene: Scene) -> None:
    async def act(peer: Peer, request: Message) -> None:
        await goes_on.wait()
        await peer.send(OK)

    goes_on = asyncio.Event()
    scene.upstream.act = act
    async with await scene.proxy.connect() as peer:
        await peer.send(scene.proxy.request(b"/slow"))
        await scene.upstream.until(lambda: bool(scene.upstream.requests))
        await scene.take(routes=[])
        await scene.mark("3")
        goes_on.set()
        assert (await peer.answer()).status == 200
        await peer.send(scene.proxy.request(b"/next"))
        assert (await peer.answer()).status == 200
    assert scene.marks() == [b"1", b"3"]


async def test_a_body_that_is_under_way_arrives_whole(scene: Scene) -> None:
    async with await scene.proxy.connect() as peer:
        await peer.send(scene.proxy.request(method=b"POST", body=b"x" * 1000)[:-400])
        await scene.upstream.until(lambda: scene.upstream.connections == 1)
        await scene.mark("2")
        await peer.send(b"x" * 400)
        assert (await peer.answer()).status == 200
    [request] = scene.upstream.requests
    assert (len(request.body), scene.marks()) == (1000, [b"1"])


async def test_half_a_head_is_answered_by_the_config_it_began_with(scene: Scene) -> None:
    async with await scene.proxy.connect() as peer:
        await peer.send(scene.proxy.request()[:-2])
        await peer.send(b"")
        await asyncio.sleep(0)
        await scene.mark("2")
        await peer.send(b"\r\n")
        assert (await peer.answer()).status == 200


async def test_pipelined_requests_are_all_answered(scene: Scene) -> None:
    count = 50
    async with await scene.proxy.connect() as peer:
        await peer.send(scene.proxy.request() * count)
        for at in range(count):
            assert (await peer.answer()).status == 200
            if at % 10 == 0:
                await scene.mark(str(at))
    assert len(scene.upstream.requests) == count


async def test_one_who_never_stops_pipelining_comes_to_the_next_config_too(scene: Scene) -> None:
    async def act(peer: Peer, request: Message) -> None:
        if request.target == b"/slow":
            await goes_on.wait()
        await peer.send(OK)

    goes_on = asyncio.Event()
    scene.upstream.act = act
    async with await scene.proxy.connect() as peer:
        await peer.send(scene.proxy.request(b"/slow"))
        await scene.upstream.until(lambda: bool(scene.upstream.requests))
        await scene.mark("2")
        for _ in range(5):
            await peer.send(scene.proxy.request())
            await asyncio.sleep(0.01)
        goes_on.set()
        for _ in range(6):
            assert (await peer.answer()).status == 200
    assert scene.marks() == [b"1", b"1", b"2", b"2", b"2", b"2"]


async def test_rules_of_the_next_config_hold_on_a_connection_from_before(scene: Scene) -> None:
    async with await scene.proxy.connect() as peer:
        for target, status in ((b"/a", 200), (b"/a", 403)):
            await peer.send(scene.proxy.request(target))
            assert (await peer.answer()).status == status
            await scene.take(route={"deny": {"paths": ["/a"]}})


async def test_one_that_comes_by_a_listener_that_has_gone_is_told_that_it_is_the_last(
    scene: Scene, tmp_path: Path
) -> None:
    async with await scene.proxy.connect() as peer:
        await peer.send(scene.proxy.request())
        assert (await peer.answer()).status == 200
        await scene.mark("2", listen=f"unix:{tmp_path / 's'}")
        await peer.send(scene.proxy.request())
        last = await peer.answer()
        assert last.values(b"connection") == [b"close"]
        await peer.ended()
    assert scene.marks() == [b"1", b"1"]
    with pytest.raises(ConnectionRefusedError):
        await scene.proxy.connect()


async def test_the_limit_of_connections_counts_those_under_both(scene: Scene) -> None:
    async with await scene.proxy.connect() as first, await scene.proxy.connect() as second:
        for peer in (first, second):
            await peer.send(scene.proxy.request())
            assert (await peer.answer()).status == 200
        await scene.mark("2", max_connections=2)
        async with await scene.proxy.connect() as third:
            assert (await third.answer()).status == 503
        await first.send(scene.proxy.request())
        assert (await first.answer()).status == 200


async def test_what_still_runs_after_the_grace_is_broken_off(scene: Scene) -> None:
    async def act(peer: Peer, request: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf-")
        await peer.ended()

    scene.upstream.act = act
    async with await scene.proxy.connect() as peer:
        await peer.send(scene.proxy.request())
        await peer.head()
        await scene.mark("2", shutdown_grace=0)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await peer.reader.readexactly(10)


async def test_what_cannot_be_served_changes_nothing(scene: Scene, upstream: Upstream) -> None:
    taken = upstream.url.removeprefix("http://")
    with pytest.raises(ListenError):
        await scene.mark("2", listen=["127.0.0.1:0", taken])
    with pytest.raises(ConfigError):
        await scene.take(route={"tls": {"ca": "/none.pem"}})
    assert (await scene.proxy.ask()).status == 200
    assert scene.marks() == [b"1"]


async def test_a_config_for_which_no_descriptors_are_left_changes_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is that there are none: one more is left each time, until it is taken up."""
    monkeypatch.setattr(generations, "make_room", lambda _: None)
    tries = 0
    while scene.generations.config.max_connections != OTHER:
        with suppress(ListenError, ConfigError, OSError), descriptors_left(tries):
            await scene.mark("2", listen=["127.0.0.1:0"] * 3, max_connections=OTHER)
        tries += 1
        assert tries < ENOUGH
        if scene.generations.config.max_connections != OTHER:
            assert (await scene.proxy.ask()).status == 200
    assert set(scene.marks()) == {b"1"}
    assert len(scene.marks()) == tries - 1 > 0


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """No more than these may be opened in here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket() as lowest:  # all below it are in use
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
