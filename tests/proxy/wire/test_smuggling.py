"""Bodies that must never be read as the next request."""

import pytest

from tests.conftest import Proxy
from tests.wire import OK, Upstream, chunked

pytestmark = pytest.mark.only("wire")


def hidden(proxy: Proxy) -> bytes:
    return proxy.request(b"/hidden")


@pytest.mark.parametrize("connection", [b"Connection", b"Proxy-Connection", b"proxy-connection"])
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"x"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "apart"])
async def test_a_body_behind_a_switch_of_protocols_is_no_request(
    plain: Proxy,
    upstream: Upstream,
    *,
    connection: bytes,
    protocol: bytes,
    framing: str,
    apart: bool,
) -> None:
    """httptools reports such a message complete before its body, and stops."""
    fields = [connection + b": Upgrade", b"Upgrade: " + protocol]
    inner = hidden(plain)
    if framing == "length":
        head = plain.request(b"/", *fields, b"Content-Length: %d" % len(inner), method=b"POST")
        body = inner
    else:
        head = plain.request(b"/", *fields, b"Transfer-Encoding: chunked", method=b"POST")
        body = chunked(inner)
    async with await plain.connect() as peer:
        if apart:
            await peer.send(head)
            peer.writer.write(body)
        else:
            await peer.send(head, body)
        got = await peer.answer()
        if got.status == 400:
            await peer.ended()
        else:
            assert upstream.requests[0].body == inner
            await peer.send(plain.request(b"/next"))
            assert (await peer.answer()).body == b"ok"
    assert b"/hidden" not in [request.target for request in upstream.requests]


@pytest.mark.parametrize(
    "fields",
    [
        [b"Proxy-Connection: close"],
        [b"Proxy-Connection: keep-alive"],
        [b"Proxy-Connection: close", b"Connection: keep-alive"],
        [b"Proxy-Connection: Upgrade"],
        [b"Proxy-Connection: Upgrade", b"Upgrade: h2c"],
        [b"Proxy-Connection: Upgrade", b"Upgrade: websocket"],
    ],
    ids=lambda fields: b"; ".join(fields).decode(),
)
async def test_a_field_that_nobody_should_send_says_nothing(
    plain: Proxy, upstream: Upstream, fields: list[bytes]
) -> None:
    async with await plain.connect() as peer:
        for _ in range(3):
            await peer.send(plain.request(b"/", *fields))
            got = await peer.answer()
            assert got.body == b"ok"
            if got.values(b"connection"):
                assert got.values(b"connection") == [b"close"]
                await peer.ended()
                return
    names = [name.lower() for request in upstream.requests for name, _ in request.fields]
    assert not {b"proxy-connection", b"upgrade"} & set(names)


async def test_an_old_upstreams_connection_is_used_once(plain: Proxy, upstream: Upstream) -> None:
    """Proxy-Connection is none of HTTP: what it says of a connection need not hold."""
    upstream.replies = [
        OK.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nProxy-Connection: keep-alive\r\n\r\n")
    ]
    assert (await plain.ask()).body == b"ok"
    assert (await plain.ask(method=b"POST")).body == b"ok"
    assert upstream.connections == 2


@pytest.mark.parametrize(
    "trailers",
    [
        [b"X-Sum: 1"],
        [b"Connection: close"],
        [b"Connection: Upgrade", b"Upgrade: websocket"],
        [b"Proxy-Connection: Upgrade", b"Upgrade: h2c"],
        [b"Content-Length: 5"],
        [b"Transfer-Encoding: chunked"],
        [b"Authorization: Bearer theirs"],
        [b"Host: evil.example"],
        [b"Expect: 100-continue"],
    ],
    ids=lambda trailers: b"; ".join(trailers).decode(),
)
async def test_trailers_of_a_request_change_nothing_and_go_nowhere(
    plain: Proxy, upstream: Upstream, trailers: list[bytes]
) -> None:
    head = plain.request(b"/", b"Transfer-Encoding: chunked", method=b"POST")
    end = b"\r\n".join([b"0", *trailers, b"", b""])
    async with await plain.connect() as peer:
        await peer.send(head, b"2\r\nhi\r\n", end)
        first = await peer.answer()
        await peer.send(plain.request(b"/second", b"Connection: close"))
        rest = await peer.reader.read()
    if first.status == 200:
        assert (upstream.requests[0].body, upstream.requests[0].framing) == (b"hi", "chunked")
        assert not set(upstream.requests[0].head.split(b"\r\n")) & set(trailers)
    assert rest == b"" or rest.count(b"HTTP/1.1 ") == 1
    assert [request.target for request in upstream.requests][1:] in ([], [b"/second"])
