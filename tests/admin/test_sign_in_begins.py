"""A sign-in begins by the admin listener, or says why it cannot; a device code ends there too."""

from pathlib import Path
from typing import Any

import pytest

from tests.admin.conftest import Open
from tests.admin.signing_in import (
    SIGN_IN,
    person,
    signed_in_there,
    until,
)
from tests.conftest import STATIC
from tests.wire import Upstream
from tokenproxy.testing import OAuth2Endpoint, OAuth2Issuer, Person, faults

pytestmark = pytest.mark.only("wire")


# -- what cannot begin -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "name", "told"),
    [
        (None, "shop", (409, "no_sign_in")),
        ({}, "none", (404, "no_credential")),
        ({"redirect_uri": "http://127.0.0.1/callback"}, "shop", (409, "sign_in_elsewhere")),
    ],
)
async def test_what_nobody_can_sign_in_to_here_says_so(
    opened: Open,
    oauth: OAuth2Issuer,
    keys: dict[str, Any] | None,
    name: str,
    told: tuple[int, str],
) -> None:
    desk = await opened(STATIC if keys is None else person(oauth, **keys))
    said = await desk.post(f"/api/credentials/{name}/sign-in")
    assert (said.status, said.json["code"]) == told
    assert said.headers["Content-Type"] == "application/problem+json"
    assert oauth.calls == []


async def test_a_redirect_uri_of_this_page_is_used(opened: Open, oauth: OAuth2Issuer) -> None:
    desk = await opened(person(oauth, redirect_uri="http://127.0.0.1/oauth/callback"))
    assert (await (await signed_in_there(desk)).arrive()).headers["Location"] == "/"
    there = f"http://localhost:{desk.authority.rpartition(':')[2]}"
    elsewhere = await desk.post(SIGN_IN, Host=there.removeprefix("http://"))
    assert f"open {desk.url}/ instead" in elsewhere.json["detail"]


async def test_on_a_unix_socket_the_verb_is_named(
    opened: Open, oauth: OAuth2Issuer, tmp_path: Path
) -> None:
    desk = await opened(person(oauth), admin=f"unix:{tmp_path / 'admin.sock'}")
    said = await desk.post(SIGN_IN)
    assert said.status == 409
    assert "run 'tokenproxy login shop'" in said.json["detail"]


@pytest.mark.parametrize("grant", ["authorization_code", "device_code"])
async def test_an_issuer_that_is_down_is_told_and_may_be_asked_again(
    opened: Open, oauth: OAuth2Issuer, grant: str
) -> None:
    desk = await opened(person(oauth, grant))
    oauth.fail_next(9, faults.UNAVAILABLE)
    said = await desk.post(SIGN_IN)
    assert (said.status, said.json["code"]) == (503, "token_unavailable")
    assert int(said.headers["Retry-After"]) >= 1
    assert "shop" in said.json["detail"]
    oauth.recover()
    assert (await desk.post(SIGN_IN)).status == 200


async def test_an_issuer_that_refuses_to_begin_is_told(opened: Open, oauth: OAuth2Issuer) -> None:
    oauth.metadata = {"authorization_endpoint": faults.ABSENT}
    said = await (await opened(person(oauth))).post(SIGN_IN)
    assert (said.status, said.json["code"]) == (502, "login_required")
    assert "authorization_endpoint" in said.json["detail"]


# -- on another device -------------------------------------------------------------------------


async def test_a_code_is_shown_and_its_token_comes_by_itself(
    opened: Open, oauth: OAuth2Issuer, upstream: Upstream
) -> None:
    desk = await opened(person(oauth, "device_code"))
    now = desk.proxy.clock.now().wall
    code = (await desk.post(SIGN_IN)).json
    assert code.pop("expires_at") - now == pytest.approx(600, abs=30)
    assert code == {
        "type": "device_code",
        "verification_uri": f"{oauth.issuer}/activate",
        "verification_uri_complete": f"{oauth.issuer}/activate?user_code={code['user_code']}",
        "user_code": code["user_code"],
    }
    await until(desk, state="fresh")
    assert (await desk.proxy.ask()).status == 200


async def test_who_asks_twice_gets_the_same_code_while_it_is_good(
    opened: Open, oauth: OAuth2Issuer
) -> None:
    oauth.interval = 60
    desk = await opened(person(oauth, "device_code"))
    first, second = [(await desk.post(SIGN_IN)).json for _ in range(2)]
    desk.proxy.clock.skip(601)
    third = (await desk.post(SIGN_IN)).json
    assert first == second
    assert third["expires_at"] > first["expires_at"] + 600
    assert len(oauth.calls_to(OAuth2Endpoint.DEVICE)) == 2


async def test_who_says_no_there_is_told_what_to_do(opened: Open, oauth: OAuth2Issuer) -> None:
    oauth.person = Person.DECLINES
    desk = await opened(person(oauth, "device_code"))
    await desk.post(SIGN_IN)
    found = await until(
        desk,
        last_error="credential 'shop' was not let in: whoever was asked said "
        "no; run 'tokenproxy login shop' again",
    )
    assert found["advice"] == "Sign in again here, or run 'tokenproxy login shop'."
    assert found["state"] == "login_required"
    oauth.person = Person.AGREES
    assert (await desk.post(SIGN_IN)).status == 200
    found = await until(desk, state="fresh")
    assert (found["last_error"], found["advice"]) == (None, None)


async def test_a_code_that_nobody_types_ends_with_the_proxy(
    opened: Open, oauth: OAuth2Issuer
) -> None:
    oauth.interval = 60
    desk = await opened(person(oauth, "device_code"))
    assert (await desk.post(SIGN_IN)).status == 200
    desk.proxy.stop()  # and nothing is left behind
