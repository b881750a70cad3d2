"""`docs/operations.md` knows every error, event, metric and alert that there is."""

import re

import pytest
import yaml

from tests.deploy.metrics import METRICS
from tests.deploy.programs import DEPLOY, REPOSITORY
from tokenproxy.proxy.answers import ErrorCode
from tokenproxy.server.log import LINES

OPERATIONS = REPOSITORY / "docs" / "operations.md"
TEXT = OPERATIONS.read_text()
ROWS = re.findall(r"^\| `(\w+)` \|(.*)\|$", TEXT, re.MULTILINE)
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
ALERTS = [rule["alert"] for group in RULES for rule in group["rules"]]
EVENTS = [name for _, name in LINES.values()]


@pytest.mark.parametrize("name", [*EVENTS, *sorted(METRICS), *ALERTS])
def test_there_is_a_row_for_each(name: str) -> None:
    assert name in dict(ROWS)


@pytest.mark.parametrize("code", ErrorCode, ids=lambda code: code.value)
def test_each_error_has_its_status_a_cause_and_a_remedy(code: ErrorCode) -> None:
    cells = [row.split("|") for name, row in ROWS if name == code.value]
    (row,) = [each for each in cells if each[0].strip() == str(code.status)]
    _, cause, remedy = map(str.strip, row)
    assert cause
    assert remedy
