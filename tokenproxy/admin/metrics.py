"""What `/metrics` says (contract 5): made of the figures when somebody asks, and kept nowhere.

Series that are bound to come begin at zero: a rate needs a value before the first event.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from tokenproxy.admin.figures import BOUNDS, Figures, Histogram, RouteFigures
from tokenproxy.admin.parts import ConfigState
from tokenproxy.proxy.answers import ErrorCode
from tokenproxy.proxy.verdict import Replay
from tokenproxy.tokens.slot import State
from tokenproxy.tokens.status import Status

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OUTCOMES = ("ok", "refused", "unavailable")  # of renewals


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that is told of: figures, the names of the routes, and how each credential stands."""

    version: str
    figures: Figures
    routes: Iterable[str]
    statuses: Mapping[str, Status]
    config: ConfigState


def exposed(gathered: Gathered, accept: str) -> tuple[bytes, str]:
    """The metrics and their content type, in the form that whoever asks likes better."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(gathered))
    if prefers_openmetrics(accept):
        found: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call] # has none
        return found, OPENMETRICS
    return generate_latest(registry), TEXT


def prefers_openmetrics(accept: str) -> bool:
    """What an Accept field says (RFC 9110 12.5.1); without a preference, the plain text."""
    weights = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for offer in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in offer.split(";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(parameters))
    return weights["application/openmetrics-text"] > weights["text/plain"]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter.removeprefix("q="))
            except ValueError:
                return 0.0
    return 1.0


class _Families(Collector):
    """Gives the families; each is named as in the contract, but for what a type adds."""

    def __init__(self, gathered: Gathered) -> None:
        self._gathered = gathered
        routes = {name: RouteFigures() for name in gathered.routes}
        self._routes = {**routes, **gathered.figures.routes}

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield from self._of_routes()
        yield from self._of_renewals()
        yield from self._of_credentials()
        errors = CounterMetricFamily(
            "tokenproxy_errors", "Answers of the proxy's own, by their code.", labels=["code"]
        )
        counted = self._gathered.figures.errors
        for code in sorted({code.value for code in ErrorCode} | set(counted)):
            errors.add_metric([code], counted[code])
        yield errors
        yield from self._of_the_config()
        build = InfoMetricFamily("tokenproxy_build", "What is running.")
        build.add_metric([], {"version": self._gathered.version})
        yield build

    def _of_the_config(self) -> Iterator[Metric]:
        config = self._gathered.config
        reloads = CounterMetricFamily(
            "tokenproxy_reloads", "Reloads of the config, by how they went.", labels=["outcome"]
        )
        reloads.add_metric(["ok"], config.reloads)
        reloads.add_metric(["failed"], config.failed_reloads)
        yield reloads
        yield GaugeMetricFamily(
            "tokenproxy_config_last_reload_successful",
            "0 while the file holds what could not be taken, and an earlier config is in force.",
            value=float(config.error is None),
        )
        yield GaugeMetricFamily(
            "tokenproxy_config_last_reload_success_timestamp_seconds",
            "When the config in force was taken.",
            value=config.loaded_at,
        )

    def _of_routes(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "tokenproxy_requests",
            "Requests that have been answered.",
            labels=["route", "method", "status"],
        )
        in_flight = GaugeMetricFamily(
            "tokenproxy_requests_in_flight", "Requests that are being answered.", labels=["route"]
        )
        replays = CounterMetricFamily(
            "tokenproxy_replays",
            "Requests whose token was rejected, by what became of them.",
            labels=["route", "outcome"],
        )
        for name, route in self._routes.items():
            for (method, status), count in route.answers.items():
                requests.add_metric([name, method, str(status)], count)
            in_flight.add_metric([name], route.in_flight)
            for outcome in Replay:
                replays.add_metric([name, outcome.value], route.replays[outcome.value])
        yield from (requests, in_flight, replays)
        yield from self._times_of_routes()

    def _times_of_routes(self) -> Iterator[Metric]:
        whole = HistogramMetricFamily(
            "tokenproxy_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            labels=["route"],
        )
        upstream = HistogramMetricFamily(
            "tokenproxy_upstream_duration_seconds",
            "Time from sending a request to the head of the upstream's answer.",
            labels=["route"],
        )
        for name, route in self._routes.items():
            whole.add_metric([name], *_buckets(route.seconds))
            upstream.add_metric([name], *_buckets(route.upstream))
        yield from (whole, upstream)

    def _of_renewals(self) -> Iterator[Metric]:
        renewals = CounterMetricFamily(
            "tokenproxy_renewals",
            "Renewals of tokens, by how they went.",
            labels=["credential", "outcome"],
        )
        times = HistogramMetricFamily(
            "tokenproxy_renewal_duration_seconds",
            "Time that renewals took, with the wait for the store's lock.",
            labels=["credential"],
        )
        figures = self._gathered.figures
        for name in self._gathered.statuses:
            for outcome in OUTCOMES:
                renewals.add_metric([name, outcome], figures.renewals[name, outcome])
            times.add_metric([name], *_buckets(figures.renewal_seconds.get(name) or Histogram()))
        yield from (renewals, times)

    def _of_credentials(self) -> Iterator[Metric]:
        expiry = GaugeMetricFamily(
            "tokenproxy_token_expiry_timestamp_seconds",
            "When the token ends, where it names a time.",
            labels=["credential"],
        )
        states = GaugeMetricFamily(
            "tokenproxy_credential_state",
            "1 for the state that a credential is in.",
            labels=["credential", "state"],
        )
        for name, status in self._gathered.statuses.items():
            if status.expires_at is not None:
                expiry.add_metric([name], status.expires_at)
            for state in State:
                states.add_metric([name, state.value], float(status.state is state))
        yield from (expiry, states)


def _buckets(times: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Each bucket counts those before it too, and the last one has no end."""
    bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
    return list(zip(bounds, map(float, accumulate(times.counts)), strict=True)), times.total
