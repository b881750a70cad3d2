import json
import math
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tokenproxy.testing import Call, Endpoint, Issuer, ManualClock, User, Verdict

LOGIN = {"username": "demo", "password": "demo-password"}
NO_ACCOUNT = {"detail": "No active account found with the given credentials"}
BLACKLISTED = {"detail": "Token is blacklisted", "code": "token_not_valid"}


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(client: aiohttp.ClientSession, url: str, **kwargs: Any) -> tuple[int, Any]:
    async with client.post(url, allow_redirects=False, **kwargs) as answer:
        return answer.status, json.loads(await answer.read())


async def log_in(client: aiohttp.ClientSession, issuer: Issuer) -> Any:
    status, tokens = await post(client, f"{issuer.url}/api/token/", json=LOGIN)
    assert status == 200
    return tokens


async def refresh(client: aiohttp.ClientSession, issuer: Issuer, token: str) -> tuple[int, Any]:
    return await post(client, f"{issuer.url}/api/token/refresh/", json={"refresh": token})


async def test_a_login_gives_a_pair_that_is_accepted(client: aiohttp.ClientSession) -> None:
    async with Issuer() as issuer:
        tokens = await log_in(client, issuer)
        assert list(tokens) == ["refresh", "access"]
        assert issuer.accepts(tokens["access"]) is Verdict.ACCEPTED


async def test_a_login_may_be_a_form(client: aiohttp.ClientSession) -> None:
    async with Issuer() as issuer:
        status, tokens = await post(client, f"{issuer.url}/api/token/", data=LOGIN)
        assert (status, list(tokens)) == (200, ["refresh", "access"])


@pytest.mark.parametrize(
    ("given", "status", "body"),
    [
        ({**LOGIN, "password": "wrong"}, 401, NO_ACCOUNT),
        ({**LOGIN, "username": "nobody"}, 401, NO_ACCOUNT),
        ({"username": "demo"}, 400, {"password": ["This field is required."]}),
        ({**LOGIN, "password": ""}, 400, {"password": ["This field may not be blank."]}),
        ([], 400, {"non_field_errors": ["Invalid data. Expected a dictionary."]}),
    ],
)
async def test_a_login_that_is_not_right_is_refused(
    client: aiohttp.ClientSession, given: Any, status: int, body: Any
) -> None:
    async with Issuer() as issuer:
        assert await post(client, f"{issuer.url}/api/token/", json=given) == (status, body)
        assert issuer.calls[0].refused


async def test_a_body_that_is_neither_json_nor_a_form_is_turned_down(
    client: aiohttp.ClientSession,
) -> None:
    async with Issuer() as issuer:
        url = f"{issuer.url}/api/token/"
        headers = {"Content-Type": "text/plain"}
        status, body = await post(client, url, data=b"hello", headers=headers)
        assert (status, body) == (
            415,
            {"detail": 'Unsupported media type "text/plain" in request.'},
        )
        headers = {"Content-Type": "application/json"}
        status, body = await post(client, url, data=b"{", headers=headers)
        assert status == 400
        assert body["detail"].startswith("JSON parse error - ")


async def test_a_changed_password_is_wanted_from_then_on(client: aiohttp.ClientSession) -> None:
    async with Issuer() as issuer:
        issuer.password = "another"
        url = f"{issuer.url}/api/token/"
        assert (await post(client, url, json=LOGIN))[0] == 401
        assert (await post(client, url, json={**LOGIN, "password": "another"}))[0] == 200


async def test_the_account_and_the_name_of_its_field_can_be_chosen(
    client: aiohttp.ClientSession,
) -> None:
    async with Issuer(username="u@x", password="p", username_field="email") as issuer:
        url = f"{issuer.url}/api/token/"
        assert (await post(client, url, json={"email": "u@x", "password": "p"}))[0] == 200
        status, body = await post(client, url, json={"username": "u@x", "password": "p"})
        assert (status, body) == (400, {"email": ["This field is required."]})


async def test_a_refresh_rotates_and_the_old_token_is_blacklisted(
    client: aiohttp.ClientSession,
) -> None:
    async with Issuer() as issuer:
        first = await log_in(client, issuer)
        status, second = await refresh(client, issuer, first["refresh"])
        assert (status, list(second)) == (200, ["access", "refresh"])
        assert issuer.accepts(second["access"]) is Verdict.ACCEPTED
        assert await refresh(client, issuer, first["refresh"]) == (401, BLACKLISTED)
        assert (issuer.refreshes, issuer.refused_refreshes, issuer.reused) == (2, 1, 1)
        assert issuer.accepts(second["access"]) is Verdict.ACCEPTED


async def test_with_rotation_off_a_refresh_gives_an_access_token_alone(
    client: aiohttp.ClientSession,
) -> None:
    async with Issuer(rotate=False) as issuer:
        first = await log_in(client, issuer)
        for _ in range(2):
            status, second = await refresh(client, issuer, first["refresh"])
            assert (status, list(second)) == (200, ["access"])


async def test_a_reuse_that_kills_ends_the_session_for_everyone(
    client: aiohttp.ClientSession,
) -> None:
    async with Issuer(reuse_kills_session=True) as issuer:
        first = await log_in(client, issuer)
        _, second = await refresh(client, issuer, first["refresh"])
        await refresh(client, issuer, first["refresh"])
        assert issuer.accepts(second["access"]) is Verdict.BLACKLISTED
        assert await refresh(client, issuer, second["refresh"]) == (401, BLACKLISTED)
        assert issuer.reused == 1


async def test_a_sliding_token_is_exchanged_for_its_successor(
    client: aiohttp.ClientSession,
) -> None:
    clock = ManualClock()
    async with Issuer(sliding=True, access_life=10, clock=clock) as issuer:
        first = await log_in(client, issuer)
        assert list(first) == ["token"]
        assert issuer.accepts(first["token"]) is Verdict.ACCEPTED
        clock.jump(wall=9)
        url = f"{issuer.url}/api/token/refresh/"
        status, second = await post(client, url, json=first)
        assert (status, list(second)) == (200, ["token"])
        clock.jump(wall=9)
        assert issuer.accepts(first["token"]) is Verdict.EXPIRED
        assert issuer.accepts(second["token"]) is Verdict.ACCEPTED
        status, body = await post(client, url, json=first)
        assert (status, body) == (401, {"detail": "Token is expired", "code": "token_not_valid"})


async def test_lives_are_told_by_the_issuers_clock_and_its_skew(
    client: aiohttp.ClientSession,
) -> None:
    clock = ManualClock()
    async with Issuer(access_life=300, clock=clock) as issuer:
        tokens = await log_in(client, issuer)
        issuer.skew = 299
        assert issuer.accepts(tokens["access"]) is Verdict.ACCEPTED
        issuer.skew = 300
        assert issuer.accepts(tokens["access"]) is Verdict.EXPIRED
        issuer.skew = 0
        clock.jump(wall=300)
        assert issuer.accepts(tokens["access"]) is Verdict.EXPIRED


async def test_access_tokens_end_now_and_a_refresh_helps(client: aiohttp.ClientSession) -> None:
    async with Issuer() as issuer:
        first = await log_in(client, issuer)
        issuer.expire_now()
        assert issuer.accepts(first["access"]) is Verdict.EXPIRED
        status, second = await refresh(client, issuer, first["refresh"])
        assert status == 200
        assert issuer.accepts(second["access"]) is Verdict.ACCEPTED


async def test_all_tokens_are_revoked_and_a_login_helps(client: aiohttp.ClientSession) -> None:
    async with Issuer() as issuer:
        first = await log_in(client, issuer)
        issuer.revoke()
        assert await refresh(client, issuer, first["refresh"]) == (401, BLACKLISTED)
        assert issuer.reused == 0
        second = await log_in(client, issuer)
        assert issuer.accepts(second["access"]) is Verdict.ACCEPTED


async def test_an_inactive_user_is_refused_everywhere(client: aiohttp.ClientSession) -> None:
    async with Issuer() as issuer:
        tokens = await log_in(client, issuer)
        issuer.user = User.INACTIVE
        assert issuer.user is User.INACTIVE
        assert await post(client, f"{issuer.url}/api/token/", json=LOGIN) == (401, NO_ACCOUNT)
        status, body = await refresh(client, issuer, tokens["refresh"])
        assert (status, body) == (401, {"detail": "No active account found for the given token."})
        assert issuer.accepts(tokens["access"]) is Verdict.INACTIVE


async def test_a_deleted_user_is_a_page_at_refresh(client: aiohttp.ClientSession) -> None:
    async with Issuer() as issuer:
        tokens = await log_in(client, issuer)
        issuer.user = User.DELETED
        given = {"refresh": tokens["refresh"]}
        async with client.post(f"{issuer.url}/api/token/refresh/", json=given) as answer:
            assert (answer.status, answer.content_type) == (500, "text/html")
            assert "Server Error (500)" in await answer.text()


async def test_names_of_the_answer_can_be_chosen_and_nested(client: aiohttp.ClientSession) -> None:
    names: dict[str, Any] = {"access_name": "data.accessToken", "refresh_name": "data.renewal.key"}
    async with Issuer(**names, expires_in_name="data.ttl", expires_in="300") as issuer:
        tokens = await log_in(client, issuer)
        assert list(tokens) == ["data"]
        assert tokens["data"]["ttl"] == "300"
        assert issuer.accepts(tokens["data"]["accessToken"]) is Verdict.ACCEPTED
        given = {"key": tokens["data"]["renewal"]["key"]}
        status, body = await post(client, f"{issuer.url}/api/token/refresh/", json=given)
        assert (status, sorted(body["data"])) == (200, ["accessToken", "renewal", "ttl"])


@pytest.mark.parametrize("odd", [300, "300", 0.5, None, 0, -1, 1e18, math.inf, [], ""])
async def test_expires_in_is_sent_as_it_is(client: aiohttp.ClientSession, odd: object) -> None:
    async with Issuer(expires_in=odd) as issuer:
        assert (await log_in(client, issuer))["expires_in"] == odd


async def test_expires_in_may_be_no_number_at_all(client: aiohttp.ClientSession) -> None:
    async with Issuer(expires_in=math.nan) as issuer:
        assert math.isnan((await log_in(client, issuer))["expires_in"])


async def test_every_call_is_on_record_with_its_time_and_end(
    client: aiohttp.ClientSession,
) -> None:
    clock = ManualClock()
    async with Issuer(clock=clock) as issuer:
        tokens = await log_in(client, issuer)
        began = clock.now()
        clock.jump(wall=1, steady=1)
        await refresh(client, issuer, "nonsense")
        await refresh(client, issuer, tokens["refresh"])
        assert issuer.calls == [
            Call(Endpoint.LOGIN, began, 200),
            Call(Endpoint.REFRESH, began.after(1), 401),
            Call(Endpoint.REFRESH, began.after(1), 200),
        ]
        assert [call.refused for call in issuer.calls] == [False, True, False]
        assert (issuer.logins, issuer.refreshes, issuer.refused_refreshes) == (1, 2, 1)


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (None, False),
        (200, False),
        (400, True),
        (401, True),
        (403, True),
        (429, False),
        (500, False),
    ],
)
def test_only_a_no_for_good_is_a_refusal(status: int | None, *, refused: bool) -> None:
    assert Call(Endpoint.LOGIN, ManualClock().now(), status).refused is refused


async def test_rotation_and_lives_may_be_changed_while_it_serves(
    client: aiohttp.ClientSession,
) -> None:
    async with Issuer(rotate=True, access_life=300) as issuer:
        tokens = await log_in(client, issuer)
        issuer.rotate, issuer.access_life = False, 30
        assert (issuer.rotate, issuer.access_life) == (False, 30)
        _, renewed = await refresh(client, issuer, tokens["refresh"])
        assert list(renewed) == ["access"]
