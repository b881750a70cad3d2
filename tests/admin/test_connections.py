"""The admin listener's connections: how many there are, and for how long."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.admin.conftest import Desk, Open
from tests.wire import LIMIT, Peer
from tokenproxy.admin import api, connection
from tokenproxy.server import office

pytestmark = pytest.mark.only("wire")

MOST = 3


@pytest.fixture(autouse=True)
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack, asyncio.timeout(20):
        yield stack


async def connect(desk: Desk) -> Peer:
    host, _, port = desk.authority.rpartition(":")
    return Peer(*await asyncio.open_connection(host, int(port), limit=LIMIT))


async def test_one_too_many_is_told_so_and_callers_are_served(
    opened: Open, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office, "MOST_CONNECTIONS", MOST)
    desk = await opened()
    idle = [await stack.enter_async_context(await connect(desk)) for _ in range(MOST)]

    async with await connect(desk) as peer:
        said = await peer.answer()
        await peer.ended()
    assert (said.status, said.values(b"Retry-After")) == (503, [b"5"])
    assert b'"code": "overloaded"' in said.body
    assert (await desk.proxy.ask()).status == 200

    idle[0].close()
    while (await desk.get("/healthz")).status != 200:
        pass


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: a\r\n"])
async def test_a_head_has_its_time_to_come(opened: Open, sent: bytes) -> None:
    desk = await opened(timeouts={"request_head": 0.05})
    async with await connect(desk) as peer:
        await peer.send(sent)
        assert await peer.reader.read() == b""


@pytest.mark.parametrize("sent", [b"", b"GET /heal"])
async def test_a_connection_with_nothing_under_way_has_its_time(opened: Open, sent: bytes) -> None:
    desk = await opened(timeouts={"keep_alive": 0.05})
    async with await connect(desk) as peer:
        asked = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        await peer.send(asked, asked)
        assert [(await peer.answer()).status for _ in range(2)] == [200, 200]
        await peer.send(sent)
        assert await peer.reader.read() == b""


async def test_what_takes_longer_than_a_head_may_is_answered(opened: Open) -> None:
    desk = await opened(timeouts={"request_head": 0.05})
    async with await connect(desk) as peer:
        host = desk.authority.encode()
        await peer.send(b"GET /api/events HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        await peer.head()
        await peer.chunk()
        desk.proxy.clock.skip(api.SILENT_FOR)
        assert await peer.chunk()  # a step of the stream is longer than that time


async def test_a_stream_whose_reader_takes_nothing_makes_room(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "APART", 0.0)
    monkeypatch.setattr(api, "SILENT_FOR", 0.0)
    monkeypatch.setattr(connection, "UNREAD", 0.05)
    monkeypatch.setattr(office, "MOST_CONNECTIONS", 1)
    desk = await opened()
    host, _, port = desk.authority.rpartition(":")
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        reader.connect((host, int(port)))
        reader.sendall(b"GET /api/events HTTP/1.1\r\nHost: %b\r\n\r\n" % desk.authority.encode())
        while (await desk.get("/healthz")).status == 200:
            pass
        while (await desk.get("/healthz")).status != 200:
            pass
