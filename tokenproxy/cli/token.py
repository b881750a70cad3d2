"""`tokenproxy token NAME`: a token for a script."""

from tokenproxy.cli.config import ConfigOption
from tokenproxy.cli.credential import NameArgument, stored, with_keeper
from tokenproxy.cli.output import say


def token(name: NameArgument, config: ConfigOption = None) -> None:
    """Print a fresh access token and nothing else."""
    held = with_keeper(stored(config), name, lambda keeper: keeper.get(), keeps=False)
    say(held.token.access.reveal())
