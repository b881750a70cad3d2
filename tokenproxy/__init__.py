"""A local reverse proxy that injects and refreshes access tokens."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenproxy.config.model import Config

__all__ = ["__version__", "load_config", "run"]
__version__ = "0.1.0"


def load_config(path_or_mapping: Path | str | Mapping[str, Any]) -> "Config":
    """Read and check a config: a YAML file, or the same as a mapping.

    Raises:
        tokenproxy.errors.ConfigError: every mistake that it has, with its place.
    """
    from tokenproxy.config.load import load_config as load
    from tokenproxy.environment import variables

    return load(path_or_mapping, environment=variables()).config


def run(config: "Config") -> None:
    """Serve until SIGTERM or SIGINT; prints one line a listener, as `tokenproxy run` does.

    Raises:
        tokenproxy.errors.ListenError: an address cannot be had.
        tokenproxy.errors.WorkerError: a worker process does not come to serve.
    """
    from tokenproxy.server.run import run as serve

    def announce(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    serve(config, announce)
