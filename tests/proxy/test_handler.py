"""Who may call, over the wire: whatever is refused never gets as far as a connection upstream."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from tests.conftest import Proxy, Serving
from tests.wire import Message, Peer, Upstream
from tokenproxy.config.model import Config
from tokenproxy.runtime import Runtime
from tokenproxy.testing.serving import listening


def problem(answer: Message) -> dict[str, object]:
    assert answer.values(b"content-type") == [b"application/problem+json"]
    found: dict[str, object] = json.loads(answer.body)
    assert found["status"] == answer.status
    return found


REFUSED = [
    (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "host_not_allowed"),
    (b"GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n", 421, "host_not_allowed"),
    (b"GET / HTTP/1.1\r\nHost: AUTHORITY.\r\n\r\n", 421, "host_not_allowed"),
    (b"GET http://evil.example/ HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 421, "host_not_allowed"),
    (b"GET https://AUTHORITY/ HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 421, "host_not_allowed"),
    (
        b"GET /a HTTP/1.1\r\nHost: AUTHORITY\r\nOrigin: https://evil.example\r\n\r\n",
        403,
        "origin_not_allowed",
    ),
    (
        b"GET /a HTTP/1.1\r\nHost: AUTHORITY\r\nSec-Fetch-Site: cross-site\r\n\r\n",
        403,
        "origin_not_allowed",
    ),
    (
        b"OPTIONS /a HTTP/1.1\r\nHost: AUTHORITY\r\nOrigin: null\r\n"
        b"Access-Control-Request-Method: POST\r\n\r\n",
        403,
        "origin_not_allowed",
    ),
    (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 405, "method_not_allowed"),
    (b"TRACE / HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 405, "method_not_allowed"),
    (b"GET /a/../../b HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 400, "bad_request"),
    (b"GET /a/%2e%2e/%2e%2e/b HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 400, "bad_request"),
    (b"GET /a#b HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 400, "bad_request"),
    (b"GET /%00 HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 400, "bad_request"),
    (b"GET /other HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 404, "no_route"),
    (
        b"POST /a HTTP/1.1\r\nHost: AUTHORITY\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Content-Length: 31\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n!!!",
        400,
        "bad_request",
    ),
    (
        b"POST /a HTTP/1.1\r\nHost: AUTHORITY\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
        "not_implemented",
    ),
    (
        b"POST /a HTTP/1.1\r\nHost: AUTHORITY\r\nTransfer-Encoding: identity, chunked\r\n\r\n"
        b"0\r\n\r\n",
        501,
        "not_implemented",
    ),
    (
        b"POST /a HTTP/1.1\r\nHost: AUTHORITY\r\nTransfer-Encoding:\r\n\r\n",
        400,
        "bad_request",
    ),
    (
        b"POST /a HTTP/1.0\r\nHost: AUTHORITY\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "bad_request",
    ),
    (b"GET /a HTTP/2.0\r\nHost: AUTHORITY\r\n\r\n", 505, "version_not_supported"),
]
# What aiohttp's parser refuses gets the answers of the application that the handler is in.
REFUSED_BY_THE_WIRE = [
    (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    (b"GET / HTTP/1.1\r\nHost: AUTHORITY\r\nHost: AUTHORITY\r\n\r\n", 400, "bad_request"),
    (b"TRACK / HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 405, "method_not_allowed"),
    (b"TRACK /'a HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 405, "method_not_allowed"),
    (b"TRACKS / HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 501, "not_implemented"),
    (b"GET /\xe9 HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 400, "bad_request"),
    (b"GET * HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 400, "bad_request"),
    (b"GET a/b HTTP/1.1\r\nHost: AUTHORITY\r\n\r\n", 400, "bad_request"),
    (b"GET /a HTTP/0.9\r\nHost: AUTHORITY\r\n\r\n", 505, "version_not_supported"),
    (b"GET /a HTTP/1.2\r\nHost: AUTHORITY\r\n\r\n", 505, "version_not_supported"),
    (b"GET /a HTTP/3.0\r\nHost: AUTHORITY\r\n\r\n", 505, "version_not_supported"),
]


@pytest.fixture
async def below_a(serving: Serving, upstream: Upstream) -> Proxy:
    """A proxy with a route for `/a` only."""
    return await serving({"routes": [{"path": "/a", "upstream": upstream.url}]})


@pytest.mark.parametrize(("request_", "status", "code"), REFUSED, ids=lambda value: str(value)[:50])
async def test_what_is_refused_gets_its_code_and_nothing_reaches_the_upstream(
    below_a: Proxy, upstream: Upstream, request_: bytes, status: int, code: str
) -> None:
    await _refused(below_a, upstream, request_, status, code)


@pytest.mark.parametrize(
    ("request_", "status", "code"), REFUSED_BY_THE_WIRE, ids=lambda value: str(value)[:50]
)
@pytest.mark.only("wire")
async def test_what_cannot_be_read_gets_its_code_and_nothing_reaches_the_upstream(
    below_a: Proxy, upstream: Upstream, request_: bytes, status: int, code: str
) -> None:
    await _refused(below_a, upstream, request_, status, code)


async def _refused(
    below_a: Proxy, upstream: Upstream, request_: bytes, status: int, code: str
) -> None:
    request_ = request_.replace(b"AUTHORITY", below_a.authority)
    async with await below_a.connect() as peer:
        await peer.send(request_)
        answer = await peer.answer()
        closes = answer.values(b"connection") == [b"close"] or b"HTTP/1.0" in answer.start
        if closes:
            await peer.ended()
        else:
            await peer.send(below_a.request(b"/a"))
            assert (await peer.answer()).body == b"ok"
    assert (answer.status, problem(answer)["code"]) == (status, code)
    assert below_a.served[0].code == code
    assert bool(answer.values(b"allow")) is (status == 405)
    assert upstream.connections == (0 if closes else 1)


def fields(size: int) -> bytes:
    """A head's fields, of that many bytes of names and values at least, none of them large."""
    return b"".join(b"X-%03d: %b\r\n" % (number, b"x" * 1000) for number in range(size // 1005 + 1))


@pytest.mark.parametrize("pieces", [1, 5])
async def test_a_head_is_too_large_where_all_its_fields_together_are(
    plain: Proxy, upstream: Upstream, pieces: int
) -> None:
    head = b"GET / HTTP/1.1\r\nHost: " + plain.authority + b"\r\n"
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(head, fields(60 << 10), b"\r\n")
        assert (await peer.answer()).status == 200
        large = head + fields(66 << 10) + b"\r\n"
        for at in range(pieces):
            await peer.send(large[at * len(large) // pieces : (at + 1) * len(large) // pieces])
            await asyncio.sleep(0.01)
        answer = await peer.answer()
        assert (answer.status, problem(answer)["code"]) == (431, "head_too_large")
        await peer.ended()
    assert len(upstream.requests) == 1


@pytest.mark.only("wire")
async def test_a_head_without_an_end_is_too_large_when_it_has_become_so(
    plain: Proxy, upstream: Upstream
) -> None:
    async with await plain.connect() as peer, asyncio.timeout(5):
        await peer.send(b"GET / HTTP/1.1\r\nHost: " + plain.authority + b"\r\n")
        for _ in range(5):
            await peer.send(fields(15 << 10))
            await asyncio.sleep(0.01)
        answer = await peer.answer()
        assert (answer.status, problem(answer)["code"]) == (431, "head_too_large")
        await peer.ended()
    assert upstream.connections == 0


async def test_a_large_body_is_no_large_head(plain: Proxy, upstream: Upstream) -> None:
    async with await plain.connect() as peer, asyncio.timeout(5):
        for _ in range(3):
            await peer.send(plain.request(b"/", b"Content-Length: 300000", method=b"POST"))
            for _ in range(10):
                await peer.send(b"x" * 30_000)
                await asyncio.sleep(0.001)
            assert (await peer.answer()).body == b"ok"


async def test_a_refused_body_is_not_read_as_the_next_request(
    below_a: Proxy, upstream: Upstream
) -> None:
    hidden = below_a.request(b"/a/hidden")
    async with await below_a.connect() as peer:
        head = b"CONNECT /a HTTP/1.1\r\nHost: " + below_a.authority + b"\r\n"
        await peer.send(head, b"Content-Length: %d\r\n\r\n" % len(hidden), hidden)
        assert (await peer.answer()).status == 405
        assert await peer.reader.read() == b""
    assert upstream.connections == 0


async def test_an_absolute_target_of_our_own_is_like_any_other(
    plain: Proxy, upstream: Upstream
) -> None:
    target = b"http://" + plain.authority + b"/a%7e?b"
    assert (await plain.ask(target)).body == b"ok"
    assert upstream.requests[0].target == b"/a%7e?b"


async def test_options_about_the_proxy_itself_are_answered_here(
    plain: Proxy, upstream: Upstream
) -> None:
    answer = await plain.ask(b"*", method=b"OPTIONS")
    assert (answer.status, answer.body) == (204, b"")
    assert b"PATCH" in answer.values(b"allow")[0]
    assert upstream.connections == 0
    assert (plain.served[0].status, plain.served[0].code) == (204, None)


async def test_a_head_request_gets_our_own_answers_without_their_body(
    below_a: Proxy,
) -> None:
    async with await below_a.connect() as peer:
        for _ in range(2):
            await peer.send(below_a.request(b"/b", method=b"HEAD"))
            answer = await peer.answer(to_head=True)
            assert (answer.status, answer.values(b"content-length") > [b"0"]) == (404, True)


async def test_our_own_answers_do_not_tell_what_they_are_made_with(below_a: Proxy) -> None:
    answer = await below_a.ask(b"/b")
    assert answer.values(b"server") == []
    assert len(answer.values(b"date")) == 1
    assert answer.values(b"proxy-status") == [b"tokenproxy; error=destination_not_found"]


@pytest.mark.parametrize(
    "host", [b"localhost:%d", b"LOCALHOST:%d", b"a.localhost:%d", b"127.0.0.1:%d"]
)
async def test_names_of_this_machine_are_good(plain: Proxy, host: bytes) -> None:
    async with await plain.connect() as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: ", host % plain.port, b"\r\n\r\n")
        assert (await peer.answer()).status == 200


@pytest.mark.only("wire")
async def test_no_host_is_wrong_on_a_unix_socket(
    serving: Serving, upstream: Upstream, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    await serving({"listen": f"unix:{path}", "routes": [{"upstream": upstream.url}]})
    async with Peer(*await asyncio.open_unix_connection(path)) as peer:
        for _ in range(2):
            await peer.send(b"GET / HTTP/1.1\r\nHost: whatever.example\r\n\r\n")
            assert (await peer.answer()).body == b"ok"


async def test_a_caller_that_has_gone_is_not_taken_for_a_unix_socket(
    nothing_left_behind: None, upstream: Upstream
) -> None:
    async def keep(request: web.Request) -> web.Response:
        kept.append(request)
        return web.Response()

    kept: list[web.Request] = []
    app = web.Application()
    app.router.add_get("/", keep)
    async with (
        listening(app) as url,
        Peer(*await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))) as peer,
    ):
        await peer.send(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        await peer.ended()

    config = Config.model_validate({"routes": [{"upstream": upstream.url}]})
    async with Runtime(config) as runtime:
        with pytest.raises(ConnectionError):
            await runtime.handler(kept[0])
    assert upstream.connections == 0
