"""One connection to an upstream, piece by piece: whose answer what comes is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.wire.fakes import Client, Connector, pool, transport
from tests.wire import OK, answer, chunked
from tokenproxy.errors import UpstreamFault
from tokenproxy.proxy.wire.pool import Pool
from tokenproxy.proxy.wire.upstream import Upstream

GET = b"GET / HTTP/1.1\r\n\r\n"
NOTHING = b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"o", b"k")
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


async def connected(connections: Pool) -> Upstream:
    return await connections.get()


def ask(connection: Upstream, client: Client, method: bytes = b"GET") -> None:
    connection.begin(client, method, GET, chunked=None)


@pytest.mark.parametrize("head", [NOTHING, OK, NO_CONTENT, IN_CHUNKS])
async def test_a_client_that_leaves_at_the_head_hears_no_more(head: bytes) -> None:
    connection = await connected(pool(Connector()))
    client = Client(connection.leave)
    ask(connection, client)
    connection.data_received(head)
    assert client.told == [int(head.split(b" ")[1])]
    assert transport(connection).closing


@pytest.mark.parametrize(
    "extra",
    [OK, b"x", b"HTTP/1.1 100 Continue\r\n\r\n", NO_CONTENT, b"\0"],
    ids=["answer", "byte", "continue", "no content", "nul"],
)
@pytest.mark.parametrize("first", [OK, NO_CONTENT, IN_CHUNKS, EARLY + OK])
@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "apart"])
async def test_what_comes_behind_an_answer_is_nobodys(
    first: bytes, extra: bytes, apart: bool
) -> None:
    connections = pool(Connector())
    connection = await connected(connections)
    client = Client()
    ask(connection, client)
    for piece in [first, extra] if apart else [first + extra]:
        connection.data_received(piece)
    told = [each for each in client.told if isinstance(each, int)]
    assert told == [103, 200][first[:12] != EARLY[:12] :] or told == [204]
    assert client.told[-1] == "end"
    assert connections.take() is None
    assert transport(connection).closing


@pytest.mark.parametrize("extra", [b"ok", b"o", OK], ids=["body", "a part", "answer"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "apart"])
async def test_a_body_behind_an_answer_to_head_is_nobodys(extra: bytes, apart: bool) -> None:
    connections = pool(Connector())
    connection = await connected(connections)
    client = Client()
    ask(connection, client, b"HEAD")
    head = OK[:-2]
    for piece in [head, extra] if apart else [head + extra]:
        connection.data_received(piece)
    assert client.told == [200, "end"]
    assert connections.take() is None
    assert transport(connection).closing


async def test_the_answer_to_head_is_no_measure_for_the_next() -> None:
    connections = pool(Connector())
    connection = await connected(connections)
    for method, data, told in [
        (b"GET", OK, [200, b"ok", "end"]),
        (b"HEAD", OK[:-2], [200, "end"]),
        (b"GET", OK, [200, b"ok", "end"]),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", [200, "end"]),
        (b"GET", IN_CHUNKS, [200, b"o", b"k", "end"]),
    ]:
        client = Client()
        ask(connection, client, method)
        connection.data_received(data)
        assert client.told == told
        assert connections.take() is connection


@given(
    answers=st.lists(
        st.sampled_from([OK, NO_CONTENT, IN_CHUNKS, EARLY + OK, answer(b"x" * 9)]),
        min_size=1,
        max_size=6,
    ),
    cuts=st.lists(st.integers(1, 70), max_size=8),
    takes=st.booleans(),
)
def test_answers_arrive_as_they_are_wherever_they_are_cut(
    answers: list[bytes], cuts: list[int], takes: bool
) -> None:
    import asyncio  # noqa: PLC0415

    async def run() -> None:
        connections = pool(Connector())
        connection = await connected(connections)
        for data in answers:
            client = Client(takes=takes)
            ask(connection, client)
            at = 0
            for cut in [*cuts, len(data)]:
                if data[at : at + cut]:
                    connection.data_received(data[at : at + cut])
                at += cut
            body = b"".join(each for each in client.told if isinstance(each, bytes))
            assert client.told[-1] == "end"
            assert client.told.count("end") == 1
            wanted = {OK: b"ok", EARLY + OK: b"ok", IN_CHUNKS: b"ok", NO_CONTENT: b""}
            assert body == wanted.get(data, b"x" * 9)
            assert connections.take() is connection

    asyncio.run(run())


async def test_every_place_at_which_a_connection_may_end_is_told_as_what_it_is() -> None:
    for whole in (OK, IN_CHUNKS, EARLY + OK, NO_CONTENT):
        for end in range(len(whole)):
            connections = pool(Connector())
            connection = await connected(connections)
            client = Client()
            ask(connection, client)
            if end:
                connection.data_received(whole[:end])
            connection.eof_received()
            transport(connection).lose()
            assert client.told[-1] is UpstreamFault.BROKE_OFF
            assert "end" not in client.told
            assert connections.take() is None
            assert connection.has_begun == (end > 0)


@pytest.mark.parametrize("size", [None, 5], ids=["chunked", "length"])
async def test_an_answer_before_the_request_has_gone_whole_is_no_end_of_the_request(
    size: int | None,
) -> None:
    connections = pool(Connector())
    connection = await connected(connections)
    client = Client(takes=True)
    for _ in range(2):  # the second time its head is known
        connection.begin(client, b"POST", b"", chunked=size is None)
        connection.send_piece(b"he")
        connection.data_received(OK)
        assert connections.take() is None
        connection.send_piece(b"llo")
        connection.send_end()
        assert connections.take() is connection
    assert client.told == [200, b"ok", "end", "ready"] * 2


async def test_a_connection_that_ends_before_the_request_has_gone_whole_is_told() -> None:
    connection = await connected(pool(Connector()))
    client = Client()
    connection.begin(client, b"POST", b"", chunked=False)
    connection.data_received(OK)
    connection.eof_received()
    assert client.told == [200, b"ok", "end", UpstreamFault.BROKE_OFF]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["close", "1.0", "among others"],
)
async def test_a_connection_that_was_said_to_be_the_last_is_not_used_again(head: bytes) -> None:
    connections = pool(Connector())
    connection = await connected(connections)
    client = Client(takes=True)
    ask(connection, client)
    connection.data_received(head)
    assert client.told == [200, b"ok", "end"]
    assert connections.take() is None


MALFORMED = [
    b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    b"Content-Length: 2, 2\r\n\r\nok",
    b"Content-Length: +2\r\n\r\nok",
    b"Content-Length: -2\r\n\r\nok",
    b"Content-Length: 0x2\r\n\r\nok",
    b"Content-Length: 2 2\r\n\r\nok",
    b"Content-Length:\r\n\r\nok",
    b"Content-Length: 99999999999999999999999\r\n\r\nok",
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: \r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: identity\r\n\r\nok",
    b"Content-Length : 2\r\n\r\nok",
    b"X: a\rb\r\nContent-Length: 2\r\n\r\nok",
    b"X: a\nContent-Length: 2\r\n\r\nok",
    b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
    b"X(: a\r\nContent-Length: 2\r\n\r\nok",
    b": a\r\nContent-Length: 2\r\n\r\nok",
    b"X\r\nContent-Length: 2\r\n\r\nok",
]


@pytest.mark.parametrize("rest", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_cannot_be_read_in_one_way_is_no_answer(rest: bytes) -> None:
    connections = pool(Connector())
    connection = await connected(connections)
    client = Client()
    ask(connection, client)
    connection.data_received(b"HTTP/1.1 200 OK\r\n" + rest)
    assert [each for each in client.told if each != 200] == [UpstreamFault.PROTOCOL]
    assert connections.take() is None


BAD_CHUNKS = [
    b"0x1\r\na\r\n0\r\n\r\n",
    b"-1\r\na\r\n0\r\n\r\n",
    b"+1\r\na\r\n0\r\n\r\n",
    b" 1\r\na\r\n0\r\n\r\n",
    b"1 \r\na\r\n0\r\n\r\n",
    b"1\na\n0\n\n",
    b"1\r\nab\r\n0\r\n\r\n",
    b"1\r\na0\r\n\r\n",
    b"\r\n",
    b"fffffffffffffffffff\r\na\r\n",
    b"1;\x00\r\na\r\n0\r\n\r\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\nX: a\nY: b\r\n\r\n",
    b"0\r\nX: \x00\r\n\r\n",
    b"0\r\nX : a\r\n\r\n",
    b"0\r\nX: a\rb\r\n\r\n",
]


@pytest.mark.parametrize("rest", BAD_CHUNKS, ids=range(len(BAD_CHUNKS)))
async def test_chunks_and_trailers_that_cannot_be_read_in_one_way_break_the_answer_off(
    rest: bytes,
) -> None:
    connections = pool(Connector())
    connection = await connected(connections)
    client = Client()
    ask(connection, client)
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + rest)
    assert "end" not in client.told
    assert client.told[-1] is UpstreamFault.PROTOCOL
    assert connections.take() is None
