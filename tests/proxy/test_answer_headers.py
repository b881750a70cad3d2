from typing import Any

import pytest

from tokenproxy.proxy.answer_headers import AnswerRules
from tokenproxy.proxy.headers import HOP_BY_HOP, Header
from tokenproxy.proxy.route import CompiledRoute
from tokenproxy.settings.route import Route

TARGET = b"/v2/items"


def rules(**settings: Any) -> AnswerRules:
    route = {"path": "/shop", "upstream": "https://api.example/v2", **settings}
    return CompiledRoute("r", Route.model_validate(route)).answers


def passed(headers: list[Header], **settings: Any) -> list[Header]:
    return rules(**settings).to_caller(headers, target=TARGET, scheme="http")


def test_what_no_rule_names_goes_on_in_order_with_repeats_and_case() -> None:
    headers = [
        (b"DATE", b"x"),
        (b"X-Twice", b"1"),
        (b"x_odd", b"\xe9"),
        (b"x-twice", b"2"),
        (b"Content-Length", b"5"),
        (b"Link", b"</v2/a>"),
        (b"Refresh", b"0; url=/v2"),
    ]
    assert passed(headers) == headers


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_what_is_for_one_hop_stops_here(name: bytes) -> None:
    assert passed([(name.title(), b"x"), (b"A", b"1"), (b"Content_Length", b"5")]) == [(b"A", b"1")]


def test_what_connection_nominates_stops_here_and_no_more() -> None:
    headers = [
        (b"Connection", b"X-A, content-length, location, x-set"),
        (b"x-a", b"1"),
        (b"Location", b"/v2"),
        (b"Content-Length", b"5"),
    ]
    expected = [(b"Content-Length", b"5"), (b"X-Set", b"1")]
    assert passed(headers, response_headers={"set": {"X-Set": "1"}}) == expected


def test_places_are_mapped_wherever_they_stand() -> None:
    headers = [
        (b"LOCATION", b"https://api.example/v2/a"),
        (b"Set-Cookie", b"a=b; Path=/v2; Domain=api.example; Secure"),
        (b"A", b"/v2/a"),
        (b"Content-Location", b"7"),
        (b"set-cookie", b"c=d; Path=/"),
    ]
    assert passed(headers) == [
        (b"LOCATION", b"/shop/a"),
        (b"Set-Cookie", b"a=b; Path=/shop"),
        (b"A", b"/v2/a"),
        (b"Content-Location", b"/shop/7"),
        (b"set-cookie", b"c=d; Path=/shop"),
    ]
    assert passed(headers, rewrite_location=False, rewrite_cookies=False) == headers
    mine, theirs = passed(headers, rewrite_location=False), passed(headers, rewrite_cookies=False)
    assert [mine[0], mine[1], theirs[0], theirs[1]] == [
        headers[0],
        (b"Set-Cookie", b"a=b; Path=/shop"),
        (b"LOCATION", b"/shop/a"),
        headers[1],
    ]


def test_an_upstream_that_got_the_callers_host_may_call_itself_so() -> None:
    headers = [(b"Location", b"http://localhost:8080/v2/a")]
    found = rules(preserve_host=True).to_caller(
        headers, target=TARGET, scheme="http", host=b"localhost:8080"
    )
    assert found == [(b"Location", b"/shop/a")]
    assert passed(headers) == headers


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/a/?access_token=T", "/shop/a/"),
        ("/v2/a/?b&%61ccess_token=T&c=%7e#access_token=d", "/shop/a/?b&c=%7e#access_token=d"),
        ("?access_token=T#d", "/shop/items#d"),
        ("/v2/access_token=a?b", "/shop/access_token=a?b"),
        ("/login?access_token=T", "https://api.example/login?access_token=T"),
    ],
)
def test_a_redirect_on_the_route_tells_no_token(location: str, expected: str) -> None:
    settings: dict[str, Any] = {"credential": "c", "inject": {"query": "access_token"}}
    headers = [(b"Location", location.encode())]
    assert passed(headers, **settings) == [(b"Location", expected.encode())]
    kept = passed(headers, client_authorization="keep", **settings)
    assert kept == passed(headers)


def test_only_an_https_listener_keeps_secure_cookies() -> None:
    headers = [(b"Set-Cookie", b"a=b; Secure")]
    assert rules().to_caller(headers, target=TARGET, scheme="https") == headers
    assert passed(headers) == [(b"Set-Cookie", b"a=b")]


CHANGES = {"set": {"Cache-Control": "no-store", "Location": "/v2"}, "remove": ["server", "X-A"]}


def test_headers_are_set_and_removed_in_every_spelling() -> None:
    headers = [
        (b"cache-control", b"public"),
        (b"Cache_Control", b"public"),
        (b"SERVER", b"x"),
        (b"x_a", b"1"),
        (b"location", b"/v2/a"),
        (b"B", b"2"),
    ]
    ours = [(b"Cache-Control", b"no-store"), (b"Location", b"/v2")]
    assert passed(headers, response_headers=CHANGES) == [(b"B", b"2"), *ours]
    assert passed([], response_headers=CHANGES) == ours


def test_an_interim_answer_is_given_nothing() -> None:
    headers = [(b"Server", b"x"), (b"Link", b"</a.css>"), (b"Connection", b"x"), (b"X", b"1")]
    found = rules(response_headers={"set": {"A": "1"}, "remove": ["Server"]}).to_caller(
        headers, target=TARGET, scheme="http", interim=True
    )
    assert found == [(b"Link", b"</a.css>")]


def test_a_head_is_read_and_never_changed() -> None:
    headers = [(b"Location", b"/v2"), (b"Connection", b"a"), (b"A", b"1"), (b"Set-Cookie", b"a")]
    before = list(headers)
    answers = rules(response_headers={"set": {"X": "1"}})
    first = answers.to_caller(headers, target=TARGET, scheme="http")
    assert answers.to_caller(headers, target=TARGET, scheme="http") == first
    assert headers == before
