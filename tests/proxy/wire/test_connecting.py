"""How upstreams are reached: TLS, names with several addresses, proxies on the way, sockets."""

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.conftest import STATIC, Proxy, Serving
from tests.wire import LIMIT, OK, Message, Peer, Upstream, answer

pytestmark = pytest.mark.only("wire")


def code(got: Message) -> tuple[int, str]:
    return got.status, json.loads(got.body)["code"]


# -- TLS -----------------------------------------------------------------------------------------


class Secured:
    """A server that speaks TLS, and counts full and resumed handshakes."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.resumed: list[bool] = []
        self.names: list[object] = []
        self.heads: list[bytes] = []
        self.reply = OK

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secured = writer.get_extra_info("ssl_object")
        self.resumed.append(secured.session_reused)
        self.names.append(writer.get_extra_info("peercert"))
        async with Peer(reader, writer) as peer:
            try:
                while True:
                    self.heads.append(await peer.head())
                    await peer.send(self.reply)
                    if b"close" in self.reply:
                        return
            except (ConnectionError, asyncio.IncompleteReadError):
                pass


@asynccontextmanager
async def secured(
    authority: trustme.CA, name: str = "localhost", *, asks: bool = False
) -> AsyncIterator[tuple[Secured, int]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    server = Secured(context)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield server, listening.sockets[0].getsockname()[1]


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = authority.issue_cert("me@example.org")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    return authority


async def test_a_second_connection_takes_up_the_session_of_the_first(
    serving: Serving, authority: trustme.CA
) -> None:
    async with secured(authority) as (server, port):
        server.reply = answer(b"ok", fields=[(b"Connection", b"close")])
        route = {"upstream": f"https://localhost:{port}", "tls": {"ca": "ca.pem"}}
        proxy = await serving({"routes": [route]})
        for _ in range(4):
            assert (await proxy.ask()).body == b"ok"
    assert server.resumed == [False, True, True, True]


async def test_two_routes_do_not_share_sessions(serving: Serving, authority: trustme.CA) -> None:
    async with secured(authority) as (one, first), secured(authority) as (other, second):
        close = answer(b"ok", fields=[(b"Connection", b"close")])
        one.reply = other.reply = close
        routes = [
            {"path": f"/{at}", "upstream": f"https://localhost:{port}", "tls": {"ca": "ca.pem"}}
            for at, port in enumerate([first, second])
        ]
        proxy = await serving({"routes": routes})
        for target in (b"/0", b"/1", b"/0", b"/1"):
            assert (await proxy.ask(target)).body == b"ok"
    assert one.resumed == other.resumed == [False, True]


async def test_a_certificate_of_our_own_is_shown(serving: Serving, authority: trustme.CA) -> None:
    async with secured(authority, asks=True) as (server, port):
        tls = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
        proxy = await serving({"routes": [{"upstream": f"https://localhost:{port}", "tls": tls}]})
        for _ in range(2):
            assert (await proxy.ask()).body == b"ok"
    assert server.names[0]


async def test_an_upstream_that_asks_for_a_certificate_and_gets_none_is_502(
    serving: Serving, authority: trustme.CA
) -> None:
    async with secured(authority, asks=True) as (server, port):
        route = {"upstream": f"https://localhost:{port}", "tls": {"ca": "ca.pem"}}
        proxy = await serving({"routes": [route]})
        assert (await proxy.ask()).status == 502
    assert server.heads == []


async def test_without_verification_any_certificate_will_do(
    serving: Serving, authority: trustme.CA
) -> None:
    async with secured(authority, "other.example") as (_, port):
        route = {"upstream": f"https://localhost:{port}", "tls": {"verify": False}}
        proxy = await serving({"routes": [route]})
        assert (await proxy.ask()).body == b"ok"


async def test_a_large_body_goes_both_ways_through_tls(
    serving: Serving, authority: trustme.CA
) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with Peer(reader, writer) as peer:
            await peer.send(answer((await peer.request()).body))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    body = bytes(range(256)) * 16_384
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context, limit=LIMIT)
    async with server:
        port = server.sockets[0].getsockname()[1]
        route = {"upstream": f"https://localhost:{port}", "tls": {"ca": "ca.pem"}}
        proxy = await serving({"routes": [route]})
        assert (await proxy.ask(method=b"POST", body=body)).body == body


# -- names with several addresses ----------------------------------------------------------------


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6"))],
)
async def test_a_name_is_tried_at_all_its_addresses(
    serving: Serving, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def both(name: str, port: int, **_: Any) -> list[Any]:
        assert name == "localhost"
        stream = (socket.SOCK_STREAM, 6, "")
        return [
            (socket.AF_INET6, *stream, ("::1", port, 0, 0)),
            (socket.AF_INET, *stream, ("127.0.0.1", port)),
        ]

    upstream = Upstream()
    await upstream.start(host)
    proxy = await serving({"routes": [{"upstream": f"http://localhost:{upstream.port}"}]})
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
        assert (await proxy.ask()).body == b"ok"
    await upstream.stop()


async def test_an_upstream_on_a_unix_socket_is_asked_by_its_name(
    serving: Serving, tmp_path: Path
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with Peer(reader, writer) as peer:
            heads.append(Message(await peer.head(), b""))
            await peer.send(OK)

    heads: list[Message] = []
    path = tmp_path / "api.sock"
    async with await asyncio.start_unix_server(serve, path):
        route = {"upstream": f"unix:{path}", "upstream_host": "api.example", "credential": "c"}
        proxy = await serving({"credentials": {"c": STATIC}, "routes": [route]})
        assert (await proxy.ask(b"/a")).body == b"ok"
    assert heads[0].values(b"host") == [b"api.example"]
    assert heads[0].target == b"/a"
    assert code(await proxy.ask()) == (502, "upstream_unreachable")


# -- a proxy on the way out ----------------------------------------------------------------------


class Outbound:
    """A proxy for CONNECT and absolute targets; `refuses` with a status line, if it does."""

    def __init__(self) -> None:
        self.heads: list[Message] = []
        self.refuses: bytes | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with Peer(reader, writer) as peer:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self.talk(peer)

    async def talk(self, peer: Peer) -> None:
        while True:
            head = Message(await peer.head(), b"")
            self.heads.append(head)
            if self.refuses is not None:
                await peer.send(self.refuses)
                return
            if not head.start.startswith(b"CONNECT"):
                await peer.send(OK)
                continue
            host, _, port = head.target.decode().rpartition(":")
            ends = await asyncio.open_connection(host, int(port))
            async with Peer(*ends) as other:
                await peer.send(b"HTTP/1.1 200 Connected\r\nX: y\r\n\r\n")
                await asyncio.gather(pipe(peer, other), pipe(other, peer))
            return


async def pipe(source: Peer, sink: Peer) -> None:
    try:
        while data := await source.reader.read(LIMIT):
            await sink.send(data)
    except ConnectionError:
        pass
    sink.close()


@pytest.fixture
async def outbound(nothing_left_behind: None) -> AsyncIterator[tuple[Outbound, int]]:
    proxy = Outbound()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        yield proxy, server.sockets[0].getsockname()[1]


SHOWN = b"Basic " + b64encode(b"me:pass word")


async def test_https_goes_through_a_tunnel_and_the_upstream_sees_no_word_for_the_proxy(
    serving: Serving, authority: trustme.CA, outbound: tuple[Outbound, int]
) -> None:
    way, port = outbound
    async with secured(authority) as (server, https):
        route = {
            "upstream": f"https://localhost:{https}",
            "tls": {"ca": "ca.pem"},
            "credential": "c",
            "egress_proxy": f"http://me:pass%20word@127.0.0.1:{port}",
        }
        proxy = await serving({"credentials": {"c": STATIC}, "routes": [route]})
        for _ in range(3):
            assert (await proxy.ask()).body == b"ok"
    place = b"localhost:%d" % https
    assert [head.start for head in way.heads] == [b"CONNECT %b HTTP/1.1" % place]
    assert way.heads[0].values(b"proxy-authorization") == [SHOWN]
    assert way.heads[0].values(b"authorization") == []
    assert len(server.heads) == 3
    assert b"proxy-authorization" not in b"".join(server.heads).lower()


async def test_http_is_asked_of_the_proxy_in_absolute_form(
    serving: Serving, outbound: tuple[Outbound, int]
) -> None:
    way, port = outbound
    route = {
        "upstream": "http://api.example/base",
        "allow_insecure": True,
        "egress_proxy": f"http://me:pass%20word@127.0.0.1:{port}",
    }
    proxy = await serving({"routes": [route]})
    async with await proxy.connect() as peer:
        for _ in range(5):
            mine = b"Proxy-Authorization: Basic bWluZQ=="
            await peer.send(proxy.request(b"/a?b", mine))
            assert (await peer.answer()).body == b"ok"
    for head in way.heads:
        assert head.start == b"GET http://api.example/base/a?b HTTP/1.1"
        assert head.values(b"host") == [b"api.example"]
        assert head.values(b"proxy-authorization") == [SHOWN]
    assert len(way.heads) == 5


@pytest.mark.parametrize(
    "refusal",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: http://evil.example/\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 20_000,
    ],
    ids=["407", "502", "301", "nonsense", "nothing", "no end"],
)
async def test_a_proxy_that_makes_no_tunnel_is_502(
    serving: Serving, outbound: tuple[Outbound, int], refusal: bytes
) -> None:
    way, port = outbound
    way.refuses = refusal
    egress = f"http://me:pass%20word@127.0.0.1:{port}"
    route = {"upstream": "https://api.example", "egress_proxy": egress}
    proxy = await serving({"routes": [route]})
    got = await proxy.ask()
    assert code(got) == (502, "upstream_unreachable")
    assert b"evil" not in got.head + got.body


async def test_a_proxy_that_is_not_there_is_502(serving: Serving) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    route = {"upstream": "https://api.example", "egress_proxy": f"http://127.0.0.1:{port}"}
    proxy = await serving({"routes": [route]})
    assert code(await proxy.ask()) == (502, "upstream_unreachable")
    error = f"the egress proxy 127.0.0.1:{port} cannot be reached: connection refused"
    assert [served.error for served in proxy.served] == [error]


async def test_what_a_proxy_asks_of_us_is_no_answer_for_the_caller(
    serving: Serving, upstream: Upstream
) -> None:
    upstream.reply = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    route = {"upstream": "http://127.0.0.1:9", "egress_proxy": upstream.url}
    proxy = await serving({"routes": [route]})
    assert code(await proxy.ask()) == (502, "upstream_unreachable")
    error = f"the egress proxy 127.0.0.1:{upstream.port} answered 407"
    assert [served.error for served in proxy.served] == [error]


async def test_the_log_tells_what_is_wrong_with_an_upstream(
    serving: Serving, tmp_path: Path
) -> None:
    routes = {
        "/refused": "http://127.0.0.1:9",
        "/unknown": "http://nosuch.invalid",
        "/missing": f"unix:{tmp_path}/nosuch.sock",
    }
    proxy = await serving(
        {"routes": [{"path": path, "upstream": upstream} for path, upstream in routes.items()]}
    )
    for path in routes:
        assert code(await proxy.ask(path.encode())) == (502, "upstream_unreachable")
    assert [served.error for served in proxy.served] == [
        "connection refused",
        "the host name is not known",
        "no such file or directory",
    ]


# -- limits towards callers ----------------------------------------------------------------------


async def limited(serving: Serving, upstream: Upstream, **timeouts: str) -> Proxy:
    return await serving({"timeouts": timeouts, "routes": [{"upstream": upstream.url}]})


async def test_a_head_that_does_not_come_to_its_end_is_408(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await limited(serving, upstream, request_head="100ms")
    async with await proxy.connect() as peer:
        await peer.send(b"GET / HTTP/1.1\r\n")
        assert code(await peer.answer()) == (408, "request_timeout")
        await peer.ended()
    async with await proxy.connect() as peer:  # one that says nothing hears nothing
        assert await peer.reader.read() == b""


async def test_a_connection_that_is_idle_is_closed(serving: Serving, upstream: Upstream) -> None:
    proxy = await limited(serving, upstream, keep_alive="100ms")
    async with await proxy.connect() as peer:
        for _ in range(3):
            await peer.send(proxy.request())
            assert (await peer.answer()).body == b"ok"
        assert await peer.reader.read() == b""


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come_is_408_and_no_whole_request(
    serving: Serving, upstream: Upstream, framing: bytes
) -> None:
    got: list[bytes] = []

    async def meet(peer: Peer) -> None:
        await peer.head()
        got.append(await peer.reader.read())

    proxy = await limited(serving, upstream, request_body_idle="100ms")
    upstream.meet = meet
    async with await proxy.connect() as peer:
        await peer.send(proxy.request(b"/", framing, method=b"POST"), b"2\r\nhe"[: 5 - 1])
        assert code(await peer.answer()) == (408, "request_timeout")
        await peer.ended()
    await upstream.all_gone()
    assert not got[0].endswith(b"0\r\n\r\n")
    assert len(got[0]) < 12


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"x" * (17 << 10),
        b"\r\n".join(b"X-%d: y" % at for at in range(129)),
        b"\r\n".join(b"X-%d: %b" % (at, b"y" * 8000) for at in range(9)),
    ],
    ids=["a field", "many fields", "altogether"],
)
async def test_a_head_that_is_too_large_is_431(
    plain: Proxy, upstream: Upstream, head: bytes
) -> None:
    async with await plain.connect() as peer:
        await peer.send(plain.request(b"/", head))
        assert code(await peer.answer()) == (431, "head_too_large")
        await peer.ended()
    assert upstream.requests == []


async def test_one_connection_too_many_is_told_so_and_the_others_go_on(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving({"max_connections": 2, "routes": [{"upstream": upstream.url}]})
    async with await proxy.connect() as one, await proxy.connect() as other:
        for peer in (one, other):
            await peer.send(proxy.request())
            assert (await peer.answer()).body == b"ok"
        async with await proxy.connect() as third:
            got = await third.answer()
            assert code(got) == (503, "overloaded")
            assert got.values(b"retry-after")
            await third.ended()
        await one.send(proxy.request())
        assert (await one.answer()).body == b"ok"
    while True:
        got = await proxy.ask()
        if got.status == 200:
            return


# -- trailers, and old callers -------------------------------------------------------------------


@pytest.mark.parametrize("takes", [True, False])
async def test_trailers_go_to_those_who_take_them_without_what_frames_a_message(
    plain: Proxy, upstream: Upstream, takes: bool
) -> None:
    trailers = (
        b"X-Sum: 1\r\nKeep-Alive: x\r\nTrailer: y\r\nConnection: close, x-gone\r\nX-Gone: 1\r\n"
    )
    upstream.reply = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
        + trailers
        + b"\r\n"
    )
    fields = [b"TE: trailers", b"Connection: TE"] if takes else []
    async with await plain.connect() as peer:
        await peer.send(plain.request(b"/", *fields))
        await peer.head()
        assert await peer.reader.readuntil(b"0\r\n")
        end = await peer.reader.readuntil(b"\r\n\r\n" if takes else b"\r\n")
        assert (b"X-Sum: 1\r\n" in end) is takes
        for name in (b"keep-alive", b"trailer", b"connection", b"x-gone"):
            assert name not in end.lower()
        await peer.send(plain.request())
        assert (await peer.head()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("trailer", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_trailers_that_would_frame_the_message_break_it_off_or_stop_here(
    plain: Proxy, upstream: Upstream, trailer: bytes
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.reply = head + b"2\r\nok\r\n0\r\n" + trailer + b"\r\n\r\n"
    async with await plain.connect() as peer:
        await peer.send(plain.request(b"/", b"TE: trailers", b"Connection: TE"))
        try:
            await peer.head()
            assert await peer.reader.readuntil(b"0\r\n\r\n") == b"2\r\nok\r\n0\r\n\r\n"
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        await peer.send(plain.request())
        assert (await peer.head()).startswith(b"HTTP/1.1 200 ")


async def test_an_old_caller_gets_its_answer_also_after_it_has_closed_its_side(
    plain: Proxy, upstream: Upstream
) -> None:
    async with await plain.connect() as peer:
        await peer.send(b"GET /old HTTP/1.0\r\n\r\n")
        peer.writer.write_eof()
        got = await peer.reader.read()
    assert got.startswith(b"HTTP/1.0 200 OK\r\n")
    assert got.endswith(b"\r\n\r\nok")
    assert upstream.requests[0].start == b"GET /old HTTP/1.1"


async def test_who_is_refused_while_it_sends_hears_why(plain: Proxy, upstream: Upstream) -> None:
    """The rest of what it sends is read away, lest a reset take the answer with it."""
    head = b"POST / HTTP/1.1\r\nHost: nobody.example\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
    async with await plain.connect() as peer:
        peer.writer.write(head + b"x" * 9_000_000)
        assert code(await peer.answer()) == (400, "bad_request")
    assert upstream.connections == 0


# -- no descriptors left -------------------------------------------------------------------------

EXHAUSTED = """
import asyncio, resource, sys, socket
from pathlib import Path
from tokenproxy.clock import SystemClock
from tokenproxy.config.model import Config
from tokenproxy.runtime import World
from tokenproxy.server.serve import serve

async def main(upstream, folder):
    config = Config.model_validate(
        {
            "listen": "127.0.0.1:0",
            "admin": None,
            "store": {"type": "memory"},
            "routes": [{"upstream": upstream}],
        },
        context={"folder": Path(folder)},
    )
    world = World(
        clock=SystemClock(), variables={}, state_folder=Path(folder), observe=lambda _: None
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    said = lambda line: print(line, flush=True)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, stopping.set)
    await serve(config, world, said, stopping)

asyncio.run(main(*sys.argv[1:]))
print("ended", flush=True)
"""


async def test_it_survives_that_it_has_no_descriptors_left(
    upstream: Upstream, tmp_path: Path
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        EXHAUSTED,
        upstream.url,
        str(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    port = int((await child.stdout.readline()).rpartition(b":")[2])
    peers = [
        Peer(*await asyncio.open_connection("127.0.0.1", port, limit=LIMIT)) for _ in range(100)
    ]
    await asyncio.sleep(0.2)
    for peer in peers:
        peer.close()
        await peer.writer.wait_closed()
    async with Peer(*await asyncio.open_connection("127.0.0.1", port, limit=LIMIT)) as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port)
        assert (await peer.answer()).body == b"ok"
    child.stdin.close()
    assert await child.stdout.read() == b"ended\n"
    assert await child.wait() == 0


# -- callers who leave while a connection is made ------------------------------------------------


@pytest.mark.parametrize("egress", [False, True], ids=["in the handshake", "at a proxy"])
async def test_who_leaves_while_a_connection_is_made_leaves_none_behind(
    serving: Serving, upstream: Upstream, egress: bool
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.ended()

    upstream.meet = silent
    route: dict[str, Any] = {"upstream": f"https://localhost:{upstream.port}"}
    if egress:
        route = {"upstream": "https://api.example", "egress_proxy": upstream.url}
    proxy = await serving({"routes": [route]})
    peers = [await proxy.connect() for _ in range(20)]
    for peer in peers:
        await peer.send(proxy.request())
    await upstream.until(lambda: upstream.open == 20)
    for peer in peers:
        peer.reset()
    await upstream.all_gone()
    while len(proxy.served) < 20:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)
    assert {served.status for served in proxy.served} == {499}


async def test_an_upstream_that_does_not_shake_hands_in_time_is_504(
    serving: Serving, upstream: Upstream
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.ended()

    upstream.meet = silent
    route = {"upstream": f"https://localhost:{upstream.port}", "timeouts": {"connect": "50ms"}}
    proxy = await serving({"routes": [route]})
    assert code(await proxy.ask()) == (504, "upstream_timeout")
    await upstream.all_gone()
