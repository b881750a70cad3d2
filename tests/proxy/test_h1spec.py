"""What the public suite h1spec (uNetworking/h1spec) sends a server, and takes for right.

Its server echoes bodies, so the upstream does; and it asks for `example.com`, which is let in here.
"""

from dataclasses import dataclass

import pytest

from tests.conftest import Proxy, Serving
from tests.wire import Message, Peer, Upstream, answer

_LINE = b"GET /hello HTTP/1.1"
_FIELD = b"\r\nHost: localhost"
_GOOD = b"GET / HTTP/1.1\r\nHost: example.com\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: example.com\r\n"

# A server waits for the rest of each.
FRAGMENTS = [
    *(b"G", b"GET ", b"GET /hello", b"GET /hello ", b"GET /hello HTTP", _LINE, _LINE + b"\r"),
    *(_LINE + b"\r\n" + begun for begun in (b"", b"Hos", b"Host:", b"Host: ")),
    *(_LINE + _FIELD + begun for begun in (b"", b"\r", b"\r\n", b"\r\n\r")),
]


@dataclass(frozen=True)
class Spec:
    """A request, the kinds of status that may answer it, and what is echoed if it is good."""

    request: bytes
    kinds: tuple[int, ...]
    body: bytes | None = None


CONTINUES, GOOD, BAD, FAILS = 1, 2, 4, 5
SPECS = {
    "no version": Spec(b"GET / \r\n\r\n", (BAD, FAILS)),
    "Expect": Spec(_GOOD + b"Expect: 100-continue\r\n\r\n", (CONTINUES, GOOD)),
    "a good GET": Spec(_GOOD + b"\r\n", (GOOD,)),
    "a good GET, oddly spelt": Spec(
        b"GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n", (GOOD,)
    ),
    "a name that is no token": Spec(_GOOD + b"X-Invalid[]: test\r\n\r\n", (BAD,)),
    "no Host": Spec(b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", (BAD,)),
    "two Hosts": Spec(_GOOD + b"Host: example.org\r\n\r\n", (BAD,)),
    "a negative length that overflows": Spec(
        _GOOD + b"Content-Length: -123456789123456789123456789\r\n\r\n", (BAD,)
    ),
    "a negative length": Spec(_GOOD + b"Content-Length: -1234\r\n\r\n", (BAD,)),
    "a length that is no number": Spec(_GOOD + b"Content-Length: abc\r\n\r\n", (BAD,)),
    "an empty value": Spec(_GOOD + b"X-Empty-Header: \r\n\r\n", (GOOD,)),
    "a control character in a value": Spec(_GOOD + b"X-Bad-Control-Char: test\x07\r\n\r\n", (BAD,)),
    "a version that is none": Spec(
        b"GET / HTTP/9.9\r\nHost: example.com\r\n\r\n", (BAD, FAILS)
    ),
    "words before the request": Spec(b"Extra line" + _GOOD + b"\r\n", (BAD, FAILS)),
    "a line that ends in CR": Spec(_GOOD + b"\rSome-Header: Test\r\n\r\n", (BAD,)),
    "a good POST": Spec(_POST + b"Content-Length: 5\r\n\r\nhello", (GOOD,), b"hello"),
    "a good body in chunks": Spec(
        _POST + b"Transfer-Encoding: chunked\r\n\r\nc\r\nHellO world1\r\n0\r\n\r\n",
        (GOOD,),
        b"HellO world1",
    ),
    "a length and chunks": Spec(
        _POST + b"content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\n"
        b"c\r\nHellO world1\r\n0\r\n\r\n",
        (BAD, GOOD),
        b"HellO world1",
    ),
}  # fmt: skip


@pytest.fixture
async def echoing(serving: Serving, upstream: Upstream) -> Proxy:
    async def echo(peer: Peer, request: Message) -> None:
        await peer.send(answer(request.body))

    upstream.act = echo
    return await serving({"allowed_hosts": ["*"], "routes": [{"upstream": upstream.url}]})


async def test_every_answer_is_one_that_the_suite_expects(echoing: Proxy) -> None:
    wrong = {}
    for name, spec in SPECS.items():
        async with await echoing.connect() as peer:
            await peer.send(spec.request)
            head = Message(await peer.head(), b"")
            is_echo = head.status == 200 and spec.body is not None
            length = int(head.values(b"content-length")[0]) if is_echo else 0
            body = await peer.reader.readexactly(length) if is_echo else spec.body
        if head.status // 100 not in spec.kinds or body != spec.body:
            wrong[name] = head.status, body
    assert wrong == {}


async def test_a_fragment_of_a_request_is_not_answered(echoing: Proxy, upstream: Upstream) -> None:
    answered = {}
    for fragment in FRAGMENTS:
        async with await echoing.connect() as peer:
            await peer.send(fragment)
            async with await echoing.connect() as other:  # whose answer comes after any to it
                await other.send(SPECS["a good GET"].request)
                assert (await other.answer()).status == 200
            peer.writer.write_eof()
            if said := await peer.reader.read():
                answered[fragment] = said
    assert answered == {}
    assert len(upstream.requests) == len(FRAGMENTS)
