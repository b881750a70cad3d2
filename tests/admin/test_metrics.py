"""`/metrics` by the names, types and labels of contract 5, in both of its forms."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from tests.admin.counting import served
from tokenproxy.admin.figures import BOUNDS, Figures
from tokenproxy.admin.metrics import OPENMETRICS, TEXT, Gathered, exposed, prefers_openmetrics
from tokenproxy.admin.parts import ConfigState
from tokenproxy.events import LoginRequired, RenewalFailed, TokenRenewed
from tokenproxy.tokens.slot import State
from tokenproxy.tokens.status import Status

CONTRACT = {
    "tokenproxy_requests_total": {"route", "method", "status"},
    "tokenproxy_request_duration_seconds": {"route"},
    "tokenproxy_upstream_duration_seconds": {"route"},
    "tokenproxy_requests_in_flight": {"route"},
    "tokenproxy_replays_total": {"route", "outcome"},
    "tokenproxy_renewals_total": {"credential", "outcome"},
    "tokenproxy_renewal_duration_seconds": {"credential"},
    "tokenproxy_token_expiry_timestamp_seconds": {"credential"},
    "tokenproxy_credential_state": {"credential", "state"},
    "tokenproxy_errors_total": {"code"},
    "tokenproxy_build_info": {"version"},
    "tokenproxy_reloads_total": {"outcome"},
    "tokenproxy_config_last_reload_successful": set(),
    "tokenproxy_config_last_reload_success_timestamp_seconds": set(),
}
HISTOGRAMS = [name for name in CONTRACT if name.endswith("duration_seconds")]
ODD = 'a"b\\c\nd'
CONFIG = ConfigState(None, 1764000000.5, reloads=3, failed_reloads=2, error="no")

Parse = Callable[[str], Iterator[Metric]]
FORMS = [("", plain), ("application/openmetrics-text", openmetrics)]


def gathered() -> Gathered:
    figures = Figures()
    figures(served(seconds=0.02, upstream_seconds=0.01, replay="accepted"))
    figures(served(method="BREW", seconds=0.3))
    figures(served(route="", status=404, code="no_route"))
    for event in (
        TokenRenewed("a", "label", 0.2, 60.0),
        RenewalFailed("a", "no", 1.0, 0.4),
        LoginRequired("a", "no", 0.1),
    ):
        figures(event)
    figures.routes["shop"].in_flight = 2
    fresh = Status(State.FRESH, not_persisted=False, expires_at=1764000300.5, last_renewal=None,
                   last_error=None)  # fmt: skip
    return Gathered("1.2.3", figures, ["shop", "quiet", ODD], {"a": fresh}, CONFIG)


def samples(accept: str, parse: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    body, _ = exposed(gathered(), accept)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


def at(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@pytest.mark.parametrize(("accept", "parse"), FORMS)
def test_names_and_labels_are_those_of_the_contract(accept: str, parse: Parse) -> None:
    found: dict[str, set[str]] = {}
    for name, labels in samples(accept, parse):
        plain_name = name
        for histogram in HISTOGRAMS:
            for suffix in ("_bucket", "_count", "_sum"):
                if name == histogram + suffix:
                    plain_name = histogram
        found.setdefault(plain_name, set()).update({key for key, _ in labels} - {"le"})
    assert found == CONTRACT


@pytest.mark.parametrize(("accept", "parse"), FORMS)
def test_values_are_what_was_counted(accept: str, parse: Parse) -> None:
    found = samples(accept, parse)
    requests = "tokenproxy_requests_total"
    for key, value in {
        at(requests, route="shop", method="GET", status="200"): 1,
        at(requests, route="shop", method="other", status="200"): 1,
        at(requests, route="", method="GET", status="404"): 1,
        at("tokenproxy_requests_in_flight", route="shop"): 2,
        at("tokenproxy_requests_in_flight", route="quiet"): 0,
        at("tokenproxy_replays_total", route="shop", outcome="accepted"): 1,
        at("tokenproxy_replays_total", route="shop", outcome="rejected_again"): 0,
        at("tokenproxy_replays_total", route="quiet", outcome="not_replayable"): 0,
        at("tokenproxy_renewals_total", credential="a", outcome="ok"): 1,
        at("tokenproxy_renewals_total", credential="a", outcome="refused"): 1,
        at("tokenproxy_renewals_total", credential="a", outcome="unavailable"): 1,
        at("tokenproxy_renewal_duration_seconds_count", credential="a"): 3,
        at("tokenproxy_token_expiry_timestamp_seconds", credential="a"): 1764000300.5,
        at("tokenproxy_credential_state", credential="a", state="fresh"): 1,
        at("tokenproxy_credential_state", credential="a", state="login_required"): 0,
        at("tokenproxy_errors_total", code="no_route"): 1,
        at("tokenproxy_errors_total", code="overloaded"): 0,
        at("tokenproxy_reloads_total", outcome="ok"): 3,
        at("tokenproxy_reloads_total", outcome="failed"): 2,
        at("tokenproxy_config_last_reload_successful"): 0,
        at("tokenproxy_config_last_reload_success_timestamp_seconds"): 1764000000.5,
        at("tokenproxy_build_info", version="1.2.3"): 1,
        at("tokenproxy_requests_in_flight", route=ODD): 0,
    }.items():
        assert found[key] == value, key


@pytest.mark.parametrize(("accept", "parse"), FORMS)
def test_buckets_count_those_before_them_too(accept: str, parse: Parse) -> None:
    found = samples(accept, parse)
    name = "tokenproxy_request_duration_seconds"
    below = [found[at(f"{name}_bucket", route="shop", le=str(bound))] for bound in BOUNDS]
    assert below == [sum(time <= bound for time in (0.02, 0.3)) for bound in BOUNDS]
    assert found[at(f"{name}_bucket", route="shop", le="+Inf")] == 2
    assert found[at(f"{name}_count", route="shop")] == 2
    assert found[at(f"{name}_sum", route="shop")] == pytest.approx(0.32)


def test_types_are_told() -> None:
    body, _ = exposed(gathered(), "application/openmetrics-text")
    parse: Parse = openmetrics
    types = {family.name: family.type for family in parse(body.decode())}
    for name in CONTRACT:
        kind = {"_total": "counter", "_info": "info"}.get("_" + name.rpartition("_")[2], "gauge")
        kind = "histogram" if name in HISTOGRAMS else kind
        assert types[name.removesuffix("_total").removesuffix("_info")] == kind


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("APPLICATION/OpenMetrics-Text; version=1.0.0", True),
        (PROMETHEUS, True),
        ("application/openmetrics-text;q=0.1, text/plain;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        ("application/openmetrics-text;version=1\x7f.x", True),
        (";;,,;q=", False),
    ],
)
def test_the_form_is_the_one_that_is_liked_better(accept: str, prefers: bool) -> None:
    assert prefers_openmetrics(accept) is prefers
    assert exposed(gathered(), accept)[1] == (OPENMETRICS if prefers else TEXT)
