"""Listeners that speak TLS, and those beyond this machine."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.conftest import Proxy, Serving
from tests.wire import LIMIT, Message, Peer, Upstream, answer
from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError
from tokenproxy.runtime import Runtime
from tokenproxy.settings.tls import ListenerTls
from tokenproxy.tasks import spawn

pytestmark = pytest.mark.only("wire")

COOKIE = (b"Set-Cookie", b"a=b; Secure; HttpOnly")
AUTHORITY = trustme.CA()


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    """The `tls` of a listener, its files in the folder of the config."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    return {"cert": "cert.pem", "key": "key.pem"}


def trusting(*protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


async def connect(url: str, context: ssl.SSLContext | None = None) -> Peer:
    port = int(url.rpartition(":")[2])
    context = context or (trusting() if url.startswith("https") else None)
    return Peer(*await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=LIMIT))


async def ask(proxy: Proxy, url: str, *fields: bytes) -> Message:
    host = url.rpartition("/")[2].encode()
    async with await connect(url) as peer:
        lines = [b"GET /x HTTP/1.1", b"Host: " + host, *fields]
        await peer.send(b"\r\n".join(lines) + b"\r\n\r\n")
        return await peer.answer()


Spoken = Callable[..., dict[str, Any]]


@pytest.fixture
def spoken(tls: dict[str, str]) -> Spoken:
    return lambda **more: {"address": "127.0.0.1:0", "tls": {**tls, **more}}


async def test_callers_speak_tls(serving: Serving, upstream: Upstream, spoken: Spoken) -> None:
    route = {"upstream": upstream.url, "forwarded": "set"}
    proxy = await serving({"listen": spoken(), "routes": [route]})
    assert proxy.url.startswith("https://127.0.0.1:")
    async with await connect(proxy.url, trusting("h2", "http/1.1")) as peer:
        spoken_by = peer.writer.get_extra_info("ssl_object")
        assert spoken_by.selected_alpn_protocol() == "http/1.1"
        assert spoken_by.version() in {"TLSv1.2", "TLSv1.3"}
        for _ in range(4):
            await peer.send(proxy.request())
            assert (await peer.answer()).body == b"ok"
    assert upstream.requests[0].values(b"x-forwarded-proto") == [b"https"]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_are_not_spoken(
    serving: Serving, upstream: Upstream, spoken: Spoken
) -> None:
    proxy = await serving({"listen": spoken(), "routes": [{"upstream": upstream.url}]})
    context = trusting()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(proxy.url, context)


async def test_our_own_page_is_one_of_https(
    serving: Serving, upstream: Upstream, spoken: Spoken
) -> None:
    proxy = await serving({"listen": spoken(), "routes": [{"upstream": upstream.url}]})
    host = proxy.authority
    for origin, status in ((b"https://" + host, 200), (b"http://" + host, 403)):
        assert (await ask(proxy, proxy.url, b"Origin: " + origin)).status == status


async def test_both_forms_serve_together_and_cookies_fit_each(
    serving: Serving, upstream: Upstream, spoken: Spoken
) -> None:
    upstream.reply = answer(b"ok", fields=[COOKIE])
    listen = ["127.0.0.1:0", spoken()]
    proxy = await serving({"listen": listen, "routes": [{"upstream": upstream.url}]})
    plain, secure = proxy.listening
    for url in (plain, plain, plain, secure, secure, plain, secure):
        cookie = b"a=b; Secure; HttpOnly" if url == secure else b"a=b; HttpOnly"
        assert (await ask(proxy, url)).values(b"set-cookie") == [cookie]


async def asked_by(proxy: Proxy, context: ssl.SSLContext) -> Message:
    async with await connect(proxy.url, context) as peer:
        await peer.send(proxy.request())
        return await peer.answer()


async def test_with_a_client_ca_callers_show_a_certificate(
    serving: Serving, upstream: Upstream, spoken: Spoken
) -> None:
    proxy = await serving(
        {"listen": spoken(client_ca="ca.pem"), "routes": [{"upstream": upstream.url}]}
    )
    known, strange = trusting(), trusting()
    AUTHORITY.issue_cert("anna@shop.example").configure_cert(known)
    trustme.CA().issue_cert("anna@shop.example").configure_cert(strange)
    assert (await asked_by(proxy, known)).body == b"ok"
    for context in (strange, trusting()):
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await asked_by(proxy, context)
    assert len(upstream.requests) == 1


async def test_the_end_of_an_answer_without_a_length_is_a_good_one(
    serving: Serving, upstream: Upstream, spoken: Spoken
) -> None:
    upstream.reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    proxy = await serving({"listen": spoken(), "routes": [{"upstream": upstream.url}]})
    async with await connect(proxy.url) as peer:
        await peer.send(b"GET / HTTP/1.0\r\n\r\n")
        answered = await peer.answer()
    assert (answered.body, answered.framing) == (b"ok", "close")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 10\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"]
)
async def test_what_breaks_off_has_no_good_end(
    serving: Serving, upstream: Upstream, spoken: Spoken, framing: bytes, version: bytes
) -> None:
    async def break_off(peer: Peer, _: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\n" + framing)
        await asyncio.sleep(0.1)
        peer.close()

    upstream.act = break_off
    proxy = await serving({"listen": spoken(), "routes": [{"upstream": upstream.url}]})
    async with await connect(proxy.url) as peer:
        host = b"Host: %b\r\n\r\n" % proxy.authority
        await peer.send(b"GET / HTTP/%b\r\n%b" % (version, host))
        with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
            await peer.answer()
    assert [one.complete for one in proxy.served] == [False]


@pytest.mark.parametrize("size", [3, 8 << 20])
async def test_an_answer_that_comes_before_the_body_is_heard(
    serving: Serving, upstream: Upstream, spoken: Spoken, size: int
) -> None:
    proxy = await serving(
        {"listen": spoken(), "routes": [{"upstream": upstream.url, "deny": {"methods": ["PUT"]}}]}
    )
    async with await connect(proxy.url) as peer:
        head = b"PUT / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        await peer.send(head % (proxy.authority, size), bytes(size))
        assert (await peer.answer()).status == 405
        await peer.ended()


async def test_a_caller_who_ends_tls_has_gone(
    serving: Serving, upstream: Upstream, spoken: Spoken
) -> None:
    asked = asyncio.Event()

    async def never(peer: Peer, _: Message) -> None:
        asked.set()
        await peer.ended()

    upstream.act = never
    proxy = await serving({"listen": spoken(), "routes": [{"upstream": upstream.url}]})
    peer = await connect(proxy.url)
    await peer.send(proxy.request(b"/", b"Connection: close"))
    await asked.wait()
    peer.close()
    await upstream.all_gone()
    with suppress(ConnectionError):
        await peer.writer.wait_closed()
    assert [one.status for one in proxy.served] == [499]


async def test_other_protocols_are_tunnelled_over_tls(
    serving: Serving, upstream: Upstream, spoken: Spoken
) -> None:
    async def echo(peer: Peer, _: Message) -> None:
        await peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        while data := await peer.reader.read(LIMIT):
            await peer.send(data)

    upstream.act = echo
    proxy = await serving({"listen": spoken(), "routes": [{"upstream": upstream.url}]})
    async with await connect(proxy.url) as peer:
        await peer.send(proxy.request(b"/", b"Connection: Upgrade", b"Upgrade: websocket"))
        assert Message(await peer.head(), b"").status == 101
        for size in (1, 1 << 20):
            sending = spawn(peer.send(bytes(size)), name="send")
            assert await peer.reader.readexactly(size) == bytes(size)
            await sending
    await upstream.all_gone()


async def test_who_does_not_shake_hands_is_let_go(
    serving: Serving, upstream: Upstream, spoken: Spoken
) -> None:
    timeouts = {"request_head": 0.2}
    routes = [{"upstream": upstream.url}]
    proxy = await serving({"listen": spoken(), "timeouts": timeouts, "routes": routes})
    async with await proxy.connect() as silent, await proxy.connect() as plain:
        await plain.send(proxy.request())
        async with asyncio.timeout(5):
            await plain.ended()
            await silent.ended()
    async with await connect(proxy.url) as peer:
        await peer.send(proxy.request())
        assert (await peer.answer()).body == b"ok"


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tls_", "place", "what"),
    [
        ({"cert": "none.pem"}, "cert", "cannot be read (No such file or directory)"),
        ({"key": "none.pem"}, "key", "cannot be read"),
        ({"client_ca": "none.pem"}, "client_ca", "cannot be read"),
        ({"cert": "key.pem"}, "cert", "must hold a certificate in PEM format"),
        ({"key": "cert.pem"}, "cert", "private key that belongs to it"),
        ({"client_ca": "key.pem"}, "client_ca", "holds no certificate in PEM format"),
    ],
)
async def test_files_are_looked_at_before_anything_listens(
    spoken: Spoken, tmp_path: Path, tls_: dict[str, str], place: str, what: str
) -> None:
    listen = ["127.0.0.1:0", spoken(**tls_)]
    config = Config.model_validate({"listen": listen}, context={"folder": tmp_path})
    with pytest.raises(ConfigError) as caught:
        async with Runtime(config).built():
            pass
    (problem,) = caught.value.problems
    assert problem.path == f"listen.1.tls.{place}"
    assert what in problem.what


def test_a_listener_needs_a_certificate() -> None:
    assert set(ListenerTls.model_json_schema()["required"]) == {"cert"}


# -- beyond this machine -----------------------------------------------------------------------


@pytest.mark.parametrize("wildcard", ["0.0.0.0:0", "[::]:0"])
async def test_on_all_addresses_a_host_is_the_one_that_the_caller_came_to(
    serving: Serving, upstream: Upstream, wildcard: str
) -> None:
    key = "a-key-that-nobody-guesses"
    config = {"listen": wildcard, "allow_remote": ["listen"], "client_key": key}
    if wildcard.startswith("[") and not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    proxy = await serving({**config, "routes": [{"upstream": upstream.url}]})
    here, there = ("127.0.0.2", "127.0.0.3") if wildcard[0] == "0" else ("::1", "::2")
    name, other = (f"[{one}]" if ":" in one else one for one in (here, there))
    hosts = {
        f"{name}:{proxy.port}": 200,
        f"localhost:{proxy.port}": 200,
        f"{other}:{proxy.port}": 421,
        name: 421,
        wildcard.replace(":0", f":{proxy.port}"): 421,
        "evil.example": 421,
    }
    for host, status in hosts.items():
        async with Peer(*await asyncio.open_connection(here, proxy.port)) as peer:
            lines = ["GET / HTTP/1.1", f"Host: {host}", f"X-Tokenproxy-Key: {key}", "", ""]
            await peer.send("\r\n".join(lines).encode())
            assert (await peer.answer()).status == status, host
