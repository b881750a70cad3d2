from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.settings.written import read, read_route, told_of_route
from tokenproxy.settings.base import is_loopback
from tokenproxy.settings.route import Route
from tokenproxy.settings.upstream import egress_url, unix_path

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
        "[1.2]",
        "[::1",
        "a..b",
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
    told = told_of_route(upstream="unix:/run/api.sock", upstream_host=host)
    assert told == [f"upstream_host: {NO_HOST}"]


# -- upstream --------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://api.example/v2?", "https://api.example/v2?a=b"])
def test_an_upstream_has_no_query(url: str) -> None:
    assert told_of_route(upstream=url) == ["upstream: must not hold a query ('?')"]


@pytest.mark.parametrize(
    "url", ["unix:run/api.sock", "api.example", "https://anna@api.example", "ftp://api.example"]
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
        ({"max_connections": 0}, "max_connections: must be at least 1"),
        ({"max_connections": True}, "max_connections: must be a number"),
        ({"max_connections": 1.5}, "max_connections: must be a whole number"),
        ({"preserve_host": "x"}, "preserve_host: must be true or false"),
        ({"rewrite_location": 2}, "rewrite_location: must be true or false"),
        ({"rewrite_cookies": 2}, "rewrite_cookies: must be true or false"),
        ({"upgrade": "websocket"}, "upgrade: must be a list"),
        ({"headers": {"X-A": "b"}}, "headers.X-A: is not a known key"),
        (
            {"client_authorization": "drop"},
            "client_authorization: must be 'overwrite', 'keep' or 'reject'",
        ),
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


# -- a unix socket as upstream ---------------------------------------------------------------

NO_SOCKET = (
    "upstream: must name a socket and nothing else, as in unix:/run/api.sock: a base path or "
    "query cannot follow it"
)


@pytest.mark.parametrize("host", [None, "api.example"])
def test_an_upstream_may_be_a_socket_and_takes_a_token(host: str | None) -> None:
    route = read_route(upstream="unix:/run/api.sock", upstream_host=host)

    assert (route.upstream, route.upstream_host) == ("unix:/run/api.sock", host)
    assert unix_path(route.upstream) == "/run/api.sock"
    assert unix_path("http://localhost") is None


@pytest.mark.parametrize(
    ("upstream", "problem"),
    [
        ("unix:run/api.sock", "upstream: must be an absolute path, as in unix:/run/api.sock"),
        ("unix:", "upstream: must be an absolute path, as in unix:/run/api.sock"),
        ("unix:/run/", NO_SOCKET),
        ("unix:/run/api.sock:/v2", NO_SOCKET),
        ("unix:/run/api.sock?a=b", NO_SOCKET),
        ("unix:/run/api.sock#a", NO_SOCKET),
        ("unix:/run/a\0", NO_SOCKET),
        (
            "unix:/" + "a" * 107,
            "upstream: is longer than the 107 bytes that a socket's path may have",
        ),
    ],
)
def test_a_socket_is_a_path_alone(upstream: str, problem: str) -> None:
    assert told_of_route(upstream=upstream) == [problem]


def test_only_a_socket_has_a_host_of_its_own_and_no_way_through_a_proxy() -> None:
    assert told_of_route(upstream_host="api.example") == [
        "has an 'upstream_host', which is for a unix socket: the URL in 'upstream' has a host "
        "already"
    ]
    assert told_of_route(upstream="unix:/run/a", egress_proxy="env", upstream_host="a:1") == [
        "has an 'egress_proxy', which cannot reach a unix socket: leave it out",
        f"upstream_host: {NO_HOST}",
    ]


# -- egress_proxy ----------------------------------------------------------------------------

NO_PROXY = "must be 'env', or the proxy's http:// URL, as in http://proxy.example:3128"


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        (None, False),
        ("env", False),
        ("http://proxy.example:3128", False),
        ("HTTP://[::1]:3128/", False),
        ("http://anna:s3cr3t@proxy.example:3128", True),
        ("http://anna@proxy.example", True),
    ],
)
def test_a_proxy_with_a_password_is_a_secret(written: str | None, secret: bool) -> None:
    proxy = read_route(egress_proxy=written).egress_proxy

    assert isinstance(proxy, SecretStr) is secret
    assert egress_url(proxy) == written
    assert "s3cr3t" not in repr(proxy)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("", NO_PROXY),
        ("ENV", NO_PROXY),
        (3128, NO_PROXY),
        ("proxy.example:3128", NO_PROXY),
        ("https://proxy.example", NO_PROXY),
        ("socks5://proxy.example", NO_PROXY),
        ("http://", "must be a full URL such as https://shop.example"),
        ("http://anna:s3cr3t@", "must be a full URL such as https://shop.example"),
        ("http://proxy.example:x", "is not a valid URL"),
        ("http://proxy.example/a", "must hold no path or query: a proxy has a host and a port"),
        ("http://a:b@proxy.example/?", "must hold no path or query: a proxy has a host and a port"),
        (
            "http://anna:s3?c@proxy.example",
            "has a character in its user name or password that must be percent-encoded",
        ),
        (
            "http://an na@proxy.example",
            "has a character in its user name or password that must be percent-encoded",
        ),
        ("http://proxy.example#a", "must not hold a fragment ('#')"),
    ],
)
def test_what_is_no_proxy_is_told_as_that(written: Any, sentence: str) -> None:
    assert told_of_route(egress_proxy=written) == [f"egress_proxy: {sentence}"]


# -- upgrade ---------------------------------------------------------------------------------

NO_PROTOCOL = "must be a list of names of protocols, as in [websocket]"


def past_the_checks(name: str) -> str:
    return (
        f"names '{name}', which would carry requests past the proxy's checks and its token: "
        "leave it out"
    )


def test_protocols_have_no_case_and_there_may_be_none() -> None:
    assert read_route().upgrade == ("websocket",)
    assert read_route(upgrade=["WebSocket", "SPDY/3.1"]).upgrade == ("websocket", "spdy/3.1")
    assert read_route(upgrade=[]).upgrade == ()


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        ("", NO_PROTOCOL),
        ("web socket", NO_PROTOCOL),
        ("websocket, other", NO_PROTOCOL),
        ("a/b/c", NO_PROTOCOL),
        ("a\n", NO_PROTOCOL),
        ("h2c", past_the_checks("h2c")),
        ("H2C", past_the_checks("h2c")),
        ("h2", past_the_checks("h2")),
        ("HTTP/2.0", past_the_checks("http/2.0")),
    ],
)
def test_another_version_of_http_is_never_tunnelled(protocol: str, sentence: str) -> None:
    assert told_of_route(upgrade=["websocket", protocol]) == [f"upgrade: {sentence}"]


# -- headers and response_headers ------------------------------------------------------------


def own(name: str) -> str:
    return f"names '{name}', which the proxy takes care of itself: leave it out"


def twice(name: str) -> str:
    return f"names '{name}' twice: a header is either set, once, or removed"


def injected(name: str) -> str:
    return f"changes '{name}' in 'headers', which 'inject' fills: leave it out"


def test_headers_are_set_and_removed() -> None:
    route = read_route(
        headers={"set": {"X-Tenant": "s3cr3t", "Via": ""}, "remove": ["Cookie"]},
        response_headers={"set": {"Cache-Control": "no-store"}, "remove": ["Via", "Host"]},
    )

    assert route.headers.set["X-Tenant"].get_secret_value() == "s3cr3t"
    assert route.headers.remove == ("Cookie",)
    assert route.response_headers.remove == ("Via", "Host")
    assert "s3cr3t" not in repr(route)


@pytest.mark.parametrize(
    ("headers", "problems"),
    [
        (
            {"set": {"Host": "a", "X-A": "b", "content_length": "5"}},
            ["set: " + own("Host"), "set: " + own("content_length")],
        ),
        (
            {"remove": ["Connection", "TE"]},
            ["remove: " + own("Connection"), "remove: " + own("TE")],
        ),
        ({"set": {"Expect": "100-continue"}}, ["set: " + own("Expect")]),
        ({"set": {"X-A": "a", "x_a": "b"}}, [twice("x_a")]),
        ({"set": {"X-A": "a"}, "remove": ["x-a", "B"]}, [twice("x-a")]),
        ({"set": {"Authorization": "a"}}, [injected("Authorization")]),
        ({"remove": ["authorization"]}, [injected("authorization")]),
        (
            {"set": {"X-A": "a\r\nB: c"}},
            ["set.X-A: holds a line break or control character, which no header may have"],
        ),
        ({"remove": ["X A"]}, ["remove.0: is no name: use letters, digits, '-' and '_'"]),
    ],
)
def test_a_header_that_something_else_fills_is_not_changed(
    headers: dict[str, Any], problems: list[str]
) -> None:
    found = told_of_route(headers=headers)

    assert [problem.removeprefix("headers").lstrip(".: ") for problem in found] == problems


@pytest.mark.parametrize("name", ["Content-Length", "transfer_encoding", "Upgrade", "Connection"])
def test_the_framing_of_answers_is_not_changed(name: str) -> None:
    found = told_of_route(response_headers={"set": {name: "a"}, "remove": [name]})

    assert found == [f"response_headers.{key}: {own(name)}" for key in ("set", "remove")]


def test_what_is_not_injected_may_be_set() -> None:
    headers = {"set": {"Authorization": "Basic YTpi"}}
    plain = {"upstream": "https://api.example", "headers": headers}

    assert read({"routes": [plain]}).routes[0].headers.set
    assert read_route(headers=headers, inject={"query": "t"}).headers.set
    assert read_route(headers={"set": {"Cookie": "a=b"}}, inject={"cookie": "t"}).headers.set


def test_what_tells_of_the_caller_is_filled_once() -> None:
    changed = {"set": {"X-Forwarded-Proto": "https"}, "remove": ["x_forwarded_for"]}

    assert read_route(headers=changed).forwarded == "drop"
    assert told_of_route(headers=changed, forwarded="set") == [
        f"changes '{name}' in 'headers', which 'forwarded: set' fills: leave it out, or say "
        "'forwarded: drop'"
        for name in ("x_forwarded_for", "X-Forwarded-Proto")
    ]
