"""Answers that we end before their end: nobody takes them for whole, and the log says so."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

import tokenproxy.aiohttp
from tests.conftest import Proxy, Serving
from tests.wire import OK, Message, Peer, Upstream, answer
from tokenproxy.proxy.inbound import Verbatim

WITHOUT_A_LENGTH = b"GET / HTTP/1.0\r\n\r\n"  # so is its answer: it ends with its connection


async def stream_for_ever(peer: Peer, _: Message) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        await peer.send(b"tick")
        await asyncio.sleep(0.01)


async def broken_off(peer: Peer) -> None:
    """An answer without a length breaks off with a reset; a FIN would be its good end."""
    with pytest.raises(ConnectionResetError):
        await peer.reader.read()


async def test_what_outlives_the_grace_is_reset(serving: Serving, upstream: Upstream) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url}], "shutdown_grace": 0.05})
    upstream.act = stream_for_ever
    async with await proxy.connect() as peer, asyncio.timeout(5):
        await peer.send(WITHOUT_A_LENGTH)
        await peer.head()
        proxy.stop()
        await broken_off(peer)
    await upstream.all_gone()
    assert [(served.status, served.complete) for served in proxy.served] == [(200, False)]


@pytest.mark.only("handler")
async def test_a_fault_of_our_own_in_the_middle_of_an_answer_resets_it(
    serving: Serving, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Verbatim, data: bytes) -> None:
        if written:
            raise RuntimeError
        written.append(data)
        await write(self, data)

    written: list[bytes] = []
    write = Verbatim.write
    proxy = await serving({"routes": [{"upstream": upstream.url}]}, faults=1)
    monkeypatch.setattr(Verbatim, "write", broken)
    upstream.act = stream_for_ever
    async with await proxy.connect() as peer, asyncio.timeout(5):
        await peer.send(WITHOUT_A_LENGTH)
        await peer.head()
        await broken_off(peer)
    await upstream.all_gone()
    assert [served.complete for served in proxy.served] == [False]


async def test_the_end_of_an_application_resets_what_it_still_relays(upstream: Upstream) -> None:
    upstream.act = stream_for_ever
    app = web.Application()
    tokenproxy.aiohttp.setup(app, {"routes": [{"upstream": upstream.url}]})
    runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = runner.addresses[0]
    async with Peer(*await asyncio.open_connection(*address)) as peer, asyncio.timeout(5):
        await peer.send(WITHOUT_A_LENGTH)
        await peer.head()
        ending = asyncio.gather(runner.cleanup())
        await broken_off(peer)
        await ending


# -- what is told ---------------------------------------------------------------------------------


async def break_off(peer: Peer, _: Message) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
    peer.close()


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_an_answer_that_the_upstream_breaks_off_is_told_as_incomplete(
    plain: Proxy, upstream: Upstream, method: bytes
) -> None:
    upstream.act = break_off
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(plain.request(method=method))
        await peer.ended()
    [served] = plain.served
    assert (served.status, served.bytes_out, served.complete) == (200, 4, False)


async def test_an_answer_whose_caller_leaves_is_told_as_incomplete(
    plain: Proxy, upstream: Upstream
) -> None:
    upstream.act = stream_for_ever
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(plain.request())
        await peer.head()
        peer.reset()
        await upstream.all_gone()
    assert [(served.status, served.complete) for served in plain.served] == [(200, False)]


async def hang(peer: Peer, _: Message) -> None:
    await peer.ended()


async def hang_up(peer: Peer, _: Message) -> None:
    peer.close()


def say(reply: bytes) -> Callable[[Peer, Message], Awaitable[None]]:
    async def act(peer: Peer, _: Message) -> None:
        await peer.send(reply)
        peer.close()

    return act


@pytest.mark.parametrize(
    ("method", "act"),
    [
        (b"GET", say(OK)),
        (b"GET", say(b"HTTP/1.1 200 OK\r\n\r\nto the end")),
        (b"GET", say(answer(status=b"304 Not Modified")[:-2] + b"\r\n")),
        (b"HEAD", say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")),
        (b"POST", hang_up),
    ],
)
async def test_all_others_are_told_as_complete(
    plain: Proxy, upstream: Upstream, method: bytes, act: Any
) -> None:
    upstream.act = act
    await plain.ask(method=method)
    assert [served.complete for served in plain.served] == [True]


async def test_where_there_was_no_answer_none_is_incomplete(
    plain: Proxy, upstream: Upstream
) -> None:
    upstream.act = hang
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(plain.request())
        await upstream.until(lambda: bool(upstream.requests))
        peer.reset()
        await upstream.all_gone()
    assert [(served.status, served.complete) for served in plain.served] == [(499, True)]
