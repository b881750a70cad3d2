"""What is sent arrives, byte for byte, wherever it is cut (contract 3.1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.proxy.wire.running import Reply, Running, Served, in_pieces
from tests.wire import Field, Message, Peer, chunked

# All that llhttp knows, but for those that go nowhere.
METHODS = [
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"COPY", b"LOCK", b"MKCOL",
    b"MOVE", b"PROPFIND", b"PROPPATCH", b"SEARCH", b"UNLOCK", b"BIND", b"REBIND", b"UNBIND", b"ACL",
    b"REPORT", b"MKACTIVITY", b"CHECKOUT", b"MERGE", b"M-SEARCH", b"NOTIFY", b"SUBSCRIBE",
    b"UNSUBSCRIBE", b"PURGE", b"MKCALENDAR", b"LINK", b"UNLINK", b"SOURCE",
]  # fmt: skip
VISIBLE = bytes(range(0x21, 0x7F))
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def some(alphabet: bytes, *, least: int = 0, most: int = 12) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(alphabet), min_size=least, max_size=most).map(bytes)


TARGETS = some(VISIBLE.replace(b"#", b""), most=30).map(lambda rest: b"/" + rest)
TARGETS = TARGETS.filter(lambda target: b"%00" not in target)
NAMES = st.one_of(
    some(TOKEN, least=1).map(lambda name: b"x-" + name),
    st.sampled_from(
        [b"Accept", b"accept", b"Cookie", b"COOKIE", b"Range", b"Content-Type", b"Via"]
    ),
)
VALUES = some(VISIBLE + b" \t" + bytes(range(0x80, 0x100))).map(lambda value: value.strip(b" \t"))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
HOP_BY_HOP = st.sampled_from(
    [[], [(b"Keep-Alive", b"timeout=5")], [(b"Proxy-Connection", b"keep-alive")],
     [(b"Connection", b"x-gone"), (b"X-Gone", b"1")]]
)  # fmt: skip
SPACES = st.sampled_from([b"", b" ", b"  ", b"\t", b" \t "])
BODIES = st.one_of(st.binary(max_size=40), st.binary(min_size=300, max_size=400))
CUTS = st.one_of(st.just(0), st.just(1), st.lists(st.integers(1, 60), min_size=1, max_size=12))


@dataclass
class Asked:
    """A request as it is sent, and what is to arrive of it."""

    method: bytes
    target: bytes
    fields: Sequence[Field]
    body: bytes
    framing: str
    raw: bytes

    def arrives(self, authority: bytes) -> Message:
        lines = [b"%b %b HTTP/1.1" % (self.method, self.target), b"Host: " + authority]
        lines += [b"%b: %b" % pair for pair in self.fields]
        if self.framing == "length":
            lines.append(b"Content-Length: %d" % len(self.body))
        lines.append(b"Via: 1.1 tokenproxy")
        if self.framing == "chunked":
            lines.append(b"Transfer-Encoding: chunked")
        lines.append(b"Authorization: Bearer the-token")
        if self.framing == "chunked":
            lines.append(b"Expect: 100-continue")  # its length is not known
        return Message(b"\r\n".join([*lines, b"", b""]), self.body, self.framing)


@dataclass
class Answered:
    """An answer as it is sent, and what is to come back of it."""

    interims: Sequence[bytes]
    raw: bytes
    closes: bool
    comes: bytes  # the head
    body: bytes
    is_chunked: bool


def pieces(body: bytes, sizes: Sequence[int]) -> list[bytes]:
    cut, at = [], 0
    for size in sizes:
        cut.append(body[at : at + size])
        at += size
    return [piece for piece in [*cut, body[at:]] if piece]


def written(pairs: Sequence[Field], space: bytes) -> list[bytes]:
    return [b"%b:%b%b%b" % (name, space, value, space) for name, value in pairs]


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    method, target = draw(st.sampled_from(METHODS)), draw(TARGETS)
    pairs, hop, space = draw(FIELDS), draw(HOP_BY_HOP), draw(SPACES)
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    body = b"" if framing == "none" else draw(BODIES)
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: localhost:PORT"]
    lines += written([*pairs, *hop, (b"authorization", b"Bearer mine")], space)
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    if framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
    raw = b"\r\n".join([*lines, b"", b""])
    if framing == "chunked":
        raw += chunked(*pieces(body, draw(st.lists(st.integers(1, 30), max_size=4))))
    else:
        raw += body
    return Asked(method, target, pairs, body, framing, raw)


@st.composite
def answers(draw: st.DrawFn, method: bytes) -> Answered:
    status = draw(st.one_of(st.sampled_from([200, 204, 304, 401, 404, 500]), st.integers(200, 599)))
    reason = draw(VALUES)
    pairs, hop, space = draw(FIELDS), draw(HOP_BY_HOP), draw(SPACES)
    framing = draw(st.sampled_from(["length", "chunked", "close", "close 1.0"]))
    has_body = method != b"HEAD" and status not in {204, 304}
    body = draw(BODIES)
    version = b"HTTP/1.0" if framing == "close 1.0" else b"HTTP/1.1"
    lines = written([*pairs, *hop], space)
    comes = [b"%b: %b" % pair for pair in pairs]
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
        if status != 204:
            comes.append(lines[-1])
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
    elif framing == "close":
        lines.append(b"Connection: close")
    is_chunked = has_body and framing != "length"
    if is_chunked:
        comes.append(b"Transfer-Encoding: chunked")
    raw = b"\r\n".join([b"%b %d %b" % (version, status, reason), *lines, b"", b""])
    if has_body and framing == "chunked":
        raw += chunked(*pieces(body, draw(st.lists(st.integers(1, 30), max_size=4))))
    elif has_body:
        raw += body
    head = b"\r\n".join([b"HTTP/1.1 %d %b" % (status, reason), *comes, b"", b""])
    hints = st.builds(
        lambda number, word, value: b"HTTP/1.1 %d %b\r\nLink: %b\r\n\r\n" % (number, word, value),
        st.integers(102, 199),
        VALUES,
        VALUES,
    )
    interims = draw(st.lists(hints, max_size=2))
    unsaid = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    whole = unsaid + b"".join(interims) + raw
    closes = framing.startswith("close")
    return Answered(interims, whole, closes, head, body if has_body else b"", is_chunked)


@st.composite
def dialogues(draw: st.DrawFn) -> list[tuple[Asked, Answered]]:
    asked = draw(st.lists(requests(), min_size=1, max_size=3))
    return [(each, draw(answers(each.method))) for each in asked]


def cut(data: bytes, cuts: int | list[int]) -> list[bytes]:
    if cuts == 0:
        return [data]
    if cuts == 1:
        return [data[at : at + 1] for at in range(len(data))]
    assert isinstance(cuts, list)
    return pieces(data, cuts)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, Served]]:
    with Running(request.param, tmp_path_factory.mktemp("exact")) as running:
        credentials = {"c": {"type": "static", "token": "the-token"}}
        route = {"upstream": running.upstream.url, "credential": "c"}
        yield running, running.serve({"credentials": credentials, "routes": [route]})


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(dialogue=dialogues(), up=CUTS, down=CUTS)
@example(dialogue=[], up=0, down=0)
def test_all_arrives_as_it_was_sent_both_ways(
    running: tuple[Running, Served],
    dialogue: list[tuple[Asked, Answered]],
    up: int | list[int],
    down: int | list[int],
) -> None:
    world, served = running
    world.run(talk(world, served, dialogue, up, down))


async def talk(
    world: Running,
    served: Served,
    dialogue: list[tuple[Asked, Answered]],
    up: int | list[int],
    down: int | list[int],
) -> None:
    script = world.script
    script.got.clear()
    script.replies.clear()
    script.replies += [Reply(cut(answer.raw, down), answer.closes) for _, answer in dialogue]
    sent = b"".join(asked.raw for asked, _ in dialogue)
    sent = sent.replace(b"localhost:PORT", b"localhost:%d" % served.port)
    async with await served.connect() as peer:
        await in_pieces(peer, cut(sent, up))
        for _, answer in dialogue:
            await comes_back(peer, answer)
        peer.writer.write_eof()
        assert await peer.reader.read() == b""  # and nothing more
    authority = world.upstream.authority
    assert script.got == [asked.arrives(authority) for asked, _ in dialogue]
    assert not world.complaints


async def comes_back(peer: Peer, answer: Answered) -> None:
    for interim in answer.interims:
        assert await peer.head() == interim
    assert await peer.head() == answer.comes
    if answer.is_chunked:
        assert await peer.chunks() == answer.body
    else:
        assert await peer.reader.readexactly(len(answer.body)) == answer.body
