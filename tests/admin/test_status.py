"""`/api/status`, its stream, and the renewal that it offers."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.admin.conftest import Desk, Open, check_secrecy
from tests.conftest import STATIC, shop
from tests.wire import UNAUTHORIZED, Message, Peer, Upstream, answer
from tokenproxy.admin import api
from tokenproxy.admin.status import shown_upstream
from tokenproxy.secret import Secret
from tokenproxy.testing import Issuer, faults

pytestmark = pytest.mark.only("wire")

NASTY = "</script><img src=x onerror=alert(1)>&amp;\u2028\x1b[31m\"'"


async def test_all_of_it_is_told(opened: Open, issuer: Issuer, upstream: Upstream) -> None:
    desk = await opened(shop(issuer, background=True))
    upstream.replies = [answer(status=b"500 Oh", fields=[(b"Connection", b"close")])]
    for _ in range(3):
        await desk.proxy.ask()

    told = (await desk.get("/api/status")).json

    assert (told["ready"], told["reasons"], told["warnings"]) == (True, [], [])
    assert (told["config"]["path"], told["config"]["reloads"]) == (None, 0)
    assert told["config"]["loaded_at"] <= told["now"]
    assert told["workers"] == [{"index": 0, "pid": os.getpid(), "connections": 0}]
    route = told["routes"]["shop"]
    assert route["upstream"] == upstream.url
    assert (route["requests"], route["errors"], route["replays"]) == (3, 1, 0)
    assert len(route["history"]["requests"]) == 60
    found = told["credentials"]["shop"]
    assert (found["type"], found["state"], found["renewals"]) == ("simplejwt", "fresh", 1)
    assert found["renewed_by"] == "this process"
    assert found["issued_at"] <= told["now"] < found["renews_at"] < found["expires_at"]
    assert (found["last_error"], found["advice"], found["retry_at"]) == (None, None, None)
    assert len(found["token"]) == 8
    [event] = told["events"]
    assert (event["event"], event["credential"], event["level"]) == ("renewed", "shop", "info")


async def test_what_is_in_flight_is_told_while_it_is(opened: Open, upstream: Upstream) -> None:
    go_on = asyncio.Event()

    async def act(peer: Peer, _: Message) -> None:
        await go_on.wait()
        await peer.send(answer())

    upstream.act = act
    desk = await opened()
    asking = [asyncio.ensure_future(desk.proxy.ask()) for _ in range(3)]  # noqa: TID251 - awaited
    await upstream.until(lambda: len(upstream.requests) == 3)

    told = (await desk.get("/api/status")).json
    in_flight = await desk.metric("tokenproxy_requests_in_flight", route="shop")
    go_on.set()
    await asyncio.gather(*asking)

    assert told["routes"]["shop"]["in_flight"] == 3
    assert told["workers"][0]["connections"] == 3
    assert in_flight == 3
    assert (await desk.get("/api/status")).json["routes"]["shop"]["in_flight"] == 0


@pytest.mark.parametrize(
    ("upstream_url", "shown"),
    [
        ("https://user:word@api.example:8443/v2?key=s", "https://api.example:8443/v2"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("unix:/run/api.sock", "unix:/run/api.sock"),
    ],
)
def test_an_upstream_is_shown_without_what_may_be_secret(upstream_url: str, shown: str) -> None:
    assert shown_upstream(upstream_url) == shown


async def test_what_an_issuer_says_is_inert_and_holds_no_secret(
    opened: Open, issuer: Issuer
) -> None:
    secret = Secret("a-refresh-token-of-somebody")
    said = {"error": "invalid_grant", "error_description": NASTY + secret.reveal()}
    no = faults.Status(400, json.dumps(said).encode())
    issuer.fail_next(9, no)
    oauth = {
        "type": "oauth2",
        "grant": "client_credentials",
        "token_url": f"{issuer.url}/api/token/",
        "client_id": "c",
        "client_auth": {"secret": "a-secret-of-the-client"},
        "refresh": {"background": False},
    }
    desk = await opened(oauth)
    refused = await desk.post("/api/credentials/shop/refresh")
    assert (refused.status, refused.json["code"]) == (502, "login_required")

    body = (await desk.get("/api/status")).body

    found = json.loads(body)["credentials"]["shop"]
    assert found["state"] == "login_required"
    assert "invalid_grant" in found["last_error"]
    assert found["advice"]
    hot = [b"<", b">", b"&", b"\x1b", "\u2028".encode()]
    assert [mark for mark in hot if mark in body] == []


# -- renewals ----------------------------------------------------------------------------------


async def test_a_renewal_that_is_asked_for_is_made_and_told(opened: Open, issuer: Issuer) -> None:
    desk = await opened(shop(issuer))
    before = await desk.credential()

    said = await desk.post("/api/credentials/shop/refresh")

    assert (before["state"], before["token"]) == ("empty", None)
    assert said.status == 200
    assert (said.json["state"], said.json["renewals"]) == ("fresh", 1)
    assert said.json == await desk.credential()
    assert issuer.logins == 1


async def test_one_that_fails_says_when_to_come_again(opened: Open, issuer: Issuer) -> None:
    issuer.fail_next(9, faults.unavailable(retry_after="7"))
    desk = await opened(shop(issuer, retries=0))

    said = await desk.post("/api/credentials/shop/refresh")

    assert (said.status, said.json["code"]) == (503, "token_unavailable")
    assert int(said.headers["Retry-After"]) >= 1
    found = await desk.credential()
    assert (found["state"], found["renewals"]) == ("unavailable", 0)
    assert found["retry_at"] > 0
    failed = {"credential": "shop", "outcome": "unavailable"}
    assert await desk.metric("tokenproxy_renewals_total", **failed) == 1


@pytest.mark.parametrize(
    ("second", "outcome"), [(UNAUTHORIZED, "rejected_again"), (answer(), "accepted")]
)
async def test_replays_are_counted_by_what_became_of_them(
    opened: Open, issuer: Issuer, upstream: Upstream, second: bytes, outcome: str
) -> None:
    desk = await opened(shop(issuer))
    await desk.proxy.ask()
    desk.proxy.clock.skip(2)
    upstream.replies = [UNAUTHORIZED, second]
    await desk.proxy.ask()

    for each in ("accepted", "rejected_again", "not_replayable"):
        count = await desk.metric("tokenproxy_replays_total", route="shop", outcome=each)
        assert count == (each == outcome)
    assert (await desk.get("/api/status")).json["routes"]["shop"]["replays"] == 1


async def test_a_refused_password_is_not_sent_again_with_each_renewal_that_is_asked_for(
    opened: Open, issuer: Issuer
) -> None:
    wrong = {**shop(issuer, min_interval=10), "password": "not-the-password-at-all"}
    desk = await opened(wrong)
    said = [await desk.post("/api/credentials/shop/refresh") for _ in range(5)]
    assert {(each.status, each.json["code"]) for each in said} == {(502, "login_required")}
    assert issuer.logins == 1


# -- the stream --------------------------------------------------------------------------------


class Stream:
    """The events of one page."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> Any:
        async with asyncio.timeout(10):
            assert await self._response.content.readline() == b"event: status\n"
            data = (await self._response.content.readline()).removeprefix(b"data: ")
            assert await self._response.content.readline() == b"\n"
        check_secrecy(data)
        return json.loads(data)


@asynccontextmanager
async def watching(desk: Desk) -> AsyncIterator[Stream]:
    async with desk.session.get(f"{desk.url}/api/events") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        yield Stream(response)


async def test_a_page_hears_at_once_and_of_what_changes(opened: Open, issuer: Issuer) -> None:
    desk = await opened(shop(issuer))
    async with watching(desk) as stream:
        first = await stream.next()
        assert first["credentials"]["shop"]["state"] == "empty"
        assert first.keys() == (await desk.get("/api/status")).json.keys()
        await desk.proxy.ask()
        while (told := await stream.next())["credentials"]["shop"]["state"] != "fresh":
            pass
        assert told["now"] > first["now"]


async def test_a_page_hears_something_after_a_while_though_nothing_changes(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "APART", 0.01)
    desk = await opened()
    async with watching(desk) as stream:
        await stream.next()
        desk.proxy.clock.skip(api.SILENT_FOR)
        assert await stream.next()


async def test_the_newest_page_takes_the_place_of_the_oldest(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MOST_STREAMS", 1)
    desk = await opened()
    async with watching(desk) as oldest, watching(desk) as newest:
        await oldest.next()
        assert await newest.next()
        with pytest.raises(aiohttp.ClientError):
            await oldest.next()


async def test_a_page_of_another_site_hears_nothing(opened: Open) -> None:
    desk = await opened(STATIC)
    assert (await desk.get("/api/events", Origin="https://evil.example")).status == 403
