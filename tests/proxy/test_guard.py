import itertools
from base64 import b64encode
from typing import Any

import pytest

from tokenproxy.proxy.answers import METHODS, ErrorCode
from tokenproxy.proxy.guard import Guard
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.hosts import Listener
from tokenproxy.proxy.request import Denied, OptionsAsked, Preflight, Request
from tokenproxy.proxy.route import Matched, RouteTable
from tokenproxy.secret import Secret
from tokenproxy.settings.route import Route

UP = "http://localhost:9"
HERE = "127.0.0.1:8080"
LISTENER = Listener((("127.0.0.1", 8080),))
UNIX = Listener(())
PAGE = "https://app.example"
KEY = "a-key-that-nobody-guesses"
ASKS: dict[str, str] = {"Access_Control_Request_Method": "PUT"}
ROUTES = (
    Route(path="/shop", upstream=UP, name="shop"),
    Route(path="/", host="own.example", upstream=UP, name="hosted"),
)


def a_guard(listener: Listener = LISTENER, allowed_hosts: tuple[str, ...] = ()) -> Guard:
    return Guard(RouteTable(ROUTES), listener, allowed_hosts)


def a_request(
    target: str = "/shop/x",
    host: str | None = HERE,
    *,
    method: str = "GET",
    version: str = "1.1",
    body: bool = False,
    **headers: str,
) -> Request:
    fields: list[Header] = [(b"Accept", b"*/*")]
    if host is not None:
        fields.append((b"Host", host.encode()))
    fields += [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Request(method.encode(), target.encode(), fields, version, body)


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def outcome(guard: Guard, request: Request) -> str:
    """The route's name, or the code of the denial; `, close` where the connection ends."""
    match guard.judge(request):
        case Matched(route):
            return route.name
        case OptionsAsked():
            return "options"
        case Preflight():
            return "preflight"
        case Denied(code, close=close):
            return f"{code.value}, close" if close else str(code.value)


def test_a_request_that_may_pass_gets_its_route_and_target() -> None:
    matched = a_guard().judge(a_request("/shop/x?y"))
    assert isinstance(matched, Matched)
    assert (matched.route.name, matched.target) == ("shop", b"/x?y")


# Host.


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8080",
        "localhost:8080",
        "LocalHost:8080",
        "[::1]:8080",
        "shop.localhost:8080",
        "a.b-c.localhost:8080",
        "SHOP.LOCALHOST:8080",
    ],
)
def test_the_listeners_own_names_are_ours_with_its_port(host: str) -> None:
    assert outcome(a_guard(), a_request(host=host)) == "shop"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1",
        "localhost",
        "shop.localhost",
        "localhost:80",
        "localhost:8081",
        "localhost:08080",
        "localhost:",
        "localhost:8080:8080",
        "localhost.:8080",
        "127.0.0.1.:8080",
        "127.0.0.1.evil.example:8080",
        "localhost.evil.example:8080",
        "notlocalhost:8080",
        ".localhost:8080",
        "a..localhost:8080",
        "a:1.localhost:8080",
        "[a].localhost:8080",
        "shop.localhost.:8080",
        "127.1:8080",
        "127.0.0.2:8080",
        "2130706433:8080",
        "0.0.0.0:8080",
        "[0:0:0:0:0:0:0:1]:8080",
        "::1:8080",
        "[::ffff:127.0.0.1]:8080",
        "*",
        "127.0.0.1:8080,evil.example",
        "127.0.0.1:8080.evil.example",
        "own.example.evil.example",
        "x.own.example",
        "own.example:",
        "own.example:80a",
    ],
)
def test_any_other_host_is_a_rebound_name(host: str) -> None:
    assert outcome(a_guard(), a_request(host=host)) == "host_not_allowed"


@pytest.mark.parametrize(
    "host",
    ["", "evil@127.0.0.1:8080", "127.0.0.1:8080/", "127.0.0.1:8080 x", "local\\host", "a?b", "é"],
)
@pytest.mark.parametrize("allowed", [(), ("*",)])
def test_a_host_that_is_none_is_malformed(host: str, allowed: tuple[str, ...]) -> None:
    guard = a_guard(allowed_hosts=allowed)
    assert outcome(guard, a_request(host=host)) == "bad_request, close"


def test_a_missing_host_is_for_http_1_0_only() -> None:
    assert outcome(a_guard(), a_request(host=None)) == "bad_request, close"
    assert outcome(a_guard(), a_request(host=None, version="1.0")) == "shop"
    assert outcome(a_guard(), a_request(host="evil", version="1.0")) == "host_not_allowed"


@pytest.mark.parametrize("listener", [LISTENER, UNIX])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("second", [HERE, "evil.example", ""])
def test_a_second_host_is_refused(listener: Listener, version: str, second: str) -> None:
    request = a_request(version=version)
    request.headers = [*request.headers, (b"hOST", second.encode())]
    assert outcome(a_guard(listener), request) == "bad_request, close"


@pytest.mark.parametrize(
    ("addresses", "host", "result"),
    [
        ([("127.0.0.1", 80)], "127.0.0.1", "shop"),
        ([("127.0.0.1", 80)], "localhost", "shop"),
        ([("127.0.0.1", 80)], "a.localhost", "shop"),
        ([("127.0.0.1", 80)], "a.localhost:80", "shop"),
        ([("127.0.0.1", 80)], "localhost:80", "shop"),
        ([("127.0.0.1", 80)], "localhost:443", "host_not_allowed"),
        ([("127.0.0.2", 8080)], "127.0.0.2:8080", "shop"),
        ([("::1", 8080)], "[::1]:8080", "shop"),
        ([("::1", 8080)], "127.0.0.1:8080", "shop"),
        ([("127.0.0.1", 1), ("::1", 2)], "[::1]:2", "shop"),
        ([("127.0.0.1", 1), ("::1", 2)], "localhost:1", "shop"),
        ([("127.0.0.1", 1), ("::1", 2)], "localhost:3", "host_not_allowed"),
        ([("Proxy.Localhost", 8080)], "proxy.localhost:8080", "shop"),
        ([("192.0.2.7", 8080)], "192.0.2.7:8080", "shop"),
    ],
)
def test_the_port_is_left_out_only_where_it_is_the_default(
    addresses: list[tuple[str, int]], host: str, result: str
) -> None:
    assert outcome(a_guard(Listener(tuple(addresses))), a_request(host=host)) == result


def test_the_default_port_of_https_is_another() -> None:
    guard = a_guard(Listener((("127.0.0.1", 443),), scheme="https"))
    assert outcome(guard, a_request(host="localhost")) == "shop"
    assert outcome(guard, a_request(host="localhost:443")) == "shop"
    assert outcome(guard, a_request(host="localhost:80")) == "host_not_allowed"


@pytest.mark.parametrize("host", ["own.example", "OWN.example:1", "own.example:65535"])
def test_a_routes_host_is_ours_on_every_port(host: str) -> None:
    assert outcome(a_guard(), a_request("/x", host)) == "hosted"


@pytest.mark.parametrize(
    ("entry", "host", "result"),
    [
        ("proxy.example", "proxy.example", "shop"),
        ("proxy.example", "proxy.example:1234", "shop"),
        ("Proxy.Example", "PROXY.example", "shop"),
        ("proxy.example", "x.proxy.example", "host_not_allowed"),
        ("proxy.example:1234", "proxy.example:1234", "shop"),
        ("proxy.example:1234", "proxy.example", "host_not_allowed"),
        ("proxy.example:1234", "proxy.example:12345", "host_not_allowed"),
        ("proxy.example:1234", "proxy.example:1234:1", "host_not_allowed"),
        ("[2001:db8::1]", "[2001:db8::1]:8080", "shop"),
        ("localhost", "localhost:1", "shop"),
        ("*", "evil.example", "shop"),
        ("*", "evil.example:1", "shop"),
    ],
)
def test_allowed_hosts_hold_on_every_port_or_on_theirs(entry: str, host: str, result: str) -> None:
    assert outcome(a_guard(allowed_hosts=(entry,)), a_request(host=host)) == result


@pytest.mark.parametrize("host", ["evil.example", "localhost", "docker", "", "%2Frun%2Fx.sock"])
def test_on_a_unix_socket_any_host_will_do(host: str) -> None:
    assert outcome(a_guard(UNIX), a_request(host=host)) == "shop"
    assert outcome(a_guard(UNIX), a_request(host=None)) == "bad_request, close"


# Methods and framing.


@pytest.mark.parametrize("method", [*METHODS.decode().split(", "), "PROPFIND", "get", "PURGE"])
def test_ordinary_methods_pass(method: str) -> None:
    assert outcome(a_guard(), a_request(method=method)) == "shop"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "TRACK", "PRI", "trace", "Connect"])
@pytest.mark.parametrize("target", ["/shop/x", "*", "evil.example:443", "http://evil.example/"])
def test_methods_of_forward_proxies_are_refused(method: str, target: str) -> None:
    denied = a_guard().judge(a_request(target, method=method))
    assert isinstance(denied, Denied)
    assert denied.code is ErrorCode.METHOD_NOT_ALLOWED
    assert denied.close
    assert denied.allow == METHODS


@pytest.mark.parametrize(
    ("connection", "upgrade", "body", "result"),
    [
        ("upgrade", "h2c", True, "bad_request, close"),
        ("keep-alive, Upgrade", "websocket", True, "bad_request, close"),
        ("upgrade", "websocket", False, "shop"),
        ("upgrade", None, True, "shop"),
        ("close", "h2c", True, "shop"),
        (None, "h2c", True, "shop"),
        (None, None, True, "shop"),
    ],
)
def test_a_request_to_switch_protocols_may_not_have_a_body(
    connection: str | None, upgrade: str | None, body: bool, result: str
) -> None:
    named = {"Connection": connection, "Upgrade": upgrade}
    headers: Any = {name: value for name, value in named.items() if value is not None}
    assert outcome(a_guard(), a_request(method="POST", body=body, **headers)) == result


def test_upgrade_may_be_nominated_by_any_connection_field() -> None:
    request = a_request(body=True, Connection="close", Upgrade="h2c")
    request.headers = [*request.headers, (b"connection", b"UPGRADE")]
    assert outcome(a_guard(), request) == "bad_request, close"


# Targets and routes.


@pytest.mark.parametrize(
    ("method", "target", "result"),
    [
        ("OPTIONS", "*", "options"),
        ("GET", "*", "bad_request"),
        ("GET", "shop", "bad_request"),
        ("GET", "localhost:8080", "bad_request"),
        ("GET", "ftp://127.0.0.1:8080/shop", "bad_request"),
        ("GET", "/shop/../admin", "bad_request"),
        ("GET", "/shop#x", "bad_request"),
        ("GET", "/other", "no_route"),
        ("GET", f"http://{HERE}/shop/x", "shop"),
        ("GET", f"HTTP://{HERE}/shop/x", "shop"),
        ("GET", "http://localhost:8080/shop/x", "shop"),
        ("GET", "http://own.example/x", "hosted"),
        ("GET", f"http://{HERE}/other", "no_route"),
        ("GET", f"http://{HERE}", "no_route"),
        ("GET", f"http://{HERE}/shop/..", "bad_request"),
        ("GET", "http://evil.example/shop/x", "host_not_allowed"),
        ("GET", "http://127.0.0.1/shop/x", "host_not_allowed"),
        ("GET", f"https://{HERE}/shop/x", "host_not_allowed"),
        ("GET", f"http://evil@{HERE}/shop/x", "bad_request, close"),
        ("GET", "http:///shop/x", "bad_request, close"),
        ("GET", f"http://{HERE}#/shop/x", "bad_request, close"),
    ],
)
def test_a_target_leads_to(method: str, target: str, result: str) -> None:
    assert outcome(a_guard(), a_request(target, method=method)) == result


def test_an_absolute_target_does_not_excuse_a_foreign_host() -> None:
    request = a_request(f"http://{HERE}/shop/x", host="evil.example")
    assert outcome(a_guard(), request) == "host_not_allowed"


# Origin and Fetch Metadata.


def expected(method: str, origin: str | None, site: str | None, host: str) -> str:
    """The rule of contract 3.2, said once more."""
    own = origin == f"http://{host}"
    if origin is not None and not own:
        return "origin_not_allowed"
    if site == "none" and method not in {"GET", "HEAD"}:
        return "origin_not_allowed"
    if site in {"cross-site", "same-site"} and not own:
        return "origin_not_allowed"
    return "shop"


ORIGINS = [
    None,
    "http://127.0.0.1:8080",
    "http://localhost:8080",
    "https://127.0.0.1:8080",
    "http://127.0.0.1",
    "http://127.0.0.1:8081",
    "http://127.0.0.1:8080/",
    "http://evil.example",
    "http://127.0.0.1:8080.evil.example",
    "http://127.0.0.1:8080 http://evil.example",
    "chrome-extension://abcdef",
    "null",
    "",
]
SITES = [None, "same-origin", "same-site", "cross-site", "none", "from-the-future"]
NAMES = ["127.0.0.1:8080", "localhost:8080"]


@pytest.mark.parametrize(
    ("method", "origin", "site", "host"),
    list(itertools.product(["GET", "HEAD", "POST", "OPTIONS"], ORIGINS, SITES, NAMES)),
)
def test_a_page_of_another_site_may_not_ask(
    method: str, origin: str | None, site: str | None, host: str
) -> None:
    headers = {"Origin": origin, "Sec_Fetch_Site": site}
    sent: Any = {name: value for name, value in headers.items() if value is not None}
    request = a_request(host=host, method=method, **sent)
    assert outcome(a_guard(), request) == expected(method, origin, site, host)


def test_a_page_under_another_of_our_names_is_another_site() -> None:
    request = a_request(host="localhost:8080", Origin="http://other.localhost:8080")
    assert outcome(a_guard(), request) == "origin_not_allowed"


def test_a_preflight_from_another_site_ends_here() -> None:
    request = a_request(
        method="OPTIONS", Origin="https://evil.example", Access_Control_Request_Method="PUT"
    )
    denied = a_guard().judge(request)
    assert isinstance(denied, Denied)
    assert (denied.code, denied.route) == (ErrorCode.ORIGIN_NOT_ALLOWED, "shop")


def test_a_websocket_handshake_is_checked_the_same_way() -> None:
    asks = {"Connection": "Upgrade", "Upgrade": "websocket"}
    foreign: Any = {**asks, "Origin": "https://evil.example"}
    own: Any = {**asks, "Origin": f"http://{HERE}"}
    assert outcome(a_guard(), a_request(**foreign)) == "origin_not_allowed"
    assert outcome(a_guard(), a_request(**own)) == "shop"


def test_two_origins_are_never_ours() -> None:
    request = a_request(Origin=f"http://{HERE}")
    request.headers = [*request.headers, (b"origin", f"http://{HERE}".encode())]
    assert outcome(a_guard(), request) == "origin_not_allowed"


@pytest.mark.parametrize("last", ["same-origin", "cross-site"])
def test_of_two_sites_the_worse_one_counts(last: str) -> None:
    request = a_request(Sec_Fetch_Site="cross-site")
    request.headers = [*request.headers, (b"sec-fetch-site", last.encode())]
    assert outcome(a_guard(), request) == "origin_not_allowed"


@pytest.mark.parametrize(
    ("port", "scheme", "host", "origin", "result"),
    [
        (80, "http", "localhost", "http://localhost", "shop"),
        (80, "http", "localhost:80", "http://localhost", "shop"),
        (80, "http", "LOCALHOST", "http://localhost", "shop"),
        (80, "http", "localhost", "https://localhost", "origin_not_allowed"),
        (443, "https", "localhost:443", "https://localhost", "shop"),
        (443, "https", "localhost", "http://localhost", "origin_not_allowed"),
        (8080, "http", "localhost:8080", "http://localhost:80", "origin_not_allowed"),
    ],
)
def test_an_origin_leaves_out_the_default_port(
    port: int, scheme: str, host: str, origin: str, result: str
) -> None:
    guard = a_guard(Listener((("127.0.0.1", port),), scheme))
    assert outcome(guard, a_request(host=host, Origin=origin)) == result


def test_an_origin_is_compared_with_the_authority_of_an_absolute_target() -> None:
    target = "http://localhost:8080/shop/x"
    assert outcome(a_guard(), a_request(target, Origin="http://localhost:8080")) == "shop"
    denied = outcome(a_guard(), a_request(target, Origin=f"http://{HERE}"))
    assert denied == "origin_not_allowed"


def test_without_a_host_no_origin_is_ours() -> None:
    request = a_request(host=None, version="1.0", Origin=f"http://{HERE}")
    assert outcome(a_guard(), request) == "origin_not_allowed"


# Pages that the route lets in.


def let_in(method: str, origin: str | None, site: str | None, *, asks: bool) -> str:
    """The rule of contract 3.2 where `cors` lists PAGE, said once more."""
    if origin not in {None, f"http://{HERE}", PAGE, f"{PAGE}:443"}:
        return "origin_not_allowed"
    if site == "none" and method not in {"GET", "HEAD"}:
        return "origin_not_allowed"
    if site in {"cross-site", "same-site"} and origin is None:
        return "origin_not_allowed"
    is_foreign = origin is not None and origin.startswith(PAGE)
    return "preflight" if is_foreign and asks and method == "OPTIONS" else "shop"


FOREIGN_OR_NOT = [
    None,
    f"http://{HERE}",
    PAGE,
    f"{PAGE}:443",
    f"{PAGE}:8443",
    f"{PAGE}.evil.example",
    "http://app.example",
    "https://x.app.example",
    "HTTPS://app.example",
    "null",
    "",
]
SWITCH = {"Connection": "Upgrade", "Upgrade": "websocket"}


@pytest.mark.parametrize(
    ("host", "origin", "site", "method"),
    list(
        itertools.product(
            [HERE, "evil.example"], FOREIGN_OR_NOT, SITES, ["GET", "HEAD", "POST", "OPTIONS"]
        )
    ),
)
def test_a_page_that_the_route_lists_may_ask(
    host: str, origin: str | None, site: str | None, method: str
) -> None:
    guard = guard_with(cors={"origins": [PAGE]})
    headers = {"Origin": origin, "Sec_Fetch_Site": site}
    for asks, switch in itertools.product([{}, ASKS], [{}, SWITCH]):
        all_of_them = {**headers, **asks, **switch}
        sent: Any = {name: value for name, value in all_of_them.items() if value is not None}
        expected = let_in(method, origin, site, asks=bool(asks))
        if host != HERE:
            expected = "host_not_allowed"
        assert outcome(guard, a_request(host=host, method=method, **sent)) == expected


def test_everybody_is_every_page_but_none_that_has_no_origin() -> None:
    guard = guard_with(cors={"origins": ["*"]})
    for origin in (PAGE, "http://localhost:3000", "chrome-extension://abc"):
        assert outcome(guard, a_request(Origin=origin)) == "shop"
    for origin in ("null", "", "x", "https://a b"):
        assert outcome(guard, a_request(Origin=origin)) == "origin_not_allowed"


def test_what_was_let_in_before_is_let_in_for_nobody_else() -> None:
    guard = guard_with(cors={"origins": [PAGE]})
    asked: list[tuple[Any, bool]] = [
        ({}, True),
        ({"Origin": f"http://{HERE}"}, True),
        ({"Origin": PAGE}, False),
    ]
    for headers, safe in asked:
        admission = guard.admission(a_request(**headers).headers)
        assert admission is not None
        assert (guard.admit(admission, b"GET", b"/shop/x") is not None) is safe


# The client key.


@pytest.mark.parametrize(
    ("headers", "overwrite", "keep"),
    [
        ({}, False, False),
        ({"X_Tokenproxy_Key": KEY}, True, True),
        ({"x_tokenproxy_key": KEY}, True, True),
        ({"X_Tokenproxy_Key": KEY + "x"}, False, False),
        ({"X_Tokenproxy_Key": KEY[:-1]}, False, False),
        ({"X_Tokenproxy_Key": ""}, False, False),
        ({"X_Tokenproxy_Key": KEY, "x_tokenproxy_key": "x"}, False, False),
        ({"Authorization": f"Bearer {KEY}"}, True, False),
        ({"Authorization": f"bearer  {KEY} "}, True, False),
        ({"Authorization": basic("", KEY)}, True, False),
        ({"Authorization": basic("anna", KEY)}, True, False),
        ({"Authorization": basic(KEY, "")}, False, False),
        ({"Authorization": basic(KEY, "x")}, False, False),
        ({"Authorization": KEY}, False, False),
        ({"Authorization": f"Digest {KEY}"}, False, False),
        ({"Authorization": "Basic %"}, False, False),
        ({"Authorization": "Basic"}, False, False),
        ({"Authorization": "Bearer x", "X_Tokenproxy_Key": KEY}, True, True),
        ({"Authorization": f"Bearer {KEY}", "X_Tokenproxy_Key": KEY}, True, False),
        ({"Authorization": "Bearer x", "authorization": basic("", KEY)}, True, False),
        ({"Proxy_Authorization": f"Bearer {KEY}"}, False, False),
        ({"Cookie": KEY}, False, False),
    ],
)
def test_a_caller_presents_the_key(headers: dict[str, str], overwrite: bool, keep: bool) -> None:
    asked: Any = headers
    ways: list[tuple[dict[str, Any], bool]] = [
        ({"credential": "c"}, overwrite),
        ({"credential": "c", "client_authorization": "keep"}, keep),
        ({"credential": "c", "inject": [{"header": "X-Token"}]}, keep),
        ({}, keep),
    ]
    for settings, passes in ways:
        guard = guard_with(client_key=KEY, **settings)
        expected = "shop" if passes else "client_key_required"
        assert outcome(guard, a_request(**asked)) == expected
        admission = guard.admission(a_request(**asked).headers)
        assert admission is not None
        assert (guard.admit(admission, b"GET", b"/shop/x") is not None) is passes


def test_without_a_key_nobody_presents_one() -> None:
    assert outcome(guard_with(), a_request(X_Tokenproxy_Key="x")) == "shop"


def test_a_route_that_rejects_credentials_takes_the_key_by_its_own_name_only() -> None:
    guard = guard_with(client_key=KEY, credential="c", client_authorization="reject")
    assert outcome(guard, a_request(X_Tokenproxy_Key=KEY)) == "shop"
    assert outcome(guard, a_request(Authorization=f"Bearer {KEY}")) == "client_key_required"


# What the route lets through.


@pytest.mark.parametrize(
    ("allow", "deny", "passing", "listed"),
    [
        ([], [], ["GET", "HEAD", "DELETE", "PURGE", "get"], None),
        (["GET"], [], ["GET", "HEAD"], "GET, HEAD"),
        (["HEAD"], [], ["HEAD"], "HEAD"),
        (["get", "PURGE"], [], ["GET", "HEAD", "PURGE"], "GET, PURGE, HEAD"),
        ([], ["GET"], ["DELETE", "PURGE"], "POST, PUT, PATCH, DELETE, OPTIONS"),
        ([], ["HEAD"], ["GET", "DELETE", "PURGE", "get"], "GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        (["GET"], ["HEAD"], ["GET"], "GET"),
        (["GET"], ["GET"], [], ""),
    ],
)
def test_a_route_lets_methods_through(
    allow: list[str], deny: list[str], passing: list[str], listed: str | None
) -> None:
    guard = guard_with(allow={"methods": allow}, deny={"methods": deny})
    admission = guard.admission(a_request().headers)
    assert admission is not None
    for method in ("GET", "HEAD", "DELETE", "PURGE", "get", "delete"):
        verdict = guard.judge(a_request(method=method))
        passes = method in passing or listed is None
        if method == "delete":
            passes = not allow
        assert isinstance(verdict, Matched) is passes, method
        known = guard.admit(admission, method.encode(), b"/shop/x")
        assert (known is not None) is (passes and method.isupper() and method != "PURGE")
        if isinstance(verdict, Denied):
            assert (verdict.code, verdict.allow) == (
                ErrorCode.METHOD_NOT_ALLOWED,
                (listed or "").encode(),
            )
            assert (verdict.route, verdict.close) == ("shop", False)


@pytest.mark.parametrize(
    ("target", "result"),
    [
        ("/shop/items", "shop"),
        ("/shop/items/1?/shop/items/secret", "shop"),
        ("/shop/items/a/b", "shop"),
        ("/shop", "path_not_allowed"),
        ("/shop/other", "path_not_allowed"),
        ("/shop/Items", "path_not_allowed"),
        ("/shop/items/secret", "path_not_allowed"),
        ("/shop/items/secret/x", "path_not_allowed"),
        ("/shop/items/secret/", "path_not_allowed"),
        ("/shop/items/secrets", "shop"),
        ("/shop/items/%73", "shop"),
        ("/shop/items/a%2Fb", "shop"),
        ("/shop/items//a", "shop"),
        ("/shop/items/%73ecret", "bad_request"),
        ("/shop/items//secret", "bad_request"),
        ("/shop/items/./secret", "bad_request"),
        ("/shop/items/a/../secret", "bad_request"),
        ("/shop/items%2Fsecret", "path_not_allowed"),
        ("/shop/items/secret%2Fx", "bad_request"),
        ("/shop/other/../items/a", "bad_request"),
        ("/shop/%69tems/a", "bad_request"),
        ("/shop/items/%2573ecret", "path_not_allowed"),
        ("/shop/items/secret;a=b", "path_not_allowed"),
        ("/shop/items/;/secret", "path_not_allowed"),
        ("/shop/items/a;b/..;c/secret", "path_not_allowed"),
        ("/shop/items\\secret", "path_not_allowed"),
        ("/shop/items/a\\..\\secret", "path_not_allowed"),
        (f"http://{HERE}/shop/items/secret", "path_not_allowed"),
        (f"http://{HERE}/shop/items/1", "shop"),
    ],
)
def test_a_route_lets_paths_through(target: str, result: str) -> None:
    guard = guard_with(
        allow={"paths": ["/shop/items/**"]}, deny={"paths": ["/shop/items/secret/**"]}
    )
    assert outcome(guard, a_request(target)) == result
    admission = guard.admission(a_request().headers)
    assert admission is not None
    known = guard.admit(admission, b"GET", target.encode())
    assert (known is not None) is (result == "shop" and target[0] == "/")


def test_what_would_be_ambiguous_for_a_rule_is_none_without_one() -> None:
    for target in ("/shop/%61", "/shop//a", "/shop/a;b", "/shop/%2561"):
        assert outcome(guard_with(), a_request(target)) == "shop"
        assert outcome(guard_with(deny={"methods": ["PUT"]}), a_request(target)) == "shop"


# A credential of the caller's own.

OWN = {
    "Authorization": "Basic YTpi",
    "authorization": "",
    "Cookie": "a=b; session=1",
}


def guard_with(client_key: str | None = None, **settings: Any) -> Guard:
    inject = [{"header": "Authorization"}, {"query": "t"}, {"cookie": "session"}]
    route = {"path": "/shop", "upstream": UP, "name": "shop", "inject": inject, **settings}
    key = None if client_key is None else Secret(client_key)
    return Guard(RouteTable([Route.model_validate(route)]), LISTENER, client_key=key)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        *(("/shop/x", {name: value}) for name, value in OWN.items()),
        ("/shop/x?a&t=1", {}),
        (f"http://{HERE}/shop?%74", {}),
        ("/shop/x", {"Authorization": "x", "Connection": "authorization"}),
    ],
)
def test_a_callers_own_credential_is_refused_where_the_route_says_so(
    target: str, headers: dict[str, Any]
) -> None:
    request = a_request(target, **headers)
    denied = guard_with(client_authorization="reject", credential="c").judge(request)
    assert isinstance(denied, Denied)
    assert (denied.code, denied.route) == (ErrorCode.CLIENT_AUTHORIZATION_REJECTED, "shop")
    for policy in ("overwrite", "keep"):
        guard = guard_with(client_authorization=policy, credential="c")
        assert outcome(guard, request) == "shop"
    assert outcome(guard_with(client_authorization="reject"), request) == "shop"


def test_a_request_without_a_credential_may_pass_where_none_is_accepted() -> None:
    guard = guard_with(client_authorization="reject", credential="c")
    assert outcome(guard, a_request("/shop/t?a=t", Cookie="a=session", X_Key="1")) == "shop"


# The order of contract 3.2: each request has one fault more than the one before it.


def test_the_first_station_that_refuses_answers() -> None:
    guard = guard_with(
        client_key=KEY,
        client_authorization="reject",
        credential="c",
        deny={"methods": ["DELETE"], "paths": ["/shop/secret/**"]},
        cors={"origins": [PAGE]},
    )
    faults: list[tuple[dict[str, Any], str]] = [
        ({"X_Tokenproxy_Key": KEY, "Origin": PAGE}, "shop"),
        ({"Authorization": "x"}, "client_authorization_rejected"),
        ({"target": "/shop/secret"}, "path_not_allowed"),
        ({"method": "DELETE"}, "method_not_allowed"),
        ({"X_Tokenproxy_Key": "x"}, "client_key_required"),
        ({"Origin": "null"}, "origin_not_allowed"),
        ({"Origin": PAGE, "method": "OPTIONS", **ASKS}, "preflight"),
        ({"target": "/shop/%73ecret"}, "bad_request"),
        ({"target": "/none"}, "no_route"),
        ({"target": "/none/\x00"}, "bad_request"),
        ({"host": "evil.example"}, "host_not_allowed"),
        ({"method": "TRACE"}, "method_not_allowed, close"),
        ({"body": True, "Connection": "upgrade", "Upgrade": "h2c"}, "bad_request, close"),
    ]
    asked: dict[str, Any] = {}
    for fault, result in faults:
        asked |= fault
        assert outcome(guard, a_request(**asked)) == result


@pytest.mark.parametrize("target", ["http://evil.example/\x00", "*"])
def test_the_host_is_checked_before_the_target(target: str) -> None:
    request = a_request(target, host="evil.example", method="OPTIONS")
    assert outcome(a_guard(), request) == "host_not_allowed"


def test_no_refusal_repeats_what_was_sent() -> None:
    for request in (a_request(host="marker"), a_request("/marker"), a_request(Origin="marker")):
        denied = a_guard().judge(request)
        assert isinstance(denied, Denied)
        assert "marker" not in repr(denied)
