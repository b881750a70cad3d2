"""Connections to an upstream: which is given, how many there are, and who waits for one."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Serving
from tests.proxy.wire.fakes import Client, Connector, pool, transport, turns
from tests.wire import OK, Message, Peer
from tests.wire import Upstream as Server
from tokenproxy.errors import Overloaded, UpstreamError, UpstreamFault
from tokenproxy.proxy.wire.pool import IDLE, Pool
from tokenproxy.proxy.wire.sweep import Sweep
from tokenproxy.proxy.wire.upstream import Upstream
from tokenproxy.tasks import cancelled, spawn


def getting(from_pool: Pool, *, fresh: bool = False) -> "asyncio.Task[Upstream]":
    return spawn(from_pool.get(fresh=fresh), name="get")


def used(connection: Upstream) -> None:
    """A request and its answer, so that the connection is free again."""
    connection.begin(Client(), b"GET", b"GET / HTTP/1.1\r\n\r\n", chunked=None)
    connection.data_received(OK)


async def test_the_one_that_was_used_last_is_given_first() -> None:
    connections = pool(connector := Connector(), limit=3)
    first, second, third = [await connections.get() for _ in range(3)]
    for connection in (second, third, first):
        used(connection)
    assert [connections.take() for _ in range(4)] == [first, third, second, None]
    assert len(connector.made) == 3


async def test_no_more_are_made_than_may_be_and_the_first_to_wait_is_the_first_to_get() -> None:
    connections = pool(connector := Connector(), limit=2)
    first, second = await connections.get(), await connections.get()
    waiting = [getting(connections) for _ in range(3)]
    await turns()
    assert len(connector.made) == 2
    for connection in (second, first):
        used(connection)
    await turns()
    assert [task.done() for task in waiting] == [True, True, False]
    assert [waiting[0].result(), waiting[1].result()] == [second, first]
    used(first)
    assert await waiting[2] is first
    assert len(connector.made) == 2


async def test_nobody_is_served_before_those_who_wait() -> None:
    connections = pool(Connector(), limit=1)
    only = await connections.get()
    waiting = getting(connections)
    await turns()
    used(only)
    assert connections.take() is None
    assert await waiting is only


async def test_where_one_ends_the_first_who_waits_makes_another() -> None:
    connections = pool(connector := Connector(), limit=1)
    only = await connections.get()
    waiting = [getting(connections) for _ in range(2)]
    await turns()
    transport(only).lose()
    another = await waiting[0]
    assert another is not only
    assert not waiting[1].done()
    used(another)
    assert await waiting[1] is another
    assert len(connector.made) == 2


async def test_who_waits_too_long_is_told_so_and_loses_nothing_for_the_others() -> None:
    connections = pool(connector := Connector(), limit=1, patience=0.01)
    only = await connections.get()
    with pytest.raises(Overloaded):
        await connections.get()
    used(only)
    assert connections.take() is only
    assert len(connector.made) == 1


async def test_who_stops_waiting_with_a_connection_in_hand_leaves_it_to_the_next() -> None:
    connections = pool(Connector(), limit=1)
    only = await connections.get()
    first, second = getting(connections), getting(connections)
    await turns()
    used(only)
    first.cancel()
    assert await second is only
    await cancelled(first)


async def test_who_stops_waiting_with_room_in_hand_leaves_it_to_the_next() -> None:
    connections = pool(connector := Connector(), limit=1)
    only = await connections.get()
    first, second = getting(connections), getting(connections)
    await turns()
    transport(only).lose()
    first.cancel()
    assert (await second).transport is not None
    await cancelled(first)
    assert len(connector.made) == 2


async def test_a_connection_that_ends_between_being_given_and_being_taken_is_given_to_nobody() -> (
    None
):
    connections = pool(Connector(), limit=1)
    only = await connections.get()
    first, second = getting(connections), getting(connections)
    await turns()
    used(only)  # it is the first one's now
    transport(only).lose()
    first.cancel()
    await cancelled(first)
    assert await second is not only
    assert connections.take() is None


async def test_who_waits_is_never_given_a_connection_that_has_ended() -> None:
    connections = pool(Connector(), limit=1)
    only = await connections.get()
    waiting = getting(connections)
    await turns()
    used(only)
    transport(only).lose()
    assert not (await waiting).is_lost


async def test_a_connection_that_is_closing_is_given_to_nobody() -> None:
    connections = pool(Connector(), limit=2)
    only = await connections.get()
    used(only)
    transport(only).abort()  # as an event loop does that has met an error, and tells of it later
    assert connections.take() is None
    assert await connections.get() is not only


async def test_a_new_one_is_made_where_one_is_asked_for_and_the_oldest_makes_room() -> None:
    connections = pool(connector := Connector(), limit=2)
    first, second = await connections.get(), await connections.get()
    used(first)
    used(second)
    waiting = getting(connections, fresh=True)
    await turns()
    assert (transport(first).closing, transport(second).closing) == (True, False)
    transport(first).lose()
    assert await waiting is connector.made[2]
    assert connections.take() is second


async def test_a_failure_to_make_one_is_told_and_leaves_room() -> None:
    connections = pool(connector := Connector(), limit=1)
    connector.fails = UpstreamError("no", UpstreamFault.UNREACHABLE)
    for _ in range(3):
        with pytest.raises(UpstreamError):
            await connections.get()
    connector.fails = None
    assert await connections.get() is connector.made[0]


async def test_one_that_takes_too_long_to_make_is_a_time_out_and_leaves_room() -> None:
    connections = pool(connector := Connector(), limit=1, patience=0.01)
    connector.gate.clear()
    with pytest.raises(UpstreamError) as caught:
        await connections.get()
    assert caught.value.kind is UpstreamFault.CONNECT_TIMEOUT
    connector.gate.set()
    assert await connections.get() is connector.made[0]


async def test_who_leaves_while_one_is_made_leaves_room() -> None:
    connections = pool(connector := Connector(), limit=1)
    connector.gate.clear()
    first, second = getting(connections), getting(connections)
    await turns()
    await cancelled(first)
    connector.gate.set()
    assert await second is connector.made[0]


async def test_what_has_not_been_used_for_long_is_closed_and_the_rest_is_not() -> None:
    connections = pool(Connector(), limit=3)
    old, new = await connections.get(), await connections.get()
    used(old)
    old.idle_since -= IDLE
    used(new)
    connections.tick(new.idle_since + IDLE / 2)
    assert (transport(old).closing, transport(new).closing) == (True, False)
    assert (connections.take(), connections.take()) == (new, None)


@pytest.mark.only("wire")
async def test_idle_connections_are_watched(serving: Serving, upstream: Server) -> None:
    """By the sweep, also where no caller is connected any more."""
    wires: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tokenproxy.server.generations.Wire", remembering(wires))
        proxy = await serving({"routes": [{"upstream": upstream.url}]})
    assert (await proxy.ask()).body == b"ok"
    [pooled] = wires[0].pools.values()
    for connection in pooled._idle:
        connection.idle_since -= IDLE
    await upstream.all_gone()


def remembering(wires: list[Any]) -> Any:
    from tokenproxy.proxy.wire.server import Wire  # noqa: PLC0415

    def make(*args: Any, **kwargs: Any) -> Wire:
        wires.append(Wire(*args, **kwargs))
        return wires[-1]  # type: ignore[no-any-return]

    return make


async def test_a_deadline_counts_from_when_it_is_set_also_after_a_time_without_anything() -> None:
    class Late:
        def __init__(self) -> None:
            self.at = 1000.0

        def time(self) -> float:
            return self.at

    loop = Late()
    sweep = Sweep(loop, 1.0)  # type: ignore[arg-type]  # it asks for the time
    loop.at += 500.0
    assert sweep.after(30.0) >= loop.at + 30.0


# -- anything, in any order ----------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["get", "fresh", "use", "lose", "lose idle", "cancel", "turn", "gate", "unasked"]
        ),
        st.integers(0, 7),
    ),
    max_size=40,
)


@given(steps=STEPS, limit=st.integers(1, 3))
def test_whatever_happens_nobody_is_forgotten_and_nothing_is_given_twice(
    steps: list[tuple[str, int]], limit: int
) -> None:
    with asyncio.Runner() as runner:
        runner.run(anything(steps, limit))


async def anything(  # noqa: C901, PLR0912 - all that may happen
    steps: list[tuple[str, int]], limit: int
) -> None:
    connections = pool(connector := Connector(), limit=limit)
    waiting: list[asyncio.Task[Upstream]] = []
    held: list[Upstream] = []

    def collect() -> None:
        for task in [task for task in waiting if task.done()]:
            waiting.remove(task)
            connection = task.result()
            assert not connection.is_lost
            assert connection not in held
            held.append(connection)

    for step, number in steps:
        match step:
            case "get" | "fresh":
                waiting.append(getting(connections, fresh=step == "fresh"))
            case "use" if held:
                connection = held.pop(number % len(held))
                used(connection)
            case "lose" if held:
                transport(held.pop(number % len(held))).lose()
            case "lose idle" if connections._idle:
                transport(list(connections._idle)[number % len(connections._idle)]).lose()
            case "unasked" if connections._idle:
                connection = list(connections._idle)[number % len(connections._idle)]
                connection.data_received(b"unasked")
            case "cancel" if waiting:
                task = waiting.pop(number % len(waiting))
                task.cancel()
                if task.done() and not task.cancelled():
                    held.append(task.result())
            case "gate":
                (connector.gate.clear if number % 2 else connector.gate.set)()
            case "turn":
                await turns(1 + number)
                collect()
            case _:
                pass
        standing = [each for each in connector.made if not transport(each).closing]
        assert len(standing) + connections._opening <= limit + 1
    connector.gate.set()
    for each in connector.made:  # those that were told to close do
        if transport(each).closing and not each.is_lost:
            transport(each).lose()
    while waiting:
        await turns()
        collect()
        for connection in held:
            used(connection)
        held.clear()
        for each in connector.made:
            if transport(each).closing and not each.is_lost:
                transport(each).lose()
    await turns()  # those who were cancelled get to their end
    assert connections._opening == 0


# -- with sockets --------------------------------------------------------------------------------


@pytest.mark.only("wire")
async def test_where_all_connections_stay_in_use_the_next_is_told_to_come_back(
    serving: Serving, upstream: Server
) -> None:
    route = {"upstream": upstream.url, "max_connections": 2, "timeouts": {"connect": "50ms"}}
    proxy = await serving({"routes": [route]})
    free = asyncio.Event()

    async def hold(peer: Peer, _: Message) -> None:
        await free.wait()
        await peer.send(OK)

    upstream.act = hold
    busy = [spawn(proxy.ask(), name="ask") for _ in range(2)]
    await upstream.until(lambda: len(upstream.requests) == 2)
    got = await proxy.ask()
    assert (got.status, proxy.served[-1].code) == (503, "overloaded")
    assert int(got.values(b"retry-after")[0]) > 0
    free.set()
    assert [(await each).body for each in busy] == [b"ok"] * 2
    assert (await proxy.ask()).body == b"ok"
    assert upstream.connections == 2


@pytest.mark.only("wire")
async def test_many_share_few_connections(serving: Serving, upstream: Server) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url, "max_connections": 3}]})
    got = await asyncio.gather(*(proxy.ask(b"/%d" % number) for number in range(60)))
    assert {answer.body for answer in got} == {b"ok"}
    assert sorted(request.target for request in upstream.requests) == sorted(
        b"/%d" % number for number in range(60)
    )
    assert upstream.connections <= 3


@pytest.mark.only("wire")
async def test_those_who_leave_while_they_wait_leave_nothing(
    serving: Serving, upstream: Server
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url, "max_connections": 1}]})
    free = asyncio.Event()

    async def hold(peer: Peer, _: Message) -> None:
        await free.wait()
        await peer.send(OK)

    upstream.act = hold
    first = spawn(proxy.ask(b"/first"), name="ask")
    await upstream.until(lambda: len(upstream.requests) == 1)
    for _ in range(20):
        peer = await proxy.connect()
        await peer.send(proxy.request(b"/gone"))
        peer.reset()
    last = spawn(proxy.ask(b"/last"), name="ask")
    while len(proxy.served) < 20:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)
    free.set()
    assert [(await first).body, (await last).body] == [b"ok"] * 2
    assert [request.target for request in upstream.requests] == [b"/first", b"/last"]


async def around_an_idle_time_out(proxy: Any, upstream: Server, number: int) -> None:
    """Requests at the moment in which the upstream closes what was idle for 50 ms."""
    idle = 0.05

    async def meet(peer: Peer) -> None:
        while True:
            try:
                async with asyncio.timeout(idle):
                    request = await peer.request()
            except TimeoutError:
                peer.close()
                return
            upstream.requests.append(request)
            await peer.send(OK)

    upstream.meet = meet
    posts = 0
    async with await proxy.connect() as peer:
        for at in range(number):
            await asyncio.sleep(idle + (at % 11 - 5) * 0.0005)
            is_post = at % 4 == 3
            method = b"POST" if is_post else b"GET"
            await peer.send(proxy.request(b"/%d" % at, method=method))
            got = await peer.answer()
            posts += is_post
            assert got.status == 200 or (is_post and got.status == 502)
    targets = [request.target for request in upstream.requests if b"POST" in request.start]
    assert len(targets) == len(set(targets)) <= posts


@pytest.mark.only("wire")
async def test_requests_around_an_idle_time_out_are_answered_and_posts_not_doubled(
    serving: Serving, upstream: Server
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url}]})
    await around_an_idle_time_out(proxy, upstream, 30)


@pytest.mark.soak
@pytest.mark.only("wire")
async def test_a_thousand_requests_around_an_idle_time_out_are_answered(
    serving: Serving, upstream: Server
) -> None:
    proxy = await serving({"routes": [{"upstream": upstream.url}]})
    await around_an_idle_time_out(proxy, upstream, 1333)  # of which 1,000 are GETs


@pytest.mark.only("wire")
@pytest.mark.parametrize("ends", ["fin", "reset"])
async def test_where_one_connection_may_be_a_stale_one_is_replaced(
    serving: Serving, upstream: Server, ends: str
) -> None:
    async def meet(peer: Peer) -> None:
        upstream.requests.append(await peer.request())
        await peer.send(OK)
        upstream.requests.append(await peer.request())
        if upstream.connections == 1:
            (peer.close if ends == "fin" else peer.reset)()
        else:
            await peer.send(OK)

    proxy = await serving({"routes": [{"upstream": upstream.url, "max_connections": 1}]})
    upstream.meet = meet
    assert [(await proxy.ask(b"/%d" % at)).body for at in range(3)] == [b"ok"] * 3
    assert [request.target for request in upstream.requests] == [b"/0", b"/1", b"/1", b"/2"]
