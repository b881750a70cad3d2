"""The admin listener on real sockets: who may ask it, and what it says to what cannot be read."""

import asyncio
import stat
from pathlib import Path

import pytest

from tests.admin.conftest import Desk, Open
from tests.conftest import STATIC, Serving
from tests.wire import LIMIT, Message, Peer, Upstream
from tokenproxy.admin import api
from tokenproxy.config.model import Config
from tokenproxy.errors import ListenError
from tokenproxy.runtime import World
from tokenproxy.server.listeners import bind
from tokenproxy.server.serve import serve

pytestmark = pytest.mark.only("wire")

SECURE = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
REFRESH = "/api/credentials/shop/refresh"
EVERYWHERE = ["/healthz", "/readyz", "/metrics", "/api/status", "/api/openapi.json", "/nowhere"]


async def raw(desk: Desk, *lines: bytes, to_head: bool = False) -> Message:
    """What is answered to a request of these lines; `HOST` stands for a good Host."""
    host, _, port = desk.authority.rpartition(":")
    good = b"Host: " + desk.authority.encode()
    sent = [good if line == b"HOST" else line for line in lines]
    async with Peer(*await asyncio.open_connection(host, int(port), limit=LIMIT)) as peer:
        await peer.send(b"\r\n".join([*sent, b"", b""]))
        return await peer.answer(to_head=to_head)


@pytest.mark.parametrize("target", EVERYWHERE)
async def test_every_answer_is_safe_in_a_browser(opened: Open, target: str) -> None:
    said = await (await opened()).get(target)
    assert {name: said.headers[name] for name in SECURE} == SECURE
    policy = said.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("OWN", 200),
        ("localhost:PORT", 200),
        ("shop.localhost:PORT", 200),
        ("named.example", 200),
        ("localhost", 421),
        ("127.0.0.1:1", 421),
        ("rebound.example:PORT", 421),
        ("127.0.0.1:PORT.", 421),
        ("a b", 400),
    ],
)
async def test_a_host_that_is_not_ours_sees_nothing(opened: Open, host: str, status: int) -> None:
    desk = await opened(STATIC, allowed_hosts=["named.example"])
    port = desk.authority.rpartition(":")[2]
    named = host.replace("OWN", desk.authority).replace("PORT", port)
    assert (await desk.get("/api/status", Host=named)).status == status
    assert (await desk.post(REFRESH, Host=named)).status == status
    for target in ("/healthz", "/readyz", "/metrics"):  # probes ask by any address
        assert (await desk.get(target, Host=named)).status == 200


@pytest.mark.parametrize("hosts", [[], [b"HOST", b"HOST"]])
async def test_without_one_host_a_request_is_refused(opened: Open, hosts: list[bytes]) -> None:
    said = await raw(await opened(), b"GET /api/status HTTP/1.1", *hosts)
    assert said.status == 400


PAGES: list[tuple[dict[str, str], bool, bool]] = [  # fields, whether to GET, whether to POST
    ({}, True, True),
    ({"Origin": "OWN"}, True, True),
    ({"Origin": "OWN", "Sec-Fetch-Site": "same-origin"}, True, True),
    ({"Sec-Fetch-Site": "same-origin"}, True, True),
    ({"Sec-Fetch-Site": "none"}, True, False),
    ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, True, False),
    ({"Sec-Fetch-Site": "cross-site"}, False, False),
    ({"Sec-Fetch-Site": "same-site"}, False, False),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, False, False),
    ({"Origin": "https://evil.example"}, False, False),
    ({"Origin": "null"}, False, False),
    ({"Origin": "http://localhost:1"}, False, False),
    ({"Origin": "OWN.evil.example"}, False, False),
]


@pytest.mark.parametrize(("fields", "reads", "changes"), PAGES)
async def test_a_page_of_another_site_neither_reads_nor_changes_anything(
    opened: Open, fields: dict[str, str], reads: bool, changes: bool
) -> None:
    desk = await opened(STATIC)
    told = {
        name.replace("-", "_"): value.replace("OWN", desk.url) for name, value in fields.items()
    }
    for target in ("/api/status", "/readyz", "/metrics", "/healthz"):
        assert ((await desk.get(target, **told)).status == 200) is reads
    before = await desk.credential()
    said = await desk.post(REFRESH, **told)
    assert (said.status == 200) is changes
    after = await desk.credential()
    assert (after["last_renewal"] != before["last_renewal"]) is changes
    if not changes:
        assert said.json["code"] == "origin_not_allowed"


@pytest.mark.parametrize("target", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Origin": "http://rebound.example:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
    ],
)
async def test_a_page_under_a_host_that_is_not_ours_reads_nothing(
    opened: Open, target: str, fields: dict[str, str], status: int
) -> None:
    desk = await opened()
    assert (await desk.get(target, Host="rebound.example:1", **fields)).status == status


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://OWN/healthz", b"OWN", 200),
        (b"http://OWN/api/status?a=b", b"OWN", 200),
        (b"HTTP://localhost:PORT/readyz?credential=none", b"OWN", 404),
        (b"http://OWN", b"OWN", 200),
        (b"http://OWN/none", b"OWN", 404),
        (b"http://evil.example/healthz", b"OWN", 421),
        (b"http://evil.example/api/status", b"OWN", 421),
        (b"https://OWN/healthz", b"OWN", 421),
        (b"http://OWN/healthz", b"evil.example", 421),
        (b"ftp://OWN/healthz", b"OWN", 404),
    ],
)
async def test_a_target_in_absolute_form_is_taken_where_its_authority_is_ours(
    opened: Open, target: bytes, host: bytes, status: int
) -> None:
    desk = await opened(STATIC)
    own, port = desk.authority.encode(), desk.authority.rpartition(":")[2].encode()
    named = target.replace(b"OWN", own).replace(b"PORT", port)
    said = await raw(
        desk,
        b"GET %b HTTP/1.1" % named,
        b"Host: " + host.replace(b"OWN", own),
        b"Connection: close",
    )
    assert said.status == status


@pytest.mark.parametrize("target", ["/", "/oauth/callback?code=c&state=s"])
async def test_a_person_may_be_led_to_the_page_and_back_from_an_issuer(
    opened: Open, target: str
) -> None:
    desk = await opened()
    led = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert (await desk.get(target, **led)).status != 403
    for refused in (
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
        {**led, "Host": "rebound.example"},
    ):
        assert (await desk.get(target, **refused)).status in {403, 421}
    assert (await desk.post(target, **led)).status == 403


async def test_a_client_key_is_not_asked_for(opened: Open) -> None:
    desk = await opened(STATIC, client_key="a-key-that-nobody-guesses")
    assert (await desk.get("/api/status")).status == 200
    assert (await desk.post(REFRESH)).status == 200


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("POST", "/api/status", 405, "GET, HEAD"),
        ("DELETE", "/healthz", 405, "GET, HEAD"),
        ("GET", REFRESH, 405, "POST"),
        ("HEAD", "/api/status", 200, None),
        ("TRACE", "/healthz", 405, "GET, HEAD"),
        ("GET", "/api", 404, None),
        ("GET", "/api/status/", 404, None),
        ("GET", "//api/status", 404, None),
        ("GET", "/page/../api/status", 404, None),
        ("GET", "/page/none.js", 404, None),
        ("POST", "/api/credentials//refresh", 404, None),
        ("POST", "/api/credentials/none/refresh", 404, None),
        ("POST", "/api/credentials/a/b/refresh", 404, None),
        ("POST", "/api/credentials/%73hop/refresh", 404, None),
    ],
)
async def test_what_is_not_there_is_told_as_a_problem(
    opened: Open, method: str, target: str, status: int, allow: str | None
) -> None:
    desk = await opened(STATIC)
    line = f"{method} {target} HTTP/1.1".encode()
    said = await raw(desk, line, b"HOST", to_head=method == "HEAD")
    assert said.status == status
    if allow is not None:
        assert said.values(b"allow") == [allow.encode()]
    if status != 200:
        assert said.values(b"content-type") == [b"application/problem+json"]


MARKER = b"a-secret-of-the-caller"


@pytest.mark.parametrize(
    "lines",
    [
        [b"GET /healthz HTTP/1.1", b"HOST", b"Authorization : Bearer " + MARKER],
        [b"GET /healthz HTTP/1.1", b"HOST", b"X: " + MARKER + b"\x01"],
        [b"GET /healthz?" + MARKER + b" HTTP/9.1", b"HOST"],
        [MARKER + b" /healthz HTTP/1.1", b"HOST"],
        [b"GET /healthz HTTP/1.1", b"HOST", b"X: " + MARKER * 2000],
        [b"GET /healthz HTTP/1.1", b"HOST", b"Content-Length: " + MARKER],
    ],
)
async def test_what_cannot_be_read_is_not_quoted(
    opened: Open, lines: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    desk = await opened()
    said = await raw(desk, *lines)
    assert said.status == 400
    assert said.values(b"content-type") == [b"application/problem+json"]
    assert MARKER not in said.head + said.body
    assert MARKER.decode() not in caplog.text + repr(desk.proxy.events)


async def test_a_fault_of_our_own_is_told_in_our_own_words(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("what nobody should see")

    desk = await opened(faults=1)
    monkeypatch.setattr(api, "status", fails)
    said = await desk.get("/api/status")
    assert (said.status, said.json["code"]) == (500, "internal_error")
    assert b"nobody" not in said.body


# -- where it listens --------------------------------------------------------------------------


async def test_a_unix_socket_is_its_owners_and_a_stale_one_is_replaced(
    opened: Open, tmp_path: Path
) -> None:
    path = tmp_path / "admin.sock"
    stale = bind(f"unix:{path}")
    for one in stale.sockets:
        one.close()

    desk = await opened(STATIC, admin=f"unix:{path}")

    assert desk.proxy.admin == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await desk.get("/api/status", Host="whoever")).status == 200
    assert (await desk.get("/api/status", Origin="https://evil.example")).status == 403


async def test_an_address_in_use_is_one_sentence_and_nothing_listens(
    nothing_left_behind: None, tmp_path: Path
) -> None:
    taken, said = bind(f"unix:{tmp_path / 'taken'}"), list[str]()
    told = {"admin": f"unix:{tmp_path / 'taken'}", "listen": f"unix:{tmp_path / 's'}"}
    world = World(variables={}, state_folder=tmp_path)
    with pytest.raises(ListenError, match=r"stop it, or name another 'admin'\)$"):
        await serve(Config.model_validate(told), world, said.append, asyncio.Event())
    taken.close()
    assert (said, (tmp_path / "s").exists()) == ([], False)


async def test_all_is_given_back_at_the_end(
    serving: Serving, upstream: Upstream, tmp_path: Path
) -> None:
    path = tmp_path / "admin.sock"
    proxy = await serving({"admin": f"unix:{path}", "routes": [{"upstream": upstream.url}]})
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"event: status")
    proxy.stop()
    await reader.read()  # to its end
    writer.close()
    await writer.wait_closed()


async def test_it_serves_no_route_and_the_proxy_serves_no_status(opened: Open) -> None:
    desk = await opened()
    assert (await desk.get("/")).body != b"ok"
    assert (await desk.proxy.ask(b"/api/status")).body == b"ok"  # the upstream's
