"""The metrics of the contract (5), and which of them a query asks for."""

import re

METRICS = {
    "tokenproxy_requests_total",
    "tokenproxy_request_duration_seconds",
    "tokenproxy_upstream_duration_seconds",
    "tokenproxy_requests_in_flight",
    "tokenproxy_replays_total",
    "tokenproxy_renewals_total",
    "tokenproxy_renewal_duration_seconds",
    "tokenproxy_token_expiry_timestamp_seconds",
    "tokenproxy_credential_state",
    "tokenproxy_errors_total",
    "tokenproxy_build_info",
    "tokenproxy_reloads_total",
    "tokenproxy_config_last_reload_successful",
    "tokenproxy_config_last_reload_success_timestamp_seconds",
}
_PARTS = re.compile(r"(tokenproxy_\w+_seconds)_(?:bucket|sum|count)")  # of a histogram


def asked(query: str) -> set[str]:
    """The metrics that it names."""
    return set(re.findall(r"\btokenproxy_\w+", _PARTS.sub(r"\1", query)))
