import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.proxy.globs import matcher


@pytest.mark.parametrize(
    ("glob", "matched", "unmatched"),
    [
        ("/items", ["/items"], ["/items/", "/items/a", "/Items", "/item", "/itemss", "/"]),
        ("/items/", ["/items/"], ["/items"]),
        ("/items/*", ["/items/a", "/items/"], ["/items", "/items/a/b", "/items/a/"]),
        ("/items/**", ["/items", "/items/", "/items/a", "/items/a/b"], ["/itemsa", "/item"]),
        ("/**/a", ["/a", "/b/a", "/b/c/a"], ["/ba", "/a/b", "/a/"]),
        ("/a/**/b", ["/a/b", "/a/x/b", "/a/x/y/b", "/a/b/b"], ["/a", "/b", "/ab", "/a/xb"]),
        ("/**/a*/**/b", ["/a/b", "/x/ab/y/b"], ["/b/a", "/a"]),
        ("/v?/x", ["/v1/x", "/vv/x"], ["/v/x", "/v12/x", "/v//x"]),
        ("/a*b*c", ["/abc", "/axbxc", "/abbcc"], ["/acb", "/ab/c", "/abcd"]),
        ("/*.json", ["/a.json", "/.json"], ["/a.jsonx", "/axjson", "/a/b.json"]),
        ("/**", ["/", "/a", "/a/b/"], []),
        ("/a.b+(c)|[d]", ["/a.b+(c)|[d]"], ["/axb+(c)|[d]", "/a.b"]),
    ],
)
def test_a_glob_matches_whole_paths(glob: str, matched: list[str], unmatched: list[str]) -> None:
    pattern = matcher([glob])
    assert [path for path in matched if not pattern.match(path.encode())] == []
    assert [path for path in unmatched if pattern.match(path.encode())] == []


def test_one_of_several_is_enough() -> None:
    pattern = matcher(["/a", "/b/*"])
    assert [bool(pattern.match(path)) for path in (b"/a", b"/b/c", b"/a/c")] == [True, True, False]


def test_a_line_break_is_a_character_like_any_other() -> None:
    assert matcher(["/*b"]).match(b"/a\nb")
    assert not matcher(["/a"]).match(b"/a\n")


def naive(glob: list[str], path: list[str]) -> bool:
    """The same, by trying everything."""
    if not glob:
        return not path
    if glob[0] == "**":
        return any(naive(glob[1:], path[at:]) for at in range(len(path) + 1))
    segment = glob[0].replace("*", ".*").replace("?", ".")
    fits = bool(path) and re.fullmatch(segment, path[0]) is not None
    return fits and naive(glob[1:], path[1:])


@given(
    st.lists(st.sampled_from(["**", "a", "*", "a*", "*b", "a*b", "?", "*a*", "*?a"]), min_size=1),
    st.lists(st.text("ab", max_size=4), min_size=1, max_size=6),
)
def test_it_matches_what_trying_everything_does(glob: list[str], path: list[str]) -> None:
    pattern = matcher(["/" + "/".join(glob)])
    assert bool(pattern.match(("/" + "/".join(path)).encode())) == naive(glob, path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/**/a" * 40 + "/b", "/a" * 8_000),
        ("/" + "*a" * 100 + "b", "/" + "a" * 16_000),
        ("/" + "?*" * 60 + "b", "/" + "a" * 16_000),
        ("/**/" + "*a" * 50 + "b", "/aaaa" * 3_200),
        ("/**" * 50 + "/x", "/" * 16_000),
        ("/**/a*a*a*a/**/b*b*b/**/c", "/aaaa/bbb" * 1_700),
    ],
)
def test_no_glob_and_no_path_takes_long(glob: str, path: str) -> None:
    pattern = matcher([glob])
    began = time.process_time()
    assert not pattern.match(path.encode())
    assert time.process_time() - began < 0.2
