"""What a shell completes: the names of a config's credentials, also where it has mistakes."""

import contextlib
from pathlib import Path
from typing import Any

import typer

from tokenproxy.config.document import Unreadable
from tokenproxy.config.load import find_config
from tokenproxy.config.yamlfile import read_yaml
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError


def credential_names(context: typer.Context, incomplete: str) -> list[str]:
    """Those that begin so."""
    return [name for name in _names(context.params.get("config")) if name.startswith(incomplete)]


def _names(config: Any) -> list[str]:
    with contextlib.suppress(ConfigError, Unreadable, OSError, ValueError):
        path = Path(config) if config else find_config(variables(), Path.cwd())
        data = read_yaml(path.read_text()).data
        found = data.get("credentials") if isinstance(data, dict) else None
        return sorted(found) if isinstance(found, dict) else []
    return []
