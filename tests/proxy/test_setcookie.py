import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.proxy.location import Home
from tokenproxy.proxy.setcookie import Cookies


def mapped(
    value: str,
    *,
    scheme: str = "https",
    base: bytes = b"/v2",
    prefix: bytes = b"/shop",
    strips: bool = True,
) -> str:
    """Written and given in latin-1: every byte is a character."""
    cookies = Cookies(Home(base=base, prefix=prefix, strips=strips))
    return cookies.mapped(value.encode("latin-1"), scheme=scheme).decode("latin-1")


@pytest.mark.parametrize(
    "value",
    [
        "a=b",
        "",
        "a",
        "a=",
        "=b",
        'a="x y"; HttpOnly',
        'a="x; y=z"; HttpOnly',
        "a=b;HttpOnly ;  Max-Age = 5;; SameSite=Lax; X-Odd=\xe9;",
        "a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Secure; SameSite=None; Partitioned",
        "domain=x; HttpOnly",
        "path=/v2",
        "a=Domain=x",
    ],
)
def test_what_names_no_place_stays_byte_for_byte(value: str) -> None:
    assert mapped(value) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=b; Domain=api.example", "a=b"),
        ("a=b; Domain=.api.example; HttpOnly", "a=b; HttpOnly"),
        ("a=b;DOMAIN = x;  HttpOnly", "a=b;  HttpOnly"),
        ("a=b; domain; Domain=; HttpOnly", "a=b; HttpOnly"),
        ('a="x;y"; Domain=x', 'a="x;y"'),
    ],
)
def test_a_cookie_is_for_the_proxys_own_host(value: str, expected: str) -> None:
    assert mapped(value) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", "/shop"),
        ("/v2/", "/shop/"),
        ("/v2/items", "/shop/items"),
        ("/", "/shop"),
        ("/v", "/shop"),
        ("/v2x", "/shop"),
        ("/other", "/shop"),
        ("/V2/items", "/shop"),
        ("", ""),
        ("v2", "v2"),
        ('"/v2"', '"/v2"'),
    ],
)
def test_a_path_is_the_routes(path: str, expected: str) -> None:
    assert mapped(f"a=b; Path={path}; HttpOnly") == f"a=b; Path={expected}; HttpOnly"


@pytest.mark.parametrize(
    ("base", "prefix", "strips", "path", "expected"),
    [
        (b"", b"/shop", True, "/", "/shop/"),
        (b"", b"/shop", True, "/a", "/shop/a"),
        (b"", b"", True, "/", "/"),
        (b"", b"", True, "/a", "/a"),
        (b"/v2", b"", True, "/", "/"),
        (b"/v2", b"", True, "/v2", "/"),
        (b"/v2", b"", True, "/v2/a", "/a"),
        (b"/v2", b"/shop", False, "/v2/shop/a", "/shop/a"),
        (b"/v2", b"/shop", False, "/v2", "/shop"),
        (b"/v2", b"/shop", False, "/", "/shop"),
        (b"", b"/shop", False, "/", "/shop"),
    ],
)
def test_a_path_of_the_whole_upstream_is_the_whole_route_and_no_more(
    base: bytes, prefix: bytes, strips: bool, path: str, expected: str
) -> None:
    found = mapped(f"a=b; Path={path}", base=base, prefix=prefix, strips=strips)
    assert found == f"a=b; Path={expected}"


def test_odd_spacing_survives_round_what_is_mapped() -> None:
    assert mapped("a=b ;  PATH =  /v2/x ; HttpOnly") == "a=b ;  PATH =/shop/x; HttpOnly"
    assert mapped("a=b;path=  /shop ", base=b"/shop") == "a=b;path=  /shop "
    assert mapped("a=b; Path=/v2; path=/") == "a=b; Path=/shop; path=/shop"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=b; Secure", "a=b"),
        ("a=b;SECURE ; HttpOnly", "a=b; HttpOnly"),
        ("a=b; secure=1; HttpOnly", "a=b; HttpOnly"),
        ("a=b; SameSite=None; Secure; HttpOnly", "a=b; HttpOnly"),
        ("a=b; Secure; samesite = NONE; Partitioned", "a=b"),
        ("a=b; Secure; SameSite=Strict", "a=b; SameSite=Strict"),
        ("a=b; SameSite=None", "a=b; SameSite=None"),
        ("Secure=1; HttpOnly", "Secure=1; HttpOnly"),
    ],
)
def test_on_http_a_cookie_is_not_secure(value: str, expected: str) -> None:
    assert mapped(value, scheme="http") == expected
    assert mapped(value, scheme="https") == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("__Secure-a=b; Path=/; Secure", "__Secure-a=b; Path=/shop; Secure"),
        ("__secure-a=b; Secure; SameSite=None", "__secure-a=b; Secure; SameSite=None"),
        ("__Http-a=b; Secure; HttpOnly", "__Http-a=b; Secure; HttpOnly"),
        ("__Host-a=b; Path=/; Secure", "__Host-a=b; Path=/; Secure"),
        (" __HOST-a =b; Path=/; Secure; Domain=x", " __HOST-a =b; Path=/; Secure"),
        ("__Host-Http-a=b; Path=/; Secure; HttpOnly", "__Host-Http-a=b; Path=/; Secure; HttpOnly"),
        ("__hosts=b; Path=/; Secure", "__hosts=b; Path=/shop"),
    ],
)
def test_a_cookie_keeps_what_its_name_asks_for(value: str, expected: str) -> None:
    assert mapped(value, scheme="http") == expected


PIECES = ["a=b", 'c="', " Path=/v2/x", "Domain=x", " Secure", "SameSite=None", " HttpOnly", "", " "]


@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8), st.sampled_from(["http", "https"])
)
def test_the_rest_of_a_cookie_stays_in_its_order(pieces: list[str], scheme: str) -> None:
    found = mapped(";".join(pieces), scheme=scheme).split(";")
    mine = {" Path=/v2/x", " Path=/shop/x", "Domain=x", " Secure", "SameSite=None"}
    assert found[0] == pieces[0]
    assert [p for p in found[1:] if p not in mine] == [p for p in pieces[1:] if p not in mine]
