"""What a caller's connection takes in, and in which order it answers."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.conftest import Proxy
from tests.wire import OK, UNAUTHORIZED, Message, Peer, Upstream
from tokenproxy.proxy.wire.downstream import MAX_PIPELINED
from tokenproxy.proxy.wire.intake import SLICE

pytestmark = pytest.mark.only("wire")

H2C = (b"Connection: Upgrade", b"Upgrade: h2c")


async def test_any_number_of_requests_that_would_switch_protocols_may_be_pipelined(
    plain: Proxy, upstream: Upstream
) -> None:
    count = 1500  # more than Python's stack is deep
    async with await plain.connect() as peer, asyncio.timeout(20):
        sending = asyncio.ensure_future(peer.send(plain.request(b"/", *H2C) * count))  # noqa: TID251
        for _ in range(count):
            assert (await peer.answer()).status == 200
        await sending
    assert len(upstream.requests) == count


async def test_requests_that_wait_behind_a_slow_one_are_not_all_taken_in(
    plain: Proxy, upstream: Upstream
) -> None:
    async def act(peer: Peer, request: Message) -> None:
        if request.target == b"/slow":
            await go.wait()
        await peer.send(OK)

    go = asyncio.Event()
    upstream.act = act
    count = 4 * SLICE // len(plain.request())
    async with await plain.connect() as peer, asyncio.timeout(20):
        await peer.send(plain.request(b"/slow") + plain.request(b"/x") * count)
        await upstream.until(lambda: bool(upstream.requests))
        await asyncio.sleep(0.05)
        assert plain.served == []
        go.set()
        for _ in range(count + 1):
            assert (await peer.answer()).body == b"ok"
    assert [request.target for request in upstream.requests] == [b"/slow", *[b"/x"] * count]
    assert count > 10 * MAX_PIPELINED


async def test_trailers_go_on_to_a_caller_who_takes_them(plain: Proxy, upstream: Upstream) -> None:
    upstream.reply = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
        b"Grpc-Status: 0\r\nConnection: x\r\n\r\n"
    )
    async with await plain.connect() as peer:
        for fields, trailers in (((b"TE: trailers",), b"Grpc-Status: 0\r\n"), ((), b"")):
            await peer.send(plain.request(b"/", *fields))
            await peer.head()
            assert await peer.chunk() == b"ok"
            assert await peer.reader.readexactly(5 + len(trailers)) == b"0\r\n" + trailers + b"\r\n"
    assert [request.values(b"te") for request in upstream.requests] == [[b"trailers"], []]


async def test_a_send_and_its_replay_may_each_meet_a_connection_that_has_just_closed(
    renewing: Callable[..., Awaitable[Proxy]], upstream: Upstream
) -> None:
    answers = [OK, b"", UNAUTHORIZED, b"", OK]

    async def act(peer: Peer, _: Message) -> None:
        reply = answers.pop(0)
        await peer.send(reply)
        if not reply:
            peer.close()

    proxy = await renewing()
    upstream.act = act
    assert (await proxy.ask()).body == b"ok"
    async with asyncio.timeout(10):
        assert (await proxy.ask()).body == b"ok"
    assert answers == []
    assert proxy.served[-1].replayed
