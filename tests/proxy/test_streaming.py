"""Bodies that are long, slow, or never end: they pass through, and nothing piles up here."""

import asyncio
import hashlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import AheadClock, Proxy, Serving
from tests.wire import LIMIT, OK, Message, Peer, Upstream, chunked

MIB = 1 << 20
PIECE = b"\xa5" * (64 << 10)


# -- one by one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [b"Transfer-Encoding: chunked", b"Connection: close"])
async def test_each_event_arrives_when_it_is_sent(
    plain: Proxy, upstream: Upstream, head: bytes
) -> None:
    async def stream(peer: Peer, _: Message) -> None:
        await peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n", head, b"\r\n\r\n"
        )
        for number in range(5):
            event = b"data: %d\n\n" % number
            await peer.send(chunked(event)[:-5] if head.startswith(b"T") else event)
            await heard.get()
        await peer.send(b"0\r\n\r\n" if head.startswith(b"T") else b"")
        peer.close()

    heard: asyncio.Queue[None] = asyncio.Queue()
    upstream.act = stream
    async with await plain.connect() as peer, asyncio.timeout(2):
        await peer.send(plain.request())
        await peer.head()
        for number in range(5):
            assert await peer.chunk() == b"data: %d\n\n" % number
            heard.put_nowait(None)
        assert await peer.chunk() == b""


async def test_the_head_of_an_answer_does_not_wait_for_its_body(
    plain: Proxy, upstream: Upstream
) -> None:
    async def stream(peer: Peer, _: Message) -> None:
        await peer.send(OK[:-2])
        await heard.wait()
        await peer.send(b"ok")

    heard = asyncio.Event()
    upstream.act = stream
    async with await plain.connect() as peer, asyncio.timeout(2):
        await peer.send(plain.request())
        assert await peer.head() == OK[:-2]
        heard.set()
        assert await peer.reader.readexactly(2) == b"ok"


async def test_each_piece_of_a_body_arrives_when_it_is_sent(
    plain: Proxy, upstream: Upstream
) -> None:
    async def take(peer: Peer) -> None:
        await peer.head()
        while piece := await peer.chunk():
            taken.put_nowait(piece)
        await peer.send(OK)

    taken: asyncio.Queue[bytes] = asyncio.Queue()
    upstream.meet = take
    async with await plain.connect() as peer, asyncio.timeout(2):
        await peer.send(plain.request(b"/", b"Transfer-Encoding: chunked", method=b"POST"))
        for piece in (b"one", b"two", b"three"):
            await peer.send(chunked(piece)[:-5])
            assert await taken.get() == piece
        await peer.send(b"0\r\n\r\n")
        assert (await peer.answer()).body == b"ok"


# -- back-pressure -------------------------------------------------------------------------------


async def sent_until_blocked(peer: Peer, *, most: int) -> int:
    """Send for as long as it is taken; how much that was."""
    sent = 0
    try:
        while sent < most:
            async with asyncio.timeout(0.3):
                await peer.send(PIECE)
            sent += len(PIECE)
    except TimeoutError:
        pass
    return sent


async def test_a_slow_reader_holds_the_upstream_back(plain: Proxy, upstream: Upstream) -> None:
    async def pour(peer: Peer, _: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        poured.set_result(await sent_until_blocked(peer, most=256 * MIB))
        await peer.ended()

    poured: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    upstream.act = pour
    async with await plain.connect() as peer:
        await peer.send(plain.request())
        await peer.head()
        assert await poured < 64 * MIB  # what the kernel's own buffers take, and little more
        peer.reset()
    await upstream.all_gone()


async def test_a_slow_upstream_holds_the_caller_back(plain: Proxy, upstream: Upstream) -> None:
    async def take_nothing(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        await left.wait()

    left = asyncio.Event()
    upstream.meet = take_nothing
    async with await plain.connect() as peer:
        head = plain.request(b"/", b"Content-Length: %d" % (256 * MIB), method=b"POST")
        await peer.send(head)
        assert await sent_until_blocked(peer, most=256 * MIB) < 64 * MIB
        peer.reset()
        left.set()


# -- who leaves ----------------------------------------------------------------------------------


async def wait_for_ever(peer: Peer, _: Message) -> None:
    await peer.ended()


async def stream_for_ever(peer: Peer, _: Message) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await peer.send(chunked(b"tick")[:-5])
        await asyncio.sleep(0.01)


async def fall_silent(peer: Peer, _: Message) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
    await peer.ended()


@pytest.mark.parametrize("act", [wait_for_ever, stream_for_ever, fall_silent])
@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_when_the_caller_leaves_the_upstreams_connection_is_closed(
    plain: Proxy, upstream: Upstream, act: object, how: str
) -> None:
    upstream.act = act  # type: ignore[assignment]  # pytest's parameters have no types
    async with await plain.connect() as peer:
        await peer.send(plain.request())
        await upstream.until(lambda: bool(upstream.requests))
        if act is not wait_for_ever:
            await peer.head()
        peer.close() if how == "fin" else peer.reset()
        async with asyncio.timeout(2):
            await upstream.all_gone()
    assert len(plain.served) == 1


async def test_a_thousand_who_leave_leave_nothing(plain: Proxy, upstream: Upstream) -> None:
    async def come_and_go() -> None:
        async with await plain.connect() as peer:
            await peer.send(plain.request())
            await upstream.until(lambda: upstream.open > 0)
            peer.reset()

    upstream.act = wait_for_ever
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        await asyncio.gather(*(come_and_go() for _ in range(50)))
    async with asyncio.timeout(2):
        while len(os.listdir("/proc/self/fd")) > descriptors:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


# -- memory --------------------------------------------------------------------------------------

CONFIG = """
listen: 127.0.0.1:0
admin: null
store: {{type: memory}}
credentials: {{c: {{type: static, token: the-token}}}}
routes:
  - {{upstream: "{upstream}", credential: c, replay: {{max_body: 1MiB, dir: "{folder}"}}}}
"""


@asynccontextmanager
async def program(upstream: Upstream, folder: Path) -> AsyncIterator[tuple[Proxy, int]]:
    """The proxy in a process of its own, and its number."""
    file = folder / "config.yaml"
    file.write_text(CONFIG.format(upstream=upstream.url, folder=folder))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tokenproxy", "run", "-c", str(file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode().strip()
        url = line.removeprefix("listening on ")
        yield Proxy([url], [], process.terminate, AheadClock()), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


def memory(pid: int, field: str) -> int:
    """Bytes, from /proc."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def hash_what_comes(peer: Peer, size: int) -> str:
    digest = hashlib.sha256()
    while size:
        piece = await peer.reader.read(min(size, LIMIT))
        assert piece, "it broke off"
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


async def pour(peer: Peer, size: int) -> str:
    digest = hashlib.sha256()
    for _ in range(size // len(PIECE)):
        digest.update(PIECE)
        await peer.send(PIECE)
    return digest.hexdigest()


async def growth_of_both_ways(upstream: Upstream, folder: Path, size: int) -> int:
    """By how many bytes the process grew at most while `size` bytes went up, then down."""

    async def take_and_give(peer: Peer) -> None:
        await peer.head()
        taken = await hash_what_comes(peer, size)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        assert await pour(peer, size) == taken

    upstream.meet = take_and_give
    async with program(upstream, folder) as (proxy, pid), await proxy.connect() as warm:
        await warm.send(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        await warm.answer()
        forget_peak(pid)
        before = memory(pid, "VmRSS")
        async with await proxy.connect() as peer:
            await peer.send(proxy.request(b"/", b"Content-Length: %d" % size, method=b"POST"))
            sent = await pour(peer, size)
            await peer.head()
            assert await hash_what_comes(peer, size) == sent
        return memory(pid, "VmHWM") - before


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
async def test_64_mib_up_and_down_need_little_memory(upstream: Upstream, tmp_path: Path) -> None:
    assert await growth_of_both_ways(upstream, tmp_path, 64 * MIB) < 16 * MIB


@pytest.mark.soak
@pytest.mark.timeout(120)
async def test_a_gibibyte_up_and_down_needs_less_than_32_mib(
    upstream: Upstream, tmp_path: Path
) -> None:
    assert await growth_of_both_ways(upstream, tmp_path, 1024 * MIB) < 32 * MIB


# -- time-outs -----------------------------------------------------------------------------------


def route(upstream: Upstream, **timeouts: float | None) -> dict[str, object]:
    return {"routes": [{"upstream": upstream.url, "timeouts": timeouts}]}


async def test_an_upstream_that_does_not_answer_in_time_is_504(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving(route(upstream, response_head=0.05))
    upstream.act = wait_for_ever
    answer = await proxy.ask(method=b"POST", body=b"hi")
    assert (answer.status, proxy.served[0].code) == (504, "upstream_timeout")
    assert proxy.served[0].seconds >= 0.05
    await upstream.all_gone()
    assert len(upstream.requests) == 1


def early(*codes: int, every: float = 0.0) -> Callable[[Peer, Message], Awaitable[None]]:
    """Sends answers that are not the last, and no other."""

    async def act(peer: Peer, _: Message) -> None:
        for code in codes:
            await peer.send(b"HTTP/1.1 %d Early\r\n\r\n" % code)
            await asyncio.sleep(every)
        await peer.ended()

    return act


async def head_byte_by_byte(peer: Peer, _: Message) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
        await peer.send(bytes([byte]))
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(early(100), id="100"),
        pytest.param(early(103), id="103"),
        pytest.param(early(*[102] * 1000, every=0.01), id="102 again and again"),
        pytest.param(head_byte_by_byte, id="byte by byte"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"hi"])
async def test_nothing_but_the_head_of_the_answer_proper_is_one(
    serving: Serving,
    upstream: Upstream,
    act: Callable[[Peer, Message], Awaitable[None]],
    body: bytes,
) -> None:
    proxy = await serving(route(upstream, response_head=0.1))
    upstream.act = act
    async with asyncio.timeout(5):
        answer = await proxy.ask(method=b"POST", body=body)
        assert (answer.status, proxy.served[0].code) == (504, "upstream_timeout")
        await upstream.all_gone()
    assert len(upstream.requests) == 1


async def test_an_early_answer_does_not_start_the_time_of_a_head_while_the_body_is_coming(
    serving: Serving, upstream: Upstream
) -> None:
    async def take(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await peer.reader.readexactly(4)
        await peer.send(OK)

    proxy = await serving(route(upstream, response_head=0.1, idle=0.1))
    upstream.meet = take
    async with await proxy.connect() as peer:
        await peer.send(proxy.request(b"/", b"Content-Length: 4", method=b"POST"))
        await asyncio.sleep(0.25)
        await peer.send(b"body")
        assert (await peer.answer()).body == b"ok"


async def test_the_time_for_a_head_is_over_with_the_head(
    serving: Serving, upstream: Upstream
) -> None:
    async def two_pieces(peer: Peer, _: Message) -> None:
        await peer.send(OK[:-2])
        await asyncio.sleep(0.15)
        await peer.send(OK[-2:])

    proxy = await serving(route(upstream, response_head=0.1, idle=1))
    upstream.act = two_pieces
    for _ in range(2):
        assert (await proxy.ask()).body == b"ok"
    assert upstream.connections == 1


async def test_a_long_poll_may_take_as_long_as_it_likes(
    serving: Serving, upstream: Upstream
) -> None:
    async def late(peer: Peer, _: Message) -> None:
        await asyncio.sleep(0.2)
        await peer.send(OK)

    proxy = await serving(route(upstream, response_head=None, idle=0.05))
    upstream.act = late
    assert (await proxy.ask()).body == b"ok"


async def test_the_time_of_an_upload_does_not_count(serving: Serving, upstream: Upstream) -> None:
    proxy = await serving(route(upstream, response_head=0.1))
    async with await proxy.connect() as peer:
        await peer.send(proxy.request(b"/", b"Content-Length: 4", method=b"POST"))
        for letter in (b"a", b"b", b"c", b"d"):
            await asyncio.sleep(0.05)
            await peer.send(letter)
        assert (await peer.answer()).body == b"ok"


async def test_silence_in_the_middle_of_an_answer_ends_it(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving(route(upstream, idle=0.05))
    upstream.act = fall_silent
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await proxy.ask()
    await upstream.all_gone()


async def test_a_stream_that_goes_on_is_not_ended(serving: Serving, upstream: Upstream) -> None:
    proxy = await serving(route(upstream, idle=0.1, response_head=0.1))
    upstream.act = stream_for_ever
    async with await proxy.connect() as peer:
        await peer.send(proxy.request())
        await peer.head()
        for _ in range(30):
            assert await peer.chunk()


async def test_a_reader_that_pauses_is_not_the_upstreams_silence(
    serving: Serving, upstream: Upstream
) -> None:
    async def much(peer: Peer, _: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 * MIB))
        await pour(peer, 32 * MIB)

    proxy = await serving(route(upstream, idle=0.1))
    upstream.act = much
    async with await proxy.connect() as peer:
        await peer.send(proxy.request())
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        await asyncio.sleep(0.4)
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await hash_what_comes(peer, 32 * MIB)


async def test_an_upload_that_the_upstream_does_not_take_is_504(
    serving: Serving, upstream: Upstream
) -> None:
    async def take_nothing(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one of both
        await left.wait()

    left = asyncio.Event()
    proxy = await serving(route(upstream, idle=0.1))
    upstream.meet = take_nothing
    async with await proxy.connect() as peer:
        size = 64 * MIB
        await peer.send(proxy.request(b"/", b"Content-Length: %d" % size, method=b"POST"))
        sending = asyncio.gather(pour(peer, size), return_exceptions=True)
        assert (await peer.answer()).status == 504
        peer.reset()
        await sending
        left.set()
