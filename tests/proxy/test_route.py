import itertools
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenproxy.errors import ConfigError
from tokenproxy.proxy.route import Bad, CompiledRoute, Matched, NoRoute, RouteTable, route_names
from tokenproxy.proxy.target import normal_form
from tokenproxy.settings.route import Route

UP = "http://localhost:9"


def a_route(path: str = "/", upstream: str = UP, **more: Any) -> Route:
    return Route(path=path, upstream=upstream, **more)


def a_table(*paths: str) -> RouteTable:
    return RouteTable([a_route(path, name=path) for path in paths])


def way(table: RouteTable, target: bytes, host: bytes | None = None) -> str:
    """The chosen route's name and target, or how it was refused."""
    match table.match(host, target):
        case Matched(route, joined):
            return f"{route.name} {joined.decode()}"
        case NoRoute():
            return "none"
        case Bad():
            return "bad"


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        (b"/shop", "/shop /"),
        (b"/shop/", "/shop /"),
        (b"/shop?a=b", "/shop /?a=b"),
        (b"/shop?", "/shop /?"),
        (b"/shop/items", "/shop /items"),
        (b"/shopping", "/ /shopping"),
        (b"/shop.", "/ /shop."),
        (b"/shop/admin", "/shop/admin /"),
        (b"/shop/admin/x", "/shop/admin /x"),
        (b"/shop/administration", "/shop /administration"),
        (b"/SHOP/x", "/ /SHOP/x"),
        (b"/?/shop", "/ /?/shop"),
        (b"/", "/ /"),
        (b"//evil/", "/ //evil/"),
    ],
)
def test_the_longest_prefix_of_whole_segments_is_chosen(target: bytes, chosen: str) -> None:
    assert way(a_table("/", "/shop", "/shop/admin"), target) == chosen


@pytest.mark.parametrize("target", [b"/shop", b"/shop/", b"/shop/x", b"/shop?x"])
def test_a_trailing_slash_in_a_routes_path_means_nothing(target: bytes) -> None:
    with_slash, without = a_table("/shop/"), a_table("/shop")
    assert way(with_slash, target).split()[1] == way(without, target).split()[1]


@pytest.mark.parametrize("target", [b"/", b"/shopping", b"/sho", b"/x/shop", b"/shop%20x"])
def test_a_path_that_no_route_has_gets_none(target: bytes) -> None:
    assert way(a_table("/shop"), target) == "none"


def test_without_any_route_there_is_none() -> None:
    assert way(RouteTable([]), b"/") == "none"


@pytest.mark.parametrize(
    ("host", "target", "chosen"),
    [
        (None, b"/shop/x", "any"),
        (b"localhost:8080", b"/shop/x", "any"),
        (b"shop.localhost", b"/shop/x", "hosted"),
        (b"shop.localhost:8080", b"/shop/x", "hosted"),
        (b"SHOP.localhost:8080", b"/shop/x", "hosted"),
        (b"shop.localhost:8080", b"/shop/deep/x", "hosted"),  # wins over a longer path
        (b"shop.localhost:8080", b"/other", "root"),
        (b"x.shop.localhost", b"/shop/x", "any"),
        (b"shop.localhost.", b"/shop/x", "any"),
        (b"[::1]:8080", b"/shop/x", "v6"),
        (b"[::1]", b"/shop/x", "v6"),
    ],
)
def test_a_route_with_a_host_wins_over_one_without(
    host: bytes | None, target: bytes, chosen: str
) -> None:
    table = RouteTable(
        [
            a_route("/", name="root"),
            a_route("/shop", name="any"),
            a_route("/shop/deep", name="deep"),
            a_route("/shop", name="hosted", host="Shop.localhost"),
            a_route("/", name="v6", host="[::1]"),
        ]
    )
    assert way(table, target, host).split()[0] == chosen


@pytest.mark.parametrize(
    ("upstream", "target", "joined"),
    [
        (UP, b"/shop", b"/"),
        (UP, b"/shop/", b"/"),
        (UP, b"/shop//x", b"//x"),
        (UP + "/", b"/shop", b"/"),
        (UP + "/", b"/shop/x", b"/x"),
        (UP + "/v2", b"/shop", b"/v2"),
        (UP + "/v2", b"/shop/", b"/v2/"),
        (UP + "/v2", b"/shop/items?a=%7e&b", b"/v2/items?a=%7e&b"),
        (UP + "/v2", b"/shop?", b"/v2?"),
        (UP + "/v2", b"/shop//evil/", b"/v2//evil/"),
        (UP + "/v2", b"/shop/http://evil/", b"/v2/http://evil/"),
        (UP + "/v2/", b"/shop", b"/v2/"),
        (UP + "/v2/", b"/shop/x", b"/v2/x"),
        (UP + "/a%2fb;c", b"/shop/%2F/~%7E", b"/a%2fb;c/%2F/~%7E"),
    ],
)
def test_the_prefix_is_replaced_by_the_upstreams_path_byte_for_byte(
    upstream: str, target: bytes, joined: bytes
) -> None:
    matched = RouteTable([a_route("/shop", upstream)]).match(None, target)
    assert isinstance(matched, Matched)
    assert matched.target == joined


@pytest.mark.parametrize(
    ("target", "joined"), [(b"/shop", b"/v2/shop"), (b"/shop/x?y", b"/v2/shop/x?y")]
)
def test_a_prefix_that_is_not_stripped_goes_on(target: bytes, joined: bytes) -> None:
    route = a_route("/shop", UP + "/v2", strip_path=False)
    matched = RouteTable([route]).match(None, target)
    assert isinstance(matched, Matched)
    assert matched.target == joined


@pytest.mark.parametrize(
    "target",
    [
        b"/x/../shop/items",
        b"/shop%2fitems",
        b"/%73hop/items",
        b"//shop/items",
        b"/./shop",
        b"/%2e/shop",
        b"/shop/admin%2fx/../../../x",
    ],
)
@pytest.mark.parametrize("paths", [["/shop"], ["/", "/shop"]])
def test_a_path_that_means_another_route_when_decoded_is_bad(
    target: bytes, paths: list[str]
) -> None:
    assert way(a_table(*paths), target) == "bad"


@pytest.mark.parametrize(
    "dots", [b"..", b"%2e%2e", b".%2e", b"%2E.", b"..;x", b"%252e%252e", b"x%2f..%2f..", b"..\\x"]
)
@pytest.mark.parametrize("strip_path", [True, False])
def test_dot_segments_do_not_lead_out_of_the_prefix(dots: bytes, strip_path: bool) -> None:
    table = RouteTable([a_route("/shop", strip_path=strip_path)])
    assert way(table, b"/shop/" + dots) == "bad"
    assert way(table, b"/shop/" + dots + b"/shop/x") == "bad"


@pytest.mark.parametrize("dots", [b"..", b"%2e%2e", b"..;x", b"%252e%252e", b"..%5cx"])
def test_dot_segments_do_not_lead_out_of_the_upstreams_path(dots: bytes) -> None:
    table = RouteTable([a_route("/", UP + "/v2")])
    assert way(table, b"/" + dots + b"/admin") == "bad"
    assert way(table, b"/" + dots + b"/v2/x") == "bad"


@pytest.mark.parametrize(
    "target", [b"/shop/a/../b", b"/shop/./a", b"/shop/a%2fb", b"/shop//a", b"/shop/a/%2e%2e/b"]
)
def test_dot_segments_that_stay_inside_go_on_as_they_are(target: bytes) -> None:
    assert way(a_table("/shop"), target) == f"/shop {target.decode().removeprefix('/shop')}"


def test_above_the_root_there_is_nothing_to_protect() -> None:
    assert way(a_table("/"), b"/a/../../b") == "/ /a/../../b"


@pytest.mark.parametrize("target", [b"*", b"shop", b"/shop#x", b"/shop/\x00", b"/shop/%00"])
def test_a_malformed_target_is_bad_whatever_the_route(target: bytes) -> None:
    assert way(a_table("/"), target) == "bad"


@pytest.mark.parametrize(
    ("upstream", "host", "port", "authority"),
    [
        ("https://API.example/v2", "api.example", 443, b"api.example"),
        ("https://api.example:443", "api.example", 443, b"api.example"),
        ("https://api.example:80", "api.example", 80, b"api.example:80"),
        ("http://localhost:9000", "localhost", 9000, b"localhost:9000"),
        ("http://localhost:80/", "localhost", 80, b"localhost"),
        ("http://[::1]:9000", "::1", 9000, b"[::1]:9000"),
        ("http://[::1]", "::1", 80, b"[::1]"),
    ],
)
def test_the_upstreams_host_leaves_out_its_schemes_own_port(
    upstream: str, host: str, port: int, authority: bytes
) -> None:
    route = CompiledRoute("r", a_route("/", upstream))
    assert (route.upstream_host, route.upstream_port, route.authority) == (host, port, authority)


@pytest.mark.parametrize(
    ("named", "authority"), [({}, b"localhost"), ({"upstream_host": "API.example"}, b"api.example")]
)
def test_a_socket_is_asked_by_the_name_that_it_is_given(
    named: dict[str, str], authority: bytes
) -> None:
    route = CompiledRoute("r", a_route("/shop", "unix:/run/api.sock", **named))
    assert route.unix_path == "/run/api.sock"
    assert (route.scheme, route.authority) == ("http", authority)
    assert route.origin == f"http://{authority.decode()}"
    assert (route.base, route.join(b"/shop"), route.join(b"/shop/a")) == (b"", b"/", b"/a")


def test_a_url_has_no_socket() -> None:
    assert CompiledRoute("r", a_route()).unix_path is None


@pytest.mark.parametrize(
    ("policy", "keeps", "rejects"),
    [("overwrite", False, False), ("keep", True, False), ("reject", False, True)],
)
def test_a_route_knows_what_a_callers_own_credential_gets(
    policy: str, keeps: bool, rejects: bool
) -> None:
    route = CompiledRoute("r", a_route(client_authorization=policy))
    assert (route.keeps_own, route.rejects_own) == (keeps, rejects)


def test_routes_are_named_after_their_credentials_and_made_unique() -> None:
    routes = [
        a_route("/1", credential="shop"),
        a_route("/2", credential="shop"),
        a_route("/3", name="shop-2"),
        a_route("/4"),
        a_route("/5"),
        a_route("/6", credential="shop"),
    ]
    assert route_names(routes) == ["shop", "shop-3", "shop-2", "route", "route-2", "shop-4"]


def test_two_routes_for_the_same_host_and_path_are_refused() -> None:
    with pytest.raises(ConfigError, match="routes 'a' and 'b' have the same host and path"):
        RouteTable([a_route("/shop", name="a"), a_route("/shop/", name="b")])


def test_the_same_path_under_another_host_is_another_route() -> None:
    table = RouteTable([a_route(), a_route(host="a.localhost"), a_route(host="b.localhost")])
    assert len(table.routes) == 3


def test_a_route_without_credential_injects_nothing() -> None:
    plain, credited = RouteTable([a_route("/a"), a_route("/b", credential="shop")]).routes
    assert plain.injector.header_names == frozenset()
    assert credited.injector.header_names == {b"authorization"}


def test_a_route_shows_its_name_and_no_more() -> None:
    assert repr(CompiledRoute("shop", a_route())) == "CompiledRoute('shop')"


# Properties: a naive model chooses, and every reading of the joined path stays in the base.

WORDS = ["a", "b", "shop", "ab"]
ODD = ["", "..", ".", "%2e%2e", ".%2E", "%2f", "a%2fb", "..%2f", "\\", "..\\a", "%5c..", "..;x"]
ODD += ["%252e%252e", "%252f..", "%61", "s%68op", "...", "a;b"]
prefixes = st.lists(st.sampled_from(WORDS), max_size=3).map(lambda parts: "/" + "/".join(parts))
plain_paths = st.lists(st.sampled_from([*WORDS, "shopping", "c"]), max_size=5)
odd_paths = st.lists(st.sampled_from(WORDS + ODD), max_size=7)
queries = st.sampled_from(["", "?", "?a=b", "?/../..", "?%2e%2e/&x=//"])


def path_of(segments: list[str]) -> str:
    return "/" + "/".join(segments)


def is_prefix(prefix: str, path: str) -> bool:
    wanted = [part for part in prefix.split("/") if part]
    return path.split("/")[1 : 1 + len(wanted)] == wanted


@given(st.lists(prefixes, unique=True, max_size=6), plain_paths.map(path_of), queries)
def test_the_chosen_route_is_that_of_a_naive_model(paths: list[str], path: str, query: str) -> None:
    fitting = sorted((p for p in paths if is_prefix(p, path)), key=len)
    chosen = a_table(*paths).match(None, (path + query).encode())
    if not fitting:
        assert chosen == NoRoute()
    else:
        assert isinstance(chosen, Matched)
        assert chosen.route.name == fitting[-1]


def readings(path: bytes) -> set[tuple[bytes, ...]]:
    """The segments that some server may see, dot segments resolved."""
    encoded = [b"%2f", b"%2F", b"%5c", b"%5C", b"\\"]
    seen = set()
    for separators in itertools.chain.from_iterable(
        itertools.combinations(encoded, n) for n in range(len(encoded) + 1)
    ):
        for decodings, merges, drops in itertools.product((1, 2), (True, False), (True, False)):
            whole = path
            if decodings == 2:
                whole = whole.replace(b"%25", b"%")
            for separator in separators:
                whole = whole.replace(separator, b"/")
            kept: list[bytes] = []
            for raw in whole.split(b"/")[1:]:
                segment = unquote_to_bytes(raw)
                if drops:
                    segment = segment.partition(b";")[0]
                if segment == b"..":
                    del kept[-1:]
                elif segment != b"." and not (merges and not segment):
                    kept.append(segment)
            seen.add(tuple(kept))
    return seen


@given(
    st.lists(prefixes, unique=True, min_size=1, max_size=4),
    odd_paths.map(path_of),
    queries,
    st.booleans(),
)
@example(["/shop"], "/shop/a%2fb/../../x", "", True)
@example(["/shop"], "/shop/a//../../x", "", True)
def test_no_reading_of_any_target_leaves_the_upstreams_path(
    paths: list[str], path: str, query: str, strip_path: bool
) -> None:
    routes = [a_route(p, UP + "/v2/up", strip_path=strip_path) for p in paths]
    matched = RouteTable(routes).match(None, (path + query).encode())
    if not isinstance(matched, Matched):
        return
    joined, _, tail = matched.target.partition(b"?")
    assert joined.startswith(b"/v2/up")
    assert tail == query[1:].encode()
    home: tuple[bytes, ...] = (b"v2", b"up")
    if not strip_path:
        home += tuple(part for part in matched.route.prefix.split(b"/") if part)
    assert all(segments[: len(home)] == home for segments in readings(joined))


@given(st.lists(prefixes, unique=True, min_size=1, max_size=4), odd_paths.map(path_of))
def test_raw_and_decoded_path_choose_the_same_route(paths: list[str], path: str) -> None:
    table = a_table(*paths)
    matched = table.match(None, path.encode())
    again = table.match(None, normal_form(path.encode()).replace(b"%", b"%25"))
    if isinstance(matched, Matched):
        assert isinstance(again, Matched)
        assert again.route is matched.route
