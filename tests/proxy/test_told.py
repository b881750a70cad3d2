"""What a request tells for metrics: the upstream's time, and what became of a replay."""

from collections.abc import Awaitable, Callable

import pytest

from tests.conftest import Proxy, Serving
from tests.wire import OK, UNAUTHORIZED, Message, Peer, Upstream
from tokenproxy.events import RequestServed
from tokenproxy.testing import Issuer, faults

Start = Callable[..., Awaitable[Proxy]]


async def asked(proxy: Proxy, body: bytes = b"") -> RequestServed:
    await proxy.ask(method=b"POST" if body else b"GET", body=body)
    return proxy.served[-1]


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([OK], None),
        ([UNAUTHORIZED, OK], "accepted"),
        ([UNAUTHORIZED, b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"], "accepted"),
        ([UNAUTHORIZED, UNAUTHORIZED], "rejected_again"),
    ],
)
async def test_what_became_of_a_replay_is_told(
    renewing: Start, upstream: Upstream, answers: list[bytes], outcome: str | None
) -> None:
    proxy = await renewing()
    upstream.replies = list(answers)
    told = await asked(proxy)
    assert (told.replay, told.replayed) == (outcome, len(answers) > 1)
    assert upstream.replies == []


async def test_a_body_that_was_not_kept_is_told(renewing: Start, upstream: Upstream) -> None:
    proxy = await renewing(replay={"memory": 0, "max_body": 0})
    upstream.reply = UNAUTHORIZED
    told = await asked(proxy, b"more than may be kept")
    assert (told.replay, told.replayed, told.status) == ("not_replayable", False, 401)


async def test_where_no_token_could_be_had_there_was_no_replay(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await renewing({"retries": 0})
    issuer.fail_next(9, faults.page(500, "down"))
    upstream.reply = UNAUTHORIZED
    told = await asked(proxy)
    assert (told.replay, told.replayed, told.status) == (None, False, 401)


async def test_a_replay_that_nobody_answered_has_no_outcome(
    renewing: Start, upstream: Upstream
) -> None:
    async def act(peer: Peer, _: Message) -> None:
        if len(upstream.requests) > 1:
            peer.reset()
        else:
            await peer.send(UNAUTHORIZED)

    proxy = await renewing()
    upstream.act = act
    told = await asked(proxy)
    assert (told.replay, told.replayed, told.status) == (None, True, 502)


async def test_the_upstreams_time_is_a_part_of_the_whole(plain: Proxy) -> None:
    for _ in range(2):  # on a new connection, and on the same again
        told = await asked(plain)
        assert told.upstream_seconds is not None
        assert 0 < told.upstream_seconds <= told.seconds


async def test_an_upstream_that_has_not_answered_took_no_time(serving: Serving) -> None:
    proxy = await serving({"routes": [{"upstream": "http://127.0.0.1:9"}]})
    assert (await asked(proxy)).upstream_seconds is None
