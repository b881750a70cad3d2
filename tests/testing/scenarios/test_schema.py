import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tokenproxy.config.load import read_document
from tokenproxy.testing.__main__ import main

FOLDER = Path(__file__).parents[2] / "scenarios"
FILES = sorted(FOLDER.glob("*.scenario.yaml"))


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["schema"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_scenario_of_the_project_is_one_by_the_schema(schema: Any, file: Path) -> None:
    jsonschema.validate(read_document(file).data, schema)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": []},
        {"name": "x", "steps": [{"requst": "GET /"}]},
        {"name": "x", "steps": [{"advance": "1s"}], "isuer": {}},
    ],
)
def test_what_is_no_scenario_is_none_by_the_schema(schema: Any, wrong: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_any_other_word_is_answered_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python -m tokenproxy.testing schema" in capsys.readouterr().err
