"""Bodies that wait for the upstream's word before they are spent (contract 3.3.3)."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import pytest

from tests.conftest import STATIC, Proxy, Serving
from tests.wire import OK, UNAUTHORIZED, Message, Peer, Upstream, chunked
from tokenproxy.proxy import body as spools
from tokenproxy.proxy.wire import sending
from tokenproxy.tasks import spawn
from tokenproxy.testing import Issuer, faults
from tokenproxy.testing.api import pseudo_random

pytestmark = pytest.mark.only("wire")

Start = Callable[..., Awaitable[Proxy]]

KIB, MIB = 1 << 10, 1 << 20
SMALL = {"memory": 4 * KIB, "max_body": 64 * KIB}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
REFUSED_EXPECTATION = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
EXPECT = b"Expect: 100-continue"
FOR_EVER = 3600.0
LARGE = b"".join(pseudo_random(65 * KIB))


@pytest.fixture(autouse=True)
def _waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the upstream's word, unless a test says otherwise."""
    monkeypatch.setattr(sending, "EXPECT_WAIT", FOR_EVER)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for a 100 is over as soon as it begins."""
    monkeypatch.setattr(sending, "EXPECT_WAIT", 0.0)


class Desk:
    """An upstream that reads heads and bodies apart, and notes both."""

    def __init__(self, upstream: Upstream, *answers: bytes | tuple[bytes, ...]) -> None:
        self.answers = [*answers]
        self.heads: list[Message] = []
        self.bodies: list[bytes] = []
        self.upstream = upstream
        upstream.meet = self.meet

    async def meet(self, peer: Peer) -> None:
        while True:
            head = Message(await peer.head(), b"")
            self.heads.append(head)
            await self.upstream.nudge()
            said = self.answers.pop(0)
            if isinstance(said, bytes):
                await peer.send(said)
                if said != CONTINUE:
                    continue
                said = (OK,)
            elif head.values(b"expect"):
                await peer.send(CONTINUE)
            await self.body(peer, head)
            await peer.send(*said)

    async def body(self, peer: Peer, head: Message) -> None:
        if head.values(b"transfer-encoding"):
            self.bodies.append(await peer.chunks())
        else:
            [length] = head.values(b"content-length")
            self.bodies.append(await peer.reader.readexactly(int(length)))

    @property
    def expected(self) -> list[bool]:
        return [head.values(b"expect") == [b"100-continue"] for head in self.heads]


def framed(proxy: Proxy, framing: str, body: bytes, *fields: bytes) -> tuple[bytes, bytes]:
    if framing == "length":
        head = proxy.request(b"/", *fields, b"Content-Length: %d" % len(body), method=b"POST")
        return head, body
    head = proxy.request(b"/", *fields, b"Transfer-Encoding: chunked", method=b"POST")
    return head, chunked(*(body[at : at + 9999] for at in range(0, len(body), 9999)))


FRAMINGS = pytest.mark.parametrize("framing", ["length", "chunked"])


# -- who waits -----------------------------------------------------------------------------------


@FRAMINGS
async def test_a_body_that_cannot_be_kept_waits_for_the_upstreams_word(
    renewing: Start, upstream: Upstream, framing: str
) -> None:
    proxy = await renewing(replay=SMALL)
    desk = Desk(upstream, (OK,))
    async with await proxy.connect() as peer:
        await peer.send(*framed(proxy, framing, LARGE))
        assert (await peer.answer()).body == b"ok"
    assert (desk.expected, desk.bodies) == ([True], [LARGE])


@pytest.mark.parametrize("size", [1, 64 * KIB], ids=str)
async def test_a_body_that_is_kept_goes_at_once(
    renewing: Start, upstream: Upstream, size: int
) -> None:
    proxy = await renewing(replay=SMALL)
    desk = Desk(upstream, (OK,))
    assert (await proxy.ask(method=b"POST", body=LARGE[:size])).body == b"ok"
    assert (desk.expected, desk.bodies) == ([False], [LARGE[:size]])


async def test_where_there_is_no_credential_nothing_waits(plain: Proxy, upstream: Upstream) -> None:
    async with await plain.connect() as peer:
        await peer.send(*framed(plain, "chunked", LARGE))
        assert (await peer.answer()).body == b"ok"
    assert upstream.requests[0].values(b"expect") == []


@FRAMINGS
@pytest.mark.parametrize("credential", [None, "c"])
async def test_the_callers_own_expectation_goes_on(
    serving: Serving, upstream: Upstream, framing: str, credential: str | None
) -> None:
    credentials = {} if credential is None else {"credentials": {"c": STATIC}}
    route = {"upstream": upstream.url, "credential": credential}
    proxy = await serving({**credentials, "routes": [route]})
    desk = Desk(upstream, (OK,))
    head, body = framed(proxy, framing, b"hello", EXPECT)
    async with await proxy.connect() as peer:
        await peer.send(head)
        assert await peer.head() == CONTINUE
        await peer.send(body)
        assert (await peer.answer()).body == b"ok"
    assert (desk.expected, desk.bodies) == ([True], [b"hello"])


async def test_a_caller_that_expects_is_told_to_go_on_once_and_no_sooner_than_the_upstream_says(
    plain: Proxy, upstream: Upstream
) -> None:
    async def meet(peer: Peer) -> None:
        await peer.head()
        seen.set()
        await says.wait()
        await peer.send(CONTINUE, CONTINUE)
        await peer.reader.readexactly(5)
        await peer.send(CONTINUE, OK)

    seen, says = asyncio.Event(), asyncio.Event()
    upstream.meet = meet
    head, body = framed(plain, "length", b"hello", EXPECT)
    async with await plain.connect() as peer:
        await peer.send(head)
        await seen.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.05)
        says.set()
        assert await peer.head() == CONTINUE
        await peer.send(body)
        assert (await peer.head()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("expect", [b"Expect: 100-Continue", b"EXPECT: 100-continue"])
async def test_an_expectation_in_any_case_leaves_as_ours(
    plain: Proxy, upstream: Upstream, expect: bytes
) -> None:
    desk = Desk(upstream, (OK,))
    head, body = framed(plain, "length", b"hello", expect)
    async with await plain.connect() as peer:
        await peer.send(head)
        assert await peer.head() == CONTINUE
        await peer.send(body)
        assert (await peer.answer()).body == b"ok"
    assert desk.heads[0].values(b"expect") == [b"100-continue"]


async def test_an_expectation_without_a_body_goes_nowhere(plain: Proxy, upstream: Upstream) -> None:
    assert (await plain.ask(b"/", EXPECT)).body == b"ok"
    assert upstream.requests[0].values(b"expect") == []


# -- how long ------------------------------------------------------------------------------------


@FRAMINGS
@pytest.mark.usefixtures("at_once")
async def test_an_upstream_that_says_nothing_gets_the_body_all_the_same(
    renewing: Start, upstream: Upstream, framing: str
) -> None:
    proxy = await renewing(replay=SMALL)
    async with await proxy.connect() as peer:
        await peer.send(*framed(proxy, framing, LARGE))
        assert (await peer.answer()).body == b"ok"
    assert [request.body for request in upstream.requests] == [LARGE]


@pytest.mark.usefixtures("at_once")
async def test_a_caller_that_expects_is_told_to_go_on_where_the_upstream_says_nothing(
    plain: Proxy, upstream: Upstream
) -> None:
    head, body = framed(plain, "length", b"hello", EXPECT)
    async with await plain.connect() as peer:
        await peer.send(head)
        assert await peer.head() == CONTINUE
        await peer.send(body)
        assert (await peer.answer()).body == b"ok"


def test_it_waits_a_second(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("monkeypatch").undo()
    assert sending.EXPECT_WAIT == 1.0


# -- 417 -----------------------------------------------------------------------------------------


@FRAMINGS
@pytest.mark.parametrize("expects", [True, False], ids=["its own", "ours"])
async def test_an_upstream_that_knows_no_expectations_gets_it_again_without(
    renewing: Start, upstream: Upstream, framing: str, expects: bool
) -> None:
    proxy = await renewing(replay=SMALL)
    desk = Desk(upstream, REFUSED_EXPECTATION, (OK,))
    head, body = framed(proxy, framing, LARGE, *[EXPECT][: int(expects)])
    async with await proxy.connect() as peer:
        await peer.send(head)
        if expects:
            assert await peer.head() == CONTINUE
        await peer.send(body)
        assert (await peer.answer()).body == b"ok"
    assert (desk.expected, desk.bodies) == ([True, False], [LARGE])


async def test_a_417_to_what_was_expected_of_nobody_is_passed_on(
    plain: Proxy, upstream: Upstream
) -> None:
    upstream.reply = REFUSED_EXPECTATION
    assert (await plain.ask(method=b"POST", body=b"hello")).status == 417
    assert len(upstream.requests) == 1


async def test_a_second_417_is_passed_on(plain: Proxy, upstream: Upstream) -> None:
    desk = Desk(upstream, REFUSED_EXPECTATION, (REFUSED_EXPECTATION,))
    head, body = framed(plain, "length", b"hello", EXPECT)
    async with await plain.connect() as peer:
        await peer.send(head)
        assert await peer.head() == CONTINUE
        await peer.send(body)
        assert (await peer.answer()).status == 417
    assert desk.expected == [True, False]


# -- 401 -----------------------------------------------------------------------------------------


@FRAMINGS
async def test_a_no_comes_before_the_body_is_spent_and_the_caller_sends_it_once(
    renewing: Start, upstream: Upstream, issuer: Issuer, framing: str
) -> None:
    proxy = await renewing(replay=SMALL)
    desk = Desk(upstream, UNAUTHORIZED, (OK,))
    async with await proxy.connect() as peer:
        await peer.send(*framed(proxy, framing, LARGE * 8))
        assert (await peer.answer()).body == b"ok"
    first, second = desk.heads
    assert first.values(b"authorization") != second.values(b"authorization")
    assert (desk.expected, desk.bodies) == ([True, True], [LARGE * 8])
    assert (issuer.refreshes, proxy.served[0].replayed) == (1, True)


@FRAMINGS
async def test_a_caller_that_expects_sends_its_body_to_the_second_send_alone(
    renewing: Start, upstream: Upstream, framing: str
) -> None:
    proxy = await renewing(replay=SMALL)
    desk = Desk(upstream, UNAUTHORIZED, (OK,))
    head, body = framed(proxy, framing, LARGE * 2, EXPECT)
    async with await proxy.connect() as peer:
        await peer.send(head)
        assert await peer.head() == CONTINUE
        await peer.send(body)
        assert (await peer.answer()).body == b"ok"
    assert (desk.expected, desk.bodies) == ([True, True], [LARGE * 2])


@FRAMINGS
@pytest.mark.usefixtures("at_once")
async def test_an_upstream_that_does_not_know_expectations_says_no_once_and_then_yes(
    renewing: Start, upstream: Upstream, issuer: Issuer, framing: str
) -> None:
    proxy = await renewing(replay=SMALL)
    upstream.replies = [UNAUTHORIZED]
    body = LARGE * 4
    async with await proxy.connect() as peer:
        await peer.send(*framed(proxy, framing, body))
        assert (await peer.answer()).body == b"no!"
        await peer.send(*framed(proxy, framing, body))
        assert (await peer.answer()).body == b"ok"
    assert [request.body for request in upstream.requests] == [body] * 2
    assert issuer.refreshes == 1


@FRAMINGS
async def test_after_the_upstreams_word_a_body_that_was_not_kept_is_spent(
    renewing: Start, upstream: Upstream, framing: str
) -> None:
    proxy = await renewing(replay=SMALL)
    desk = Desk(upstream, (UNAUTHORIZED,), (OK,))
    body = LARGE * 4
    async with await proxy.connect() as peer:
        await peer.send(*framed(proxy, framing, body))
        assert (await peer.answer()).body == b"no!"
        await peer.send(*framed(proxy, framing, body))
        assert (await peer.answer()).body == b"ok"
    assert desk.bodies == [body] * 2


async def test_where_renewing_fails_the_no_goes_to_a_caller_that_has_sent_nothing(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await renewing(refresh={"retries": 0}, replay=SMALL)
    Desk(upstream, UNAUTHORIZED)
    issuer.fail_next(9, faults.UNAVAILABLE)
    head, _ = framed(proxy, "length", LARGE, EXPECT)
    async with await proxy.connect() as peer:
        await peer.send(head)
        got = await peer.answer()
        assert (got.status, got.body, got.values(b"connection")) == (401, b"no!", [b"close"])
        await peer.ended()


async def test_a_late_no_is_passed_on_while_the_body_is_still_coming(
    renewing: Start, upstream: Upstream
) -> None:
    async def meet(peer: Peer) -> None:
        await peer.head()
        await peer.send(CONTINUE)
        await peer.reader.readexactly(len(LARGE))
        await peer.send(UNAUTHORIZED)
        got.append(await peer.reader.read())

    got: list[bytes] = []
    proxy = await renewing(replay=SMALL)
    upstream.meet = meet
    head, body = framed(proxy, "length", LARGE * 2)
    async with await proxy.connect() as peer:
        await peer.send(head, body[: len(LARGE)])
        assert (await peer.answer()).body == b"no!"
        await peer.send(body[len(LARGE) :])
        upstream.meet = None
        await peer.send(proxy.request())
        assert (await peer.answer()).body == b"ok"
    assert len(upstream.requests) == 1


# -- others --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"200 OK", b"403 No", b"413 Too Large", b"500 Oh"])
async def test_an_early_answer_proper_ends_a_body_that_waits(
    renewing: Start, upstream: Upstream, status: bytes
) -> None:
    early = b"HTTP/1.1 %b\r\nContent-Length: 5\r\n\r\nearly" % status
    proxy = await renewing(replay=SMALL)
    Desk(upstream, early)
    head, _ = framed(proxy, "length", LARGE, EXPECT)
    async with await proxy.connect() as peer:
        await peer.send(head)
        got = await peer.answer()
        assert (got.start, got.body) == (early.partition(b"\r\n")[0], b"early")
        await peer.ended()


async def test_a_caller_that_gives_up_takes_the_request_with_it(
    renewing: Start, upstream: Upstream
) -> None:
    async def meet(peer: Peer) -> None:
        head.set()
        got.append(await peer.reader.read())

    got: list[bytes] = []
    head = asyncio.Event()
    proxy = await renewing(replay=SMALL)
    upstream.meet = meet
    async with await proxy.connect() as peer:
        await peer.send(*framed(proxy, "length", LARGE))
        await head.wait()
        peer.reset()
        await upstream.all_gone()
    assert got[0].endswith(b"\r\n\r\n")
    assert [served.status for served in proxy.served] == [499]


@FRAMINGS
async def test_a_word_that_is_no_100_is_passed_on_and_the_body_waits_on(
    renewing: Start, upstream: Upstream, framing: str
) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    async def meet(peer: Peer) -> None:
        head = Message(await peer.head(), b"")
        await peer.send(hints)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.05)
        await peer.send(CONTINUE)
        await desk.body(peer, head)
        await peer.send(OK)

    proxy = await renewing(replay=SMALL)
    desk = Desk(upstream)
    upstream.meet = meet
    async with await proxy.connect() as peer:
        await peer.send(*framed(proxy, framing, LARGE))
        assert await peer.head() == hints
        assert (await peer.answer()).body == b"ok"
    assert desk.bodies == [LARGE]


@pytest.mark.usefixtures("at_once")
async def test_a_disk_that_fills_up_costs_the_replay_and_nothing_else(
    renewing: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    proxy = await renewing(replay={"memory": 4 * KIB, "max_body": MIB})
    monkeypatch.setattr(spools, "_write_all", full)
    upstream.replies = [UNAUTHORIZED]
    assert (await proxy.ask(method=b"POST", body=LARGE)).body == b"no!"
    assert (await proxy.ask(method=b"POST", body=LARGE)).body == b"ok"
    assert [request.body for request in upstream.requests] == [LARGE] * 2


async def test_what_outgrows_the_spool_while_a_connection_is_made_arrives_from_its_beginning(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    """The first send ends early; the body then grows past what is kept, and all of it arrives."""

    async def meet(peer: Peer) -> None:
        head = Message(await peer.head(), b"")
        if upstream.connections == 1:
            await peer.send(CONTINUE)
            await peer.reader.readexactly(10)
            await peer.send(UNAUTHORIZED)
            await peer.ended()
        else:
            await peer.send(CONTINUE)
            await desk.body(peer, head)
            await peer.send(OK)

    desk = Desk(upstream)
    upstream.meet = None
    proxy = await renewing(replay=SMALL)
    upstream.meet = meet
    head, body = framed(proxy, "chunked", LARGE * 4)
    issuer.delay = 0.2
    async with await proxy.connect() as peer:
        await peer.send(head, body[:20_000])
        await upstream.until(lambda: upstream.connections == 1)
        while not issuer.refreshes:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        await peer.send(body[20_000:])
        assert (await peer.answer()).body == b"ok"
    assert desk.bodies == [LARGE * 4]


@pytest.mark.parametrize("cut", [0, 1, 4 * KIB, 40_000, 64 * KIB], ids=str)
async def test_a_replay_sends_the_spool_and_then_the_rest_and_nothing_twice(
    renewing: Start, upstream: Upstream, cut: int
) -> None:
    async def meet(peer: Peer) -> None:
        head = Message(await peer.head(), b"")
        if upstream.connections == 1:
            await peer.reader.readexactly(cut)
            await peer.send(UNAUTHORIZED)
            await peer.ended()
        else:
            second.set()
            await desk.body(peer, head)
            await peer.send(OK)

    second = asyncio.Event()
    desk = Desk(upstream)
    upstream.meet = None
    proxy = await renewing(replay={"memory": 4 * KIB, "max_body": MIB})
    upstream.meet = meet
    head, body = framed(proxy, "length", LARGE)
    async with await proxy.connect() as peer:
        await peer.send(head, body[:cut])
        await second.wait()
        await peer.send(body[cut:])
        assert (await peer.answer()).body == b"ok"
    assert desk.bodies == [LARGE]


async def upload(proxy: Proxy, upstream: Upstream, size: int) -> None:
    """One on an expired token: the caller sends it once, and it arrives once."""

    async def meet(peer: Peer) -> None:
        head = Message(await peer.head(), b"")
        if upstream.connections == 1:
            await peer.send(UNAUTHORIZED)
            spent.append(await peer.reader.read())
            return
        assert head.values(b"expect") == [b"100-continue"]
        await peer.send(CONTINUE)
        left = int(head.values(b"content-length")[0])
        while left:
            piece = await peer.reader.read(min(left, MIB))
            arrived.update(piece)
            left -= len(piece)
        await peer.send(OK)

    spent: list[bytes] = []
    sent, arrived = hashlib.sha256(), hashlib.sha256()
    upstream.meet = meet
    async with await proxy.connect() as peer:
        await peer.send(proxy.request(b"/", b"Content-Length: %d" % size, method=b"PUT"))
        answering = spawn(peer.answer(), name="answer")
        for piece in pseudo_random(size):
            sent.update(piece)
            await peer.send(piece)
        assert (await answering).body == b"ok"
    assert sent.digest() == arrived.digest()
    assert (upstream.connections, spent) == (2, [b""])


async def test_a_large_upload_on_a_token_that_is_no_longer_good_is_sent_once(
    renewing: Start, upstream: Upstream
) -> None:
    await upload(await renewing(), upstream, 20 * MIB)


@pytest.mark.soak
async def test_200_mb_on_a_token_that_is_no_longer_good_are_sent_once(
    renewing: Start, upstream: Upstream
) -> None:
    await upload(await renewing(), upstream, 200 * MIB)
