import asyncio
import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from tokenproxy.tasks import spawn
from tokenproxy.testing import (
    Api,
    ErrorInBody,
    Forbidden,
    InBasic,
    InCookie,
    InHeader,
    InQuery,
    Issuer,
    ManualClock,
    Received,
)
from tokenproxy.testing.api import BLOCK, pseudo_random
from tokenproxy.testing.ledger import Single

EMPTY = hashlib.sha256().hexdigest()
Headers = dict[str, str]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def issuer(clock: ManualClock) -> Issuer:
    return Issuer(clock=clock)  # an API asks it in process: it need not serve


@pytest.fixture
def token(issuer: Issuer) -> str:
    return token_of(issuer)


def token_of(issuer: Issuer) -> str:
    grant = issuer._ledger.login()
    assert not isinstance(grant, Single)
    return grant.access


@pytest.fixture
def good(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def api(issuer: Issuer) -> AsyncIterator[Api]:
    async with Api(issuer) as api:
        yield api


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def ask(
    client: aiohttp.ClientSession, api: Api, target: str, method: str = "GET", **kwargs: Any
) -> tuple[int, Any, bytes]:
    url = URL(api.url + target, encoded=True)
    async with client.request(method, url, **kwargs) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_a_good_token_is_let_in(
    client: aiohttp.ClientSession, api: Api, good: Headers
) -> None:
    status, _, body = await ask(client, api, "/items/", headers=good)
    assert (status, json.loads(body)) == (200, [{"id": 1, "name": "teapot"}])
    assert api.requests[0].authorized


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}])
async def test_no_token_and_a_bad_one_are_turned_down(
    client: aiohttp.ClientSession, api: Api, headers: Headers
) -> None:
    status, heads, body = await ask(client, api, "/items/", headers=headers)
    assert (status, heads["WWW-Authenticate"]) == (401, 'Bearer realm="api"')
    assert ("code" in json.loads(body)) == bool(headers)
    assert not api.requests[0].authorized


async def test_a_token_is_turned_down_from_the_moment_it_ends(
    client: aiohttp.ClientSession, api: Api, issuer: Issuer, good: Headers, clock: ManualClock
) -> None:
    await clock.advance(299)
    assert (await ask(client, api, "/items/", headers=good))[0] == 200
    await clock.advance(1)
    status, _, body = await ask(client, api, "/items/", headers=good)
    message = {"token_class": "AccessToken", "token_type": "access", "message": "Token is expired"}
    assert status == 401
    assert json.loads(body) == {
        "detail": "Given token not valid for any token type",
        "code": "token_not_valid",
        "messages": [message],
    }


async def test_every_token_can_be_turned_down(
    client: aiohttp.ClientSession, api: Api, good: Headers
) -> None:
    api.rejects_all = True
    assert (await ask(client, api, "/items/", headers=good))[0] == 401
    api.rejects_all = False
    assert (await ask(client, api, "/items/", headers=good))[0] == 200


def in_basic(token: str) -> Headers:
    value = base64.b64encode(f"oauth2accesstoken:{token}".encode()).decode()
    return {"Authorization": f"Basic {value}"}


@pytest.mark.parametrize(
    ("place", "target", "headers"),
    [
        (InHeader(word="JWT"), "", lambda token: {"Authorization": f"JWT {token}"}),
        (InHeader("X-Api-Key", ""), "", lambda token: {"X-Api-Key": token}),
        (InQuery(), "?access_token={}", lambda _: {}),
        (InCookie(), "", lambda token: {"Cookie": f"session={token}"}),
        (InBasic(), "", in_basic),
    ],
)
async def test_the_token_may_be_wanted_elsewhere(
    client: aiohttp.ClientSession,
    issuer: Issuer,
    token: str,
    good: Headers,
    *,
    place: Any,
    target: str,
    headers: Callable[[str], Headers],
) -> None:
    async with Api(issuer, wanted=place) as api:
        assert (await ask(client, api, "/items/", headers=good))[0] == 401
        target = "/items/" + target.format(token)
        assert (await ask(client, api, target, headers=headers(token)))[0] == 200


@pytest.mark.parametrize(
    ("rejection", "status"), [(Forbidden(), 403), (ErrorInBody(), 200), (ErrorInBody(42001), 200)]
)
async def test_a_rejection_may_look_otherwise(
    client: aiohttp.ClientSession, issuer: Issuer, rejection: Any, status: int
) -> None:
    async with Api(issuer, rejection=rejection) as api:
        headers = {"Authorization": "Bearer x"}
        got, heads, body = await ask(client, api, "/items/", headers=headers)
        assert (got, "WWW-Authenticate" in heads) == (status, False)
        assert json.loads(body).get("errcode") == getattr(rejection, "errcode", None)
        assert not api.requests[0].authorized


@pytest.mark.parametrize("target", ["//evil/%7e/%2f?a=%41&&b", "/c?", "/a/../b", "/%"])
async def test_a_request_is_noted_as_it_came(api: Api, token: str, target: str) -> None:
    head = (
        b"POST " + target.encode() + b" HTTP/1.1\r\n"
        b"host: x\r\nX-b: 1\r\nx-A: 2\r\nX-B: 3\r\ncontent-length: 5\r\n"
        b"authorization: Bearer " + token.encode() + b"\r\nConnection: close\r\n\r\nhello"
    )
    url = URL(api.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head)
    assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await writer.wait_closed()
    (got,) = api.requests
    assert (got.method, got.target) == ("POST", target)
    assert [name for name, _ in got.headers] == [
        *(b"host", b"X-b", b"x-A", b"X-B", b"content-length", b"authorization", b"Connection")
    ]
    assert got.values("x-B") == ["1", "3"]
    assert got.body_sha256 == hashlib.sha256(b"hello").hexdigest()
    assert (got.body_length, got.whole, got.authorized) == (5, True, True)


async def test_a_rejected_body_is_noted_too(client: aiohttp.ClientSession, api: Api) -> None:
    body = b"x" * 300_000
    assert (await ask(client, api, "/hash", "POST", data=body))[0] == 401
    (got,) = api.requests
    assert got.body_sha256 == hashlib.sha256(body).hexdigest()
    assert (got.body_length, got.whole, got.authorized) == (300_000, True, False)


async def test_an_early_rejection_does_not_wait_for_the_body(api: Api) -> None:
    api.rejects_early = True
    url = URL(api.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST /hash HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegin")
    assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
    writer.close()
    await writer.wait_closed()
    (got,) = api.requests
    assert (got.body_sha256, got.body_length, got.whole) == (EMPTY, 0, False)


async def test_an_early_rejection_of_a_request_without_body_is_whole(
    client: aiohttp.ClientSession, api: Api
) -> None:
    api.rejects_early = True
    assert (await ask(client, api, "/items/"))[0] == 401
    assert api.requests[0].whole


async def test_a_body_that_never_ends_is_noted_as_far_as_it_came(
    api: Api, token: str, clock: ManualClock
) -> None:
    url = URL(api.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    authorization = f"Authorization: Bearer {token}\r\n".encode()
    writer.write(b"POST /hash HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n" + authorization)
    writer.write(b"\r\nbegin")
    writer.write_eof()
    await reader.read()
    await clock.settle()
    writer.close()
    await writer.wait_closed()
    (got,) = api.requests
    assert (got.body_length, got.whole, got.authorized) == (5, False, True)


async def test_a_request_is_noted_before_its_answer_begins(api: Api, token: str) -> None:
    url = URL(api.url)
    for target in ("/items/", "/bytes?n=1", "/stream?n=1", "/status/204", "/nowhere"):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        await reader.readexactly(1)
        assert api.requests[-1].target == target
        writer.close()
        await writer.wait_closed()


async def test_each_post_that_arrives_makes_one_more_item(
    client: aiohttp.ClientSession, api: Api, good: Headers
) -> None:
    for number, name in [(2, "cup"), (3, "spoon")]:
        given = {"name": name, "id": 99}
        status, _, body = await ask(client, api, "/items/", "POST", headers=good, json=given)
        assert (status, json.loads(body)) == (201, {"name": name, "id": number})
    _, _, body = await ask(client, api, "/items/", headers=good)
    assert [item["name"] for item in json.loads(body)] == ["teapot", "cup", "spoon"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff"])
async def test_an_item_must_be_a_json_object(
    client: aiohttp.ClientSession, api: Api, good: Headers, data: bytes
) -> None:
    assert (await ask(client, api, "/items/", "POST", headers=good, data=data))[0] == 400
    assert len(api.items) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_an_echo_is_the_body_with_its_type_and_coding(
    client: aiohttp.ClientSession, api: Api, good: Headers, method: str
) -> None:
    sent = gzip.compress(b"hello" * 1000)
    headers = {**good, "Content-Type": "text/x", "Content-Encoding": "gzip"}
    status, heads, body = await ask(client, api, "/echo", method, headers=headers, data=sent)
    assert (status, body) == (200, sent)
    assert (heads["Content-Type"], heads["Content-Encoding"]) == ("text/x", "gzip")
    assert api.requests[0].body_sha256 == hashlib.sha256(sent).hexdigest()


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_hash_is_of_the_whole_body(
    client: aiohttp.ClientSession, api: Api, good: Headers, method: str
) -> None:
    blocks = list(pseudo_random(3_000_000))

    async def chunks() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    status, _, body = await ask(client, api, "/hash", method, headers=good, data=chunks())
    sha256 = hashlib.sha256(b"".join(blocks)).hexdigest()
    assert (status, json.loads(body)) == (200, {"sha256": sha256, "length": 3_000_000})


@pytest.mark.parametrize("n", [0, 1, BLOCK, 3 * BLOCK + 5])
async def test_bytes_come_in_the_number_that_was_asked_for(
    client: aiohttp.ClientSession, api: Api, good: Headers, n: int
) -> None:
    status, heads, body = await ask(client, api, f"/bytes?n={n}", headers=good)
    assert (status, heads["Content-Length"]) == (200, str(n))
    assert body == b"".join(pseudo_random(n))


@settings(deadline=None)  # a machine may be busy
@given(st.integers(0, 4 * BLOCK))
def test_pseudo_random_bytes_are_as_many_as_asked_and_always_the_same(n: int) -> None:
    text = b"".join(pseudo_random(n))
    assert len(text) == n
    assert b"".join(pseudo_random(5 * BLOCK)).startswith(text)


def test_no_two_blocks_are_alike() -> None:
    assert len(set(pseudo_random(20 * BLOCK))) == 20


@pytest.mark.parametrize("query", ["n=x", "n=-1", "n=inf", "n=nan"])
async def test_a_number_that_is_none_is_a_bad_request(
    client: aiohttp.ClientSession, api: Api, good: Headers, query: str
) -> None:
    assert (await ask(client, api, f"/bytes?{query}", headers=good))[0] == 400


async def test_events_come_when_they_are_due(
    client: aiohttp.ClientSession, api: Api, good: Headers, clock: ManualClock
) -> None:
    url = f"{api.url}/stream?n=3&interval=10"
    async with client.get(url, headers=good) as answer:
        assert answer.content_type == "text/event-stream"
        for number in range(3):
            await clock.until_sleepers(1)
            line = spawn(answer.content.readuntil(b"\n\n"), name="line")
            await clock.advance(9.9)
            assert not line.done()
            await clock.advance(0.1)
            assert await line == b"data: %d\n\n" % number
        assert await answer.content.read() == b""


async def test_a_stream_ends_when_its_caller_goes_away(
    client: aiohttp.ClientSession, api: Api, good: Headers, clock: ManualClock
) -> None:
    async with client.get(f"{api.url}/stream?interval=10", headers=good) as answer:
        await clock.until_sleepers(1)
        answer.close()
    await clock.until_sleepers(0)


@pytest.mark.parametrize("status", [200, 204, 304, 403, 429, 503])
async def test_any_status_can_be_had(
    client: aiohttp.ClientSession, api: Api, good: Headers, status: int
) -> None:
    for method in ("GET", "POST"):
        got, _, body = await ask(client, api, f"/status/{status}", method, headers=good)
        assert (got, body == b"") == (status, status in {204, 304})


@pytest.mark.parametrize(
    ("method", "target", "status"), [("GET", "/nowhere", 404), ("DELETE", "/items/", 405)]
)
async def test_what_is_not_there_needs_no_token_and_is_noted(
    client: aiohttp.ClientSession, api: Api, method: str, target: str, status: int
) -> None:
    assert (await ask(client, api, target, method))[0] == status
    assert [(got.method, got.target, got.authorized) for got in api.requests] == [
        (method, target, False)
    ]


def test_records_are_values() -> None:
    one = Received("GET", "/", ((b"A", b"b"),), EMPTY, 0, whole=True, authorized=False)
    assert one == Received("GET", "/", ((b"A", b"b"),), EMPTY, 0, whole=True, authorized=False)
    assert hash(one)


async def test_an_answer_that_a_test_makes_up_is_given_to_good_tokens_only(
    client: aiohttp.ClientSession, issuer: Issuer, token: str
) -> None:
    async with Api(issuer) as api:
        api.answer("GET", "/prices", json=[1, 2], headers={"X-Page": "1"})
        api.answer("PUT", "/prices", status=409, body=b"no")
        good = {"Authorization": f"Bearer {token}"}
        async with client.get(f"{api.url}/prices", headers=good) as answer:
            assert (await answer.json(), answer.headers["X-Page"]) == ([1, 2], "1")
        async with client.put(f"{api.url}/prices", headers=good) as answer:
            assert (answer.status, await answer.read()) == (409, b"no")
        async with client.get(f"{api.url}/prices") as answer:
            assert answer.status == 401
        assert [received.authorized for received in api.requests] == [True, True, False]
