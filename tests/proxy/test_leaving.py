"""Callers who leave, or close their side, while nothing is read from them."""

import asyncio
import socket
import struct
from functools import partial

import pytest

from tests.conftest import Proxy, Serving, shop
from tests.wire import OK, Peer, Upstream
from tokenproxy.proxy.wire import leaving
from tokenproxy.proxy.wire.server import Wire
from tokenproxy.testing import Issuer

pytestmark = pytest.mark.only("wire")

MIB = 1 << 20
MANY = 60  # requests: more than are taken in behind one that takes long
MORE_THAN_IS_READ = b"x" * (180 << 10)  # of a body that nobody wants yet
LOOKS = 0.1  # seconds: time for several


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = partial(Wire, look_every=0.01)
    monkeypatch.setattr("tokenproxy.server.generations.Wire", quick)


@pytest.fixture(params=["poll", "peek"])
def eye(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "peek":
        monkeypatch.setattr(leaving, "_RDHUP", 0)
    elif not leaving._RDHUP:
        pytest.skip("Linux has it")


def reset(peer: Peer) -> None:
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.reset()


async def told(proxy: Proxy) -> None:
    """Until a request is known to have ended."""
    while not proxy.served:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)


async def pour(peer: Peer) -> None:
    while True:
        await peer.send(b"x" * MIB)


async def blocked(peer: Peer) -> None:
    """Send until no more is taken."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pour(peer), 0.3)


@pytest.mark.usefixtures("eye")
async def test_a_caller_that_resets_an_upload_which_stands_still_has_gone(
    plain: Proxy, upstream: Upstream
) -> None:
    async def take_nothing(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        await told(plain)

    upstream.meet = take_nothing
    async with await plain.connect() as peer, asyncio.timeout(5):
        length = b"Content-Length: %d" % (256 * MIB)
        await peer.send(plain.request(b"/", length, method=b"POST"))
        await blocked(peer)
        reset(peer)
        await upstream.all_gone()
    assert [served.status for served in plain.served] == [499]


@pytest.mark.usefixtures("eye")
async def test_a_caller_that_resets_what_it_has_pipelined_has_gone(
    plain: Proxy, upstream: Upstream
) -> None:
    async def hang(peer: Peer, _: object) -> None:
        await peer.ended()

    upstream.act = hang
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(plain.request() * MANY)
        await upstream.until(lambda: bool(upstream.requests))
        reset(peer)
        await upstream.all_gone()
    assert len(upstream.requests) == 1


needs_poll = pytest.mark.skipif(not leaving._RDHUP, reason="elsewhere a FIN shows when it is next")


@needs_poll
async def test_a_fin_behind_pipelined_requests_means_that_the_caller_has_gone(
    plain: Proxy, upstream: Upstream
) -> None:
    async def hang(peer: Peer, _: object) -> None:
        await peer.ended()

    upstream.act = hang
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(plain.request() * MANY)
        await upstream.until(lambda: bool(upstream.requests))
        peer.close()
        await upstream.all_gone()
    assert len(upstream.requests) == 1


async def slow_to_get_a_token(serving: Serving, upstream: Upstream, issuer: Issuer) -> Proxy:
    return await serving(
        {
            "credentials": {"shop": shop(issuer)},
            "routes": [{"upstream": upstream.url, "credential": "shop"}],
        }
    )


@needs_poll
async def test_a_fin_behind_a_body_that_waits_for_a_token_means_that_the_caller_has_gone(
    serving: Serving, upstream: Upstream, issuer: Issuer
) -> None:
    issuer.delay = 0.3
    proxy = await slow_to_get_a_token(serving, upstream, issuer)
    async with await proxy.connect() as peer, asyncio.timeout(5):
        await peer.send(proxy.request(method=b"POST", body=MORE_THAN_IS_READ))
        peer.close()
        await told(proxy)
        assert ([served.status for served in proxy.served], upstream.connections) == ([499], 0)
        assert (await proxy.ask()).body == b"ok"


async def test_a_caller_that_closes_its_side_after_its_last_body_still_gets_its_answer(
    serving: Serving, upstream: Upstream, issuer: Issuer
) -> None:
    issuer.delay = LOOKS
    proxy = await slow_to_get_a_token(serving, upstream, issuer)
    async with await proxy.connect() as peer, asyncio.timeout(5):
        close = b"Connection: close"
        await peer.send(proxy.request(b"/", close, method=b"POST", body=MORE_THAN_IS_READ))
        peer.writer.write_eof()
        assert (await peer.reader.read()).endswith(b"\r\n\r\nok")
    assert upstream.requests[0].body == MORE_THAN_IS_READ


@pytest.mark.parametrize("last", ["close", "1.0"])
async def test_the_last_of_many_requests_may_be_one_that_nobody_has_looked_at_yet(
    plain: Proxy, upstream: Upstream, last: str
) -> None:
    async def after_many_looks(peer: Peer, _: object) -> None:
        if len(upstream.requests) == 1:
            await asyncio.sleep(LOOKS)
        await peer.send(OK)

    upstream.act = after_many_looks
    async with await plain.connect() as peer, asyncio.timeout(5):
        end = plain.request(b"/last", b"Connection: close")
        if last == "1.0":
            end = b"GET /last HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        await peer.send(plain.request() * MANY, end)
        peer.writer.write_eof()
        answers = await peer.reader.read()
    assert answers.count(b"\r\n\r\nok") == MANY + 1
    assert upstream.requests[-1].target == b"/last"


async def test_a_caller_that_is_only_slow_is_left_alone(plain: Proxy, upstream: Upstream) -> None:
    async def take_later(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        await later.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while size[0]:
            size[0] -= len(await peer.reader.read(MIB))
        await peer.send(OK)

    later, size = asyncio.Event(), [64 * MIB]
    upstream.meet = take_later
    async with await plain.connect() as peer, asyncio.timeout(20):
        length = b"Content-Length: %d" % size[0]
        await peer.send(plain.request(b"/", length, method=b"POST"))
        sending = asyncio.gather(*(peer.send(b"x" * MIB) for _ in range(64)))
        await asyncio.sleep(0.3)
        later.set()
        await sending
        assert (await peer.answer()).body == b"ok"
