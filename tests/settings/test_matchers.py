from typing import Any

import pytest

from tests.settings.written import read_route, told_of_route
from tokenproxy.settings.matchers import Matcher


def matcher(**settings: Any) -> Matcher:
    return Matcher.model_validate(settings)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (401, (401,)),
        ([401, 403], (401, 403)),
        ([], ()),
        ("401", (401,)),
        ({"status": 403}, (matcher(status=403),)),
        (
            [401, {"status": 403, "body_contains": "expired"}],
            (401, matcher(status=403, body_contains="expired")),
        ),
    ],
)
def test_one_answer_is_a_list_of_one(written: Any, read: tuple[Any, ...]) -> None:
    assert read_route(refresh_on=written).refresh_on == read


def test_a_401_rejects_a_token_unless_the_route_says_otherwise() -> None:
    assert read_route().refresh_on == (401,)


@pytest.mark.parametrize(
    ("written", "values"),
    [
        (40001, (40001,)),
        ("40001", ("40001",)),
        ([40001, "x", 1.5, True, None], (40001, "x", 1.5, True, None)),
        (None, (None,)),
        (False, (False,)),
        ("", ("",)),
    ],
)
def test_a_field_may_have_any_of_its_values(written: Any, values: tuple[Any, ...]) -> None:
    route = read_route(refresh_on={"status": 200, "json": {"data.errcode": written}})

    (read,) = route.refresh_on
    assert isinstance(read, Matcher)
    assert read.json_fields == {"data.errcode": values}
    kinds = [type(value) for value in read.json_fields["data.errcode"]]
    assert kinds == [type(value) for value in values]


@pytest.mark.parametrize(
    ("settings", "reads"),
    [
        ({}, False),
        ({"header": {"WWW-Authenticate": "invalid_token"}}, False),
        ({"body_contains": "x"}, True),
        ({"json": {"code": 1}}, True),
        ({"json": {}}, False),
    ],
)
def test_only_what_looks_into_a_body_holds_an_answer_back(
    settings: dict[str, Any], reads: bool
) -> None:
    assert matcher(status=403, **settings).reads_body is reads


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (99, "refresh_on: must be at least 100"),
        (600, "refresh_on: must be at most 599"),
        ([401, 1000], "refresh_on.1: must be at most 599"),
        (True, "refresh_on: must be a number"),
        ([401, "4xx"], "refresh_on.1: must be a whole number"),
        (401.5, "refresh_on: must be a whole number"),
        ([[401]], "refresh_on.0: must be a whole number"),
        ({}, "refresh_on.status: is missing"),
        ({"status": True}, "refresh_on.status: must be a number"),
        ({"status": 0}, "refresh_on.status: must be at least 100"),
        ([{"status": 403, "body": "x"}], "refresh_on.0.body: is not a known key"),
        ({"status": 403, "body_contains": ""}, "refresh_on.body_contains: must not be empty"),
        ({"status": 403, "header": {"X": ""}}, "refresh_on.header.X: must not be empty"),
        ({"status": 403, "header": {"X:": "a"}}, 'refresh_on.header."X…": is no name: use'),
        ({"status": 403, "header": "X"}, "refresh_on.header: must be a mapping"),
        ({"status": 403, "json": {"a..b": 1}}, 'refresh_on.json."a..b": must be names with dots'),
        ({"status": 403, "json": {"a": []}}, "refresh_on.json.a: must not be empty"),
        ({"status": 403, "json": {"a": {"b": 1}}}, "refresh_on.json.a: must be text, a number,"),
        ({"status": 403, "json": {"a": [1, [2]]}}, "refresh_on.json.a.1: must be text, a number,"),
        ({"status": 403, "json_fields": {"a": 1}}, "refresh_on.json_fields: is not a known key"),
        ({"status": 403, "json": [1]}, "refresh_on.json: must be a mapping"),
        (None, "refresh_on: is empty: must be a list"),
    ],
)
def test_what_matches_no_answer_is_told_as_that(written: Any, problem: str) -> None:
    problems = told_of_route(refresh_on=written)

    assert [one.startswith(problem) for one in problems] == [True], problems
