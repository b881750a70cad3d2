from urllib.parse import urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenproxy.proxy.location import Home, Locations
from tokenproxy.proxy.route import CompiledRoute, Matched, RouteTable
from tokenproxy.settings.route import Route

UP = "https://api.example/v2"
TARGET = b"/v2/items/7?q=1"


def locations(route: CompiledRoute) -> Locations:
    strips = route.settings.strip_path
    home = Home(base=route.base, prefix=route.prefix, strips=strips)
    return Locations(home, scheme=route.scheme.encode(), authority=route.authority)


def a_route(path: str = "/shop", upstream: str = UP, *, strip_path: bool = True) -> CompiledRoute:
    return CompiledRoute("r", Route(path=path, upstream=upstream, strip_path=strip_path))


def mapped(
    value: str,
    path: str = "/shop",
    upstream: str = UP,
    *,
    strip_path: bool = True,
    target: bytes = TARGET,
    host: str | None = None,
) -> str:
    """Written and given in latin-1: every byte is a character."""
    route = a_route(path, upstream, strip_path=strip_path)
    name = None if host is None else host.encode()
    found = locations(route).mapped(value.encode("latin-1"), target=target, host=name)
    return found.decode("latin-1")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # a whole URL
        ("https://api.example/v2/login", "/shop/login"),
        ("https://api.example/v2/", "/shop/"),
        ("https://api.example/v2", "/shop"),
        ("https://api.example/v2?a=b", "/shop?a=b"),
        ("https://api.example/v2#part", "/shop#part"),
        ("https://api.example/v2/a?next=/v2/b#/v2/c", "/shop/a?next=/v2/b#/v2/c"),
        ("HTTPS://API.Example/v2/a", "/shop/a"),
        ("https://api.example:443/v2/a", "/shop/a"),
        ("https://api.example:/v2/a", "/shop/a"),
        # //host
        ("//api.example/v2/a", "/shop/a"),
        ("//API.example:443/v2/a", "/shop/a"),
        # a path
        ("/v2/login", "/shop/login"),
        ("/v2", "/shop"),
        ("/v2/%7e/%2F/a b/\xe9?\xe9=%zz", "/shop/%7e/%2F/a b/\xe9?\xe9=%zz"),
        ("/v2//evil.example/", "/shop//evil.example/"),
        ("/v2/a:b", "/shop/a:b"),
        # a relative reference
        ("8", "/shop/items/8"),
        ("./8?a", "/shop/items/8?a"),
        ("../login", "/shop/login"),
        ("..", "/shop/"),
        (".", "/shop/items/"),
        ("8/", "/shop/items/8/"),
        ("?page=2", "/shop/items/7?page=2"),
        ("?", "/shop/items/7?"),
        ("8:b/c", "/shop/items/8:b/c"),
        # dot segments that stay below
        ("/v2/a/../b", "/shop/b"),
        ("/v2/./b", "/shop/b"),
        ("/x/../v2/b", "/shop/b"),
        ("https://api.example/v2/a/../b", "/shop/b"),
        ("/v2/a/%2e%2e/b", "/shop/a/%2e%2e/b"),
    ],
)
def test_what_is_below_the_upstreams_path_is_below_the_routes(value: str, expected: str) -> None:
    assert mapped(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # what is a URL stays as it came
        ("https://api.example", None),
        ("https://api.example/", None),
        ("https://API.example:443/v2x/", None),
        ("https://api.example/v2/../admin", None),
        ("https://api.example/v2%2fa", None),
        ("https://api.example/V2/a", None),
        ("https://api.example/%762/a", None),
        ("https://other.example/v2/a", None),
        ("https://api.example.:443/v2/a", None),
        ("https://api.example:8443/v2/a", None),
        ("https://api.example:80/v2/a", None),
        ("https://api.example:0443/v2/a", None),
        ("https://anna@api.example/v2/a", None),
        ("https://api.example@evil.example/v2/a", None),
        ("http://api.example/v2/a", None),
        ("http://api.example:443/v2/a", None),
        ("ftp://api.example/v2/a", None),
        ("shop-app://callback/v2/a?b", None),
        ("mailto:anna@api.example", None),
        # anything else becomes one
        ("//other.example/v2/a", "https://other.example/v2/a"),
        ("//other.example", "https://other.example"),
        ("//api.example/login", "https://api.example/login"),
        ("//api.example:80/v2/a", "https://api.example:80/v2/a"),
        ("/", "https://api.example/"),
        ("/login?a#b", "https://api.example/login?a#b"),
        ("/v2x", "https://api.example/v2x"),
        ("/v2/../admin", "https://api.example/admin"),
        ("/v2/a/../../admin", "https://api.example/admin"),
        ("../../admin", "https://api.example/admin"),
        ("../../../../admin", "https://api.example/admin"),
        ("../..", "https://api.example/"),
        ("../../..//admin", "https://api.example//admin"),
    ],
)
def test_what_is_elsewhere_is_a_whole_url(value: str, expected: str | None) -> None:
    assert mapped(value) == (expected or value)


@pytest.mark.parametrize(
    "dots", ["%2e%2e", "%2E.", "..;x", "a%2f..%2f..", "%252e%252e", "a/%2e%2e/%2e%2e"]
)
def test_what_may_be_read_as_climbing_out_is_elsewhere(dots: str) -> None:
    assert mapped(f"/v2/{dots}/admin") == f"https://api.example/v2/{dots}/admin"
    whole = f"https://api.example/v2/{dots}/admin"
    assert mapped(whole) == whole


@pytest.mark.parametrize(
    "value",
    [
        "",
        "#part",
        "https:",
        "https:/v2/a",
        "https:v2/a",
        "https://",
        "https:///v2/a",
        "https://?a",
        "///v2/a",
        "//",
        "//api.example:port/v2/a",
        "https://[::1/v2/a",
        "https://api.example]/v2",
        "https://a b/v2",
        "//a:1:2/",
        "/v2/\\evil.example",
        "\\\\evil.example",
        "/v2/\t/evil.example",
        "/v2/a\x00",
        "https://api.example/v2/\x7f",
    ],
)
@pytest.mark.parametrize("path", ["/", "/shop"])
def test_what_is_malformed_or_leads_nowhere_else_stays_as_it_came(value: str, path: str) -> None:
    assert mapped(value, path) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/v2//evil.example", "/.//evil.example"),
        ("https://api.example/v2//evil.example/a?b", "/.//evil.example/a?b"),
        ("/v2/.//evil.example", "/.//evil.example"),
        ("/v2/a/..//evil.example", "/.//evil.example"),
        ("/v2///evil.example", "/.///evil.example"),
        ("/v2", "/"),
        ("/v2?a", "/?a"),
        ("/v2/", "/"),
    ],
)
def test_a_path_never_becomes_another_host(value: str, expected: str) -> None:
    assert mapped(value, "/") == expected
    assert urljoin("http://localhost:8080/x", expected).startswith("http://localhost:8080/")


@pytest.mark.parametrize(
    ("path", "upstream", "value", "expected"),
    [
        ("/shop", "https://api.example", "/", "/shop/"),
        ("/shop", "https://api.example", "/a", "/shop/a"),
        ("/shop", "https://api.example", "//api.example", "/shop/"),
        ("/shop", "https://api.example/", "https://api.example?a", "/shop/?a"),
        ("/shop", "https://api.example", "/../a", "/shop/a"),
        ("/shop", "https://api.example", "/%2e%2e/a", "https://api.example/%2e%2e/a"),
        ("/", "https://api.example", "https://api.example/a", "/a"),
        ("/", "https://api.example", "/.//evil.example", "/.//evil.example"),
        ("/shop", "https://api.example/v2/", "/v2/a", "/shop/a"),
        ("/", "http://[::1]:9000", "http://[::1]:9000/a", "/a"),
        ("/", "http://[::1]", "http://[::1]:80/a", "/a"),
        ("/", "http://localhost:9000", "http://localhost/a", "http://localhost/a"),
        ("/", "http://localhost:9000", "http://localhost:9000/a", "/a"),
        ("/", "http://localhost", "https://localhost/a", "https://localhost/a"),
        ("/shop", "unix:/run/api.sock", "http://localhost/a", "/shop/a"),
    ],
)
def test_the_upstreams_origin_and_path_may_be_any(
    path: str, upstream: str, value: str, expected: str
) -> None:
    assert mapped(value, path, upstream) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/v2/shop/a", "/shop/a"),
        ("/v2/shop", "/shop"),
        ("/v2/other", "https://api.example/v2/other"),
        ("/shop/a", "https://api.example/shop/a"),
        ("8", "/shop/items/8"),
        ("../../a", "https://api.example/v2/a"),
    ],
)
def test_a_prefix_that_is_not_stripped_stays(value: str, expected: str) -> None:
    assert mapped(value, strip_path=False, target=b"/v2/shop/items/7") == expected


@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
def test_an_upstream_that_was_asked_by_another_name_may_call_itself_so(scheme: str) -> None:
    value = f"{scheme}://LOCALHOST:8080"
    assert mapped(f"{value}/v2/a", host="localhost:8080") == "/shop/a"
    assert mapped(f"{value}/a", host="localhost:8080") == "https://api.example/a"
    assert mapped(f"{value}/v2/a") == f"{value}/v2/a"
    assert mapped("//localhost:8080/v2/a?b", host="localhost:8080") == "/shop/a?b"
    foreign = "http://api.example/v2/a"
    assert mapped(foreign, host="api.example") == foreign


# Properties.

SEGMENTS = ["", "a", "v2", "items", ".", "..", "%2e%2e", "a b", "\xe9", "..;x", "%2f", "c:d"]
relative = st.lists(st.sampled_from(SEGMENTS), max_size=5).map("/".join)
starts = st.sampled_from(
    ["", "/", "/v2", "/v2/", UP, UP + "/", "//api.example/v2/", "https://api.example/", "//x/"]
)
tails = st.sampled_from(["", "?a=/../b", "#c", "?a#c", "?//evil"])
references = st.tuples(starts, relative, tails).map("".join)
prefixes = st.sampled_from(["/", "/shop", "/shop/v2"])
bases = st.sampled_from(["", "/", "/v2", "/v2/items"])


def without_dots(path: str) -> str:
    """RFC 3986 5.2.4, word for word."""
    out = ""
    while path:
        if path.startswith("/./"):
            path = path[2:]
        elif path == "/.":
            path = "/"
        elif path.startswith("/../") or path == "/..":
            path, out = "/" + path[4:], out[: out.rfind("/")] if out else ""
        else:
            end = path.find("/", 1)
            segment, path = (path, "") if end < 0 else (path[:end], path[end:])
            out += segment
    return out


def asked(reference: str) -> str:
    """The target that a client asks the same host for."""
    path, mark, query = reference.partition("#")[0].partition("?")
    return without_dots(path) + mark + query


def where(value: str) -> str | None:
    """The target that it leads to, as the upstream itself takes it; None at another origin."""
    for origin in ("https://api.example", "//api.example"):
        if value.startswith(origin):
            value = value.removeprefix(origin)
            return asked(value if value.startswith("/") else "/" + value)
    if value.startswith("//"):
        return None
    if value.startswith("/"):
        return asked(value)
    return asked("/v2/items/" + value if value[:1] != "?" else "/v2/items/7" + value)


@given(references, prefixes, bases, st.booleans())
@example("/v2//evil.example", "/", "/v2", True)
@example("/.//evil", "/", "", True)
def test_what_is_mapped_back_leads_to_the_same_place(
    value: str, path: str, base: str, strip_path: bool
) -> None:
    upstream = "https://api.example" + base
    found = mapped(value, path, upstream, strip_path=strip_path)
    if not found.startswith("/") or found == value.removeprefix("https:"):
        return
    assert not found.startswith("//")
    table = RouteTable([Route(path=path, upstream=upstream, strip_path=strip_path)])
    target = asked(found).replace(" ", "%20").replace("\xe9", "%E9").encode()
    matched = table.match(None, target)
    assert isinstance(matched, Matched), target
    expected = where(value)
    assert expected is not None
    wanted = expected.replace(" ", "%20").replace("\xe9", "%E9")
    assert slashed(matched.target.decode(), base) == slashed(wanted, base)


def slashed(target: str, base: str) -> str:
    """A base with and without a slash at its end is the same to a route."""
    path, mark, query = target.partition("?")
    return path + ("/" if path == base.removesuffix("/") else "") + mark + query


@given(st.text("/\\.:@?#ahtps%2e\t ", max_size=12), prefixes)
def test_no_reference_becomes_one_to_another_host(value: str, path: str) -> None:
    found = mapped(value, path)
    if found != value and not found.startswith(("https://", "http://")):
        assert found.startswith("/")
        assert found[1:2] not in {"/", "\\"}
