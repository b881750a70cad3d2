"""What an answer is made of when it reaches the caller: the same bytes, and an end that is one."""

import asyncio
import gzip
import socket
import struct
from asyncio import IncompleteReadError
from http import HTTPStatus

import pytest

from tests.conftest import Proxy, Serving
from tests.wire import OK, Field, Message, Peer, Upstream, answer, chunked

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


async def test_nothing_is_added_and_nothing_is_lost(plain: Proxy, upstream: Upstream) -> None:
    fields: list[Field] = [
        (b"X-B", b"1"),
        (b"x-a", b""),
        (b"Set-Cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"X-Latin", b"caf\xe9"),
        (b"X-Tab", b"a\tb"),
    ]
    upstream.reply = answer(b"hello", fields=fields)
    got = await plain.ask()
    assert got.fields == [*fields, (b"Content-Length", b"5")]
    assert got.body == b"hello"


async def test_what_comes_in_gzip_goes_on_in_gzip(plain: Proxy, upstream: Upstream) -> None:
    body = gzip.compress(b"hello " * 1000)
    upstream.reply = answer(body, fields=[(b"Content-Encoding", b"gzip")])
    assert (await plain.ask()).body == body


@pytest.mark.parametrize(
    "start",
    [b"200 OK", b"200 Fine", b"200 ", b"299 Caf\xe9", b"404 Not Found", b"499 ?", b"599 X"],
)
async def test_a_status_keeps_its_words(plain: Proxy, upstream: Upstream, start: bytes) -> None:
    upstream.reply = answer(status=start)
    assert (await plain.ask()).start == b"HTTP/1.1 " + start


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_passed_on_and_never_followed(
    plain: Proxy, upstream: Upstream, status: int
) -> None:
    locations = [upstream.url.encode() + b"/a", b"https://other.example/b"]
    fields = [(b"Location", location) for location in locations]
    upstream.reply = answer(status=b"%d Moved" % status, fields=fields)
    got = await plain.ask(method=b"POST", body=b"hi")
    assert (got.status, got.fields[:2]) == (status, [(b"Location", b"/a"), fields[1]])
    assert len(upstream.requests) == 1


async def test_what_an_answer_says_of_its_place_holds_at_the_route(
    serving: Serving, upstream: Upstream
) -> None:
    changes = {"set": {"X-Set": "1"}, "remove": ["Server"]}
    route = {"path": "/shop", "upstream": upstream.url + "/v2", "response_headers": changes}
    proxy = await serving({"routes": [route]})
    fields = [
        (b"Server", b"x"),
        (b"Content-Location", b"7?a"),
        (b"Set-Cookie", b"a=b; Path=/; Domain=localhost; Secure"),
    ]
    upstream.reply = answer(fields=fields)
    got = await proxy.ask(target=b"/shop/items/")
    assert got.fields[:2] == [
        (b"Content-Location", b"/shop/items/7?a"),
        (b"Set-Cookie", b"a=b; Path=/shop"),
    ]
    assert (b"X-Set", b"1") in got.fields


async def test_an_upstream_that_gets_the_callers_host_may_redirect_to_it(
    serving: Serving, upstream: Upstream
) -> None:
    route = {"path": "/shop", "upstream": upstream.url + "/v2", "preserve_host": True}
    proxy = await serving({"routes": [route]})
    upstream.reply = answer(fields=[(b"Location", b"http://" + proxy.authority + b"/v2/login")])
    got = await proxy.ask(target=b"/shop/items")
    assert upstream.requests[0].values(b"host") == [proxy.authority]
    assert got.fields[0] == (b"Location", b"/shop/login")


async def test_fields_of_64_kib_go_through(plain: Proxy, upstream: Upstream) -> None:
    large = b"x" * (64 << 10)
    fields = [(b"Content-Security-Policy", large[:-30]), *[(b"X-N", b"1")] * 300]
    upstream.reply = answer(b"ok", fields=fields)
    assert (await plain.ask()).fields[:-1] == fields


async def test_other_spellings_of_the_framing_stop_here(plain: Proxy, upstream: Upstream) -> None:
    fields = [(b"Content_Length", b"5"), (b"transfer_encoding", b"chunked"), (b"X_A", b"1")]
    upstream.reply = answer(b"ok", fields=fields)
    assert (await plain.ask()).fields == [(b"X_A", b"1"), (b"Content-Length", b"2")]


async def test_hop_by_hop_fields_and_what_connection_names_stop_here(
    plain: Proxy, upstream: Upstream
) -> None:
    upstream.reply = answer(
        fields=[
            (b"Connection", b"x-gone, content-length"),
            (b"X-Gone", b"1"),
            (b"Keep-Alive", b"timeout=5"),
            (b"Proxy-Authenticate", b"Basic"),
            (b"X-Stays", b"1"),
        ]
    )
    assert (await plain.ask()).fields == [(b"X-Stays", b"1"), (b"Content-Length", b"0")]


# -- framing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [(), (b"a",), (b"a" * 100_000, b"b")], ids=len)
async def test_an_answer_in_chunks_stays_in_chunks(
    plain: Proxy, upstream: Upstream, pieces: tuple[bytes, ...]
) -> None:
    upstream.reply = CHUNKED + chunked(*pieces)
    got = await plain.ask()
    assert (got.framing, got.body) == ("chunked", b"".join(pieces))
    assert got.fields == [(b"Transfer-Encoding", b"chunked")]


async def test_trailers_stop_here(plain: Proxy, upstream: Upstream) -> None:
    upstream.reply = CHUNKED + b"2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"
    async with await plain.connect() as peer:
        for _ in range(2):
            await peer.send(plain.request())
            assert (await peer.answer()).body == b"hi"


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("body", [b"", b"hello", b"x" * 300_000], ids=len)
async def test_an_answer_that_ends_with_its_connection_comes_in_chunks(
    plain: Proxy, upstream: Upstream, version: bytes, body: bytes
) -> None:
    async def reply(peer: Peer, _: Message) -> None:
        await peer.send(version, b" 200 OK\r\n\r\n", body)
        peer.close()

    upstream.act = reply
    async with await plain.connect() as peer:
        for _ in range(2):
            await peer.send(plain.request())
            got = await peer.answer()
            assert (got.framing, got.body) == ("chunked", body)


@pytest.mark.parametrize("reply", [CHUNKED + chunked(b"hi"), UNTIL_CLOSE + b"hi"])
async def test_to_http_1_0_an_answer_without_a_length_ends_with_the_connection(
    plain: Proxy, upstream: Upstream, reply: bytes
) -> None:
    async def say(peer: Peer, _: Message) -> None:
        await peer.send(reply)
        peer.close()

    upstream.act = say
    async with await plain.connect() as peer:
        await peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert await peer.reader.read() == b"HTTP/1.0 200 OK\r\n\r\nhi"


async def test_http_1_0_may_keep_its_connection(plain: Proxy, upstream: Upstream) -> None:
    async with await plain.connect() as peer:
        for _ in range(2):
            await peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            got = await peer.answer()
            assert (got.body, got.values(b"connection")) == (b"ok", [b"keep-alive"])
        await peer.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await peer.reader.read()).endswith(b"ok")


async def test_a_caller_that_asks_for_it_sees_the_connection_closed(
    plain: Proxy, upstream: Upstream
) -> None:
    async with await plain.connect() as peer:
        await peer.send(plain.request(b"/", b"Connection: close"))
        assert (await peer.answer()).values(b"connection") == [b"close"]
        await peer.ended()


@pytest.mark.parametrize(
    ("head", "fields"),
    [
        (b"Content-Length: 1234\r\n", [(b"Content-Length", b"1234")]),
        (b"Transfer-Encoding: chunked\r\n", []),
        (b"", []),
    ],
)
async def test_an_answer_to_head_has_the_fields_and_no_body(
    plain: Proxy, upstream: Upstream, head: bytes, fields: list[Field]
) -> None:
    upstream.reply = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n"
    async with await plain.connect() as peer:
        for _ in range(2):
            await peer.send(plain.request(method=b"HEAD"))
            assert (await peer.answer(to_head=True)).fields == fields


@pytest.mark.parametrize(
    ("status", "head", "fields"),
    [
        (HTTPStatus.NO_CONTENT, b"Content-Length: 0\r\n", []),
        (HTTPStatus.NO_CONTENT, b"X-A: 1\r\n", [(b"X-A", b"1")]),
        (HTTPStatus.NOT_MODIFIED, b"Content-Length: 9\r\n", [(b"Content-Length", b"9")]),
        (HTTPStatus.NOT_MODIFIED, b"ETag: x\r\n", [(b"ETag", b"x")]),
    ],
)
async def test_answers_that_have_no_body_get_none(
    plain: Proxy, upstream: Upstream, status: HTTPStatus, head: bytes, fields: list[Field]
) -> None:
    upstream.reply = b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, status.phrase.encode(), head)
    async with await plain.connect() as peer:
        for _ in range(2):
            await peer.send(plain.request())
            assert (await peer.answer()).fields == fields
    assert upstream.connections == 1


@pytest.mark.only("handler")
async def test_informational_answers_are_skipped(plain: Proxy, upstream: Upstream) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    upstream.reply = b"HTTP/1.1 100 Continue\r\n\r\n" + early * 3 + OK
    async with await plain.connect() as peer:
        for _ in range(2):
            await peer.send(plain.request())
            assert await peer.head() == OK[:-2]
            assert await peer.reader.readexactly(2) == b"ok"


# -- answers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: a\rX-B: b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 O\x7fK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection\t: x\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX(A): 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 103 Early Hints\r\nX-A : 1\r\n\r\n" + OK,
        b"HTTP/1.1 000 N\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 099 N\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 1000 N\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * (65 << 10) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 600 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_a_malformed_answer_is_502_and_its_connection_is_used_no_more(
    plain: Proxy, upstream: Upstream, reply: bytes
) -> None:
    upstream.replies = [reply]
    async with await plain.connect() as peer:
        await peer.send(plain.request(method=b"POST"))
        got = await peer.answer()
        assert (got.status, plain.served[-1].code) == (502, "upstream_protocol_error")
        assert got.values(b"proxy-status") == [b"tokenproxy; error=http_protocol_error"]
        await peer.send(plain.request(method=b"POST"))
        assert (await peer.answer()).body == b"ok"
    assert upstream.connections == 2


async def test_a_folded_field_is_unfolded_or_refused(plain: Proxy, upstream: Upstream) -> None:
    upstream.reply = b"HTTP/1.1 200 OK\r\nX-A: a\r\n b: c\r\nContent-Length: 2\r\n\r\nok"
    got = await plain.ask()
    assert got.status == 502 or got.values(b"b") == []


async def test_what_an_upstream_says_unasked_is_nobodys_answer(
    plain: Proxy, upstream: Upstream
) -> None:
    forged = answer(b"forged")

    async def answers_twice(peer: Peer, _: Message) -> None:
        await peer.send(OK)
        await heard.wait()
        await peer.send(forged)
        said.set()

    heard, said = asyncio.Event(), asyncio.Event()
    upstream.act = answers_twice
    assert (await plain.ask()).body == b"ok"
    heard.set()
    await said.wait()
    await asyncio.sleep(0)
    for _ in range(3):
        assert (await plain.ask(method=b"POST")).body == b"ok"


async def test_two_answers_in_one_piece_leave_nothing_for_the_next(
    plain: Proxy, upstream: Upstream
) -> None:
    upstream.replies = [OK + answer(b"forged")]
    assert (await plain.ask()).body == b"ok"
    assert (await plain.ask(method=b"POST")).body == b"ok"


# -- answers that break off ----------------------------------------------------------------------


def reset(peer: Peer) -> None:
    sock = peer.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.reset()


BROKEN = [
    (b"Content-Length: 100\r\n\r\nsome", "fin"),
    (b"Content-Length: 100\r\n\r\nsome", "reset"),
    (b"Content-Length: 100\r\n\r\n", "fin"),
    (b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", "fin"),
    (b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", "reset"),
    (b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nzz\r\nmore\r\n", "stays open"),
    (b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n-1\r\nmore\r\n", "fin"),
    (b"Connection: close\r\n\r\nsome", "reset"),
]


async def _whole(peer: Peer, reply: bytes, version: bytes) -> None:
    """Read a body as its framing says; one that the connection ends is whole if it ends well."""
    if reply.startswith(b"Content-Length"):
        await peer.reader.readexactly(100)
    elif version == b"1.1":
        await peer.chunks()
    else:
        while await peer.reader.read(100):
            pass


@pytest.mark.parametrize(("reply", "how"), BROKEN)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_an_answer_that_breaks_off_never_ends_as_if_it_were_whole(
    plain: Proxy, upstream: Upstream, reply: bytes, how: str, version: bytes
) -> None:
    async def say(peer: Peer, _: Message) -> None:
        head, _mark, body = reply.partition(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 200 OK\r\n", head, b"\r\n\r\n")
        await got_head.wait()
        await peer.send(body)
        if how == "fin":
            peer.close()
        if how == "reset":
            reset(peer)
        if how == "stays open":
            await peer.ended()

    got_head = asyncio.Event()
    upstream.act = say
    request = b"GET / HTTP/%b\r\nHost: %b\r\n\r\n" % (version, plain.authority)
    async with await plain.connect() as peer, asyncio.timeout(2):
        await peer.send(request)
        await peer.head()
        got_head.set()
        with pytest.raises((IncompleteReadError, ConnectionResetError)):
            await _whole(peer, reply, version)


async def test_an_upstream_that_leaves_nothing_but_a_part_of_a_head_is_502(
    plain: Proxy, upstream: Upstream
) -> None:
    async def say(peer: Peer, _: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        peer.close()

    upstream.act = say
    assert (await plain.ask()).status == 502
    assert plain.served[-1].code == "upstream_unreachable"
    assert len(upstream.requests) == 1
