"""`tokenproxy token NAME`: a token for a script."""

from tokenproxy.cli.config import ConfigOption
from tokenproxy.cli.credential import NameArgument, with_keeper
from tokenproxy.cli.output import say


def token(name: NameArgument, config: ConfigOption = None) -> None:
    """Print a fresh access token and nothing else."""
    held = with_keeper(config, name, lambda keeper: keeper.get())
    say(held.token.access.reveal())
