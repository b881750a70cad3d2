"""What this is all about, with a credential of simplejwt's kind and the default log."""

import json
import sys

from pydantic import BaseModel

import tokenproxy
from bench.peer import CONNECTIONS, UPSTREAM_CONNECTIONS, Command, Place
from tokenproxy.config.model import Config
from tokenproxy.settings.route import Route
from tokenproxy.testing.issuing import PASSWORD


class Tokenproxy:
    """`tokenproxy run` with one route."""

    name = "tokenproxy"
    renews = True

    def version(self) -> str:
        """This working copy's."""
        return f"tokenproxy {tokenproxy.__version__}, Python {sys.version.split()[0]}"

    def command(self, place: Place) -> Command:
        """JSON is YAML, too."""
        config = place.write("tokenproxy.yaml", json.dumps(_config(place)))
        return Command([sys.executable, "-m", "tokenproxy", "run", "-c", config])


def _config(place: Place) -> dict[str, object]:
    credential = {
        "type": "simplejwt",
        "base_url": place.issuer,
        "username": "demo",
        "password": PASSWORD,
    }
    route = {
        "upstream": place.upstream,
        "credential": "bench",
        "tls": {"ca": str(place.authority) if place.authority else None},
        **_limit(Route, UPSTREAM_CONNECTIONS),
    }
    return {
        "listen": f"127.0.0.1:{place.port}",
        "admin": None,
        "store": {"type": "memory"},
        "shutdown_grace": 1,
        **_limit(Config, CONNECTIONS),
        "credentials": {"bench": credential},
        "routes": [route],
    }


def _limit(settings: type[BaseModel], connections: int) -> dict[str, int]:
    """For a version that has one."""
    return {"max_connections": connections} if "max_connections" in settings.model_fields else {}
