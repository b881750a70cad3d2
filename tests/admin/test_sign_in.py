"""A browser that was sent to an issuer comes back: when that signs a person in, and when not."""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from tests.admin.conftest import Desk, Open, Said
from tests.admin.signing_in import (
    LED,
    SIGN_IN,
    Back,
    asked,
    person,
    sent_out,
    signed_in_there,
    until,
)
from tests.wire import Upstream
from tokenproxy.admin.answers import SECURITY
from tokenproxy.admin.tickets import MOST
from tokenproxy.events import SignInFailed
from tokenproxy.testing import OAuth2Endpoint, OAuth2Issuer, faults
from tokenproxy.tokens.oauth2.code import PATIENCE

pytestmark = pytest.mark.only("wire")

NASTY = "</p><script>alert(1)</script>&\u202e\x1b[31m\"'"
SPENT = "This is no answer to a sign-in that this browser has begun here in the last ten minutes"


def redeemed(issuer: OAuth2Issuer) -> int:
    return len(issuer.calls_to(OAuth2Endpoint.TOKEN))


async def check_nothing_has_changed(desk: Desk, issuer: OAuth2Issuer) -> None:
    found = await desk.credential()
    assert (found["state"], found["renewals"]) == ("login_required", 0)
    assert redeemed(issuer) == 0


def check_foreign(said: Said) -> None:
    assert (said.status, SPENT in said.body.decode()) == (400, True)
    assert "Location" not in said.headers
    assert "Set-Cookie" not in said.headers


# -- how it goes well --------------------------------------------------------------------------


async def test_a_person_signs_in_in_a_browser_and_requests_get_the_token(
    opened: Open, oauth: OAuth2Issuer, upstream: Upstream
) -> None:
    desk = await opened(person(oauth))
    assert (await desk.proxy.ask()).status == 502

    said = await (await signed_in_there(desk)).arrive()

    assert (said.status, said.headers["Location"], said.body) == (303, "/", b"")
    assert "Max-Age=0" in said.headers["Set-Cookie"]
    assert (await desk.credential())["state"] == "fresh"
    assert (await desk.proxy.ask()).status == 200
    assert upstream.requests[-1].values(b"authorization") != []


async def test_the_cookie_is_for_the_callback_and_for_no_script(
    opened: Open, oauth: OAuth2Issuer
) -> None:
    url, cookie = await sent_out(await opened(person(oauth)))
    [pair, *attributes] = cookie.split("; ")
    assert {each.lower() for each in attributes} == {
        "httponly",
        "samesite=lax",
        "path=/oauth/callback",
        f"max-age={PATIENCE:.0f}",
    }
    assert pair.partition("=")[2] not in url
    assert dict(parse_qsl(urlsplit(url).query))["state"] not in cookie


async def test_two_tabs_sign_in_side_by_side(opened: Open, oauth: OAuth2Issuer) -> None:
    desk = await opened(person(oauth))
    backs = [await signed_in_there(desk) for _ in range(2)]
    jar = "; ".join(back.cookie for back in backs)
    assert [(await replace(back, cookie=jar).arrive()).status for back in backs] == [303, 303]
    assert (await desk.credential())["renewals"] == 2


async def test_a_browser_that_leaves_has_signed_in_all_the_same(
    opened: Open, oauth: OAuth2Issuer
) -> None:
    desk = await opened(person(oauth))
    back = await signed_in_there(desk)
    oauth.delay = 0.2
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await back.arrive()
    await until(desk, state="fresh")


# -- what is no answer to us -------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        {"state": "wrong"},
        {"state": None},
        {"state": "wrong", "code": None, "error": "access_denied"},
        {"state": None, "code": None, "iss": None},
        {"failed": "shop"},
        {"failed": "none", "state": None, "code": None, "iss": None},
    ],
)
async def test_an_answer_with_another_state_changes_nothing(
    opened: Open, oauth: OAuth2Issuer, parts: dict[str, str | None]
) -> None:
    desk = await opened(person(oauth))
    back = await signed_in_there(desk)
    if "failed" not in parts or "state" in parts:
        check_foreign(await back.bringing(**parts).arrive())
    await check_nothing_has_changed(desk, oauth)
    assert (await back.arrive()).headers["Location"] == "/"


@pytest.mark.parametrize("cookie", ["", "other", "of another sign-in", "in another's name"])
async def test_another_browser_is_not_signed_in_and_spoils_nothing(
    opened: Open, oauth: OAuth2Issuer, cookie: str
) -> None:
    """A person is led here with the answer that somebody else got (login CSRF)."""
    desk = await opened(person(oauth))
    back, other = await signed_in_there(desk), await signed_in_there(desk)
    name, value = back.cookie.split("=")[0], other.cookie.partition("=")[2]
    brought = {
        "other": f"{name}=x",
        "of another sign-in": other.cookie,
        "in another's name": f"{name}={value}",
    }
    check_foreign(await replace(back, cookie=brought.get(cookie, "")).arrive())
    await check_nothing_has_changed(desk, oauth)
    assert (await back.arrive()).headers["Location"] == "/"


async def test_an_answer_is_good_once(opened: Open, oauth: OAuth2Issuer) -> None:
    desk = await opened(person(oauth))
    back = await signed_in_there(desk)
    assert (await back.arrive()).status == 303
    before = await desk.credential()
    check_foreign(await back.arrive())
    assert (await desk.credential()) == before
    assert redeemed(oauth) == 1


async def test_an_answer_that_comes_late_is_not_used(opened: Open, oauth: OAuth2Issuer) -> None:
    desk = await opened(person(oauth))
    back = await signed_in_there(desk)
    desk.proxy.clock.skip(PATIENCE)
    check_foreign(await back.arrive())
    await check_nothing_has_changed(desk, oauth)


async def test_too_many_that_wait_make_room_for_the_last(opened: Open, oauth: OAuth2Issuer) -> None:
    desk = await opened(person(oauth))
    first = await signed_in_there(desk)
    for _ in range(MOST - 1):
        await sent_out(desk)
    last = await signed_in_there(desk)
    check_foreign(await first.arrive())
    assert (await last.arrive()).headers["Location"] == "/"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("HEAD", {"Sec-Fetch-Site": "none"}, 400),
        ("POST", {}, 403),
        ("GET", {"Sec-Fetch-Mode": "no-cors"}, 403),
        ("GET", {"Sec-Fetch-Mode": "cors", "Origin": "https://evil.example"}, 403),
        ("GET", {"Host": "rebound.example"}, 421),
    ],
)
async def test_only_a_person_who_is_led_here_comes_back(
    opened: Open, oauth: OAuth2Issuer, method: str, headers: dict[str, str], status: int
) -> None:
    desk = await opened(person(oauth))
    back = await signed_in_there(desk)
    assert (await back.arrive(method=method, **headers)).status == status
    await check_nothing_has_changed(desk, oauth)
    assert (await back.arrive()).headers["Location"] == "/"


async def test_a_parameter_that_comes_twice_is_no_answer(opened: Open, oauth: OAuth2Issuer) -> None:
    """RFC 6749 3.1."""
    desk = await opened(person(oauth))
    back = await signed_in_there(desk)
    target = f"/oauth/callback?{urlencode(back.query)}&code=another"
    check_foreign(await asked(desk, "GET", target, {**LED, "Cookie": back.cookie}))
    await check_nothing_has_changed(desk, oauth)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("grant", ["authorization_code", "device_code"])
async def test_a_page_of_another_site_begins_nothing(
    opened: Open, oauth: OAuth2Issuer, headers: dict[str, str], grant: str
) -> None:
    desk = await opened(person(oauth, grant))
    said = await asked(desk, "POST", SIGN_IN, headers)
    assert (said.status, said.json["code"]) == (403, "origin_not_allowed")
    assert "Set-Cookie" not in said.headers
    assert oauth.calls == []


# -- what the issuer says ----------------------------------------------------------------------


async def shown(back: Back) -> tuple[Said, str]:
    """The page that a browser is led to where it is not let in."""
    said = await back.arrive()
    assert (said.status, said.headers["Location"]) == (303, "/oauth/callback?failed=shop")
    page = await asked(back.desk, "GET", said.headers["Location"], LED)
    assert page.status == 400
    assert {name: page.headers[name] for name in SECURITY} == SECURITY
    return page, page.body.decode()


async def test_what_an_issuer_says_against_it_is_shown_as_text(
    opened: Open, oauth: OAuth2Issuer
) -> None:
    desk = await opened(person(oauth))
    back = await signed_in_there(desk)
    no = back.bringing(code=None, error="access_denied" + NASTY, error_description=NASTY * 100)

    page, text = await shown(no)

    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<h1>Not signed in</h1>" in text
    assert "was not let in (access_denied" in text
    assert "The issuer says: &lt;/p&gt;&lt;script&gt;" in text
    assert '<a href="/">' in text
    assert [
        mark for mark in ("<script", "\x1b", "\u202e", back.query["state"]) if mark in text
    ] == []
    assert len(text) < 3000
    found = await desk.credential()
    assert "access_denied" in found["last_error"]
    assert found["advice"] == "Sign in again here, or run 'tokenproxy login shop'."
    assert [each.credential for each in desk.proxy.events if isinstance(each, SignInFailed)] == [
        "shop"
    ]
    check_foreign(await back.arrive())


async def test_an_answer_of_another_issuer_is_not_used(opened: Open, oauth: OAuth2Issuer) -> None:
    """RFC 9207 2.4."""
    for told in ("https://evil.example", None):
        desk = await opened(person(oauth))
        _, text = await shown((await signed_in_there(desk)).bringing(iss=told))
        assert "an answer that another issuer sent" in text
        await check_nothing_has_changed(desk, oauth)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (faults.UNAVAILABLE, "503"),
        (faults.DropBeforeAnswer(), "closed the connection without an answer"),
    ],
)
async def test_a_code_that_cannot_be_exchanged_is_told_and_another_sign_in_mends_it(
    opened: Open, oauth: OAuth2Issuer, fault: Any, sentence: str
) -> None:
    desk = await opened(person(oauth))
    back = await signed_in_there(desk)
    oauth.fail_next(1, fault, endpoint=OAuth2Endpoint.TOKEN)
    _, text = await shown(back)
    assert sentence in text
    assert back.query["code"] not in text
    assert (await desk.credential())["last_error"] is not None
    assert (await (await signed_in_there(desk)).arrive()).headers["Location"] == "/"
    found = await desk.credential()
    assert (found["state"], found["last_error"], found["advice"]) == ("fresh", None, None)
