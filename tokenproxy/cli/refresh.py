"""`tokenproxy refresh NAME`: renew now."""

from tokenproxy.cli.config import ConfigOption
from tokenproxy.cli.credential import NameArgument, stored, with_keeper
from tokenproxy.cli.output import out
from tokenproxy.cli.times import good_for


def refresh(name: NameArgument, config: ConfigOption = None) -> None:
    """Renew a credential's token now, whatever there is."""
    held = with_keeper(stored(config), name, lambda keeper: keeper.refresh())
    out.print(f"{name}: renewed, {good_for(held.token.expires_at)}", markup=False)
