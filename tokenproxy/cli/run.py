"""`tokenproxy run`: serve."""

from tokenproxy.cli.config import ConfigOption, read_config
from tokenproxy.cli.output import say
from tokenproxy.server.serve import run as serve


def run(config: ConfigOption = None) -> None:
    """Serve the routes of a config file until told to stop."""
    _, loaded = read_config(config)
    serve(loaded, say)
