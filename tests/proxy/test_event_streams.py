"""Server-sent events and long polls: what is sent is there, and silence ends when it is told to."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tests.conftest import Proxy, Serving
from tests.wire import OK, UNAUTHORIZED, Message, Peer, Upstream, answer
from tokenproxy.events import RequestServed
from tokenproxy.testing import Issuer

EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CLOSED = b"Connection: close\r\n\r\n"
FRAMINGS = [pytest.param(CHUNKED, id="chunked"), pytest.param(CLOSED, id="closed")]

EVENTS = [
    pytest.param([b"data: one\n\n", b"data: two\n\n"], id="data"),
    pytest.param([b"event: a\nid: 7\nretry: 10\ndata: x\ndata: y\n\n"] * 3, id="all fields"),
    pytest.param([b"data: a\r\n\r\n", b"data: b\r\r", b"data: c\n\n"], id="line ends"),
    pytest.param([b":\n\n", b": still here\n\n", b"data: x\n\n"], id="comments"),
    pytest.param([b"da", b"ta: hal", b"f\n", b"\n"], id="in pieces"),
    pytest.param(["data: €\n\n".encode()[:7], "data: €\n\n".encode()[7:]], id="half a character"),
    pytest.param([b"\xef\xbb\xbfdata: x\n\n"], id="a byte order mark"),
    pytest.param([b"\x1f\x8b\x08\x00compressed", b"and more of it"], id="compressed"),
    pytest.param([b"data: " + b"x" * (64 << 10) + b"\n\n"] * 3, id="long ones"),
    pytest.param([b"\n"] * 50, id="one byte each"),
]


def piece(framing: bytes, event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event) if framing is CHUNKED else event


class Stream:
    """An upstream's stream that sends an event when the last has been `heard`, then ends."""

    def __init__(self, framing: bytes, events: Sequence[bytes]) -> None:
        self._framing = framing
        self._events = events
        self._heard: asyncio.Queue[None] = asyncio.Queue()

    def heard(self) -> None:
        self._heard.put_nowait(None)

    async def __call__(self, peer: Peer, _: Message) -> None:
        await peer.send(EVENT_STREAM, self._framing)
        await self._heard.get()  # the head comes by itself
        for event in self._events:
            await peer.send(piece(self._framing, event))
            await self._heard.get()
        await peer.send(b"0\r\n\r\n" if self._framing is CHUNKED else b"")
        if self._framing is CLOSED:
            peer.close()


async def hears_each(peer: Peer, stream: Stream, events: Sequence[bytes]) -> None:
    head = Message(await peer.head(), b"")
    assert (head.status, head.values(b"content-type")) == (200, [b"text/event-stream"])
    stream.heard()
    is_chunked = bool(head.values(b"transfer-encoding"))
    for event in events:
        came = b""
        while len(came) < len(event):
            came += await (peer.chunk() if is_chunked else peer.reader.readexactly(len(event)))
        assert came == event
        stream.heard()
    assert await (peer.chunk() if is_chunked else peer.reader.read()) == b""


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("events", EVENTS)
async def test_each_event_is_there_before_the_next_is_sent(
    plain: Proxy, upstream: Upstream, framing: bytes, events: list[bytes]
) -> None:
    upstream.act = stream = Stream(framing, events)
    async with await plain.connect() as peer, asyncio.timeout(10):
        await peer.send(plain.request(b"/events", b"Accept: text/event-stream"))
        await hears_each(peer, stream, events)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_caller_in_http_1_0_hears_each_event(
    plain: Proxy, upstream: Upstream, framing: bytes
) -> None:
    events = [b"data: one\n\n", b"data: two\n\n"]
    upstream.act = stream = Stream(framing, events)
    async with await plain.connect() as peer, asyncio.timeout(10):
        await peer.send(b"GET /events HTTP/1.0\r\nHost: " + plain.authority + b"\r\n\r\n")
        await hears_each(peer, stream, events)


async def test_many_streams_at_once_hear_each_their_own(plain: Proxy, upstream: Upstream) -> None:
    async def act(peer: Peer, request: Message) -> None:
        stream = Stream(CHUNKED, [b"data: %b\n\n" % request.target] * 3)
        for _ in range(4):
            stream.heard()  # it waits for nobody
        await stream(peer, request)

    async def listen(number: int) -> None:
        async with await plain.connect() as peer:
            await peer.send(plain.request(b"/%d" % number))
            assert (await peer.answer()).body == b"data: /%d\n\n" % number * 3

    upstream.act = act
    async with asyncio.timeout(20):
        await asyncio.gather(*(listen(number) for number in range(50)))


@pytest.mark.parametrize(
    "matcher",
    [
        {"status": 200, "json": {"errcode": 1}},
        {"status": 200, "body_contains": "expired"},
    ],
    ids=["json", "body_contains"],
)
async def test_no_matcher_of_bodies_holds_a_stream_back(
    renewing: Callable[..., Awaitable[Proxy]],
    upstream: Upstream,
    issuer: Issuer,
    matcher: dict[str, object],
) -> None:
    proxy = await renewing(refresh_on=[401, matcher])
    events = [b'data: {"errcode": 1, "why": "expired"}\n\n'] * 3
    upstream.act = stream = Stream(CHUNKED, events)
    async with await proxy.connect() as peer, asyncio.timeout(10):
        await peer.send(proxy.request(b"/events"))
        await hears_each(peer, stream, events)
    assert issuer.refreshes == 0


async def test_a_stream_that_begins_with_a_rejection_is_renewed_and_streamed(
    renewing: Callable[..., Awaitable[Proxy]], upstream: Upstream, issuer: Issuer
) -> None:
    events = [b"data: one\n\n", b"data: two\n\n"]
    stream = Stream(CHUNKED, events)

    async def act(peer: Peer, request: Message) -> None:
        if len(upstream.requests) == 1:
            await peer.send(UNAUTHORIZED)
        else:
            await stream(peer, request)

    proxy = await renewing()
    upstream.act = act
    async with await proxy.connect() as peer, asyncio.timeout(10):
        await peer.send(proxy.request(b"/events"))
        await hears_each(peer, stream, events)
    assert issuer.refreshes == 1


async def test_a_stream_goes_on_while_its_token_is_renewed_for_others(
    renewing: Callable[..., Awaitable[Proxy]], upstream: Upstream, issuer: Issuer
) -> None:
    events = [b"data: %d\n\n" % number for number in range(4)]
    stream = Stream(CHUNKED, events)
    replies = [UNAUTHORIZED, OK]

    async def act(peer: Peer, request: Message) -> None:
        if request.target == b"/events":
            await stream(peer, request)
        else:
            await peer.send(replies.pop(0))

    async def renews() -> None:
        assert (await proxy.ask(b"/other")).status == 200

    proxy = await renewing()
    upstream.act = act
    async with await proxy.connect() as peer, asyncio.timeout(10):
        await peer.send(proxy.request(b"/events"))
        await upstream.until(lambda: bool(upstream.requests))
        await asyncio.gather(hears_each(peer, stream, events), renews())
    assert issuer.refreshes == 1
    assert upstream.requests[0].target == b"/events"
    assert len(upstream.requests) == 3


# -- silence -------------------------------------------------------------------------------------


async def told(proxy: Proxy) -> RequestServed:
    async with asyncio.timeout(5):
        while not proxy.served:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
    return proxy.served[0]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("events", [[], [b"data: one\n\n"]], ids=["no event", "one event"])
async def test_a_stream_that_falls_silent_is_broken_off_and_not_ended(
    serving: Serving, upstream: Upstream, framing: bytes, events: list[bytes], version: bytes
) -> None:
    async def fall_silent(peer: Peer, _: Message) -> None:
        await peer.send(EVENT_STREAM, framing, *(piece(framing, event) for event in events))
        await peer.ended()

    proxy = await serving({"routes": [{"upstream": upstream.url, "timeouts": {"idle": 0.1}}]})
    upstream.act = fall_silent
    async with await proxy.connect() as peer, asyncio.timeout(5):
        await peer.send(proxy.request().replace(b"HTTP/1.1", b"HTTP/" + version, 1))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await peer.answer()
        await upstream.all_gone()
    served = await told(proxy)
    assert (served.status, served.complete) == (200, False)
    assert served.seconds >= 0.1


async def test_comments_keep_a_stream_alive(serving: Serving, upstream: Upstream) -> None:
    async def comments(peer: Peer, _: Message) -> None:
        await peer.send(EVENT_STREAM, CHUNKED)
        for _number in range(15):
            await asyncio.sleep(0.05)
            await peer.send(piece(CHUNKED, b":\n\n"))
        await peer.send(b"0\r\n\r\n")

    timeouts = {"idle": 0.5, "response_head": 0.5}
    proxy = await serving({"routes": [{"upstream": upstream.url, "timeouts": timeouts}]})
    upstream.act = comments
    assert (await proxy.ask()).body == b":\n\n" * 15


# -- long polls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_long_poll_outlives_all_the_other_times(
    serving: Serving, upstream: Upstream, method: bytes
) -> None:
    async def late(peer: Peer, _: Message) -> None:
        await asyncio.sleep(0.3)
        await peer.send(OK)

    callers = {"request_head": 0.05, "keep_alive": 0.05, "request_body_idle": 0.05}
    times = {"response_head": None, "idle": 0.05}
    routes = [{"upstream": upstream.url, "timeouts": times}]
    proxy = await serving({"timeouts": callers, "routes": routes})
    upstream.act = late
    got = await proxy.ask(method=method, body=b"since=7" if method == b"POST" else b"")
    assert got.body == b"ok"


async def test_a_long_poll_that_ends_with_a_rejection_is_asked_again(
    renewing: Callable[..., Awaitable[Proxy]], upstream: Upstream, issuer: Issuer
) -> None:
    """Twice as long, then: the time for a head is nobody's."""

    async def late(peer: Peer, _: Message) -> None:
        await asyncio.sleep(0.1)
        await peer.send(replies.pop(0))

    replies = [UNAUTHORIZED, answer(b"news")]
    proxy = await renewing(timeouts={"response_head": None, "idle": 0.05})
    upstream.act = late
    assert (await proxy.ask()).body == b"news"
    assert issuer.refreshes == 1


async def test_a_caller_that_gives_a_long_poll_up_takes_it_from_the_upstream(
    serving: Serving, upstream: Upstream
) -> None:
    async def never(peer: Peer, _: Message) -> None:
        await peer.ended()

    times = {"response_head": None}
    proxy = await serving({"routes": [{"upstream": upstream.url, "timeouts": times}]})
    upstream.act = never
    async with await proxy.connect() as peer, asyncio.timeout(5):
        await peer.send(proxy.request())
        await upstream.until(lambda: bool(upstream.requests))
        peer.close()
        await upstream.all_gone()
