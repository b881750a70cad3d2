from typing import Any

import pytest

from tokenproxy.testing.scenarios.matching import difference


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ({"a": 1}, {"a": 1}),
        ([], []),
        (None, None),
        ("$any", "x"),
        ("$any", {"a": [1]}),
        ("$$any", "$any"),
        ({"$regex": "^tea"}, "teapot"),
        ({"$subset": {"a": 1}}, {"a": 1, "b": 2}),
        ({"$subset": {"a": {"$subset": {"b": "$any"}}}}, {"a": {"b": 1, "c": 2}, "d": 3}),
        ([{"id": "$any", "name": "x"}], [{"name": "x", "id": 7}]),
        ({"$regex": "a", "b": 1}, {"$regex": "a", "b": 1}),
    ],
)
def test_what_fits(expected: Any, got: Any) -> None:
    assert difference(expected, got) == []


@pytest.mark.parametrize(
    ("expected", "got", "lines"),
    [
        (1, True, ["-1", "+true"]),
        ("$any", None, ['-"$any"', "+null"]),
        ("$$any", "x", ['-"$$any"', '+"x"']),
        ({"$regex": "^tea"}, "pot", ["-{", '-  "$regex": "^tea"', "-}", '+"pot"']),
        ({"$regex": "^tea"}, 5, ["-{", '-  "$regex": "^tea"', "-}", "+5"]),
        ({"a": 1}, {"a": 1, "b": 2}, [" {", '-  "a": 1', '+  "a": 1,', '+  "b": 2', " }"]),
        ([1], [1, 2], [" [", "-  1", "+  1,", "+  2", " ]"]),
        (
            {"$subset": {"a": 1}},
            {"a": 2, "b": 3},
            [" {", '   "$subset": {', '-    "a": 1', '+    "a": 2', "   }", " }"],
        ),
    ],
)
def test_what_does_not_fit_is_shown_line_by_line(expected: Any, got: Any, lines: list[str]) -> None:
    assert difference(expected, got) == lines


def test_what_fits_is_not_shown_as_a_difference() -> None:
    lines = difference({"id": "$any", "name": "x"}, {"id": 7, "name": "y"})
    assert [line for line in lines if line[0] in "+-"] == ['-  "name": "x"', '+  "name": "y"']
