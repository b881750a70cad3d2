"""`tokenproxy logout NAME`: revoke and forget."""

from tokenproxy.cli.config import ConfigOption
from tokenproxy.cli.credential import NameArgument, stored, with_keeper
from tokenproxy.cli.output import out


def logout(name: NameArgument, config: ConfigOption = None) -> None:
    """Forget a credential's tokens, and have them revoked where the issuer can."""
    revoked = with_keeper(stored(config), name, lambda keeper: keeper.forget())
    told = "revoked and forgotten" if revoked else "forgotten (nothing could be revoked)"
    out.print(f"{name}: {told}", markup=False)
