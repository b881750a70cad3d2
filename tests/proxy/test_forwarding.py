"""What reaches the upstream of a request: the same bytes, but for our own fields."""

import asyncio
import gzip

import pytest

from tests.conftest import STATIC, Proxy, Serving
from tests.wire import OK, Field, Peer, Upstream, chunked

VIA = (b"Via", b"1.1 tokenproxy")


def sent(upstream: Upstream) -> list[Field]:
    """The fields of the one request, but for Host and Via."""
    [request] = upstream.requests
    assert request.fields[0] == (b"Host", upstream.authority)
    assert request.fields[-1] == VIA or VIA in request.fields
    return [field for field in request.fields[1:] if field != VIA]


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/?",
        b"/c?",
        b"/%7e/%41",
        b"/a%2fb%2F",
        b"//evil.example/",
        b"/a;b=c",
        b"/a|b",
        b'/{}^`"<>',
        b"/%zz",
        b"/a?b?c=%20+%2B&d",
        b"/a?next=http://evil.example/",
        b"/@evil.example:80/",
        b"/[1]",
        b"/" + b"x" * 8000,
    ],
)
async def test_a_target_goes_on_byte_for_byte(
    plain: Proxy, upstream: Upstream, target: bytes
) -> None:
    assert (await plain.ask(target)).status == 200
    assert [request.target for request in upstream.requests] == [target]


async def test_fields_keep_their_order_their_case_and_their_repeats(
    plain: Proxy, upstream: Upstream
) -> None:
    fields = [b"X-B: 1", b"x-a: 2", b"COOKIE: a=1", b"X-b: 3", b"cookie: b=2", b"X-B: 1"]
    await plain.ask(b"/", *fields)
    assert [b": ".join(field) for field in sent(upstream)] == fields


async def test_bytes_that_are_no_text_in_any_encoding_go_on(
    plain: Proxy, upstream: Upstream
) -> None:
    await plain.ask(b"/", b"X-Latin: caf\xe9", b"X-Utf8: caf\xc3\xa9", b"X-None: \xff\xfe")
    assert sent(upstream) == [
        (b"X-Latin", b"caf\xe9"),
        (b"X-Utf8", b"caf\xc3\xa9"),
        (b"X-None", b"\xff\xfe"),
    ]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"DELETE", b"PATCH", b"PROPFIND"])
async def test_a_bare_request_gets_no_field_that_it_did_not_have(
    plain: Proxy, upstream: Upstream, method: bytes
) -> None:
    await plain.ask(b"/", method=method)
    assert sent(upstream) == []
    assert upstream.requests[0].start == method + b" / HTTP/1.1"


async def test_what_is_sent_in_gzip_arrives_in_gzip(plain: Proxy, upstream: Upstream) -> None:
    body = gzip.compress(b"hello " * 1000)
    await plain.ask(b"/", b"Content-Encoding: gzip", method=b"POST", body=body)
    assert upstream.requests[0].body == body
    assert sent(upstream) == [
        (b"Content-Encoding", b"gzip"),
        (b"Content-Length", b"%d" % len(body)),
    ]


@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE"])
@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 300_000], ids=len)
async def test_a_body_with_a_length_keeps_it(
    plain: Proxy, upstream: Upstream, method: bytes, body: bytes
) -> None:
    async with await plain.connect() as peer:
        length = b"content-length: %d" % len(body)
        await peer.send(plain.request(b"/", length, method=method), body)
        assert (await peer.answer()).status == 200
    assert sent(upstream) == [(b"content-length", b"%d" % len(body))]
    assert upstream.requests[0].body == body


@pytest.mark.parametrize("pieces", [(), (b"a",), (b"a" * 100_000, b"b", b"c" * 70_000)], ids=len)
async def test_a_body_in_chunks_stays_in_chunks(
    plain: Proxy, upstream: Upstream, pieces: tuple[bytes, ...]
) -> None:
    async with await plain.connect() as peer:
        head = plain.request(b"/", b"Transfer-Encoding: chunked", method=b"POST")
        await peer.send(head, chunked(*pieces))
        assert (await peer.answer()).status == 200
    [request] = upstream.requests
    assert (request.framing, request.body) == ("chunked", b"".join(pieces))
    assert request.values(b"content-length") == []
    assert request.values(b"transfer-encoding") == [b"chunked"]


async def test_trailers_stop_here(plain: Proxy, upstream: Upstream, way_in: str) -> None:
    async with await plain.connect() as peer:
        head = plain.request(b"/", b"Transfer-Encoding: chunked", b"Trailer: X-T", method=b"POST")
        await peer.send(head, b"2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n")
        assert (await peer.answer()).status == 200
        await peer.send(plain.request(b"/next"))
        if way_in == "wire":
            assert (await peer.answer()).status == 200
        else:  # aiohttp's parser would take the trailer for a field of the next request
            await peer.ended()
    assert upstream.requests[0].body == b"hi"
    assert [request.values(b"x-t") for request in upstream.requests][1:] == [[]] * (
        way_in == "wire"
    )
    assert upstream.requests[0].values(b"trailer") == []


async def test_hop_by_hop_fields_and_what_connection_names_stop_here(
    plain: Proxy, upstream: Upstream
) -> None:
    await plain.ask(
        b"/",
        b"Connection: keep-alive, x-gone",
        b"X-Gone: 1",
        b"Keep-Alive: timeout=5",
        b"TE: gzip",
        b"Proxy-Authorization: Basic eDp5",
        b"Upgrade: h2c",
        b"X-Stays: 1",
    )
    assert sent(upstream) == [(b"X-Stays", b"1")]


async def test_a_request_in_http_1_0_goes_on_in_1_1_and_says_so(
    plain: Proxy, upstream: Upstream
) -> None:
    async with await plain.connect() as peer:
        await peer.send(b"POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
        answer = await peer.answer()
        await peer.ended()
    assert (answer.start, answer.body) == (b"HTTP/1.0 200 OK", b"ok")
    [request] = upstream.requests
    assert request.start == b"POST /x HTTP/1.1"
    assert (b"Via", b"1.0 tokenproxy") in request.fields


async def test_requests_on_one_connection_are_answered_in_their_order(
    plain: Proxy, upstream: Upstream
) -> None:
    async with await plain.connect() as peer:
        targets = [b"/%d" % number for number in range(100)]
        await peer.send(*(plain.request(target) for target in targets))
        for _ in targets:
            assert (await peer.answer()).status == 200
    assert [request.target for request in upstream.requests] == targets
    assert upstream.connections == 1


async def test_a_caller_that_would_switch_protocols_gets_its_answer_and_the_next_one(
    plain: Proxy, upstream: Upstream
) -> None:
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket")
    async with await plain.connect() as peer:
        await peer.send(plain.request(b"/1", *upgrade), plain.request(b"/2"))
        assert [(await peer.answer()).status, (await peer.answer()).status] == [200, 200]
    assert [request.target for request in upstream.requests] == [b"/1", b"/2"]
    assert upstream.requests[0].values(b"upgrade") == [b"websocket"]
    assert upstream.requests[1].fields == [(b"Host", upstream.authority), VIA]


# -- the credential ------------------------------------------------------------------------------


async def test_one_authorization_leaves_and_it_is_ours(
    with_token: Proxy, upstream: Upstream
) -> None:
    await with_token.ask(
        b"/",
        b"authorization: Bearer theirs",
        b"Authorization: Basic dGhlaXJz",
        b"AUTHORIZATION_: x",
        b"authori_zation: y",
        b"Connection: authorization, close",
    )
    [request] = upstream.requests
    assert request.values(b"authorization") == [b"Bearer the-token"]
    assert b"theirs" not in request.head


async def test_the_client_key_never_reaches_the_upstream(plain: Proxy, upstream: Upstream) -> None:
    await plain.ask(b"/", b"X-Tokenproxy-Key: k", b"x_tokenproxy_key: k")
    assert sent(upstream) == []


@pytest.mark.parametrize(
    ("inject", "target", "fields"),
    [
        ({"header": "X-Key", "value": "{token}"}, b"/a?b", [(b"X-Key", b"the-token")]),
        ({"query": "key"}, b"/a?b&key=the-token", []),
        ({"cookie": "key"}, b"/a?b", [(b"Cookie", b"key=the-token")]),
        (
            {"basic": {"username": "u"}},
            b"/a?b",
            [(b"Authorization", b"Basic dTp0aGUtdG9rZW4=")],
        ),
        (
            [{"query": "key"}, {"header": "Authorization", "value": "JWT {token}"}],
            b"/a?b&key=the-token",
            [(b"Authorization", b"JWT the-token")],
        ),
    ],
)
async def test_the_token_goes_where_inject_says(
    serving: Serving, upstream: Upstream, inject: object, target: bytes, fields: list[Field]
) -> None:
    proxy = await serving(
        {
            "credentials": {"c": STATIC},
            "routes": [{"upstream": upstream.url, "credential": "c", "inject": inject}],
        }
    )
    await proxy.ask(b"/a?b")
    assert upstream.requests[0].target == target
    assert sent(upstream) == fields


async def test_a_route_without_a_credential_leaves_the_callers_own_alone(
    plain: Proxy, upstream: Upstream
) -> None:
    await plain.ask(b"/", b"Authorization: Bearer theirs")
    assert sent(upstream) == [(b"Authorization", b"Bearer theirs")]


# -- the place -----------------------------------------------------------------------------------


async def test_an_upstream_may_have_an_ipv6_address(serving: Serving) -> None:
    upstream = Upstream()
    await upstream.start("::1")
    proxy = await serving({"routes": [{"upstream": upstream.url}]})
    assert (await proxy.ask(b"/x")).status == 200
    assert upstream.requests[0].values(b"host") == [upstream.authority]
    await upstream.stop()


async def test_a_path_is_joined_with_the_upstreams_own(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving({"routes": [{"path": "/shop", "upstream": f"{upstream.url}/v2"}]})
    for target in (b"/shop/items?q", b"/shop", b"/shop//x"):
        await proxy.ask(target)
    assert [request.target for request in upstream.requests] == [b"/v2/items?q", b"/v2", b"/v2//x"]


async def test_a_cookie_that_one_caller_was_given_is_sent_for_no_other(
    serving: Serving, upstream: Upstream
) -> None:
    by_name = f"http://localhost:{upstream.port}"
    proxy = await serving({"routes": [{"upstream": by_name}]})
    upstream.reply = b"HTTP/1.1 200 OK\r\nSet-Cookie: s=1\r\nContent-Length: 0\r\n\r\n"
    assert (await proxy.ask()).values(b"set-cookie") == [b"s=1"]
    await proxy.ask()
    assert [request.values(b"cookie") for request in upstream.requests] == [[], []]


# -- Expect --------------------------------------------------------------------------------------


async def test_a_caller_that_waits_for_a_100_gets_one(
    plain: Proxy, upstream: Upstream, way_in: str
) -> None:
    async with await plain.connect() as peer:
        fields = (b"Expect: 100-continue", b"Content-Length: 2")
        await peer.send(plain.request(b"/", *fields, method=b"POST"))
        assert await peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await peer.send(b"hi")
        assert (await peer.answer()).body == b"ok"
        await peer.send(plain.request())  # and the connection can go on
        assert (await peer.answer()).status == 200
    assert [request.body for request in upstream.requests] == [b"hi", b""]
    assert upstream.requests[0].values(b"expect") == ([b"100-continue"] if way_in == "wire" else [])


async def test_a_refused_caller_that_waits_for_a_100_gets_none_and_the_connection_closes(
    plain: Proxy, upstream: Upstream
) -> None:
    async with await plain.connect() as peer:
        fields = (b"Expect: 100-continue", b"Content-Length: 2", b"Origin: https://evil.example")
        await peer.send(plain.request(b"/", *fields, method=b"POST"))
        answer = await peer.answer()
        assert (answer.status, answer.values(b"connection")) == (403, [b"close"])
    assert upstream.connections == 0


async def test_an_expect_in_http_1_0_is_not_answered(plain: Proxy, upstream: Upstream) -> None:
    async with await plain.connect() as peer:
        head = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        await peer.send(head, b"hi")
        assert (await peer.head()).startswith(b"HTTP/1.0 200")
    assert upstream.requests[0].body == b"hi"


# -- a caller's FIN ------------------------------------------------------------------------------


async def finish(peer: Peer, *data: bytes) -> bytes:
    await peer.send(*data)
    peer.writer.write_eof()
    return await peer.reader.read()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\nHost: ",
    ],
)
@pytest.mark.only("wire")
async def test_who_asks_only_once_may_close_its_side_and_still_gets_the_answer(
    plain: Proxy, upstream: Upstream, head: bytes
) -> None:
    async def after_the_fin(peer: Peer, _: object) -> None:
        await upstream.until(lambda: closed)
        await peer.send(OK)

    closed = False
    upstream.act = after_the_fin
    async with await plain.connect() as peer:
        if head.endswith(b"Host: "):
            head += plain.authority + b"\r\n"
        await peer.send(head, b"\r\n")
        peer.writer.write_eof()
        await upstream.until(lambda: bool(upstream.requests))
        closed = True
        await upstream.nudge()
        assert (await peer.reader.read()).endswith(b"\r\n\r\nok")


@pytest.mark.only("wire")
async def test_a_request_and_a_fin_in_one_piece_are_answered(
    plain: Proxy, upstream: Upstream
) -> None:
    async with await plain.connect() as peer:
        assert (await finish(peer, b"GET / HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("requests", [2, 5])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.only("wire")
async def test_all_whole_requests_before_a_fin_are_answered(
    plain: Proxy, upstream: Upstream, requests: int, version: str
) -> None:
    async def after_the_fin(peer: Peer, _: object) -> None:
        await closed.wait()
        await asyncio.sleep(0)
        await peer.send(OK)

    closed = asyncio.Event()
    upstream.act = after_the_fin
    earlier, last = plain.request(b"/earlier"), plain.request(b"/last", b"Connection: close")
    if version == "1.0":
        earlier = last = b"GET /last HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(earlier * (requests - 1), last)
        peer.writer.write_eof()
        await upstream.until(lambda: bool(upstream.requests))
        closed.set()
        answers = await peer.reader.read()
    assert answers.count(b"\r\n\r\nok") == requests
    assert upstream.requests[-1].target == b"/last"


@pytest.mark.only("wire")
async def test_a_last_request_with_a_body_is_answered_after_a_fin(
    plain: Proxy, upstream: Upstream
) -> None:
    body = b"x" * 100_000
    async with await plain.connect() as peer, asyncio.timeout(5):
        close = b"Connection: close"
        await peer.send(plain.request(), plain.request(b"/", close, method=b"POST", body=body))
        peer.writer.write_eof()
        assert (await peer.reader.read()).count(b"\r\n\r\nok") == 2
    assert upstream.requests[1].body == body


async def test_a_kept_connection_ends_when_the_caller_closes_its_side(plain: Proxy) -> None:
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (await peer.answer()).body == b"ok"
        peer.writer.write_eof()
        assert await peer.reader.read() == b""


async def test_others_have_gone_when_they_close_their_side(
    plain: Proxy, upstream: Upstream
) -> None:
    async def never(peer: Peer, _: object) -> None:
        await peer.ended()

    upstream.act = never
    async with await plain.connect() as peer:
        await peer.send(plain.request())
        await upstream.until(lambda: bool(upstream.requests))
        peer.writer.write_eof()
        await upstream.all_gone()
        assert await peer.reader.read() == b""
    assert [served.status for served in plain.served] == [499]


async def test_headers_are_set_and_removed_before_the_credential(
    serving: Serving, upstream: Upstream
) -> None:
    changes = {"set": {"X-Tenant": "anna"}, "remove": ["Cookie"]}
    route = {"upstream": upstream.url, "credential": "c", "headers": changes, "via": False}
    proxy = await serving({"credentials": {"c": STATIC}, "routes": [route]})
    await proxy.ask(b"/", b"x_tenant: evil", b"Cookie: a=b", b"A: 1")
    assert upstream.requests[0].fields == [
        (b"Host", upstream.authority),
        (b"A", b"1"),
        (b"X-Tenant", b"anna"),
        (b"Authorization", b"Bearer the-token"),
    ]
