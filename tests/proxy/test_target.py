import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.proxy.target import (
    Absolute,
    absolute,
    climbs,
    fault,
    is_plain,
    named,
    normal_form,
    split,
    split_port,
)

PIECES = ["/", "//", "a", "shop", "..", ".", "%2e", "%2E", "%2f", "%5C", "\\", "%252e", ";x", "%20"]
paths = st.lists(st.sampled_from(PIECES)).map(lambda pieces: "/" + "".join(pieces)).map(str.encode)


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b"/a", (b"/a", None)),
        (b"/a?", (b"/a", b"")),
        (b"/a?b=%7e&c", (b"/a", b"b=%7e&c")),
        (b"/a?b?c", (b"/a", b"b?c")),
        (b"/?/..", (b"/", b"/..")),
    ],
)
def test_a_target_is_split_byte_for_byte(raw: bytes, parts: tuple[bytes, bytes | None]) -> None:
    assert split(raw) == parts


@pytest.mark.parametrize(
    "raw",
    [b"/", b"//evil/", b"/a%20b", b"/a%zz", b'/a"b<c>|{}^`', b"/\\", b"/a?x=%00", b"/%2500"],
)
def test_odd_but_printable_targets_are_let_through(raw: bytes) -> None:
    assert fault(raw) is None


@pytest.mark.parametrize(
    "raw", [b"", b"a", b"*", b"a:80", b"?", b"http:/x", b"\\x", b"ftp://localhost/"]
)
def test_what_does_not_begin_with_a_slash_is_refused(raw: bytes) -> None:
    assert fault(raw) == "The request target must start with '/'."


@pytest.mark.parametrize("byte", [*range(0x21), 0x23, *range(0x7F, 0x100)])
@pytest.mark.parametrize("place", [b"/a%b", b"/?q=%b"])
def test_every_byte_that_no_target_may_hold_raw_is_refused(byte: int, place: bytes) -> None:
    assert fault(place.replace(b"%b", bytes([byte]))) is not None


def test_an_encoded_nul_in_the_path_is_refused() -> None:
    assert fault(b"/a%00?b") == "The path holds an encoded NUL."


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b"http://localhost:8080/a?b", Absolute(b"http", b"localhost:8080", b"/a?b")),
        (b"HTTPS://h/", Absolute(b"https", b"h", b"/")),
        (b"http://h", Absolute(b"http", b"h", b"/")),
        (b"http://h?a/b", Absolute(b"http", b"h", b"/?a/b")),
        (b"http://h//a", Absolute(b"http", b"h", b"//a")),
        (b"http://u@h/", Absolute(b"http", b"u@h", b"/")),
        (b"http:///a", Absolute(b"http", b"", b"/a")),
        (b"ftp://h/", None),
        (b"http:/h", None),
        (b"h:80", None),
        (b"*", None),
    ],
)
def test_an_absolute_target_is_taken_apart(raw: bytes, parts: Absolute | None) -> None:
    assert absolute(raw) == parts


@pytest.mark.parametrize(
    ("authority", "parts"),
    [
        (b"h", (b"h", None)),
        (b"h:1", (b"h", b"1")),
        (b"[::1]", (b"[::1]", None)),
        (b"[::1]:1", (b"[::1]", b"1")),
        (b"::1", (b"::1", None)),
        (b"h:", (b"h:", None)),
        (b"h:x", (b"h:x", None)),
        (b"h:1:2", (b"h:1:2", None)),
        (b"", (b"", None)),
    ],
)
def test_a_port_is_split_off_only_where_there_is_one(
    authority: bytes, parts: tuple[bytes, bytes | None]
) -> None:
    assert split_port(authority) == parts


@pytest.mark.parametrize(
    ("path", "form"),
    [
        (b"/", b"/"),
        (b"/a/b", b"/a/b"),
        (b"/a/", b"/a/"),
        (b"//a///b", b"/a/b"),
        (b"/a/./b", b"/a/b"),
        (b"/a/.", b"/a/"),
        (b"/a/b/..", b"/a/"),
        (b"/a/../..", b"/"),
        (b"/../a", b"/a"),
        (b"/%61%2fb", b"/a/b"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/a/.%2e/b", b"/b"),
        (b"/a/%252e%252e/b", b"/a/%2e%2e/b"),
        (b"/a\\..\\b", b"/a\\..\\b"),
        (b"/...", b"/..."),
        (b"/a/..;x/b", b"/a/..;x/b"),
    ],
)
def test_rules_look_at_the_decoded_dot_free_merged_path(path: bytes, form: bytes) -> None:
    assert normal_form(path) == form


@given(paths)
def test_a_plain_path_is_its_own_normal_form(path: bytes) -> None:
    if is_plain(path):
        assert normal_form(path) == path


@given(paths)
def test_a_normal_form_has_nothing_left_to_resolve(path: bytes) -> None:
    segments = normal_form(path).split(b"/")
    assert b".." not in segments
    assert b"." not in segments
    assert b"" not in segments[1:-1]


@pytest.mark.parametrize("path", [b"/a%20", b"/a/.b", b"/a//", b"/a\\b", b"/."])
def test_a_path_that_can_be_read_in_two_ways_is_not_plain(path: bytes) -> None:
    assert not is_plain(path)


@pytest.mark.parametrize(
    "rest",
    [
        b"/..",
        b"/../",
        b"/a/../..",
        b"/%2e%2e",
        b"/.%2E/",
        b"/%2e./x",
        b"/a%2f../..",
        b"/a%2fb/../..",  # `a%2fb` is one segment to a server that does not decode it
        b"/a//../..",  # an empty segment is none to a server that merges slashes
        b"/..%2fx",
        b"/x%2f..%2f..",
        b"/..\\x",
        b"/x\\..\\..",
        b"/..%5cx",
        b"/a%2fb\\..\\..",
        b"/..;/x",
        b"/..;a=b/x",
        b"/%252e%252e/x",
        b"/..%252fx",
        b"/../shop/x",  # comes back, and was out nevertheless
    ],
)
def test_dot_segments_that_reach_above_are_seen_in_every_encoding(rest: bytes) -> None:
    assert climbs(rest)


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"/",
        b"/a/..",
        b"/a/../b/..",
        b"/./.",
        b"/...",
        b"/..a",
        b"/a%2fb",
        b"/a%2f..%2fb",
        b"//a",
        b"/a;x/..",
        b"/a\\b/..",
        b"/.;x",
    ],
)
def test_dot_segments_that_stay_inside_are_left_alone(rest: bytes) -> None:
    assert not climbs(rest)


def test_a_target_of_nothing_but_percent_signs_is_read_in_linear_time() -> None:
    assert not climbs(b"/%" + b"25" * 30_000)
    assert normal_form(b"/.." * 20_000) == b"/"


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"/items?token=s3cr3t", "/items"),
        (b"/a@b/c?d@e", "/a@b/c"),
        (b"http://u:s3cr3t@a.example/@me?x", "http://a.example/@me"),
        (b"HTTP://s3cr3t@a.example", "HTTP://a.example"),
        (b"http://u:s3cr@3t@a.example/", "http://a.example/"),
        (b"ftp://u:s3cr3t@a.example/x", "ftp://a.example/x"),
        (b"u:s3cr3t@a.example:443", "a.example:443"),
        (b"http://a.example?u:s3cr3t@b", "http://a.example"),
        (b"*", "*"),
        (b"", ""),
        (b"/\xff", "/\\xff"),
    ],
)
def test_a_log_names_neither_query_nor_userinfo(raw: bytes, name: str) -> None:
    assert named(raw) == name
