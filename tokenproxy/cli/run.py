"""`tokenproxy run`: serve."""

from tokenproxy.cli.config import ConfigOption, load
from tokenproxy.cli.output import say
from tokenproxy.errors import ConfigError
from tokenproxy.server.run import run as serve


def run(config: ConfigOption = None) -> None:
    """Serve the routes of a config file until told to stop."""
    file, loaded = load(config)
    try:
        serve(loaded.config, say, file)
    except ConfigError as error:
        raise loaded.placed(error) from error
