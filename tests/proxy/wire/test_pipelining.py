"""Callers who send many requests at once, and read their answers late or never."""

import asyncio

import pytest

from tests.conftest import Proxy
from tests.wire import OK, Message, Peer, Upstream, answer
from tokenproxy.proxy.wire.downstream import MAX_PIPELINED

pytestmark = pytest.mark.only("wire")

MIB = 1 << 20
LARGE = b"x" * (200 << 10)  # more than is written ahead for a caller


async def stands_still(sent: list[int]) -> None:
    """Until no more is taken from an upstream."""
    before = -1
    while sent[-1] != before:
        before = sent[-1]
        await asyncio.sleep(0.2)


async def test_an_answer_waits_while_those_before_it_are_not_read(
    plain: Proxy, upstream: Upstream
) -> None:
    """What is written ahead for a caller stays as little as it is for one answer."""

    async def act(peer: Peer, request: Message) -> None:
        if request.target == b"/whole":
            await peer.send(answer(LARGE))
            return
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        while True:
            await peer.send(b"x" * MIB)
            sent.append(sent[-1] + MIB)
            assert sent[-1] < 64 * MIB

    sent = [0]
    upstream.act = act
    async with await plain.connect() as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        await peer.send(plain.request(b"/whole") * 60, plain.request(b"/endless"))
        await stands_still(sent)
        assert sent[-1] < 64 * MIB


async def test_no_more_requests_go_up_than_answers_are_read(
    plain: Proxy, upstream: Upstream
) -> None:
    upstream.reply = answer(LARGE)
    async with await plain.connect() as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        counts = [-1, 0]
        while counts[-1] != counts[-2]:
            peer.writer.write(plain.request() * 20)
            await asyncio.sleep(0.2)
            counts.append(len(upstream.requests))
            assert counts[-1] < 200
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]  # it is one of both
        for _ in range(20 * (len(counts) - 2)):
            assert (await peer.answer()).body == LARGE


@pytest.mark.parametrize("host", [b"nobody.example", None], ids=["refused", "forwarded"])
async def test_thousands_of_requests_in_one_piece_are_answered_in_their_order(
    plain: Proxy, upstream: Upstream, host: bytes | None
) -> None:
    async def echo(peer: Peer, request: Message) -> None:
        await peer.send(answer(request.target[1:]))

    number = 4000
    upstream.act = echo
    requests = b"".join(
        b"GET /%d HTTP/1.1\r\nHost: %b\r\n\r\n" % (at, host or plain.authority)
        for at in range(number)
    )
    async with await plain.connect() as peer:
        peer.writer.write(requests)
        for at in range(number):
            got = await peer.answer()
            if host is None:
                assert got.body == b"%d" % at
            else:
                assert got.status == 421
    assert len(plain.served) == number


async def test_thousands_that_would_switch_to_another_protocol_are_answered(
    plain: Proxy, upstream: Upstream
) -> None:
    """The parser stops behind each of them."""
    h2c = plain.request(b"/", b"Connection: Upgrade", b"Upgrade: h2c")
    async with await plain.connect() as peer:
        peer.writer.write(h2c * 2000)
        for _ in range(2000):
            assert (await peer.answer()).body == b"ok"
    assert len(upstream.requests) == 2000


async def test_options_that_are_asked_thousands_of_times_are_answered(plain: Proxy) -> None:
    async with await plain.connect() as peer:
        peer.writer.write(plain.request(b"*", method=b"OPTIONS") * 4000)
        for _ in range(4000):
            assert (await peer.answer()).status == 204


async def test_answers_come_in_the_order_of_their_requests_also_where_some_are_refused(
    plain: Proxy, upstream: Upstream
) -> None:
    async def echo(peer: Peer, request: Message) -> None:
        await peer.send(answer(request.target + request.body))

    upstream.act = echo
    async with await plain.connect() as peer:
        await peer.send(
            plain.request(b"/1"),
            b"GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n",
            plain.request(b"/2", method=b"POST", body=b"body"),
            plain.request(b"*", method=b"OPTIONS"),
            plain.request(b"/3", method=b"HEAD"),
            plain.request(b"/4"),
            b"NONSENSE / HTTP/1.1\r\n\r\n",
        )
        assert (await peer.answer()).body == b"/1"
        assert (await peer.answer()).status == 421
        assert (await peer.answer()).body == b"/2body"
        assert (await peer.answer()).status == 204
        assert (await peer.answer(to_head=True)).values(b"content-length") == [b"2"]
        assert (await peer.answer()).body == b"/4"
        assert (await peer.answer()).status == 501
        await peer.ended()
    assert len(upstream.requests) == 4


async def test_what_waits_behind_one_that_takes_long_is_bounded(
    plain: Proxy, upstream: Upstream
) -> None:
    """More is not read; the kernels of both sides hold the rest."""

    async def hold(peer: Peer, _: Message) -> None:
        await free.wait()
        await peer.send(OK)

    free = asyncio.Event()
    upstream.act = hold
    number = 20 * MAX_PIPELINED
    async with await plain.connect() as peer:
        for at in range(number):
            await peer.send(plain.request(b"/%d" % at))
        await upstream.until(lambda: len(upstream.requests) == 1)
        free.set()
        for _ in range(number):
            assert (await peer.answer()).body == b"ok"
    assert [request.target for request in upstream.requests] == [
        b"/%d" % at for at in range(number)
    ]


@pytest.mark.parametrize("number", [2, MAX_PIPELINED + 1, 5 * MAX_PIPELINED, 1000], ids=str)
@pytest.mark.parametrize("body", [b"", b"x" * 100], ids=["", "behind a body"])
async def test_a_caller_that_closes_its_side_behind_its_last_request_gets_all_answers(
    plain: Proxy, upstream: Upstream, number: int, body: bytes
) -> None:
    first = plain.request(b"/first", method=b"POST", body=body)
    others = b"".join(plain.request(b"/%d" % at) for at in range(number))
    async with await plain.connect() as peer:
        peer.writer.write(first + others + plain.request(b"/last", b"Connection: close"))
        peer.writer.write_eof()
        got = await peer.reader.read()
    assert got.count(b"HTTP/1.1 200 OK\r\n") == number + 2
    assert len(upstream.requests) == number + 2
