"""Bodies that are sent twice, or cannot be, or never arrive whole."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conftest import Proxy, Serving
from tests.wire import OK, UNAUTHORIZED, Message, Peer, Upstream, chunked
from tokenproxy.events import TokenRenewed
from tokenproxy.testing import Issuer
from tokenproxy.testing.api import pseudo_random

Start = Callable[..., Awaitable[Proxy]]

KIB, MIB = 1 << 10, 1 << 20
SMALL = {"memory": 4 * KIB, "max_body": 64 * KIB}


def data(size: int) -> bytes:
    return b"".join(pseudo_random(size))


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def renewals(proxy: Proxy) -> int:
    return sum(isinstance(event, TokenRenewed) for event in proxy.events)


@pytest.mark.parametrize(
    "size", [1, 4 * KIB - 1, 4 * KIB, 4 * KIB + 1, 64 * KIB - 1, 64 * KIB], ids=str
)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_within_the_limits_arrives_again_byte_for_byte(
    renewing: Start, upstream: Upstream, size: int, framing: str
) -> None:
    proxy = await renewing(replay=SMALL)
    upstream.replies = [UNAUTHORIZED]
    body = data(size)
    async with await proxy.connect() as peer:
        if framing == "length":
            await peer.send(proxy.request(method=b"POST", body=body))
        else:
            head = proxy.request(b"/", b"Transfer-Encoding: chunked", method=b"POST")
            await peer.send(head, chunked(*(body[at : at + 999] for at in range(0, size, 999))))
        assert (await peer.answer()).body == b"ok"
    assert [digest(request.body) for request in upstream.requests] == [digest(body)] * 2
    assert {request.framing for request in upstream.requests} == {framing}
    assert proxy.served[0].bytes_in == size
    assert proxy.served[0].replayed


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_over_max_body_the_no_is_passed_on_and_the_token_renewed_for_the_next(
    renewing: Start, upstream: Upstream, framing: str
) -> None:
    proxy = await renewing(replay=SMALL)
    upstream.replies = [UNAUTHORIZED]
    body = data(64 * KIB + 1)
    async with await proxy.connect() as peer:
        if framing == "length":
            await peer.send(proxy.request(method=b"POST", body=body))
        else:
            head = proxy.request(b"/", b"Transfer-Encoding: chunked", method=b"POST")
            await peer.send(head, chunked(body))
        assert (await peer.answer()).body == b"no!"
    assert (await proxy.ask(method=b"POST", body=body)).body == b"ok"
    first, second = upstream.requests
    assert first.values(b"authorization") != second.values(b"authorization")
    assert renewals(proxy) == 1


async def test_an_early_no_stops_the_first_send_and_the_rest_arrives_once(
    renewing: Start, upstream: Upstream
) -> None:
    async def at_once(peer: Peer) -> None:
        if upstream.connections == 1:
            await peer.head()
            await peer.send(UNAUTHORIZED)
            await upstream.until(lambda: upstream.connections == 2)
            first_got.append(await peer.reader.read())
        else:
            upstream.requests.append(await peer.request())
            await peer.send(OK)

    first_got: list[bytes] = []
    proxy = await renewing(replay=SMALL)
    upstream.meet = at_once
    body = data(40 * KIB)
    async with await proxy.connect() as peer:
        await peer.send(proxy.request(method=b"POST", body=body)[: -len(body)], body[: 10 * KIB])
        await upstream.until(lambda: upstream.connections == 2)
        for at in range(10 * KIB, len(body), KIB):
            await peer.send(body[at : at + KIB])
            await asyncio.sleep(0)
        assert (await peer.answer()).body == b"ok"
    await upstream.all_gone()
    assert digest(upstream.requests[0].body) == digest(body)
    assert body.startswith(first_got[0])
    assert len(first_got[0]) <= 10 * KIB


async def test_a_spool_that_cannot_be_written_makes_it_not_replayable_and_is_no_error(
    renewing: Start, upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "spool").mkdir()
    proxy = await renewing(replay={**SMALL, "dir": str(tmp_path / "spool")})
    (tmp_path / "spool").rmdir()
    body = data(5 * KIB)
    assert (await proxy.ask(method=b"POST", body=body)).body == b"ok"
    upstream.replies = [UNAUTHORIZED]
    assert (await proxy.ask(method=b"POST", body=body)).body == b"no!"
    proxy.clock.skip(2)
    upstream.replies = [UNAUTHORIZED]
    assert (await proxy.ask(method=b"POST", body=body[: 4 * KIB])).body == b"ok"


async def test_a_spool_leaves_no_file_behind(
    renewing: Start, upstream: Upstream, tmp_path: Path
) -> None:
    async def look(peer: Peer, _: Message) -> None:
        seen.append(os.listdir(tmp_path / "spool"))
        await peer.send(UNAUTHORIZED if len(seen) == 1 else OK)

    (tmp_path / "spool").mkdir()
    seen: list[list[str]] = []
    proxy = await renewing(replay={**SMALL, "dir": str(tmp_path / "spool")})
    upstream.act = look
    assert (await proxy.ask(method=b"POST", body=data(60 * KIB))).body == b"ok"
    assert seen == [[], []]


async def test_the_caller_leaves_and_the_upstream_sees_no_whole_body(
    renewing: Start, upstream: Upstream
) -> None:
    async def take(peer: Peer) -> None:
        await peer.head()
        got.append(await peer.reader.read())

    got: list[bytes] = []
    proxy = await renewing()
    upstream.meet = take
    for framing in (b"Transfer-Encoding: chunked", b"Content-Length: 100"):
        async with await proxy.connect() as peer, asyncio.timeout(2):
            await peer.send(proxy.request(b"/", framing, method=b"POST"), b"5\r\nfirst\r\n")
            await upstream.until(lambda: upstream.open == 1)
            peer.reset()
            await upstream.all_gone()
    assert got in ([b"5\r\nfirst\r\n"] * 2, [b"", b"5\r\nfirst\r\n"])


@pytest.mark.parametrize("rest", [b"zz\r\n", b"-1\r\nx\r\n", b"5\r\nhello!!"])
@pytest.mark.only("wire")
async def test_a_malformed_body_is_400_and_the_upstream_sees_no_whole_one(
    renewing: Start, upstream: Upstream, rest: bytes
) -> None:
    async def take(peer: Peer) -> None:
        await peer.head()
        got.append(await peer.reader.read())

    got: list[bytes] = []
    proxy = await renewing()
    upstream.meet = take
    async with await proxy.connect() as peer, asyncio.timeout(2):
        head = proxy.request(b"/", b"Transfer-Encoding: chunked", method=b"POST")
        await peer.send(head, b"5\r\nfirst\r\n")
        await upstream.until(lambda: upstream.open == 1)
        await peer.send(rest)
        answer = await peer.answer()
        assert (answer.status, answer.values(b"connection")) == (400, [b"close"])
        assert await peer.reader.read() == b""
    await upstream.all_gone()
    assert not got[0].endswith(b"0\r\n\r\n")
    assert [served.code for served in proxy.served] == ["bad_request"]


@pytest.mark.only("wire")
async def test_a_malformed_body_ends_an_answer_that_has_begun(
    plain: Proxy, upstream: Upstream
) -> None:
    async def take(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")
        await peer.ended()

    upstream.meet = take
    async with await plain.connect() as peer, asyncio.timeout(2):
        head = plain.request(b"/", b"Transfer-Encoding: chunked", method=b"POST")
        await peer.send(head, b"5\r\nfirst\r\n")
        await peer.head()
        await peer.send(b"zz\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await peer.chunks()
    await upstream.all_gone()


@pytest.mark.parametrize("size", [100, 5 * MIB], ids=str)
async def test_an_upstream_that_answers_before_it_has_the_body_and_closes_is_heard(
    plain: Proxy, upstream: Upstream, size: int
) -> None:
    async def at_once(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        peer.writer.write_eof()
        await peer.ended()

    upstream.meet = at_once
    async with await plain.connect() as peer:
        sending = asyncio.gather(
            peer.send(plain.request(method=b"POST", body=data(size))), return_exceptions=True
        )
        answer = await peer.answer()
        await sending
    assert (answer.status, answer.body) == (413, b"big")


# -- the upstream that has said all before it has heard all ----------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_upstream_that_answers_well_and_goes_on_reading_gets_the_whole_body(
    plain: Proxy, upstream: Upstream, reply: bytes, framing: str
) -> None:
    async def at_once(peer: Peer) -> None:
        for _ in range(2):
            head = await peer.head()
            await peer.send(reply)
            body = await (peer.chunks() if b"chunked" in head else peer.reader.readexactly(6))
            got.append(body)

    got: list[bytes] = []
    upstream.meet = at_once
    first, rest = b"first", b"!"
    field = b"Content-Length: 6"
    if framing == "chunked":
        first, rest = b"5\r\nfirst\r\n", b"1\r\n!\r\n0\r\n\r\n"
        field = b"Transfer-Encoding: chunked"
    async with AsyncExitStack() as stack, asyncio.timeout(5):
        peer = await stack.enter_async_context(await plain.connect())
        for _ in range(2):
            await peer.send(plain.request(b"/", field, method=b"POST"), first)
            answer = await peer.answer()
            assert answer.status // 100 == 2
            await peer.send(rest)
            if answer.values(b"connection") == [b"close"]:
                await peer.ended()
                peer = await stack.enter_async_context(await plain.connect())
        await upstream.all_gone()
    assert got == [b"first!"] * 2
    assert upstream.connections == 1
    assert [(served.bytes_in, served.complete) for served in plain.served] == [(6, True)] * 2


async def test_a_body_that_is_no_longer_wanted_is_not_sent_on(
    plain: Proxy, upstream: Upstream
) -> None:
    async def at_once(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig")
        got.append(await peer.reader.read())

    got: list[bytes] = []
    upstream.meet = at_once
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(plain.request(b"/", b"Content-Length: 6", method=b"POST"), b"first")
        assert (await peer.answer()).body == b"big"
        await upstream.all_gone()
        await peer.send(b"!", plain.request(b"/nowhere", b"Host: twice"))
        assert (await peer.answer()).status == 400
    assert got[0] in {b"", b"first"}


@pytest.mark.only("wire")
async def test_an_upstream_that_answers_well_and_hangs_up_ends_the_request(
    plain: Proxy, upstream: Upstream
) -> None:
    async def at_once(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await heard.wait()
        peer.close()

    heard = asyncio.Event()
    upstream.meet = at_once
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(plain.request(b"/", b"Content-Length: 6", method=b"POST"), b"first")
        assert (await peer.answer()).body == b"ok"
        heard.set()
        await upstream.all_gone()
        await peer.send(b"!", plain.request(b"/nowhere", b"Host: twice"))
        assert (await peer.answer()).status == 400
    assert [served.status for served in plain.served] == [200, 400]


async def test_a_caller_that_leaves_with_its_answer_takes_the_rest_of_its_body_with_it(
    plain: Proxy, upstream: Upstream
) -> None:
    async def at_once(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        got.append(await peer.reader.read())

    got: list[bytes] = []
    upstream.meet = at_once
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(plain.request(b"/", b"Content-Length: 6", method=b"POST"), b"first")
        assert (await peer.answer()).body == b"ok"
        peer.close()
        await upstream.all_gone()
    assert got == [b"first"]


async def test_silence_after_an_early_answer_does_not_end_what_is_asked_next(
    serving: Serving, upstream: Upstream
) -> None:
    async def early_then_late(peer: Peer) -> None:
        await peer.head()
        await peer.send(OK)
        await peer.reader.readexactly(6)
        await peer.head()
        await asyncio.sleep(0.2)
        await peer.send(OK)

    timeouts = {"idle": 0.1, "response_head": None}
    proxy = await serving({"routes": [{"upstream": upstream.url, "timeouts": timeouts}]})
    upstream.meet = early_then_late
    async with await proxy.connect() as peer, asyncio.timeout(5):
        await peer.send(proxy.request(b"/", b"Content-Length: 6", method=b"POST"), b"first")
        assert (await peer.answer()).body == b"ok"
        await peer.send(b"!", proxy.request())
        assert (await peer.answer()).body == b"ok"
    assert upstream.connections == 1


async def test_an_answer_may_begin_while_the_body_is_still_coming(
    plain: Proxy, upstream: Upstream
) -> None:
    async def echo(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while piece := await peer.chunk():
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await peer.send(b"0\r\n\r\n")

    upstream.meet = echo
    async with await plain.connect() as peer:
        head = plain.request(b"/", b"Transfer-Encoding: chunked", method=b"POST")
        await peer.send(head)
        await peer.head()
        for word in (b"one", b"two", b"three"):
            await peer.send(b"%x\r\n%b\r\n" % (len(word), word))
            assert await peer.chunk() == word
        await peer.send(b"0\r\n\r\n")
        assert await peer.chunk() == b""


# -- the kept-alive connection that the upstream has just closed -----------------------------------


def stale(replies: "Iterator[bytes]") -> Callable[[Peer], Awaitable[None]]:
    """Answers one request on each connection and hangs up when the next one has begun."""

    async def meet(peer: Peer) -> None:
        await peer.request()
        await peer.send(next(replies))
        await peer.head()
        peer.close()

    return meet


@pytest.mark.parametrize(
    ("method", "body"),
    [(b"GET", b""), (b"HEAD", b""), (b"DELETE", b""), (b"PUT", b"hello"), (b"PUT", b"x" * 50_000)],
)
async def test_an_idempotent_request_on_a_stale_connection_is_sent_again_on_a_new_one(
    plain: Proxy, upstream: Upstream, method: bytes, body: bytes
) -> None:
    upstream.meet = stale(iter([OK, OK.replace(b"ok", b"" if method == b"HEAD" else b"ok")]))
    assert (await plain.ask()).status == 200
    assert (await plain.ask(method=method, body=body)).status == 200
    assert upstream.connections == 2


@pytest.mark.parametrize(
    ("method", "body"), [(b"POST", b"hello"), (b"POST", b""), (b"PATCH", b"hello")]
)
async def test_any_other_request_is_delivered_once(
    plain: Proxy, upstream: Upstream, method: bytes, body: bytes
) -> None:
    upstream.meet = stale(iter([OK, OK]))
    assert (await plain.ask()).status == 200
    assert (await plain.ask(method=method, body=body)).status == 502
    assert upstream.connections == 1
    assert plain.served[-1].code == "upstream_unreachable"


async def test_a_body_that_was_not_kept_is_not_sent_again(plain: Proxy, upstream: Upstream) -> None:
    async def meet(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        peer.close()

    upstream.meet = meet
    assert (await plain.ask()).status == 200
    assert (await plain.ask(method=b"PUT", body=b"x" * (11 * MIB))).status == 502
    assert upstream.connections == 1


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_on_a_new_connection_nothing_is_sent_again(
    plain: Proxy, upstream: Upstream, method: bytes
) -> None:
    async def hang_up(peer: Peer, _: Message) -> None:
        peer.close()

    upstream.act = hang_up
    assert (await plain.ask(method=method)).status == 502
    assert (upstream.connections, len(upstream.requests)) == (1, 1)


async def test_a_replay_waits_for_no_answer_that_was_cut_off(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    async def say(peer: Peer, request: Message) -> None:
        if len(upstream.requests) == 1:
            await peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 1000000\r\n\r\n", b"x" * 10)
            await peer.ended()
        else:
            await peer.send(OK)

    proxy = await renewing()
    upstream.act = say
    assert (await proxy.ask(method=b"POST", body=b"hi")).body == b"ok"
    assert (issuer.refreshes, [request.body for request in upstream.requests]) == (1, [b"hi"] * 2)
