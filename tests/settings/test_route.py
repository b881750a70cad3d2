from pathlib import Path
from typing import Any

import pytest

from tests.settings.written import read, read_route, told_of_route
from tokenproxy.settings.base import is_loopback
from tokenproxy.settings.route import Route

NO_SLASH = "must start with '/'"
NOT_PLAIN = "must be plain: no spaces, no '?', '#', '%' or '\\'"
DOTS = "must not hold '//', '.' or '..' segments"
NO_HOST = "must be a host name such as shop.localhost, without a port"
UNENCRYPTED = (
    "would send its token unencrypted: use an https 'upstream', or say 'allow_insecure: true'"
)


def test_a_route_needs_nothing_but_its_upstream() -> None:
    route = read({"routes": [{"upstream": "https://api.example/v2"}]}).routes[0]

    assert route == Route(upstream="https://api.example/v2")
    assert (route.path, route.host, route.credential) == ("/", None, None)


def test_an_upstream_is_never_left_out() -> None:
    assert told_of_route(upstream=None) == ["upstream: is empty: must be text"]
    assert told_of_route(upstrem="x")[0] == "upstrem: is not a known key (did you mean 'upstream'?)"


# -- path ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/shop", "/shop/", "/a/b.c/~d", "/.well-known", "/a...b", "/a:b@c!$&'()*+,;=|"]
)
def test_a_path_stays_as_it_is_written(path: str) -> None:
    assert read_route(path=path.replace("$", "$$")).path == path


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("", NO_SLASH),
        ("shop", NO_SLASH),
        (" /shop", NO_SLASH),
        ("https://shop.example", NO_SLASH),
        ("/sh op", NOT_PLAIN),
        ("/shop?a=b", NOT_PLAIN),
        ("/shop#a", NOT_PLAIN),
        ("/shop%20a", NOT_PLAIN),
        ("/shop\\a", NOT_PLAIN),
        ("/shöp", NOT_PLAIN),
        ("/shop\n", NOT_PLAIN),
        ("//", DOTS),
        ("/shop//a", DOTS),
        ("/.", DOTS),
        ("/shop/..", DOTS),
        ("/shop/./a", DOTS),
        ("/../shop", DOTS),
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_refused(path: str, sentence: str) -> None:
    assert told_of_route(path=path) == [f"path: {sentence}"]


# -- host ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("shop.localhost", "shop.localhost"),
        ("Shop.Example", "shop.example"),
        ("a", "a"),
        ("my_shop-2.example", "my_shop-2.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[FE80::1]", "[fe80::1]"),
        (None, None),
    ],
)
def test_a_host_has_no_case(written: str | None, host: str | None) -> None:
    assert read_route(host=written).host == host


@pytest.mark.parametrize(
    "host",
    [
        "",
        "shop.localhost:8080",
        "[::1]:8080",
        "::1",
        "https://shop.localhost",
        "shop.localhost/",
        "*.localhost",
        ".localhost",
        "shop.",
        "-shop",
        "my shop",
        "shöp.example",
        "shop\n",
    ],
)
def test_what_is_no_host_name_is_told_as_that(host: str) -> None:
    assert told_of_route(host=host) == [f"host: {NO_HOST}"]


# -- upstream --------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://api.example/v2?", "https://api.example/v2?a=b"])
def test_an_upstream_has_no_query(url: str) -> None:
    assert told_of_route(upstream=url) == ["upstream: must not hold a query ('?')"]


@pytest.mark.parametrize(
    "url", ["unix:/run/api.sock", "api.example", "https://anna@api.example", "ftp://api.example"]
)
def test_an_upstream_is_a_plain_url(url: str) -> None:
    assert [problem.partition(":")[0] for problem in told_of_route(upstream=url)] == ["upstream"]


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("shop.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("api.example", False),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("127.0.0.1.example", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("192.168.0.1", False),
        ("2130706433", False),
        ("127.1", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_names_and_addresses(host: str, here: bool) -> None:
    assert is_loopback(host) is here


@pytest.mark.parametrize(
    "upstream",
    [
        "http://api.example",
        "http://10.0.0.1:8000/v2",
        "HTTP://api.example",
        "http://localhost.example",
        "http://127.0.0.1.example",
    ],
)
def test_a_token_leaves_this_machine_only_encrypted_unless_the_route_allows_it(
    upstream: str,
) -> None:
    assert told_of_route(upstream=upstream) == [UNENCRYPTED]
    assert read_route(upstream=upstream, allow_insecure=True).upstream == upstream


@pytest.mark.parametrize(
    "upstream",
    ["http://localhost:9000", "http://LOCALHOST", "http://[::1]:9000", "HTTPS://api.example"],
)
def test_a_token_may_go_to_this_machine_and_over_tls(upstream: str) -> None:
    assert read_route(upstream=upstream).upstream == upstream


def test_without_a_token_nothing_need_be_encrypted() -> None:
    route = read({"routes": [{"upstream": "http://api.example", "credential": None}]}).routes[0]

    assert route.upstream == "http://api.example"


def test_all_that_is_wrong_with_a_route_is_told_at_once() -> None:
    problems = told_of_route(upstream="http://api.example", path="x", host="a:1", forwarded="no")

    assert sorted(problems) == [
        "forwarded: must be 'drop', 'keep' or 'set'",
        f"host: {NO_HOST}",
        f"path: {NO_SLASH}",
        UNENCRYPTED,
    ]


# -- the rest --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"name": ""}, "name: must not be empty"),
        ({"strip_path": "maybe"}, "strip_path: must be true or false"),
        ({"via": 2}, "via: must be true or false"),
        ({"timeouts": {"connect": None}}, "timeouts.connect: must be a duration"),
        ({"timeouts": {"idle": "0s"}}, "timeouts.idle: must be more than 0"),
        ({"timeouts": {"response_head": 0}}, "timeouts.response_head: must be more than 0"),
        ({"timeouts": 5}, "timeouts: must be a mapping"),
        ({"replay": {"memory": "1 lot"}}, "replay.memory: must be a size"),
        ({"replay": {"max_bdy": 1}}, "replay.max_bdy: is not a known key (did you mean 'max_body"),
        ({"tls": {"verfy": True}}, "tls.verfy: is not a known key (did you mean 'verify'?)"),
    ],
)
def test_each_key_has_its_own_kind_of_value(settings: dict[str, Any], problem: str) -> None:
    problems = told_of_route(**settings)

    assert [one.startswith(problem) for one in problems] == [True], problems


def test_no_answer_need_ever_begin_where_the_route_is_for_long_polls() -> None:
    assert read_route(timeouts={"response_head": None}).timeouts.response_head is None


def test_a_replay_may_be_kept_in_a_folder_of_its_own() -> None:
    replay = read_route(replay={"memory": 0, "max_body": "1GiB", "dir": "/var/tmp"}).replay

    assert (replay.memory, replay.max_body, replay.dir) == (0, 1 << 30, Path("/var/tmp"))
