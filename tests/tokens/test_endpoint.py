import asyncio
import gzip
import json
import os
import socket
import ssl
import struct
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenproxy.clock import SystemClock
from tokenproxy.errors import ConfigError, SourceUnavailable
from tokenproxy.settings.tls import Tls
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import ManualClock
from tokenproxy.tokens import endpoint as endpoint_module
from tokenproxy.tokens.endpoint import (
    Endpoint,
    TokenAnswer,
    TokenRequest,
    open_session,
    retry_after,
    shown,
    tls_context,
)
from tokenproxy.tokens.lifetime import Asked

NOW = 1_800_000_000.0
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Wire:
    """A server of bytes: what came in, and who is still there."""

    def __init__(self, scheme: str = "http") -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.gone = asyncio.Event()  # a client has hung up, or been answered to the end
        self.sent = 0
        self.url = ""
        self.scheme = scheme

    @asynccontextmanager
    async def serving(
        self, handle: Handle, *, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator["Wire"]:
        async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            try:
                await handle(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                pass
            finally:
                writer.transport.abort() if writer.is_closing() else writer.close()
                self.gone.set()

        server = await asyncio.start_server(_serve, "127.0.0.1", 0, ssl=tls)
        host = "localhost" if tls else "127.0.0.1"
        self.url = f"{'https' if tls else 'http'}://{host}:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        request = head + await reader.readexactly(length)
        self.requests.append(request)
        return request

    async def drain(self, writer: asyncio.StreamWriter, content: bytes) -> None:
        writer.write(content)
        await writer.drain()
        self.sent += len(content)

    @property
    def only_request(self) -> tuple[bytes, dict[bytes, list[bytes]], bytes]:
        """Request line, headers by lower-case name, body."""
        (request,) = self.requests
        head, _, body = request.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        headers: dict[bytes, list[bytes]] = {}
        for field in fields:
            name, _, value = field.partition(b": ")
            headers.setdefault(name.lower(), []).append(value)
        return line, headers, body


def _whole(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def _answering(answer: bytes, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """A server that gives every request the same bytes, then hangs up."""
    wire = Wire()

    async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.read_request(reader)
        await wire.drain(writer, answer)

    async with wire.serving(_handle, tls=tls):
        yield wire


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(tls=True) as session:
        yield session


Send = Callable[..., Awaitable[TokenAnswer]]


@pytest.fixture
def send(session: aiohttp.ClientSession) -> Send:
    async def _send(
        url: str,
        *,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        body: bytes | None = b"{}",
        timeout: float = 5.0,  # noqa: ASYNC109 - the endpoint's own
    ) -> TokenAnswer:
        endpoint = Endpoint("shop", session, timeout, ManualClock(wall=NOW))
        async with asyncio.timeout(20):
            return await endpoint.send(TokenRequest(method, url, headers or {}, body))

    return _send


async def _failure(answering: Awaitable[TokenAnswer]) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as caught:
        await answering
    assert caught.value.retry_after is None
    assert not caught.value.doubtful
    return caught.value


# -- what is sent ----------------------------------------------------------------------------


async def test_a_request_goes_out_as_it_is_written(send: Send) -> None:
    async with _answering(_whole(b"{}")) as wire:
        await send(
            f"{wire.url}/%7e/a%2fb//c?x=%7E&y=a+b",
            method="PUT",
            headers={"Content-Type": "application/json", "X-Mark": "é"},
            body=b'{"password": "p"}',
        )
    line, headers, body = wire.only_request
    assert line == b"PUT /%7e/a%2fb//c?x=%7E&y=a+b HTTP/1.1"
    assert headers.pop(b"accept-encoding")
    assert headers == {
        b"host": [wire.url.removeprefix("http://").encode()],
        b"accept": [b"application/json"],
        b"content-type": [b"application/json"],
        b"content-length": [b"17"],
        b"x-mark": ["é".encode()],
        b"connection": [b"close"],
    }
    assert body == b'{"password": "p"}'


async def test_headers_of_the_config_win(send: Send) -> None:
    async with _answering(_whole(b"{}")) as wire:
        await send(wire.url, headers={"accept": "text/x-token", "user-agent": "curl/8"})
    _, headers, _ = wire.only_request
    assert headers[b"accept"] == [b"text/x-token"]
    assert headers[b"user-agent"] == [b"curl/8"]


async def test_a_request_without_a_body_has_none(send: Send) -> None:
    async with _answering(_whole(b"{}")) as wire:
        await send(wire.url, method="GET", body=None)
    line, headers, body = wire.only_request
    assert (line, body) == (b"GET / HTTP/1.1", b"")
    assert not {b"content-length", b"content-type", b"transfer-encoding"} & headers.keys()


async def test_no_cookie_is_kept(send: Send) -> None:
    """By the name of a host: for an address no jar keeps any."""
    async with _answering(_whole(b"{}", "200 OK", "Set-Cookie: session=1; Path=/")) as wire:
        url = wire.url.replace("127.0.0.1", "localhost")
        await send(url)
        await send(url)
    assert len(wire.requests) == 2
    assert not any(b"cookie" in request.lower() for request in wire.requests)


async def test_the_proxies_of_the_environment_are_not_used(
    send: Send, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password MARKER")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with _answering(_whole(b"[]")) as proxy, _answering(_whole(b"{}")) as wire:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert (await send(wire.url)).json == {}
    assert proxy.connections == 0
    assert b"authorization" not in wire.only_request[1]


async def test_no_connection_is_kept(send: Send) -> None:
    wire = Wire()

    async def _keeps_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await wire.read_request(reader)
            await wire.drain(writer, _whole(b"{}"))

    async with wire.serving(_keeps_alive):
        await send(wire.url)
        async with asyncio.timeout(5):
            await wire.gone.wait()
        await send(wire.url)
    assert wire.connections == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(send: Send, status: int) -> None:
    async with _answering(_whole(b"{}")) as elsewhere:
        location = f"Location: {elsewhere.url}/steal"
        async with _answering(_whole(b"", f"{status} Moved", location)) as wire:
            answer = await send(wire.url, headers={"Authorization": "Bearer t"}, body=b"secret")
    assert answer.status == status
    assert answer.json is None
    assert len(wire.requests) == 1
    assert elsewhere.connections == 0


# -- what comes back -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        (b'{"access": "a"}', {"access": "a"}),
        (b'\xef\xbb\xbf{"access": "a"}\r\n', {"access": "a"}),
        (b"[]", []),
        (b"null", None),
        (b"", None),
        (b"<html>Sign in</html>", None),
        (b'{"access": "a"', None),
        (b'{"access": "\xff"}', None),
        (b'{"n": ' + b"9" * 5000 + b"}", None),
        (b'{"access":' + b"[" * 200_000 + b"]" * 200_000 + b"}", None),
        (b"[" * 200_000, None),
        (b'{"a":' * 150_000, None),
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_a_body_is_json_or_nothing(send: Send, body: bytes, parsed: object) -> None:
    async with _answering(_whole(body)) as wire:
        assert (await send(wire.url)).json == parsed


@pytest.mark.parametrize(
    "answer",
    [
        _whole(b'{"a": 1}', "200 OK", "Content-Type: text/plain"),
        _whole(b'{"a": 1}', "201 Created"),
        _whole(gzip.compress(b'{"a": 1}', mtime=0), "200 OK", "Content-Encoding: gzip"),
        _whole(zlib.compress(b'{"a": 1}'), "200 OK", "Content-Encoding: deflate"),
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"a": 1}\r\n0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}',
        b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}',
        b"HTTP/1.1 100 Continue\r\n\r\n" + _whole(b'{"a": 1}'),
        _whole(b'{"a": 1}' + b" " * ((1 << 20) - 8)),
    ],
    ids=lambda answer: repr(answer)[:40],
)
async def test_an_odd_answer_is_an_answer(send: Send, answer: bytes) -> None:
    async with _answering(answer) as wire:
        got = await send(wire.url)
    assert got.json == {"a": 1}
    assert got.status in {200, 201}


async def test_an_answer_tells_when_it_was_asked_for_and_came(
    session: aiohttp.ClientSession,
) -> None:
    clock, wire = ManualClock(wall=NOW), Wire()

    async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.read_request(reader)
        clock.jump(wall=2.5)
        answer = _whole(b"", "429 Slow down", "Retry-After: Fri, 15 Jan 2027 08:01:00 GMT")
        await wire.drain(writer, answer)

    async with wire.serving(_handle):
        request = TokenRequest("POST", wire.url, {}, None)
        answer = await Endpoint("shop", session, 5, clock).send(request)
    assert answer == TokenAnswer(429, None, 57.5, Asked(NOW, NOW + 2.5))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("86400", 86400.0),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("", None),
        ("soon", None),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Friday, 15-Jan-27 08:00:30 GMT", 30.0),  # RFC 9110 5.6.7: two obsolete forms
        ("Fri Jan 15 08:00:30 2027", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2027 08:00:30 -0000", 30.0),
        ("Fri, 99 Jan 2027 08:00:30 GMT", None),
        ("Fri, 15 Jan 99999 08:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


def test_a_date_without_a_zone_is_universal_time_wherever_we_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert retry_after("Fri Jan 15 08:00:30 2027", NOW) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


@settings(deadline=None)  # a machine may be busy
@given(st.one_of(st.text(max_size=40), st.from_regex(r"\A[A-Z][a-z]{2},? [\d :-]{0,20}( GMT)?\Z")))
def test_no_retry_after_is_too_strange(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


# -- limits ----------------------------------------------------------------------------------


async def _endless(wire: Wire, writer: asyncio.StreamWriter, chunk: bytes) -> NoReturn:
    while True:
        await wire.drain(writer, chunk)


HEADS = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 134217728\r\n\r\n",
    "until the end": b"HTTP/1.1 200 OK\r\n\r\n",
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
async def test_an_answer_of_128_mib_is_stopped_early(send: Send, head: bytes) -> None:
    wire = Wire()
    chunk = b"x" * (1 << 16)
    if b"chunked" in head:
        chunk = b"10000\r\n" + chunk + b"\r\n"

    async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.read_request(reader)
        await wire.drain(writer, head)
        await _endless(wire, writer, chunk)

    async with wire.serving(_handle):
        error = await _failure(send(wire.url))
        async with asyncio.timeout(5):
            await wire.gone.wait()
    assert str(error) == (
        f"credential 'shop': {wire.url} sent an answer that is too large to be a token"
    )
    assert not error.retriable
    assert wire.sent < 24 << 20  # most of it in the buffers of two sockets


async def test_a_gzip_bomb_is_not_inflated(send: Send) -> None:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    block = bytes(1 << 20)
    bomb = b"".join([*(packer.compress(block) for _ in range(48)), packer.flush()])
    async with _answering(_whole(bomb, "200 OK", "Content-Encoding: gzip")) as wire:
        tracemalloc.start()
        error = await _failure(send(wire.url))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert "too large to be a token" in str(error)
    assert peak < 8 << 20


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_what_cannot_be_decoded_is_no_answer(send: Send, coding: str) -> None:
    async with _answering(_whole(b"no such thing", "200 OK", f"Content-Encoding: {coding}")) as w:
        error = await _failure(send(w.url))
    assert "broke off its answer, or sent what cannot be decoded" in str(error)


async def test_an_answer_that_drips_is_given_up(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "LONGEST_BODY", 0.1)
    wire = Wire()

    async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.read_request(reader)
        await wire.drain(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
        while True:
            await wire.drain(writer, b" ")
            await asyncio.sleep(0.01)

    async with wire.serving(_handle):
        async with asyncio.timeout(2):
            error = await _failure(send(wire.url))
            await wire.gone.wait()
    assert str(error) == f"credential 'shop': {wire.url} did not answer in time"
    assert not error.retriable


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_server_that_says_nothing_is_given_up(send: Send, said: bytes) -> None:
    wire = Wire()

    async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.read_request(reader)
        await wire.drain(writer, said)
        await reader.read()

    async with wire.serving(_handle):
        async with asyncio.timeout(2):
            error = await _failure(send(wire.url, timeout=0.1))
            await wire.gone.wait()
    assert "did not answer in time" in str(error)
    assert not error.retriable


# -- connections that fail -------------------------------------------------------------------


async def test_a_refused_connection_may_be_tried_again(send: Send) -> None:
    async with _answering(b"") as wire:
        url = wire.url
    error = await _failure(send(url + "/token?key=MARKER"))
    assert str(error) == f"credential 'shop': {url}/token could not be reached"
    assert error.retriable


class _KnowsNothing(AbstractResolver):
    async def resolve(self, *_: Any, **__: Any) -> NoReturn:
        raise OSError(socket.EAI_NONAME, "Name or service not known")

    async def close(self) -> None:
        pass


async def test_a_host_name_that_is_not_known_is_told_as_such() -> None:
    connector = aiohttp.TCPConnector(resolver=_KnowsNothing())
    async with aiohttp.ClientSession(connector=connector) as session:
        endpoint = Endpoint("shop", session, 5, SystemClock())
        request = TokenRequest("POST", "http://shop.invalid/token", {}, None)
        error = await _failure(endpoint.send(request))
    assert str(error) == (
        "credential 'shop': http://shop.invalid/token has a host name that is not known"
    )
    assert error.retriable


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200", "closed the connection without an answer"),
        (_whole(b'{"access": "a"}')[:-5], "broke off its answer"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{",
            "broke off its answer",
        ),
        (
            _whole(gzip.compress(b"{}" * 99, mtime=0), "200 OK", "Content-Encoding: gzip")[:-9],
            "broke off its answer",
        ),
    ],
)
async def test_half_an_answer_is_none_and_may_be_asked_for_again(
    send: Send, answer: bytes, what: str
) -> None:
    async with _answering(answer) as wire:
        error = await _failure(send(wire.url))
    assert what in str(error)
    assert error.retriable


async def test_a_reset_connection_may_be_tried_again(send: Send) -> None:
    wire = Wire()

    async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.read_request(reader)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with wire.serving(_handle):
        error = await _failure(send(wire.url))
    assert error.retriable


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n{}",
    ],
    ids=lambda answer: repr(answer)[:30],
)
async def test_what_is_not_http_is_told_as_such(send: Send, answer: bytes) -> None:
    async with _answering(answer) as wire:
        error = await _failure(send(wire.url))
    assert str(error) == f"credential 'shop': {wire.url} sent an answer that is not HTTP"
    assert not error.retriable


@pytest.mark.parametrize(
    "headers",
    [{"X-Token": "a\r\nHost: evil"}, {"X-Token": "a\nb"}, {"X\r\nHost": "evil"}],
)
async def test_a_header_that_http_does_not_allow_is_not_sent(
    send: Send, headers: dict[str, str]
) -> None:
    async with _answering(_whole(b"{}")) as wire:
        error = await _failure(send(wire.url, headers=headers))
    assert "its URL or a header holds what HTTP does not allow" in str(error)
    assert not error.retriable
    assert wire.requests == []


async def test_a_host_that_no_name_can_be_is_told_as_such(send: Send) -> None:
    error = await _failure(send("http://shop..example/"))
    assert "its URL or a header holds what HTTP does not allow" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 MARKER\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nMARKER MARKER\r\n\r\n",
        _whole(b"MARKER")[:-1],
        _whole(b"MARKER", "200 OK", "Content-Encoding: gzip"),
        _whole(b"MARKER" * 200_000),
    ],
    ids=lambda answer: repr(answer)[:30],
)
async def test_no_error_shows_a_secret_or_a_query(send: Send, answer: bytes) -> None:
    async with _answering(answer) as wire:
        headers = {"Authorization": "Basic MARKER", "X-Key": "MARKER"}
        error = await _failure(
            send(f"{wire.url}/t?api_key=MARKER", headers=headers, body=b"MARKER")
        )
    assert "MARKER" not in str(error)
    assert f"{wire.url}/t " in str(error)


def test_neither_request_nor_answer_shows_itself() -> None:
    request = TokenRequest("POST", "http://x/?k=MARKER", {"X": "MARKER"}, b"MARKER")
    answer = TokenAnswer(200, {"access": "MARKER"}, None, Asked(NOW, NOW))
    assert "MARKER" not in repr((request, answer))


@pytest.mark.parametrize(
    ("url", "shows"),
    [
        ("https://shop.example/token?key=1&b=2", "https://shop.example/token"),
        ("https://shop.example:8443", "https://shop.example:8443"),
        ("http://[::1]:80/a?b", "http://[::1]:80/a"),
    ],
)
def test_a_url_is_shown_without_its_query(url: str, shows: str) -> None:
    assert shown(url) == shows


# -- nothing is left -------------------------------------------------------------------------


async def test_a_request_that_is_cancelled_hangs_up_and_leaves_nothing(send: Send) -> None:
    wire = Wire()
    asked = asyncio.Event()

    async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.read_request(reader)
        asked.set()
        await reader.read()

    async with wire.serving(_handle):
        tasks = asyncio.all_tasks()
        sending = spawn(_failure(send(wire.url)), name="sending")
        await asked.wait()
        await cancelled(sending)
        assert sending.cancelled()
        async with asyncio.timeout(5):
            await wire.gone.wait()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks


async def test_whatever_came_of_it_no_task_and_no_connection_is_left() -> None:
    tasks, descriptors = asyncio.all_tasks(), _descriptors()
    async with open_session(tls=True) as session:
        endpoint = Endpoint("shop", session, 5, SystemClock())
        for answer in (_whole(b"{}"), b"", b"SSH", _whole(b"{}")[:-1], _whole(b"x" * (2 << 20))):
            async with _answering(answer) as wire:
                with suppress(SourceUnavailable):
                    await endpoint.send(TokenRequest("POST", wire.url, {}, b"{}"))
                await wire.gone.wait()
    async with asyncio.timeout(5):
        while _descriptors() > descriptors or asyncio.all_tasks() != tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


# -- TLS -------------------------------------------------------------------------------------


class Certificates:
    """An authority of our own, its server's and client's certificates, and a foreign one."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.foreign = trustme.CA(), trustme.CA()
        self.folder = folder
        self.authority.cert_pem.write_to_path(folder / "ca.pem")
        self.foreign.cert_pem.write_to_path(folder / "foreign.pem")
        client = self.authority.issue_cert("client.example")
        client.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
        client.cert_chain_pems[0].write_to_path(folder / "client-cert.pem")
        client.private_key_pem.write_to_path(folder / "client-key.pem")
        key = serialization.load_pem_private_key(client.private_key_pem.bytes(), None)
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
        (folder / "client-locked.pem").write_bytes(locked)
        (folder / "rubbish.pem").write_text("rubbish")

    def server(self, name: str = "localhost", *, asks_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(name).configure_cert(context)
        if asks_client:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def settings(self, **keys: object) -> Tls:
        paths = {name: self.folder / key for name, key in keys.items() if isinstance(key, str)}
        return Tls.model_validate({**keys, **paths})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


async def _over_tls(server: ssl.SSLContext, settings: Tls) -> TokenAnswer:
    async with (
        _answering(_whole(b'{"a": 1}'), tls=server) as wire,
        open_session(tls=tls_context(settings)) as session,
    ):
        request = TokenRequest("POST", wire.url + "/t", {}, b"{}")
        return await Endpoint("shop", session, 5, SystemClock()).send(request)


@pytest.mark.parametrize("keys", [{"ca": "ca.pem"}, {"verify": False}])
async def test_a_server_that_is_trusted_is_asked(
    certificates: Certificates, keys: dict[str, object]
) -> None:
    answer = await _over_tls(certificates.server(), certificates.settings(**keys))
    assert answer.json == {"a": 1}


async def test_without_verification_any_name_and_any_authority_will_do(
    certificates: Certificates,
) -> None:
    server = certificates.server("elsewhere.example")
    settings = certificates.settings(verify=False, ca="foreign.pem")
    assert (await _over_tls(server, settings)).json == {"a": 1}


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("localhost", {}),
        ("localhost", {"ca": "foreign.pem"}),
        ("elsewhere.example", {"ca": "ca.pem"}),
    ],
    ids=["no authority", "another authority", "another name"],
)
async def test_a_server_that_is_not_trusted_is_told_nothing(
    certificates: Certificates, name: str, keys: dict[str, object]
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's complaint
    error = await _failure(_over_tls(certificates.server(name), certificates.settings(**keys)))
    assert str(error).endswith("/t has a certificate that is not trusted: check 'tls'")
    assert not error.retriable


async def test_a_server_that_speaks_no_tls_is_told_as_such(send: Send) -> None:
    wire = Wire()

    async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await wire.drain(writer, _whole(b"", "400 Bad Request"))

    async with wire.serving(_handle):
        error = await _failure(send(wire.url.replace("http://", "https://")))
    assert "failed the TLS handshake: check 'tls', and that it is https" in str(error)
    assert not error.retriable


@pytest.mark.parametrize(
    "keys", [{"cert": "client.pem"}, {"cert": "client-cert.pem", "key": "client-key.pem"}]
)
async def test_a_client_certificate_is_shown_to_who_asks(
    certificates: Certificates, keys: dict[str, object]
) -> None:
    server = certificates.server(asks_client=True)
    settings = certificates.settings(ca="ca.pem", **keys)
    assert (await _over_tls(server, settings)).json == {"a": 1}


async def test_without_a_client_certificate_who_asks_for_one_answers_nothing(
    certificates: Certificates,
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the server's complaint
    server = certificates.server(asks_client=True)
    await _failure(_over_tls(server, certificates.settings(ca="ca.pem")))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"ca": "missing.pem"}, "a.tls.ca: missing.pem cannot be read (No such file or directory)"),
        ({"ca": "rubbish.pem"}, "a.tls.ca: rubbish.pem holds no certificate in PEM format"),
        ({"cert": "missing.pem"}, "a.tls.cert: missing.pem cannot be read (No such file"),
        ({"cert": "rubbish.pem"}, "a.tls.cert: rubbish.pem must hold a certificate in PEM format"),
        ({"cert": "client-cert.pem"}, "a.tls.cert: client-cert.pem must hold a certificate in PEM"),
        (
            {"cert": "client-cert.pem", "key": "ca.pem"},
            "a.tls.cert: client-cert.pem must hold a certificate in PEM format, and ca.pem the "
            "private key that belongs to it, without a password",
        ),
        (
            {"cert": "client-cert.pem", "key": "client-locked.pem"},
            "a.tls.cert: client-cert.pem must hold a certificate in PEM format, and "
            "client-locked.pem the private key",
        ),
        ({"ca": "nul\0"}, "a.tls.ca: nul\0 cannot be read (it cannot be a file's name)"),
    ],
    ids=repr,
)
def test_a_file_that_will_not_do_is_a_mistake_in_the_config(
    certificates: Certificates, keys: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        tls_context(certificates.settings(**keys), "a.tls")

    assert str(caught.value).replace(f"{certificates.folder}/", "").startswith(said)


def test_all_files_that_cannot_be_read_are_told(certificates: Certificates) -> None:
    settings = certificates.settings(ca="no-ca.pem", cert="client.pem", key="no-key.pem")

    with pytest.raises(ConfigError) as caught:
        tls_context(settings)

    assert [problem.path for problem in caught.value.problems] == ["tls.ca", "tls.key"]


def test_the_default_is_to_verify() -> None:
    assert tls_context(Tls()) is True


def test_json_numbers_that_are_none_are_read_as_they_are() -> None:
    assert json.dumps(endpoint_module._parse(b'{"expires_in": NaN}')) == '{"expires_in": NaN}'
