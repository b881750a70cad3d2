"""Renewal: what becomes of an answer that rejects the token, and of the request that got it."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import STATIC, Proxy, Serving, shop
from tests.wire import OK, UNAUTHORIZED, Message, Peer, Upstream, answer, chunked
from tokenproxy.events import TokenRejected
from tokenproxy.testing import Api, Forbidden, Issuer, faults

Start = Callable[..., Awaitable[Proxy]]


def tokens(upstream: Upstream) -> list[bytes]:
    return [request.values(b"authorization")[0] for request in upstream.requests]


async def test_a_401_is_answered_with_one_renewal_and_one_replay(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await renewing()
    upstream.replies = [UNAUTHORIZED]
    assert (await proxy.ask(b"/x?y", b"X-A: 1")).body == b"ok"

    first, second = upstream.requests
    assert (first.start, len(first.fields)) == (second.start, len(second.fields))
    assert [old == new for old, new in zip(first.fields, second.fields, strict=True)].count(
        False
    ) == 1
    assert tokens(upstream)[0] != tokens(upstream)[1]
    assert (issuer.logins, issuer.refreshes) == (1, 1)
    assert [served.replayed for served in proxy.served] == [True]


async def test_a_second_401_goes_to_the_caller(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await renewing()
    upstream.replies = [UNAUTHORIZED, answer(b"still", status=b"401 No")]
    got = await proxy.ask()
    assert (got.start, got.body) == (b"HTTP/1.1 401 No", b"still")
    assert (len(upstream.requests), issuer.refreshes) == (2, 1)


async def test_many_requests_on_an_expired_token_make_one_call(
    serving: Serving, api: Api, issuer: Issuer
) -> None:
    proxy = await serving(
        {
            "credentials": {"shop": shop(issuer)},
            "routes": [{"upstream": api.url, "credential": "shop"}],
        }
    )
    await proxy.ask(b"/items/")
    proxy.clock.skip(2)
    issuer.expire_now()
    answers = await asyncio.gather(*(proxy.ask(b"/items/") for _ in range(200)))
    assert {got.status for got in answers} == {200}
    assert (issuer.logins, issuer.refreshes, issuer.reused) == (1, 1, 0)


async def test_an_api_that_always_says_no_is_not_hammered_and_each_no_is_passed_on(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await renewing({"min_interval": 60})
    upstream.reply = UNAUTHORIZED
    for _ in range(20):
        assert (await proxy.ask()).body == b"no!"
    assert (issuer.logins, issuer.refreshes) == (1, 0)
    assert len(upstream.requests) == 20


async def test_a_no_to_an_older_token_is_sent_again_with_the_newer_one(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    async def say(peer: Peer, request: Message) -> None:
        if request.target == b"/slow":
            slow.set()
            await renewed.wait()
        old = request.values(b"authorization") == tokens(upstream)[:1]
        await peer.send(UNAUTHORIZED if old else OK)

    slow, renewed = asyncio.Event(), asyncio.Event()
    proxy = await renewing()
    upstream.act = say
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(proxy.ask(b"/slow"))
        await slow.wait()
        assert (await proxy.ask(b"/fast")).body == b"ok"
        renewed.set()
    assert waiting.result().body == b"ok"
    assert issuer.refreshes == 1


@pytest.mark.parametrize("body", [b"", b"no!", b"x" * 1_000_000], ids=len)
async def test_where_the_renewal_fails_the_first_answer_is_passed_on_whole(
    renewing: Start, upstream: Upstream, issuer: Issuer, body: bytes
) -> None:
    proxy = await renewing({"retries": 0})
    fields = [(b"WWW-Authenticate", b"Bearer"), (b"X-A", b"1")]
    upstream.reply = answer(body, status=b"401 No", fields=fields)
    issuer.fail_next(9, faults.UNAVAILABLE)
    got = await proxy.ask()
    assert (got.status, got.fields[:2], got.body) == (401, fields, body)
    assert len(upstream.requests) == 1


async def test_where_the_renewal_fails_an_upload_that_stood_still_goes_on(
    renewing: Start, upstream: Upstream, issuer: Issuer
) -> None:
    async def whole_connection(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 8\r\n\r\n")
        assert await peer.chunks() == b"first, then the rest"
        await peer.send(b"got it ;")

    proxy = await renewing({"retries": 0})
    issuer.fail_next(9, faults.UNAVAILABLE)
    upstream.meet = whole_connection
    async with await proxy.connect() as peer:
        head = proxy.request(b"/", b"Transfer-Encoding: chunked", method=b"POST")
        await peer.send(head, chunked(b"first, ")[:-5])
        await peer.head()
        await peer.send(chunked(b"then the rest"))
        assert await peer.reader.readexactly(8) == b"got it ;"


async def test_a_source_that_cannot_renew_leaves_the_answer_alone(
    serving: Serving, upstream: Upstream
) -> None:
    proxy = await serving(
        {
            "credentials": {"c": {**STATIC, "refresh": {"min_interval": 0}}},
            "routes": [{"upstream": upstream.url, "credential": "c"}],
        }
    )
    upstream.reply = UNAUTHORIZED
    assert (await proxy.ask()).body == b"no!"
    assert len(upstream.requests) == 1
    assert not any(isinstance(event, TokenRejected) for event in proxy.events)


async def test_a_caller_who_leaves_ends_no_renewal_that_others_wait_for(
    serving: Serving, upstream: Upstream, issuer: Issuer
) -> None:
    proxy = await serving(
        {
            "credentials": {"shop": shop(issuer)},
            "routes": [{"upstream": upstream.url, "credential": "shop"}],
        }
    )
    issuer.delay = 0.1
    async with await proxy.connect() as leaves:
        await leaves.send(proxy.request())
        async with asyncio.TaskGroup() as group:
            stays = group.create_task(proxy.ask())
            leaves.reset()
    assert stays.result().status == 200
    assert (issuer.logins, len(upstream.requests)) == (1, 1)


# -- refresh_on ----------------------------------------------------------------------------------

ERRCODE = {"status": 200, "json": {"errcode": [40001, 42001]}}
BAD_CODE = b'{"errcode": 40001}'
PACKED = gzip.compress(BAD_CODE)

REJECTIONS: list[tuple[object, bytes]] = [
    ([403], answer(status=b"403 No")),
    (
        [{"status": 403, "header": {"WWW-Authenticate": "invalid_token"}}],
        answer(status=b"403 No", fields=[(b"www-authenticate", b'Bearer error="INVALID_TOKEN"')]),
    ),
    (
        [{"status": 403, "body_contains": "token_expired"}],
        answer(b'{"code": "token_expired"}', status=b"403 No"),
    ),
    ([ERRCODE], answer(BAD_CODE)),
    ([ERRCODE], answer(PACKED, fields=[(b"Content-Encoding", b"gzip")])),
    ([ERRCODE], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BAD_CODE)),
]


@pytest.mark.parametrize(("rules", "rejection"), REJECTIONS)
async def test_an_answer_that_matches_is_a_rejection(
    renewing: Start, upstream: Upstream, issuer: Issuer, rules: object, rejection: bytes
) -> None:
    proxy = await renewing(refresh_on=rules)
    upstream.replies = [rejection]
    assert (await proxy.ask()).body == b"ok"
    assert (len(upstream.requests), issuer.refreshes) == (2, 1)


@pytest.mark.parametrize(
    "reply",
    [
        answer(b'{"errcode": 0}'),
        answer(b""),
        answer(b"x" * (64 << 10)),
        answer(b" " * (64 << 10) + BAD_CODE),
        answer(b"y" * 1_000_000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"z" * 70_000, b"z"),
    ],
    ids=len,
)
async def test_a_body_that_was_looked_at_and_does_not_match_is_passed_on_whole(
    renewing: Start, upstream: Upstream, issuer: Issuer, reply: bytes
) -> None:
    proxy = await renewing(refresh_on=[ERRCODE])
    upstream.reply = reply
    got = await proxy.ask()
    body = b"z" * 70_001 if b"zzz" in reply else reply.partition(b"\r\n\r\n")[2]
    assert (got.status, got.body) == (200, body)
    assert len(upstream.requests) == 1


async def test_an_answer_that_breaks_off_while_it_is_looked_at_is_never_whole(
    renewing: Start, upstream: Upstream
) -> None:
    async def say(peer: Peer, _: Message) -> None:
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + BAD_CODE)
        peer.close()

    proxy = await renewing(refresh_on=[ERRCODE])
    upstream.act = say
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await proxy.ask()


async def test_an_event_stream_is_never_held_back(renewing: Start, upstream: Upstream) -> None:
    async def say(peer: Peer, _: Message) -> None:
        await peer.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        )
        await heard.wait()
        await peer.send(chunked(b"second"))

    heard = asyncio.Event()
    proxy = await renewing(refresh_on=[ERRCODE])
    upstream.act = say
    async with await proxy.connect() as peer:
        await peer.send(proxy.request())
        await peer.head()
        assert await peer.chunk() == b"first"
        heard.set()
        assert await peer.chunks() == b"second"


async def test_a_403_from_session_authentication_is_a_rejection_where_the_route_says_so(
    serving: Serving, issuer: Issuer
) -> None:
    async with Api(issuer, rejection=Forbidden()) as api:
        proxy = await serving(
            {
                "credentials": {"shop": shop(issuer)},
                "routes": [{"upstream": api.url, "credential": "shop", "refresh_on": [401, 403]}],
            }
        )
        await proxy.ask(b"/items/")
        proxy.clock.skip(2)
        issuer.expire_now()
        got = await proxy.ask(b"/items/", method=b"POST", body=b'{"name": "cup"}')
        assert (got.status, json.loads(got.body)["name"]) == (201, "cup")
    assert [request.authorized for request in api.requests] == [True, False, True]


@pytest.mark.parametrize("inject", [{"query": "key"}, {"cookie": "key"}], ids=str)
async def test_a_replay_bears_the_new_token_alone(
    renewing: Start, upstream: Upstream, inject: dict[str, Any]
) -> None:
    proxy = await renewing(inject=inject)
    upstream.replies = [UNAUTHORIZED]
    await proxy.ask(b"/a?key=theirs&b=1" if "query" in inject else b"/a", b"Cookie: c=1")
    places = [
        request.target if "query" in inject else request.values(b"cookie")[0]
        for request in upstream.requests
    ]
    assert [place.count(b"key=") for place in places] == [1, 1]
    assert places[0] != places[1]
    assert b"theirs" not in upstream.requests[1].head
