from typing import Any

import pytest

from tests.settings.written import read, read_route, told_of_route

NOT_AN_ORIGIN = (
    "must be a page's origin and nothing after it, as in https://app.example or "
    "http://localhost:3000"
)


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://app.example", "https://app.example"),
        ("HTTPS://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_an_origin_is_kept_as_browsers_write_it(written: str, origin: str) -> None:
    assert read_route(cors={"origins": [written]}).cors.origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "app.example",
        "https://app.example/",
        "https://app.example/x",
        "https://*.app.example",
        "https://anna@app.example",
        "https://app.example?x",
        "https://äpp.example",
        "https://",
        "file:///",
    ],
)
def test_what_is_no_origin_is_told_as_that(origin: str) -> None:
    assert told_of_route(cors={"origins": [origin]}) == [f"cors.origins.0: {NOT_AN_ORIGIN}"]


def test_the_null_origin_is_nobodys() -> None:
    (told,) = told_of_route(cors={"origins": ["null"]})
    assert told.startswith("cors.origins.0: is what any sandboxed page and local file says")


@pytest.mark.parametrize("origin", ["https://a.example:99999", "http://[:::1]"])
def test_an_origin_has_an_address_that_is_one(origin: str) -> None:
    assert told_of_route(cors={"origins": [origin]}) == [
        "cors.origins.0: has a port or an address that is none"
    ]


def test_everybody_may_neither_use_a_token_nor_their_cookies() -> None:
    everybody = {"upstream": "https://api.example", "cors": {"origins": ["*"]}}
    assert read({"routes": [everybody]}).routes[0].cors.origins == ("*",)
    assert told_of_route(cors={"origins": ["*"]}) == [
        "would let every page in the world use its token: name the pages in 'cors.origins' "
        "instead of '*'"
    ]
    assert told_of_route(cors={"origins": ["*"], "credentials": True}) == [
        "cors: would let every page in the world call with your cookies: name the pages in "
        "'origins' instead of '*', or leave 'credentials' out"
    ]


def test_one_hand_writes_what_pages_are_told() -> None:
    changes = {"set": {"Access-Control-Allow-Origin": "*"}, "remove": ["Access_Control_Max_Age"]}
    read_route(response_headers=changes)
    told = told_of_route(response_headers=changes, cors={"origins": ["https://app.example"]})
    assert told == [
        "changes 'Access-Control-Allow-Origin' in 'response_headers', which 'cors' fills: leave "
        "it out",
        "changes 'Access_Control_Max_Age' in 'response_headers', which 'cors' fills: leave it out",
    ]


@pytest.mark.parametrize("glob", ["/shop", "/shop/**", "/shop/a?/*", "/**", "/*", "/s*/x"])
def test_a_glob_that_can_match_below_the_route_is_fine(glob: str) -> None:
    route = read_route(path="/shop", allow={"paths": [glob]}, deny={"paths": [glob]})
    assert (route.allow.paths, route.deny.paths) == ((glob,), (glob,))


NEVER = (
    "names '{}' in '{}', which no path below '/shop' can match: write it as callers do, with the "
    "route's 'path' before it"
)


@pytest.mark.parametrize("glob", ["/items/**", "/shopping", "/sho", "/shop?", "/shopx*"])
def test_a_glob_that_can_match_nothing_is_a_mistake(glob: str) -> None:
    for key in ("allow", "deny"):
        assert told_of_route(path="/shop", **{key: {"paths": [glob]}}) == [NEVER.format(glob, key)]


@pytest.mark.parametrize(
    ("glob", "sentence"),
    [
        ("", "must start with '/'"),
        ("items", "must start with '/'"),
        ("**/items", "must start with '/'"),
        ("/a b", "must be plain"),
        ("/a%20b", "must be plain"),
        ("/a#b", "must be plain"),
        ("/a\\b", "must be plain"),
        ("/é", "must be plain"),
        ("/a//b", "must not hold '//'"),
        ("/a/../b", "must not hold '//'"),
        ("/a/.", "must not hold '//'"),
        ("/a**", "must have '**' between slashes"),
        ("/***", "must have '**' between slashes"),
    ],
)
def test_a_glob_that_no_path_can_be_is_told_as_that(glob: str, sentence: str) -> None:
    (told,) = told_of_route(allow={"paths": [glob]})
    assert told.startswith(f"allow.paths.0: {sentence}")


def test_methods_are_written_in_any_case() -> None:
    assert read_route(deny={"methods": ["delete", "PURGE"]}).deny.methods == ("DELETE", "PURGE")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"allow": {"methods": ["GET POST"]}}, "allow.methods.0: is no method: write it as in GET"),
        ({"allow": {"methods": "GET"}}, "allow.methods: must be a list"),
        ({"deny": {"path": ["/x"]}}, "deny.path: is not a known key (did you mean 'paths'?)"),
        ({"cors": {"origin": []}}, "cors.origin: is not a known key (did you mean 'origins'?)"),
        ({"cors": {"credentials": "maybe"}}, "cors.credentials: must be true or false"),
    ],
)
def test_what_is_wrong_with_a_rule_is_told_as_that(settings: dict[str, Any], problem: str) -> None:
    (told,) = told_of_route(**settings)
    assert told.startswith(problem)
