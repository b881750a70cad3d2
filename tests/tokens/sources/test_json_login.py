import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from tokenproxy.clock import SystemClock
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.json_login import JsonLogin
from tokenproxy.testing import Issuer, Verdict, faults
from tokenproxy.testing.serving import Served
from tokenproxy.tokens.endpoint import Endpoint, open_session
from tokenproxy.tokens.source import Attempt
from tokenproxy.tokens.sources.json_login import JsonLoginSource
from tokenproxy.tokens.token import Granted, Record, Token

Build = Callable[..., JsonLoginSource]
PASSWORD = "demo-password"


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Recorder(Served):
    """Notes what it is asked, and gives every request the same answer."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._answer = {"access_token": "new"} if answer is None else answer

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._note)
        return app

    async def _note(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = await request.read()
        self.requests.append(Request(request.method, request.raw_path, headers, body))
        return web.json_response(self._answer)

    @property
    def last(self) -> Request:
        return self.requests[-1]


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    async with open_session(tls=True) as session:

        def _build(login: dict[str, Any], renew: dict[str, Any] | None = None) -> JsonLoginSource:
            given = {"type": "json", "login": login, "renew": renew}
            settings = JsonLogin.model_validate(given)
            endpoint = Endpoint("shop", session, 5, SystemClock())
            return JsonLoginSource("shop", settings, endpoint)

        yield _build


def _record(access: str | None = None, refresh: str | None = None) -> Record:
    token = None if access is None else Token(Secret(access), 1.0, None)
    return Record(1, token, None if refresh is None else Secret(refresh))


async def _login(source: JsonLoginSource) -> Granted:
    return await source.fetch(Attempt.LOGIN, Record())


# -- with an issuer --------------------------------------------------------------------------

NAMES = {"access_token": "data.access", "refresh_token": "data.refresh", "expires_in": "data.ttl"}


@pytest.mark.parametrize("kind", ["body", "form"])
async def test_login_and_renewal_with_an_issuer_of_another_shape(build: Build, kind: str) -> None:
    issuer = Issuer(
        access_name="data.access",
        refresh_name="data.refresh",
        expires_in_name="data.ttl",
        expires_in="60",
    )
    async with issuer:
        source = build(
            {
                "url": f"{issuer.url}/api/token/",
                kind: {"username": "demo", "password": PASSWORD},
                "fields": NAMES,
            },
            {
                "url": f"{issuer.url}/api/token/refresh/",
                kind: {"refresh": "{refresh_token}"},
                "fields": NAMES,
            },
        )
        first = await _login(source)
        assert first.token.expires_at is not None
        assert first.token.expires_at - first.token.issued_at == pytest.approx(60, abs=1)
        record = Record(1, first.token, first.refresh)
        assert source.attempts(record) == (Attempt.RENEW, Attempt.LOGIN)
        second = await source.fetch(Attempt.RENEW, record)
        assert issuer.accepts(second.token.access.reveal()) is Verdict.ACCEPTED
        assert second.refresh not in {None, first.refresh}
        with pytest.raises(SourceRefused, match=r"refresh/ refused \(401 token_not_valid\): "):
            await source.fetch(Attempt.RENEW, record)


async def test_a_wrong_password_is_refused_after_one_call(build: Build) -> None:
    async with Issuer() as issuer:
        login = {
            "url": f"{issuer.url}/api/token/?MARKER",
            "body": {"username": "demo", "password": "MARKER"},
            "fields": {"access_token": "access"},
        }
        with pytest.raises(SourceRefused, match=r"/api/token/ refused \(401\): ") as caught:
            await _login(build(login))
    assert issuer.logins == 1
    assert "MARKER" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        (faults.INVALID_GRANT_IN_200, True),
        (faults.EMPTY_403, True),
        (faults.SERVER_ERROR, False),
        (faults.HTML_PAGE, False),
    ],
    ids=str,
)
async def test_a_no_is_told_from_a_bad_day(
    build: Build, fault: faults.Fault, refused: bool
) -> None:
    async with Issuer() as issuer:
        issuer.fail_next(1, fault)
        login = {"url": f"{issuer.url}/api/token/", "body": {"username": "demo"}}
        with pytest.raises(SourceRefused if refused else SourceUnavailable):
            await _login(build(login))


async def test_a_field_that_is_named_wrongly_is_told_by_its_name(build: Build) -> None:
    async with Recorder({"data": {"token": "t"}}) as server:
        login = {"url": server.url, "fields": {"access_token": "data.accessToken"}}
        said = r"without a field 'data\.accessToken', where .* and 'login\.fields' in the config$"
        with pytest.raises(SourceUnavailable, match=said):
            await _login(build(login))


async def test_a_renewal_without_the_fields_of_a_login_is_told_as_such(build: Build) -> None:
    async with Recorder({"token": "t"}) as server:
        source = build({"url": server.url, "fields": {"access_token": "a"}}, {"url": server.url})
        with pytest.raises(SourceUnavailable, match=r"a field 'a', .* and 'renew\.fields' in"):
            await source.fetch(Attempt.RENEW, _record("old"))


async def test_a_renewal_has_the_fields_of_the_login_unless_it_names_its_own(build: Build) -> None:
    async with Recorder({"data": {"access": "one", "refresh": "two"}}) as server:
        source = build({"url": server.url, "fields": NAMES}, {"url": server.url})
        granted = await source.fetch(Attempt.RENEW, _record("old"))

    assert (granted.token.access, granted.refresh) == (Secret("one"), Secret("two"))


async def test_login_and_renewal_may_name_their_fields_differently(build: Build) -> None:
    async with Recorder({"a": "one", "b": "two"}) as server:
        source = build(
            {"url": server.url, "fields": {"access_token": "a"}},
            {"url": server.url, "fields": {"access_token": "b"}},
        )
        assert (await _login(source)).token.access == Secret("one")
        granted = await source.fetch(Attempt.RENEW, _record("old"))
    assert granted.token.access == Secret("two")


# -- what is sent ----------------------------------------------------------------------------


async def test_a_json_body_goes_out_as_it_is_written(build: Build) -> None:
    body = {"user": "é☃", "list": [1, None, True, {"deep": ["{other}", 2.5]}], "{name}": "x"}
    async with Recorder() as server:
        await _login(build({"url": f"{server.url}/login?a=%2f", "body": body}))
    assert (server.last.method, server.last.target) == ("POST", "/login?a=%2f")
    assert server.last.headers["content-type"] == "application/json"
    assert json.loads(server.last.body) == body


@pytest.mark.parametrize("body", [[], ["user", "password"], "text", 5, False, {}])
async def test_a_body_may_be_any_json(build: Build, body: Any) -> None:
    async with Recorder() as server:
        await _login(build({"url": server.url, "body": body}))
    assert json.loads(server.last.body) == body


async def test_a_form_is_encoded(build: Build) -> None:
    form = {"user name": "a b&c=d+e", "password": "é%☃\n"}
    async with Recorder() as server:
        await _login(build({"url": server.url, "form": form}))
    assert server.last.headers["content-type"] == "application/x-www-form-urlencoded"
    assert dict(parse_qsl(server.last.body.decode("ascii"))) == form


async def test_a_request_may_have_no_body(build: Build) -> None:
    async with Recorder() as server:
        login = {"url": server.url, "method": "GET", "headers": {"Authorization": "Basic eDp5"}}
        await _login(build(login))
    assert (server.last.method, server.last.body) == ("GET", b"")
    assert server.last.headers["authorization"] == "Basic eDp5"
    assert "content-type" not in server.last.headers


@pytest.mark.parametrize("name", ["Content-Type", "content-type"])
async def test_a_content_type_of_the_config_wins(build: Build, name: str) -> None:
    async with Recorder() as server:
        headers = {name: "application/vnd.shop+json"}
        await _login(build({"url": server.url, "headers": headers, "body": {}}))
    assert server.last.headers["content-type"] == "application/vnd.shop+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_method_may_be_another(build: Build, method: str) -> None:
    async with Recorder() as server:
        await _login(build({"url": server.url, "method": method, "body": {}}))
    assert server.last.method == method


# -- where tokens stand ----------------------------------------------------------------------


async def test_tokens_stand_in_bodies_and_headers(build: Build) -> None:
    async with Recorder() as server:
        renew = {
            "url": server.url,
            "headers": {"Authorization": "Bearer {refresh_token}", "X-Both": "{access_token}"},
            "body": {"tokens": ["{access_token}", {"r": "<{refresh_token}>"}], "n": 1},
        }
        source = build({"url": server.url}, renew)
        await source.fetch(Attempt.RENEW, _record("acc", "ref"))
    assert server.last.headers["authorization"] == "Bearer ref"
    assert server.last.headers["x-both"] == "acc"
    assert json.loads(server.last.body) == {"tokens": ["acc", {"r": "<ref>"}], "n": 1}


async def test_tokens_stand_in_forms(build: Build) -> None:
    async with Recorder() as server:
        form = {"r": "{refresh_token}{access_token}", "grant": "x"}
        source = build({"url": server.url}, {"url": server.url, "form": form})
        await source.fetch(Attempt.RENEW, _record("a&c", "r f"))
    assert dict(parse_qsl(server.last.body.decode())) == {"r": "r fa&c", "grant": "x"}


@pytest.mark.parametrize(
    ("access", "refresh"),
    [
        ("acc", "{access_token}"),
        ("{refresh_token}", "ref"),
        ("{refresh_token}", "{access_token}"),
        ("{access_token}", r"\1\g<0>{refresh_token}"),
    ],
)
async def test_a_token_that_looks_like_a_place_for_one_is_sent_as_it_is(
    build: Build, access: str, refresh: str
) -> None:
    async with Recorder() as server:
        body = {"a": "{access_token}", "r": "{refresh_token}", "b": "{access_token}{refresh_token}"}
        source = build({"url": server.url}, {"url": server.url, "body": body})
        await source.fetch(Attempt.RENEW, _record(access, refresh))
    assert json.loads(server.last.body) == {"a": access, "r": refresh, "b": access + refresh}


async def test_a_refresh_token_that_no_header_can_carry_is_not_sent_in_one(build: Build) -> None:
    async with Recorder() as server:
        renew = {"url": server.url, "headers": {"X-Refresh": "{refresh_token}"}}
        source = build({"url": server.url}, renew)
        with pytest.raises(SourceUnavailable, match="a header holds what HTTP does not") as caught:
            await source.fetch(Attempt.RENEW, _record("acc", "MARKER\r\nHost: evil"))
    assert "MARKER" not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("kind", ["body", "form"])
async def test_no_refresh_token_is_too_strange_for_a_body(build: Build, kind: str) -> None:
    async with Recorder() as server:
        source = build({"url": server.url}, {"url": server.url, kind: {"r": "{refresh_token}"}})
        granted = await source.fetch(Attempt.RENEW, _record("acc", "\ud800 \x00\r\n☃"))
    assert granted.token.access == Secret("new")


# -- what may be tried -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("renew", "record", "renews"),
    [
        (None, _record("a", "r"), False),
        ({"body": {"r": "{refresh_token}"}}, _record("a", "r"), True),
        ({"body": {"r": "{refresh_token}"}}, _record("a"), False),
        ({"body": {"r": "{refresh_token}"}}, Record(), False),
        ({"headers": {"X": "{access_token}"}}, _record("a"), True),
        ({"headers": {"X": "{access_token}"}}, _record(refresh="r"), False),
        ({"form": {"r": "{refresh_token}", "a": "{access_token}"}}, _record(refresh="r"), False),
        ({"form": {"r": "{refresh_token}", "a": "{access_token}"}}, _record("a", "r"), True),
        ({}, _record("a"), True),
        ({}, Record(), False),
        ({}, _record(refresh="r"), False),
    ],
)
async def test_renewal_is_tried_where_all_that_it_carries_is_there(
    build: Build, renew: dict[str, Any] | None, record: Record, renews: bool
) -> None:
    url = {"url": "https://shop.example"}
    source = build(url, None if renew is None else {**url, **renew})
    wanted = (Attempt.RENEW, Attempt.LOGIN) if renews else (Attempt.LOGIN,)
    assert source.attempts(record) == wanted
    assert source.renewable
    assert source.persistent
