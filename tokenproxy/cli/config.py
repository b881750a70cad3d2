"""The config that a verb works on: named, or found where it usually is."""

from pathlib import Path
from typing import Annotated

import typer

from tokenproxy.cli.output import warn
from tokenproxy.config.confidential import Known
from tokenproxy.config.load import Loaded, find_config, load_config
from tokenproxy.config.model import Config
from tokenproxy.environment import variables

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        envvar="TOKENPROXY_CONFIG",
        help="The config file; else ./tokenproxy.yaml, else ./config.yaml.",
    ),
]

_known = Known()  # until this process ends: its last error may be about a secret of the config


def load(path: Path | None) -> tuple[Path, Loaded]:
    """Load the config with the places of all that is in it. Raises ConfigError."""
    environment = variables()
    found = path if path is not None else find_config(environment, Path.cwd())
    loaded = load_config(found, environment=environment)
    keep_known(loaded.config)
    for warning in loaded.warnings:
        warn(str(warning))
    return found, loaded


def keep_known(config: Config) -> None:
    """What is written from now on is searched for the secrets of this config."""
    _known.add(config)
