"""What callers get when something fails, and what they never get."""

import asyncio
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.conftest import STATIC, Proxy, Serving, shop
from tests.wire import Message, Upstream
from tokenproxy.events import InternalError
from tokenproxy.testing import Issuer, faults

Start = Callable[..., Awaitable[Proxy]]


def problem(answer: Message) -> dict[str, Any]:
    assert answer.values(b"content-type") == [b"application/problem+json"]
    assert answer.values(b"cache-control") == [b"no-store"]
    found: dict[str, Any] = json.loads(answer.body)
    assert set(found) == {"type", "title", "status", "detail", "code", "route"}
    assert found["type"] == f"urn:tokenproxy:error:{found['code']}"
    assert found["status"] == answer.status
    assert "Traceback" not in found["detail"]
    return found


@contextmanager
def unanswered() -> Iterator[int]:
    """A port where connections are neither taken nor refused."""
    with socket.socket() as full, socket.socket() as fills_it:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fills_it.connect(full.getsockname())
        yield full.getsockname()[1]


@pytest.fixture
def free_port() -> Iterator[int]:
    """Bound and not listened on: connections to it are refused."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_an_upstream_that_refuses_is_502(
    serving: Serving, free_port: int, method: bytes
) -> None:
    proxy = await serving({"routes": [{"name": "r", "upstream": f"http://127.0.0.1:{free_port}"}]})
    answer = await proxy.ask(method=method)
    assert answer.status == 502
    assert problem(answer) | {"detail": ""} == {
        "type": "urn:tokenproxy:error:upstream_unreachable",
        "title": "Upstream unreachable",
        "status": 502,
        "detail": "",
        "code": "upstream_unreachable",
        "route": "r",
    }
    assert answer.values(b"proxy-status") == [b"tokenproxy; error=destination_unavailable"]
    assert str(free_port).encode() not in answer.body


async def test_an_upstream_without_an_address_is_502(serving: Serving) -> None:
    proxy = await serving({"routes": [{"upstream": "https://nowhere.invalid"}]})
    assert problem(await proxy.ask())["code"] == "upstream_unreachable"


async def test_an_upstream_that_does_not_take_the_connection_is_504(serving: Serving) -> None:
    with unanswered() as port:
        route = {"upstream": f"http://127.0.0.1:{port}", "timeouts": {"connect": 0.05}}
        proxy = await serving({"routes": [route]})
        answer = await proxy.ask()
    assert (answer.status, problem(answer)["code"]) == (504, "upstream_timeout")
    assert answer.values(b"proxy-status") == [b"tokenproxy; error=connection_timeout"]


async def test_a_connection_survives_the_failure_of_its_request(
    serving: Serving, free_port: int, upstream: Upstream
) -> None:
    dead = {"path": "/dead", "upstream": f"http://127.0.0.1:{free_port}"}
    proxy = await serving({"routes": [dead, {"upstream": upstream.url}]})
    async with await proxy.connect() as peer:
        await peer.send(proxy.request(b"/dead", method=b"POST", body=b"x" * 100_000))
        assert (await peer.answer()).status == 502
        await peer.send(proxy.request())
        assert (await peer.answer()).body == b"ok"


# -- TLS -----------------------------------------------------------------------------------------


@asynccontextmanager
async def tls_upstream(authority: trustme.CA, name: str) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_an_upstream_with_a_good_certificate_is_spoken_to(
    serving: Serving, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with tls_upstream(authority, "localhost") as port:
        route = {"upstream": f"https://localhost:{port}", "tls": {"ca": "ca.pem"}}
        proxy = await serving({"routes": [route]})
        assert (await proxy.ask()).body == b"ok"


@pytest.mark.parametrize("name", ["localhost", "other.example"])
async def test_an_upstream_without_a_good_certificate_is_502_and_hears_nothing(
    serving: Serving, tmp_path: Path, name: str
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with tls_upstream(authority, name) as port:
        tls = {} if name == "localhost" else {"tls": {"ca": "ca.pem"}}
        proxy = await serving({"routes": [{"upstream": f"https://localhost:{port}", **tls}]})
        answer = await proxy.ask()
    assert (answer.status, problem(answer)["code"]) == (502, "upstream_tls_error")
    assert answer.values(b"proxy-status") == [b"tokenproxy; error=tls_protocol_error"]


async def test_an_upstream_that_speaks_no_tls_is_502(serving: Serving, upstream: Upstream) -> None:
    async def say(*_: object) -> None:
        return

    proxy = await serving({"routes": [{"upstream": f"https://127.0.0.1:{upstream.port}"}]})
    upstream.meet = say
    assert (await proxy.ask()).status == 502


# -- no token ------------------------------------------------------------------------------------


def configured(issuer: Issuer, upstream: Upstream, **refresh: Any) -> dict[str, Any]:
    return {
        "credentials": {"shop": shop(issuer, retries=0, **refresh)},
        "routes": [{"upstream": upstream.url, "credential": "shop"}],
    }


async def test_while_the_issuer_is_down_callers_are_told_when_to_come_back(
    serving: Serving, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await serving(configured(issuer, upstream))
    issuer.fail_next(1, faults.UNAVAILABLE)
    answer = await proxy.ask()
    assert (answer.status, problem(answer)["code"]) == (503, "token_unavailable")
    assert re.fullmatch(rb"[1-9]\d*", answer.values(b"retry-after")[0])
    assert upstream.connections == 0

    proxy.clock.skip(600)
    assert (await proxy.ask()).body == b"ok"


async def test_an_issuer_that_is_slow_is_waited_for_no_longer_than_it_says(
    serving: Serving, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await serving(configured(issuer, upstream, wait=0.05))
    issuer.delay = 0.3
    assert problem(await proxy.ask())["code"] == "token_unavailable"
    assert upstream.connections == 0
    assert issuer.logins == 1


async def test_a_refused_login_needs_a_person(
    serving: Serving, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await serving(configured(issuer, upstream))
    issuer.password = "another"
    for _ in range(5):
        answer = await proxy.ask()
        assert (answer.status, problem(answer)["code"]) == (502, "login_required")
        assert answer.values(b"retry-after") == []
    assert (issuer.logins, upstream.connections) == (1, 0)


async def test_a_body_is_not_asked_for_while_there_is_no_token(
    serving: Serving, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await serving(configured(issuer, upstream))
    issuer.fail_next(1, faults.UNAVAILABLE)
    async with await proxy.connect() as peer:
        fields = (b"Expect: 100-continue", b"Content-Length: 5")
        await peer.send(proxy.request(b"/", *fields, method=b"POST"))
        head = await peer.head()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in head


async def test_a_token_that_cannot_be_put_where_inject_says_is_never_sent(
    serving: Serving, upstream: Upstream
) -> None:
    credential = {**STATIC, "token": "a;b"}
    route = {"upstream": upstream.url, "credential": "c", "inject": {"cookie": "s"}}
    proxy = await serving({"credentials": {"c": credential}, "routes": [route]})
    assert problem(await proxy.ask())["code"] == "token_unavailable"
    assert upstream.connections == 0


# -- requests that are none ----------------------------------------------------------------------

MARK = b"SECRET-MARK"

MALFORMED = [
    (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer SECRET-MARK\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: SECRET-MARK\x01\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: SECRET-MARK\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n SECRET-MARK\r\n\r\n", 400),
    (b"GET /SECRET-MARK\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /SECRET-MARK HTTP/9x\r\nHost: x\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nSECRET-MARK",
        400,
    ),
    (b"GET /" + MARK * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + MARK * 2000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: SECRET-MARK\r\n" * 200 + b"\r\n", 431),
    (b"SECRET-MARK / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    (b"\x16\x03\x01SECRET-MARK\r\n\r\n", 501),
]


@pytest.mark.parametrize(("request_", "status"), MALFORMED, ids=lambda value: str(value)[:40])
@pytest.mark.only("wire")
async def test_a_malformed_request_gets_our_own_words_and_the_connection_closes(
    plain: Proxy,
    upstream: Upstream,
    caplog: pytest.LogCaptureFixture,
    request_: bytes,
    status: int,
) -> None:
    async with await plain.connect() as peer:
        await peer.send(request_)
        answer = await peer.answer()
        assert answer.status == status
        assert answer.start.startswith(b"HTTP/1.1 ")
        assert answer.values(b"connection") == [b"close"]
        problem(answer)
        assert MARK not in answer.head + answer.body
        await peer.ended()
    assert upstream.connections == 0
    assert MARK.decode() not in str(plain.events) + caplog.text
    assert [served.status for served in plain.served] == [status]


# -- a fault of our own --------------------------------------------------------------------------


async def test_a_fault_of_our_own_is_500_and_says_nothing_of_itself(
    serving: Serving, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("SECRET-MARK")

    proxy = await serving({"routes": [{"name": "r", "upstream": upstream.url}]}, faults=1)
    monkeypatch.setattr("tokenproxy.proxy.headers.RequestRules.to_upstream", broken)
    answer = await proxy.ask()
    assert (answer.status, problem(answer)["code"]) == (500, "internal_error")
    assert MARK not in answer.body
    assert InternalError("r", "RuntimeError") in proxy.events


@pytest.mark.only("wire")
async def test_a_fault_before_a_route_is_chosen_is_500_as_well(
    serving: Serving, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("SECRET-MARK")

    proxy = await serving({"routes": [{"upstream": upstream.url}]}, faults=1)
    monkeypatch.setattr("tokenproxy.proxy.guard.Guard.judge", broken)
    answer = await proxy.ask()
    assert (answer.status, problem(answer)["code"]) == (500, "internal_error")
    assert MARK not in answer.body
    assert InternalError("", "RuntimeError") in proxy.events


@pytest.mark.only("handler")
async def test_a_fault_in_the_middle_of_an_answer_ends_it(
    serving: Serving, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("SECRET-MARK")

    proxy = await serving({"routes": [{"name": "r", "upstream": upstream.url}]}, faults=1)
    monkeypatch.setattr("tokenproxy.proxy.inbound.Verbatim.write", broken)
    async with await proxy.connect() as peer:
        await peer.send(proxy.request())
        head = await peer.head()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await peer.reader.readexactly(2)
    assert MARK not in head
