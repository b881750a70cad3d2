"""The dashboard: every metric is on it, and every query is one."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.metrics import METRICS, asked
from tests.deploy.programs import DEPLOY, judged

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
BUILT_IN = {"__rate_interval": "5m"}


def test_every_metric_is_on_it_and_no_other() -> None:
    assert set().union(*map(asked, QUERIES)) == METRICS


def test_every_query_is_one(tmp_path: Path) -> None:
    def filled(match: re.Match[str]) -> str:
        return BUILT_IN[match[1]] if match[1] in BUILT_IN else VARIABLES[match[1]]["allValue"]

    rules = [
        {"record": f"panel:{number}", "expr": re.sub(r"\$(\w+)", filled, query)}
        for number, query in enumerate(QUERIES)
    ]
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    )
    judged("promtool", "check", "rules", tmp_path / "rules.yaml")


def test_the_data_source_is_for_its_importer_to_choose() -> None:
    assert VARIABLES["datasource"]["type"] == "datasource"
    asking = [*PANELS, *(target for panel in PANELS for target in panel["targets"])]
    asking += [each for each in VARIABLES.values() if each["type"] == "query"]
    assert {each["datasource"]["uid"] for each in asking} == {"${datasource}"}


def test_panels_are_told_apart_and_cover_nobody() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))


def test_every_panel_says_what_it_shows() -> None:
    assert all(panel["title"] and panel["description"] for panel in PANELS)
