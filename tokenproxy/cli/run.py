"""`tokenproxy run`: serve."""

from typing import Annotated

import typer

from tokenproxy.cli.config import ConfigOption, load
from tokenproxy.cli.direct import (
    LISTEN,
    Direct,
    TokenCommandOption,
    TokenEnvOption,
    TokenFileOption,
    UpstreamOption,
    direct_of,
    load_direct,
)
from tokenproxy.cli.output import say
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError
from tokenproxy.server.configfile import ConfigFile
from tokenproxy.server.run import run as serve

ListenOption = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="ADDRESS",
        envvar="TOKENPROXY_LISTEN",
        help=f"With --upstream: where to listen, host:port or unix:/path; else {LISTEN}.",
    ),
]


def run(
    context: typer.Context,
    *,
    config: ConfigOption = None,
    upstream: UpstreamOption = None,
    token_env: TokenEnvOption = None,
    token_file: TokenFileOption = None,
    token_command: TokenCommandOption = None,
    listen: ListenOption = None,
) -> None:
    """Serve the routes of a config file, or one upstream, until told to stop."""
    del upstream, token_env, token_file, token_command, listen  # `direct_of` reads them
    direct = direct_of(context)
    if direct is None:
        path, loaded = load(config)
        try:
            serve(loaded.config, say, ConfigFile(path, loaded, variables()))
        except ConfigError as error:
            raise loaded.placed(error) from error
    else:
        _serve(direct)


def _serve(direct: Direct) -> None:
    loaded = load_direct(direct)
    try:
        serve(loaded.config, say)
    except ConfigError as error:
        raise direct.named(error) from error
