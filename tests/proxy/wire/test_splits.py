"""Wherever bytes are cut they mean the same, and what goes on is what they say, or nothing."""

import asyncio
import dataclasses
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import STATIC
from tests.proxy.raw import chunks, fields, framing, lines, targets
from tests.proxy.raw.case import HIDDEN, Case, Sent
from tests.proxy.raw.stage import VICTIM, Story, told
from tests.proxy.raw.strict import Read, Unreadable, read
from tests.proxy.wire.inmemory import PORT, InMemory
from tokenproxy.config.model import Config
from tokenproxy.runtime import Runtime, World

T = TypeVar("T")
ADDRESS = b"127.0.0.1:%d" % PORT
CASES = [
    *lines.CASES,
    *targets.CASES,
    *fields.CASES,
    *framing.CASES,
    *chunks.CASES,
]
SMALL = [case for case in CASES if len(case.raw) < 300]
# Our own fields, and those that go no further; RFC 9110 7.6.1. `_` stands for `-` in some servers.
STOPPED = {
    *(b"host", b"connection", b"content-length", b"transfer-encoding", b"te", b"via"),
    *(b"trailer", b"upgrade", b"keep-alive", b"proxy-connection", b"authorization"),
}


class Loop:
    """A loop, and what plays in it."""

    def __init__(self, runner: asyncio.Runner, memory: InMemory) -> None:
        self._runner = runner
        self.memory = memory

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        yield Loop(runner, runner.run(_begin(stack, tmp_path_factory.mktemp("splits"))))
        runner.run(stack.aclose())


async def _begin(stack: AsyncExitStack, folder: Any) -> InMemory:
    config = Config.model_validate(
        {
            "store": {"type": "memory"},
            "credentials": {"c": STATIC},
            "routes": [{"upstream": "http://127.0.0.1:1", "credential": "c"}],
        },
        context={"folder": folder},
    )
    outside = World(variables={}, state_folder=folder)
    runtime = await stack.enter_async_context(Runtime(config, outside))
    memory = InMemory(runtime, b"127.0.0.1:1")
    stack.push_async_callback(memory.wire.close)
    return memory


def filled(raw: bytes) -> bytes:
    return raw.replace(b"HOST", ADDRESS)


def ways_to_cut(data: bytes) -> Iterator[list[bytes]]:
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


@pytest.mark.parametrize("share", range(4))
def test_rows_mean_the_same_byte_by_byte(world: Loop, share: int) -> None:
    async def each() -> list[str]:
        return [case.name for case in SMALL[share::4] if not await _holds_byte_by_byte(world, case)]

    assert world.run(each()) == []


async def _holds_byte_by_byte(world: Loop, case: Case) -> bool:
    data = filled(case.raw + VICTIM)
    story = await world.memory.play([data[at : at + 1] for at in range(len(data))])
    expected = told(case.outcome)
    del expected.arrived[-1]  # there is no probe here
    return story == expected


@pytest.mark.parametrize("case", SMALL[::25], ids=lambda case: case.name)
def test_a_row_means_the_same_wherever_it_is_cut(world: Loop, case: Case) -> None:
    async def each() -> list[list[bytes]]:
        expected = told(case.outcome)
        del expected.arrived[-1]
        cuts = ways_to_cut(filled(case.raw + VICTIM))
        return [pieces for pieces in cuts if await world.memory.play(pieces) != expected]

    assert world.run(each()) == []


# -- generated requests --------------------------------------------------------------------------

ODD = [bytes([byte]) for byte in b'\x00\t\n\x0b\x0c\r "#,-./0159:;=?AFXaf{\x7f\x80\xa0\xff']
ODD += [b"\r\n", b"\r\n\r\n", b"\n\r", b"chunked", b"0\r\n\r\n", b"\r\nContent-Length: 3", HIDDEN]
TARGETS = st.text("abX.-~%2f/?=&;@:|{}\\", max_size=12).map(lambda text: b"/" + text.encode())
VALUES = st.text("ab \t\"',;:=\x7e", max_size=12).map(lambda text: text.strip(" \t").encode())
FIELDS = st.lists(
    st.tuples(st.sampled_from([b"X-A", b"x-b", b"Cookie", b"Accept"]), VALUES), max_size=3
)
EXTENSIONS = st.sampled_from([b"", b"", b";a", b";a=b", b';a="b;c"'])
TRAILERS = st.sampled_from([b"", b"", b"X-T: y\r\n", b"X-T: y\r\nX-U:\r\n"])


@st.composite
def bodies_in_chunks(draw: st.DrawFn) -> bytes:
    body = b""
    for piece in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3)):
        body += b"%x%b\r\n%b\r\n" % (len(piece), draw(EXTENSIONS), piece)
    return body + b"0%b\r\n%b\r\n" % (draw(EXTENSIONS), draw(TRAILERS))


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE"]))
    head = [b"%b %b HTTP/1.1" % (method, draw(TARGETS)), b"Host: " + ADDRESS]
    head += [b"%b: %b" % pair for pair in draw(FIELDS)]
    body = b""
    match draw(st.sampled_from(["none", "length", "chunked"])):
        case "length":
            body = draw(st.one_of(st.binary(max_size=30), st.just(HIDDEN)))
            head.append(b"Content-Length: %d" % len(body))
        case "chunked":
            body = draw(bodies_in_chunks())
            head.append(b"Transfer-Encoding: chunked")
        case _:
            pass
    return b"\r\n".join([*head, b"", b""]) + body


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = draw(st.lists(requests(), min_size=1, max_size=2).map(b"".join))
    for _ in range(draw(st.integers(0, 3))):
        at, gone = draw(st.integers(0, len(data))), draw(st.integers(0, 2))
        data = data[:at] + draw(st.sampled_from([b"", *ODD])) + data[at + gone :]
    return data


def readable(data: bytes) -> list[Sent]:
    """The requests that the bytes begin with, by the reference reading, and as they go on."""
    found = []
    try:
        while (whole := read(data)) is not None:
            request, data = whole
            found.append(_goes_on(request))
    except Unreadable:
        pass
    return found


def _goes_on(request: Read) -> Sent:
    kept = [pair for pair in request.fields if pair[0].lower().replace(b"_", b"-") not in STOPPED]
    return Sent(request.method, request.target, tuple(kept), request.body, request.framing)


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = [0, *sorted({place for place in at if 0 < place < len(data)}), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


HOST_AND_CHUNK_ARE_BAD = (
    b"GET / HTTP/1.1\r\nHost:,%b\r\nTransfer-Encoding: chunked\r\n\r\n\n0\r\n\r\n" % ADDRESS
)


def meaning(story: Story) -> Story:
    """What came of it; a head may be refused before its body is seen to be malformed, or after."""
    statuses = [min(status, 400) for status in story.statuses]
    return dataclasses.replace(story, statuses=statuses)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=mutated(), at=st.lists(st.integers(1, 300), max_size=6))
def test_what_arrives_is_what_the_bytes_say_or_nothing(
    world: Loop, data: bytes, at: list[int]
) -> None:
    whole = world.run(world.memory.play([data]))
    assert meaning(world.run(world.memory.play(cut(data, at)))) == meaning(whole)
    assert whole.unreadable == []
    in_order = iter(readable(data))
    assert [arrived for arrived in whole.arrived if arrived not in in_order] == []


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(data=mutated())
@example(data=HOST_AND_CHUNK_ARE_BAD)
def test_generated_requests_mean_the_same_wherever_they_are_cut(world: Loop, data: bytes) -> None:
    async def each() -> None:
        whole = await world.memory.play([data])
        for pieces in ways_to_cut(data):
            assert meaning(await world.memory.play(pieces)) == meaning(whole)

    world.run(each())


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=requests())
def test_every_good_request_arrives(world: Loop, data: bytes) -> None:
    story = world.run(world.memory.play([data + filled(VICTIM)]))
    assert (story.statuses, len(story.arrived)) == ([200, 200], 2)
    assert story.arrived[:1] == readable(data)


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(data=requests())
def test_a_request_that_ends_too_early_never_arrives(world: Loop, data: bytes) -> None:
    async def each() -> None:
        for end in range(1, len(data)):
            assert (await world.memory.play([data[:end]])).arrived == []

    world.run(each())
