import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest

from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import Endpoint, Issuer, ManualClock, MovableClock, Verdict, faults
from tokenproxy.testing.answers import Granted, dressed
from tokenproxy.testing.faults import Fault

LOGIN = {"username": "demo", "password": "demo-password"}
MEBIBYTE = 1 << 20
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture
async def issuer(clock: ManualClock) -> AsyncIterator[Issuer]:
    async with Issuer(clock=clock) as issuer:
        yield issuer


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Post:
    """Posts to an issuer, and tells status, headers and body."""

    def __init__(self, client: aiohttp.ClientSession, issuer: Issuer) -> None:
        self.client = client
        self.issuer = issuer

    async def __call__(self, endpoint: Endpoint, given: dict[str, str]) -> tuple[int, Any, bytes]:
        url = self.issuer.url + endpoint.value
        async with self.client.post(url, json=given, allow_redirects=False) as answer:
            return answer.status, answer.headers, await answer.read()

    async def login(self) -> tuple[int, Any, bytes]:
        return await self(Endpoint.LOGIN, LOGIN)

    async def refresh(self, token: str) -> tuple[int, Any, bytes]:
        return await self(Endpoint.REFRESH, {"refresh": token})


@pytest.fixture
def post(client: aiohttp.ClientSession, issuer: Issuer) -> Post:
    return Post(client, issuer)


async def tokens(post: Post) -> Any:
    _, _, body = await post.login()
    return json.loads(body)


STATUSES = [
    (faults.SERVER_ERROR, 500, "text/html; charset=utf-8"),
    (faults.BAD_GATEWAY, 502, "text/html; charset=utf-8"),
    (faults.UNAVAILABLE, 503, "text/plain"),
    (faults.TOO_MANY, 429, "application/json"),
    (faults.HTML_PAGE, 200, "text/html; charset=utf-8"),
    (faults.BAD_JSON, 200, "application/json"),
    (faults.EMPTY_200, 200, "application/json"),
    (faults.LIST_200, 200, "application/json"),
    (faults.INVALID_GRANT, 400, "application/json"),
    (faults.INVALID_REQUEST, 400, "application/json"),
    (faults.INVALID_GRANT_IN_200, 200, "application/json"),
    (faults.TOKEN_NOT_VALID, 401, "application/json"),
    (faults.USER_INACTIVE, 401, "application/json"),
    (faults.EMPTY_400, 400, "text/plain"),
    (faults.EMPTY_401, 401, "text/plain"),
    (faults.EMPTY_403, 403, "text/plain"),
    (faults.page(418, "Tea"), 418, "text/html; charset=utf-8"),
    (faults.deep(100_000), 200, "application/json"),
]


@pytest.mark.parametrize(("fault", "status", "content_type"), STATUSES)
async def test_a_status_is_answered_instead_and_nothing_is_carried_out(
    issuer: Issuer, post: Post, fault: faults.Status, status: int, content_type: str
) -> None:
    first = await tokens(post)
    issuer.fail_next(1, fault)
    answer = await post.refresh(first["refresh"])
    assert (answer[0], answer[1]["Content-Type"], answer[2]) == (status, content_type, fault.body)
    assert (await post.refresh(first["refresh"]))[0] == 200
    assert issuer.calls[1].status == status


@pytest.mark.parametrize("after", ["1", DATE, "86400"])
@pytest.mark.parametrize(("fault", "status"), [(faults.too_many, 429), (faults.unavailable, 503)])
async def test_an_issuer_asks_to_be_left_alone_for_a_while(
    issuer: Issuer, post: Post, fault: Callable[..., faults.Status], status: int, after: str
) -> None:
    issuer.fail_next(1, fault(retry_after=after))
    answer = await post.login()
    assert (answer[0], answer[1]["Retry-After"]) == (status, after)


async def test_a_redirect_names_its_location(issuer: Issuer, post: Post) -> None:
    issuer.fail_next(1, faults.redirect("https://evil.example/", status=307))
    answer = await post.login()
    assert (answer[0], answer[1]["Location"]) == (307, "https://evil.example/")


async def test_a_broken_answer_is_not_json() -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(faults.BAD_JSON.body)
    with pytest.raises(RecursionError):
        json.loads(faults.deep(100_000).body)


async def test_as_many_calls_fail_as_were_told_to(issuer: Issuer, post: Post) -> None:
    issuer.fail_next(2, faults.UNAVAILABLE)
    issuer.fail_next(1, faults.TOO_MANY)
    assert [(await post.login())[0] for _ in range(4)] == [503, 503, 429, 200]


async def test_a_fault_can_be_kept_for_one_endpoint(issuer: Issuer, post: Post) -> None:
    issuer.fail_next(1, faults.UNAVAILABLE, endpoint=Endpoint.REFRESH)
    first = await tokens(post)
    assert (await post.login())[0] == 200
    assert (await post.refresh(first["refresh"]))[0] == 503
    assert (await post.refresh(first["refresh"]))[0] == 200


async def test_an_issuer_recovers(issuer: Issuer, post: Post) -> None:
    issuer.fail_next(1000, faults.SERVER_ERROR)
    assert (await post.login())[0] == 500
    issuer.recover()
    assert (await post.login())[0] == 200


@pytest.mark.parametrize("carried_out", [True, False])
async def test_the_connection_is_dropped_and_the_answer_lost(
    issuer: Issuer, post: Post, *, carried_out: bool
) -> None:
    first = await tokens(post)
    issuer.fail_next(1, faults.DropBeforeAnswer(carried_out=carried_out))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post.refresh(first["refresh"])
    assert issuer.calls[-1].status is None
    assert issuer.refreshes == 1
    assert (await post.refresh(first["refresh"]))[0] == (401 if carried_out else 200)
    assert issuer.reused == carried_out


async def test_a_hanging_issuer_counts_the_call_and_answers_in_the_end(
    issuer: Issuer, post: Post, clock: ManualClock
) -> None:
    issuer.fail_next(1, faults.Hang(30))
    hanging = spawn(post.login(), name="login")
    await clock.until_sleepers(1)
    assert [call.status for call in issuer.calls] == [None]
    await clock.advance(29.9)
    assert not hanging.done()
    await clock.advance(0.1)
    status, _, body = await hanging
    assert status == 200
    assert issuer.accepts(json.loads(body)["access"]) is Verdict.ACCEPTED
    assert [call.status for call in issuer.calls] == [200]


@pytest.mark.parametrize("carried_out", [True, False])
async def test_whoever_leaves_a_hanging_issuer_may_have_lost_an_answer(
    issuer: Issuer, post: Post, clock: ManualClock, *, carried_out: bool
) -> None:
    first = await tokens(post)
    issuer.fail_next(1, faults.Hang(30, carried_out=carried_out))
    hanging = spawn(post.refresh(first["refresh"]), name="refresh")
    await clock.until_sleepers(1)
    await cancelled(hanging)
    await clock.until_sleepers(0)
    assert (await post.refresh(first["refresh"]))[0] == (401 if carried_out else 200)


async def test_a_slow_issuer_takes_its_time_for_every_answer(
    issuer: Issuer, post: Post, clock: ManualClock
) -> None:
    issuer.delay = 2.0
    for _ in range(2):
        slow = spawn(post.login(), name="login")
        await clock.until_sleepers(1)
        await clock.advance(1.9)
        assert not slow.done()
        await clock.advance(0.1)
        assert (await slow)[0] == 200
    issuer.delay = 0.0
    assert (await post.login())[0] == 200


ODD = [
    (faults.CREATED, 201, "application/json"),
    (faults.AS_TEXT, 200, "text/plain"),
    (faults.WITH_BOM, 200, "application/json"),
    (faults.GZIPPED, 200, "application/json"),
    (faults.AS_FORM, 200, "application/x-www-form-urlencoded"),
    (faults.without("refresh"), 200, "application/json"),
]


def fields_of(fault: Fault, headers: Any, body: bytes) -> Any:
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    if fault == faults.AS_FORM:
        return {name: values[0] for name, values in parse_qs(body.decode()).items()}
    return json.loads(body.removeprefix(b"\xef\xbb\xbf"))


@pytest.mark.parametrize(("fault", "status", "content_type"), ODD)
async def test_an_odd_success_is_a_success(
    issuer: Issuer, post: Post, fault: faults.Odd, status: int, content_type: str
) -> None:
    issuer.fail_next(1, fault)
    answer = await post.login()
    assert (answer[0], answer[1]["Content-Type"]) == (status, content_type)
    fields = fields_of(fault, answer[1], answer[2])
    assert issuer.accepts(fields["access"]) is Verdict.ACCEPTED
    assert ("refresh" in fields) == (fault != faults.without("refresh"))
    assert issuer.calls[0].status == status


async def test_odd_dress_is_really_worn(issuer: Issuer, post: Post) -> None:
    issuer.fail_next(1, faults.WITH_BOM)
    assert (await post.login())[2].startswith(b"\xef\xbb\xbf{")
    issuer.fail_next(1, faults.GZIPPED)
    assert (await post.login())[2].startswith(b"\x1f\x8b")


@pytest.mark.parametrize("value", ["1|abc", "a b", "new\r\nline", "", None, 5, ["x"], {}])
async def test_any_field_of_an_answer_can_be_replaced(
    issuer: Issuer, post: Post, value: object
) -> None:
    issuer.fail_next(1, faults.with_field("access", value))
    assert (await tokens(post))["access"] == value


async def test_an_answer_breaks_off_in_its_middle(issuer: Issuer, post: Post) -> None:
    first = await tokens(post)
    issuer.fail_next(1, faults.CutShort(after=10))
    with pytest.raises(aiohttp.ClientPayloadError):
        await post.refresh(first["refresh"])
    assert (await post.refresh(first["refresh"]))[0] == 401, "it was carried out"


async def test_an_answer_that_breaks_off_gives_what_was_promised_of_it(
    issuer: Issuer, client: aiohttp.ClientSession
) -> None:
    issuer.fail_next(1, faults.CutShort(after=10))
    async with client.post(f"{issuer.url}/api/token/", json=LOGIN) as answer:
        assert await answer.content.readexactly(10) == b'{"refresh"'
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()


async def test_an_answer_trickles_byte_by_byte(
    issuer: Issuer, post: Post, clock: ManualClock
) -> None:
    issuer.fail_next(1, faults.SlowBytes(interval=0.5))
    began = clock.now().steady
    trickling = spawn(post.login(), name="login")
    while not trickling.done():
        await clock.advance(0.5)
    status, headers, body = await trickling
    assert status == 200
    assert issuer.accepts(json.loads(body)["access"]) is Verdict.ACCEPTED
    assert clock.now().steady - began >= len(body) / 2 == int(headers["Content-Length"]) / 2


async def test_an_answer_is_huge_and_still_true(issuer: Issuer, post: Post) -> None:
    issuer.fail_next(1, faults.Huge(2 * MEBIBYTE))
    _, _, body = await post.login()
    assert 2 * MEBIBYTE <= len(body) < 2.2 * MEBIBYTE
    assert issuer.accepts(json.loads(body)["access"]) is Verdict.ACCEPTED


async def test_a_small_answer_inflates_to_a_huge_one(issuer: Issuer, post: Post) -> None:
    issuer.fail_next(1, faults.GzipBomb(20 * MEBIBYTE))
    _, headers, body = await post.login()
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 20 * MEBIBYTE / 500
    inflated = zlib.decompress(body, wbits=31)
    assert len(inflated) >= 20 * MEBIBYTE
    assert issuer.accepts(json.loads(inflated)["access"]) is Verdict.ACCEPTED


@pytest.mark.parametrize(
    "fault", [faults.CREATED, faults.CutShort(), faults.Huge(10), faults.SlowBytes(3600)]
)
async def test_a_refusal_is_sent_as_it_is(issuer: Issuer, post: Post, fault: Fault) -> None:
    issuer.fail_next(1, fault)
    status, headers, body = await post.refresh("nonsense")
    assert (status, json.loads(body)["code"]) == (401, "token_not_valid")
    assert headers["WWW-Authenticate"] == 'Bearer realm="api"'


async def test_a_field_cannot_lie_inside_one_that_is_no_object() -> None:
    with pytest.raises(TypeError, match=r"'a\.b' lies inside one that is no object"):
        dressed(faults.with_field("a.b", 1), Granted({"a": "text"}))


def test_faults_are_values() -> None:
    assert faults.Hang(1) == faults.Hang(1)
    assert hash(faults.with_field("a", 1)) == hash(faults.with_field("a", 1))
    assert replace(faults.EMPTY_400, status=403) == faults.EMPTY_403


@pytest.mark.parametrize("name", faults.NAMED)
async def test_every_fault_that_has_a_name_can_be_carried_out(
    client: aiohttp.ClientSession, name: str
) -> None:
    clock = MovableClock()
    async with Issuer(clock=clock) as issuer:
        issuer.fail_next(1, faults.NAMED[name])
        posted = spawn(attempt(client, issuer), name="post")
        while not posted.done():
            clock.advance(60)
            await asyncio.wait({posted}, timeout=0.001)
        await posted
        assert issuer.logins == 1


async def attempt(client: aiohttp.ClientSession, issuer: Issuer) -> None:
    with suppress(aiohttp.ClientError):
        url = f"{issuer.url}/api/token/"
        async with client.post(url, json=LOGIN, allow_redirects=False) as answer:
            await answer.read()
