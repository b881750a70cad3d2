"""The alerts, as Prometheus itself reads and tries them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.metrics import METRICS, asked
from tests.deploy.programs import DEPLOY, judged

PROMETHEUS = DEPLOY / "prometheus"
ALERTS: dict[str, Any] = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
TESTS: dict[str, Any] = yaml.safe_load((PROMETHEUS / "alerts.test.yaml").read_text())

each_rule = pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])


def test_alerts_are_raised_when_they_should_be_and_not_else() -> None:
    judged("promtool", "test", "rules", PROMETHEUS / "alerts.test.yaml")


def test_the_scrape_config_is_one() -> None:
    judged("promtool", "check", "config", PROMETHEUS / "prometheus.yaml")


def test_pods_are_found_under_the_name_that_alerts_expect(tmp_path: Path) -> None:
    """Debian's promtool knows no Kubernetes: it is shown the rest."""
    config = yaml.safe_load((PROMETHEUS / "kubernetes.yaml").read_text())
    (job,) = config["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    judged("promtool", "check", "config", tmp_path / "prometheus.yaml")
    assert job["relabel_configs"][-1] == {"target_label": "job", "replacement": "tokenproxy"}


@each_rule
def test_an_alert_asks_only_for_metrics_that_there_are(rule: dict[str, Any]) -> None:
    assert asked(rule["expr"]) <= METRICS


@each_rule
def test_an_alert_is_tried_both_when_it_is_due_and_when_it_is_not(rule: dict[str, Any]) -> None:
    tried = {
        bool(case.get("exp_alerts"))
        for test in TESTS["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == rule["alert"]
    }
    assert tried == {True, False}
