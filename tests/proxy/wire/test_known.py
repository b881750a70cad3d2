"""Heads that have come before are taken for what they were, and for nothing else (`known`)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import STATIC, Proxy, Serving
from tests.proxy.wire.running import ForgetfulWire, Reply, Running, Served, in_pieces, normal
from tests.wire import OK, UNAUTHORIZED, Message, Peer, Upstream, answer, chunked
from tokenproxy.proxy.wire import known
from tokenproxy.proxy.wire.server import Wire
from tokenproxy.testing import Issuer

Start = Callable[..., Awaitable[Proxy]]

# -- the same as one that remembers nothing ------------------------------------------------------

METHODS = [b"GET", b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"PURGE", b"TRACE"]
TARGETS = [
    b"/", b"/", b"/a", b"/a?b=c", b"/query/x?access_token=theirs&a=b", b"/query/x", b"/cookie/x",
    b"/basic/x", b"/host/x", b"/set/x", b"/keep/x", b"/reject/x", b"/none/x", b"/own/x?key=1",
    b"/moved/x", b"//a", b"/a%2fb", b"/a%00", b"/\x7f", b"/\x80", b"/#", b"*", b"/../a",
    b"/none/../a", b"/none%2f..%2fa", b"http://localhost:PORT/a", b"http://evil.example/a",
    b"/x\tHTTP/1.1", b"/x\rX-Y:z", b"/x\nX-Y:z", b"/" + b"x" * 17_000, b"/" + b"y" * 70_000, b"",
    b"/x HTTP/1.1\nX-Y:", b"x",
]  # fmt: skip
FIELD_SETS = [
    b"Host: localhost:PORT\r\n",
    b"Host: localhost:PORT\r\n",
    b"host: LOCALHOST:PORT\r\nAccept: */*\r\n",
    b"Host: 127.0.0.1:PORT\r\nAccept: */*\r\n",
    b"Host: evil.example\r\n",
    b"Host: named.example\r\n",
    b"Host: localhost:PORT\r\nHost: localhost:PORT\r\n",
    b"Accept: */*\r\n",
    b"Host: localhost:PORT\r\nOrigin: http://localhost:PORT\r\n",
    b"Host: localhost:PORT\r\nOrigin: http://evil.example\r\n",
    b"Host: localhost:PORT\r\nSec-Fetch-Site: cross-site\r\n",
    b"Host: localhost:PORT\r\nSec-Fetch-Site: none\r\n",
    b"Host: localhost:PORT\r\nConnection: close\r\n",
    b"Host: localhost:PORT\r\nConnection: keep-alive\r\n",
    b"Host: localhost:PORT\r\nConnection: x-gone\r\nX-Gone: 1\r\n",
    b"Host: localhost:PORT\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Host: localhost:PORT\r\nContent-Length: 0\r\n",
    b"Host: localhost:PORT\r\nContent-Length: 5\r\n",
    b"Host: localhost:PORT\r\nContent-Length: 05\r\n",
    b"Host: localhost:PORT\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
    b"Host: localhost:PORT\r\nTransfer-Encoding: chunked\r\n",
    b"Host: localhost:PORT\r\nTransfer-Encoding: gzip, chunked\r\n",
    b"Host: localhost:PORT\r\nExpect: 100-continue\r\n",
    b"Host: localhost:PORT\r\nExpect: other\r\n",
    b"Host: localhost:PORT\r\nTE: trailers\r\n",
    b"Host: localhost:PORT\r\nAuthorization: Bearer theirs\r\n",
    b"Host: localhost:PORT\r\nCookie: a=b; session=theirs; c=d\r\n",
    b"Host: localhost:PORT\r\nX-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\n",
    b"Host: localhost:PORT\r\nX-Long: " + b"x" * 4090 + b"\r\n",
    b"Host: localhost:PORT\r\nX-Y : z\r\n",
    b"Host: localhost:PORT\r\nX-Y: z\r\n folded\r\n",
    b"Host: localhost:PORT\r\nX-Y: NUMBER\r\n",
    b"Host: localhost:PORT\r\nX-Y: NUMBER\r\nContent-Length: 5\r\n",
    b"X-Y: NUMBER\r\nHost: localhost:PORT\r\nX-Y: a NUMBER\r\nAccept: */*\r\nY: NUMBER\r\n",
]
HOST = FIELD_SETS[0]
CHANGING = [  # NUMBER is another one each time
    *FIELD_SETS[-3:],
    HOST + b"Connection: x-y\r\nX-Y: NUMBER\r\n",
    HOST + b"Connection: x-NUMBER\r\nX-1: 1\r\nX-8: 8\r\n",
    HOST + b"X-Forwarded-For: NUMBER\r\nForwarded: for=NUMBER\r\nX-Y: NUMBER\r\n",
    HOST + b"Cookie: a=NUMBER; session=theirs\r\n",
    HOST + b"Cookie: session=NUMBER\r\nX-Y: NUMBER\r\n",
    HOST + b"Authorization: Bearer NUMBER\r\n",
    HOST + b"X_Y: NUMBER\r\nContent_Length: NUMBER\r\n",
    HOST + b"Keep-Alive: timeout=NUMBER\r\n",
    HOST + b"Origin: http://NUMBER.example\r\n",
    HOST + b"Access-Control-Request-Method: NUMBER\r\n",
    HOST + b"Sec-Fetch-Site: NUMBER\r\n",
    HOST + b"X-Set: NUMBER\r\nX-Removed: NUMBER\r\n",
    b"Host: NUMBER.localhost:PORT\r\n",
]
DECIDING = [
    b"Host", b"Connection", b"Proxy-Connection", b"Upgrade", b"TE", b"Expect", b"Transfer-Encoding",
    b"Origin", b"Sec-Fetch-Site", b"Authorization", b"X-Tokenproxy-Key", b"Cookie",
    b"Access-Control-Request-Method", b"Access-Control-Request-Headers",
]  # fmt: skip
COOKIES = [b"a=NUMBER", b"a=NUMBER", b"a=NUMBER", b"a=NUMBER", b"session=NUMBER", b"a=1; session=2"]
TELLING = [b"close", b"trailers", b"100-continue", b"chunked", b"h2c", b"cross-site"]
ODD_VALUES = [
    b" NUMBER", b"  NUMBER", b" \tNUMBER", b" NUMBER ", b" NUMBER\t", b"NUMBER", b"", b" ",
    b" NUM\tBER", b" NUMBER\x01", b" NUMBER\x7f", b" NUMBER\xff", b" NUMBER\x00", b" NUMBER\r",
    b" NUMBER\nHost: evil.example", b" NUMBER\n folded", b" NUMBER\r\n folded: NUMBER",
    b" " + b"x" * 4090, b" NUMBER\r\nHost: NUMBER.example", b" NUMBER\r\nZ: NUMBER",
]  # fmt: skip
VERSIONS = [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"http/1.1"]
BODIES = [b"", b"", b"", b"hello", b"hell", chunked(b"hello"), b"hello\r\n\r\n"]
ANSWERS = [
    OK,
    OK,
    answer(b"other"),
    answer(b"okay", fields=[(b"Set-Cookie", b"a=b; Domain=x; Path=/y; Secure")]),
    answer(b"", status=b"302 Found", fields=[(b"Location", b"/elsewhere?access_token=1")]),
    answer(b"", status=b"201 Created", fields=[(b"Content-Location", b"/there")]),
    answer(b"ok", fields=[(b"X-Removed", b"1"), (b"X-Set", b"theirs")]),
    answer(b"ok", fields=[(b"Connection", b"x-gone"), (b"X-Gone", b"1")]),
    UNAUTHORIZED,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"ok"),
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    OK + OK,
    OK + b"x",
    OK[:-1],
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 4090 + b"\r\nContent-Length: 2\r\n\r\nok",
]

Step = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bool]
STEP = st.tuples(
    st.sampled_from(METHODS),
    st.sampled_from(TARGETS),
    st.sampled_from(VERSIONS),
    st.sampled_from(FIELD_SETS),
    st.sampled_from(BODIES),
    st.sampled_from(ANSWERS),
    st.booleans(),  # both in two pieces
)


@st.composite
def dialogues(draw: st.DrawFn) -> list[Step]:
    """Steps that come again, some of them with a single part that is another."""
    steps = draw(st.lists(STEP, min_size=1, max_size=3))
    steps *= draw(st.integers(1, 3))
    again = draw(st.lists(st.tuples(st.sampled_from(steps), STEP, st.integers(0, 7)), max_size=8))
    for step, other, part in again:
        steps.append(step if part == 7 else (*step[:part], other[part], *step[part + 1 :]))
    return steps


def config(upstream: Upstream) -> dict[str, Any]:
    def route(path: str, **settings: Any) -> dict[str, Any]:
        return {"path": path, "upstream": upstream.url, "credential": "c", **settings}

    return {
        "allowed_hosts": ["named.example"],
        "credentials": {"c": STATIC},
        "routes": [
            route("/", response_headers={"set": {"X-Set": "ours"}, "remove": ["X-Removed"]}),
            route("/query", inject={"query": "access_token"}),
            route("/cookie", inject={"cookie": "session"}),
            route("/basic", inject={"basic": {"username": "me"}}, via=False),
            route("/host", preserve_host=True, headers={"set": {"X-Set": "1"}}),
            route("/set", forwarded="set"),
            route("/keep", forwarded="keep", client_authorization="keep"),
            route("/reject", client_authorization="reject"),
            route("/none", credential=None),
            route("/own", inject={"query": "key"}, client_authorization="keep"),
            route("/moved", rewrite_location=False, rewrite_cookies=False, strip_path=False),
        ],
    }


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, Served, Served]]:
    with Running(request.param, tmp_path_factory.mktemp("known")) as running:
        settings = config(running.upstream)
        yield running, running.serve(settings), running.serve(settings, ForgetfulWire)


def plain(fields: bytes = FIELD_SETS[0], reply: bytes = OK, **parts: bytes) -> Step:
    return (
        parts.get("method", b"GET"),
        parts.get("target", b"/"),
        parts.get("version", b"HTTP/1.1"),
        fields,
        parts.get("body", b""),
        reply,
        False,
    )


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(steps=dialogues())
@example(steps=[*[plain()] * 4, plain(method=b"HEAD", reply=OK[:-2]), plain()])
@example(steps=[*[plain()] * 4, *[plain(target=target) for target in TARGETS], plain()])
@example(steps=[*[plain()] * 4, *[plain(method=method) for method in METHODS], plain()])
@example(steps=[*[plain()] * 4, *[plain(version=version) for version in VERSIONS], plain()])
@example(steps=[step for fields in FIELD_SETS for step in [plain(fields)] * 5])
@example(steps=[step for reply in ANSWERS for step in [plain(reply=reply)] * 5])
@example(
    steps=[
        step
        for target in (b"/", b"/cookie/x", b"/keep/x", b"/reject/x", b"/set/x", b"/host/x")
        for fields in CHANGING
        for step in [plain(fields, target=target)] * 4
    ]
)
@example(
    steps=[
        plain(HOST + fields % cookie, target=b"/cookie/x")
        for fields in (b"Cookie: %b\r\nCookie: b=1\r\n", b"Cookie: b=1\r\nCookie: %b\r\n")
        for cookie in COOKIES
    ]
)
@example(
    steps=[
        step
        for target in TARGETS
        for step in [plain(CHANGING[2])] * 3 + [plain(CHANGING[2], target=target)]
    ]
)
@example(
    steps=[
        step
        for value in ODD_VALUES
        for step in [plain(CHANGING[0])] * 3 + [plain(HOST + b"X-Y:" + value + b"\r\n")]
    ]
)
@example(
    steps=[
        step
        for name in DECIDING
        for value in [b"NUMBER"] * 4 + TELLING
        for step in [plain(HOST + name + b": " + value + b"\r\n")]
    ]
)
@example(
    steps=[
        step
        for body in BODIES
        for step in [plain(FIELD_SETS[17], method=b"POST", body=body), plain(FIELD_SETS[17])] * 2
    ]
)
def test_a_memory_makes_no_difference(
    pair: tuple[Running, Served, Served], steps: list[Step]
) -> None:
    running, remembering, forgetful = pair
    one = running.run(dialogue(running, remembering, steps))
    other = running.run(dialogue(running, forgetful, steps))
    for at, (with_memory, without) in enumerate(zip(one, other, strict=True)):
        assert with_memory == without, steps[at]
    assert not running.complaints


async def dialogue(
    running: Running, served: Served, steps: list[Step]
) -> list[tuple[list[Message], bytes]]:
    """For each step what went up and what came back; a new connection where one has closed."""
    script = running.script
    said = []
    peer = await served.connect()
    for number, step in enumerate(steps):
        script.got.clear()
        script.replies.clear()
        method, target, version, fields, body, reply, is_cut = step
        if b"Length: 5" in fields or b"Length: 05" in fields:
            body = (body + b"hello")[:5]
        if b"chunked" in fields and body[:1] != b"5":
            body = chunked(b"hello")
        data = b"%b %b %b\r\n%b\r\n%b" % (method, target, version, fields, body)
        data = data.replace(b"PORT", b"%d" % served.port).replace(b"NUMBER", b"%d" % number)
        closes = b"close" in reply or b"1.0" in reply or reply == OK[:-1]
        script.replies += [Reply(halves(reply, is_cut=is_cut), closes)] * 3
        with suppress(ConnectionError, RuntimeError):  # the latter is uvloop's word for it
            await in_pieces(peer, halves(data, is_cut=is_cut))
        came = await all_that_comes(peer, to_head=method == b"HEAD")
        said.append(([*map(unported(served), script.got)], normal(came, served)))
        if peer.reader.at_eof() or not came or b"onnection: close" in came or body:
            peer.reset()
            peer = await served.connect()
    peer.reset()
    return said


def halves(data: bytes, *, is_cut: bool) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]] if is_cut else [data]


def unported(served: Served) -> Callable[[Message], Message]:
    return lambda got: Message(normal(got.head, served), got.body, got.framing)


async def all_that_comes(peer: Peer, *, to_head: bool) -> bytes:
    """An answer, or what there is of one."""
    came = b""
    try:
        async with asyncio.timeout(10):
            while True:
                head = await peer.head()
                came += head
                message = Message(head, b"")
                if message.status // 100 == 1:
                    continue
                if message.values(b"transfer-encoding") and not to_head:
                    return came + await peer.chunks()
                length = message.values(b"content-length")
                has_none = to_head or message.status in {204, 304}
                if length and not has_none:
                    came += await peer.reader.readexactly(int(length[0]))
                return came
    except asyncio.IncompleteReadError as error:
        return came + error.partial + b"(ends)"
    except (TimeoutError, ConnectionError) as error:
        return came + type(error).__name__.encode()


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> list[Wire]:
    """Those that serve."""
    made: list[Wire] = []

    def make(*args: Any, **kwargs: Any) -> Wire:
        made.append(Wire(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr("tokenproxy.server.generations.Wire", make)
    return made


# -- what changes in between ---------------------------------------------------------------------

wire = pytest.mark.only("wire")


async def often(proxy: Proxy, peer: Peer, *fields: bytes) -> list[bytes]:
    """The same request five times on one connection: by the last it is known."""
    came = []
    for _ in range(5):
        await peer.send(proxy.request(b"/", *fields))
        came.append((await peer.answer()).body)
    return came


@wire
async def test_a_token_that_was_renewed_in_between_is_the_one_that_is_sent(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await renewing()
    async with await proxy.connect() as peer:
        for _ in range(3):
            assert await often(proxy, peer) == [b"ok"] * 5
            upstream.replies = [UNAUTHORIZED]
            proxy.clock.skip(11)
            assert await often(proxy, peer) == [b"ok"] * 5
    sent = [request.values(b"authorization")[0] for request in upstream.requests]
    lots = [sent[:6], sent[6:16], sent[17:27]]  # each ends with the one that was answered no
    assert [len(set(lot[:5])) for lot in lots] == [1, 1, 1]
    assert len(set(sent)) == 4 == issuer.refreshes + 1
    assert len(sent) == 33


@wire
async def test_a_token_that_has_expired_in_between_is_not_sent(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await renewing()
    async with await proxy.connect() as peer:
        await often(proxy, peer)
        proxy.clock.skip(400)
        await often(proxy, peer)
    sent = [request.values(b"authorization")[0] for request in upstream.requests]
    assert len(set(sent[:5])) == len(set(sent[5:])) == 1
    assert sent[4] != sent[5]


async def numbered(proxy: Proxy, peer: Peer, numbers: Iterable[int], path: bytes = b"/") -> None:
    """Requests that are told apart by one field in the midst of others."""
    for number in numbers:
        await peer.send(proxy.request(path, b"X-Number: %d" % number, b"Accept: */*"))
        assert (await peer.answer()).body == b"ok"


@wire
async def test_a_value_that_is_another_each_time_goes_up_as_it_came(
    wires: list[Wire], plain_: Proxy, upstream: Upstream
) -> None:
    async with await plain_.connect() as peer:
        await numbered(plain_, peer, range(10))
        await numbered(plain_, peer, range(10, 20), b"/other")
    assert [request.values(b"x-number") for request in upstream.requests] == [
        [b"%d" % number] for number in range(20)
    ]
    [remembered] = wires[0]._known.values()
    assert len(remembered.shapes) == 1
    assert not remembered.fields
    assert {request.fields[1][0] for request in upstream.requests} == {b"X-Number"}


@wire
async def test_what_is_sent_once_more_has_the_value_that_it_came_with(
    renewing: Start, upstream: Upstream
) -> None:
    proxy = await renewing()
    async with await proxy.connect() as peer:
        await numbered(proxy, peer, range(5))
        upstream.replies = [UNAUTHORIZED]
        proxy.clock.skip(11)
        await numbered(proxy, peer, range(5, 10))
    numbers = [request.values(b"x-number")[0] for request in upstream.requests]
    assert numbers == [b"%d" % number for number in (*range(6), *range(5, 10))]


@wire
async def test_posts_with_such_a_value_are_sent_once_and_whole(
    plain_: Proxy, upstream: Upstream
) -> None:
    async with await plain_.connect() as peer:
        for at in range(10):
            fields, body = b"X-Number: %d" % at, b"%05d" % at
            await peer.send(plain_.request(b"/", fields, method=b"POST", body=body))
            assert (await peer.answer()).body == b"ok"
    sent = [(request.values(b"x-number"), request.body) for request in upstream.requests]
    assert sent == [([b"%d" % at], b"%05d" % at) for at in range(10)]


@wire
async def test_each_route_gets_what_is_its_own(serving: Serving, upstream: Upstream) -> None:
    routes = [{"path": f"/{name}", "upstream": upstream.url, "credential": name} for name in "ab"]
    tokens = {name: {"type": "static", "token": f"token-of-{name}"} for name in "ab"}
    proxy = await serving({"credentials": tokens, "routes": routes})
    async with await proxy.connect() as peer:
        for _ in range(5):
            for name in (b"a", b"b"):
                await peer.send(proxy.request(b"/" + name))
                assert (await peer.answer()).body == b"ok"
    sent = [request.values(b"authorization")[0] for request in upstream.requests]
    assert sent == [b"Bearer token-of-a", b"Bearer token-of-b"] * 5


@wire
async def test_whose_address_is_told_is_that_of_each_caller(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url, "forwarded": "set"}]})
    for local in ["127.0.0.2", "127.0.0.3", "127.0.0.2"]:
        ends = await asyncio.open_connection("127.0.0.1", proxy.port, local_addr=(local, 0))
        async with Peer(*ends) as peer:
            await often(proxy, peer)
    seen = [request.values(b"x-forwarded-for")[0] for request in upstream.requests]
    assert seen == [b"127.0.0.2"] * 5 + [b"127.0.0.3"] * 5 + [b"127.0.0.2"] * 5


@wire
async def test_a_drain_in_between_is_told(serving: Serving, upstream: Upstream) -> None:
    async def act(peer: Peer, _: Message) -> None:
        if len(upstream.requests) == 6:
            proxy.stop()
            await asyncio.sleep(0.05)
        await peer.send(OK)

    proxy = await serving({"routes": [{"upstream": upstream.url}]})
    upstream.act = act
    async with await proxy.connect() as peer:
        await often(proxy, peer)
        await peer.send(proxy.request())
        assert (await peer.answer()).values(b"connection") == [b"close"]
        await peer.ended()


@wire
async def test_a_memory_is_bounded(wires: list[Wire], serving: Serving, upstream: Upstream) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url}]})
    async with await proxy.connect() as peer:
        for number in range(known.MOST + 50):
            upstream.reply = answer(b"ok", fields=[(b"X-N", b"%d" % number)])
            for _ in range(3):
                await peer.send(proxy.request(b"/", b"X-N: %d" % number))
                assert (await peer.answer()).values(b"x-n") == [b"%d" % number]
    long = b"X-Long: " + b"x" * known.LONGEST
    upstream.reply = answer(b"ok", fields=[(b"X-Long", b"x" * known.LONGEST)])
    for _ in range(5):
        assert (await proxy.ask(b"/", long)).body == b"ok"
    [remembered] = wires[0]._known.values()
    [pool] = wires[0].pools.values()
    for memory in (remembered.fields, remembered.requests, pool.known):
        assert 0 < len(memory) <= known.MOST
        assert max(map(len, memory)) <= known.LONGEST
    assert [request.values(b"x-n") for request in upstream.requests[:-5]] == [
        [b"%d" % number] for number in range(known.MOST + 50) for _ in range(3)
    ]


@wire
async def test_a_known_request_whose_connection_is_stale_is_sent_again(
    plain_: Proxy, upstream: Upstream
) -> None:
    async def meet(peer: Peer) -> None:
        while True:
            upstream.requests.append(await peer.request())
            if upstream.connections == 1 and len(upstream.requests) == 7:
                peer.reset()
                return
            await peer.send(OK)

    upstream.meet = meet
    async with await plain_.connect() as peer:
        assert await often(plain_, peer) + await often(plain_, peer) == [b"ok"] * 10
    assert upstream.connections == 2


@pytest.fixture
def plain_(plain: Proxy) -> Proxy:
    return plain


@wire
async def test_known_posts_are_sent_once_and_whole(plain_: Proxy, upstream: Upstream) -> None:
    async with await plain_.connect() as peer:
        for at in range(20):
            await peer.send(plain_.request(b"/%d" % (at % 3), method=b"POST", body=b"%05d" % at))
            assert (await peer.answer()).body == b"ok"
    assert [request.body for request in upstream.requests] == [b"%05d" % at for at in range(20)]


@wire
async def test_a_known_head_with_more_behind_it_is_read_to_its_end(
    plain_: Proxy, upstream: Upstream
) -> None:
    one = plain_.request(b"/", method=b"POST", body=b"12345")
    async with await plain_.connect() as peer:
        for data in (one, one, one + one, one[:-2], one[-2:], one + one[:40], one[40:]):
            await peer.send(data)
            await asyncio.sleep(0.01)
        for _ in range(7):
            assert (await peer.answer()).body == b"ok"
    assert [request.body for request in upstream.requests] == [b"12345"] * 7
