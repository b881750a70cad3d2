from pathlib import Path
from typing import Any

import pytest

from tests.settings.written import read_credential, told_of_credential
from tokenproxy.settings.file import File


def test_a_file_holds_the_token_as_text_unless_the_config_says_otherwise() -> None:
    file = read_credential(File, {"type": "file", "path": "/run/token"})

    assert (file.path, file.format, file.field) == (Path("/run/token"), "text", None)


@pytest.mark.parametrize("field", [None, "token", "data.token"])
def test_a_json_file_may_name_its_field(field: str | None) -> None:
    settings = {"type": "file", "path": "/run/token", "format": "json", "field": field}

    assert read_credential(File, settings).field == field


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "path: is missing"),
        ({"path": None}, "path: is empty: must be text"),
        ({"path": 7}, "path: must be text: put it in quotes"),
        ({"path": "/t", "field": "token"}, "has a 'field', which needs 'format: json'"),
        (
            {"path": "/t", "format": "text", "field": "token"},
            "has a 'field', which needs 'format: json'",
        ),
        ({"path": "/t", "format": "yaml"}, "format: must be 'text' or 'json'"),
        (
            {"path": "/t", "format": "json", "field": "a."},
            "field: must be names with dots between them, as in data.accessToken",
        ),
        (
            {"path": "/t", "pth": "/t"},
            "pth: is not a known key (did you mean 'path'?)",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told_as_that(settings: dict[str, Any], problem: str) -> None:
    assert told_of_credential({"type": "file", **settings}) == [problem]
