from typing import Any

import pytest

from tests.settings.written import read_route, told_of_route
from tokenproxy.settings.injection import (
    Basic,
    BasicInjection,
    CookieInjection,
    HeaderInjection,
    QueryInjection,
)

OURS = "is a header that the proxy sets itself: name another one for the token"
NO_NAME = "is no name: use letters, digits, '-' and '_'"
NO_VALUE = "must be plain ASCII that holds '{token}', as in \"Bearer {token}\""


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({}, HeaderInjection(header="Authorization", value="Bearer {token}")),
        ({"value": "Token {token}"}, HeaderInjection(value="Token {token}")),
        ({"header": "X-Api-Key"}, HeaderInjection(header="X-Api-Key")),
        (
            {"header": "Cookie", "value": "s={token}"},
            HeaderInjection(header="Cookie", value="s={token}"),
        ),
        ({"query": "access token[]"}, QueryInjection(query="access token[]")),
        ({"cookie": "session"}, CookieInjection(cookie="session")),
        ({"basic": {"username": ""}}, BasicInjection(basic=Basic(username=""))),
    ],
)
def test_each_place_is_told_by_the_key_that_it_has(written: dict[str, Any], read: Any) -> None:
    assert read_route(inject=written).inject == (read,)


def test_the_token_goes_into_the_authorization_header_unless_the_route_says() -> None:
    assert read_route().inject == (HeaderInjection(header="Authorization", value="Bearer {token}"),)


def test_a_token_can_go_to_several_places() -> None:
    route = read_route(inject=[{"header": "X-Token"}, {"query": "token"}, {"cookie": "token"}])

    assert [type(place) for place in route.inject] == [
        HeaderInjection,
        QueryInjection,
        CookieInjection,
    ]


@pytest.mark.parametrize(
    "header",
    [
        "Connection",
        "Content-Length",
        "Expect",
        "Host",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Via",
        "host",
        "HOST",
        "Transfer_Encoding",
        "content_length",
        "Keep_Alive",
    ],
)
def test_a_header_that_frames_or_routes_the_message_takes_no_token(header: str) -> None:
    assert told_of_route(inject={"header": header}) == [f"inject.header: {OURS}"]


@pytest.mark.parametrize("header", ["Hosts", "X-Host", "Content-Type", "Proxy-Authorization"])
def test_a_header_that_only_looks_like_one_of_those_does(header: str) -> None:
    assert read_route(inject={"header": header}).inject == (HeaderInjection(header=header),)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"header": ""}, f"inject.header: {NO_NAME}"),
        ({"header": "X Token"}, f"inject.header: {NO_NAME}"),
        ({"header": "X-Token: x"}, f"inject.header: {NO_NAME}"),
        ({"header": "X\r\nEvil"}, f"inject.header: {NO_NAME}"),
        ({"header": ["X-Token"]}, "inject.header: must be text, not a list"),
        ({"value": "Bearer"}, f"inject.value: {NO_VALUE}"),
        ({"value": ""}, f"inject.value: {NO_VALUE}"),
        ({"value": "Bearer {Token}"}, f"inject.value: {NO_VALUE}"),
        ({"value": "Bearer {token}\r\nX-Evil: 1"}, f"inject.value: {NO_VALUE}"),
        ({"value": "Bäarer {token}"}, f"inject.value: {NO_VALUE}"),
        ({"query": ""}, "inject.query: must not be empty"),
        ({"query": 7}, "inject.query: must be text: put it in quotes"),
        ({"cookie": ""}, f"inject.cookie: {NO_NAME}"),
        ({"cookie": "a=b"}, f"inject.cookie: {NO_NAME}"),
        ({"cookie": "a;b"}, f"inject.cookie: {NO_NAME}"),
        (
            {"basic": {"username": "a:b"}},
            "inject.basic.username: must not hold a ':' or control characters",
        ),
        ({"basic": {}}, "inject.basic.username: is missing"),
        ({"basic": "anna"}, "inject.basic: must be a mapping ('key: value' lines), not text"),
        ({"headr": "X"}, "inject.headr: is not a known key (did you mean 'header'?)"),
        ({"query": "q", "header": "X"}, "inject.header: is not a known key"),
        ({"cookie": "c", "value": "{token}"}, "inject.value: is not a known key"),
        ([{"query": "q"}, {"header": "Via"}], f"inject.1.header: {OURS}"),
        (7, "inject: must be a mapping ('key: value' lines), not a number or true or false"),
        ([], "inject: must name at least one place (or leave the key out)"),
        (
            "Authorization",
            "inject: must say where the token goes: {header: NAME}, {query: NAME}, "
            "{cookie: NAME} or {basic: {username: NAME}}",
        ),
    ],
)
def test_what_is_no_place_for_a_token_is_told_as_that(written: Any, problem: str) -> None:
    assert told_of_route(inject=written) == [problem]


@pytest.mark.parametrize("username", ["", "oauth2accesstoken", "anna b", "anna@shop", "änna"])
def test_basic_takes_any_user_name_without_a_colon(username: str) -> None:
    assert read_route(inject={"basic": {"username": username}}).inject == (
        BasicInjection(basic=Basic(username=username)),
    )


@pytest.mark.parametrize(
    "places",
    [
        [{}, {"header": "authorization"}],
        [{}, {"basic": {"username": "anna"}}],
        [{"header": "X-Token"}, {"header": "X_TOKEN"}],
        [{"basic": {"username": "a"}}, {"basic": {"username": "b"}}],
    ],
)
def test_a_header_holds_one_credential(places: list[dict[str, Any]]) -> None:
    assert told_of_route(inject=places) == [
        "inject: names the same header twice: each can hold one credential"
    ]


def test_a_query_parameter_and_a_cookie_may_have_the_name_of_a_header() -> None:
    places = [{"header": "Token"}, {"query": "Token"}, {"cookie": "Token"}]

    assert len(read_route(inject=places).inject) == 3
