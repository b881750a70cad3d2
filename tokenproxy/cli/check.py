"""`tokenproxy check`: validate a config."""

from tokenproxy.cli.config import ConfigOption, read_config
from tokenproxy.cli.output import out
from tokenproxy.config.model import Config
from tokenproxy.proxy.route import RouteTable


def check(config: ConfigOption = None) -> None:
    """Validate a config file and say what it does."""
    path, loaded = read_config(config)
    out.print(f"{path} is fine.", style="bold green")
    for line in _summary(loaded):
        out.print(line, markup=False)


def _summary(config: Config) -> list[str]:
    table = RouteTable(config.routes)
    lines = [f"  listens on {', '.join(config.listen)}"]
    for route in table.routes:
        settings = route.settings
        with_what = f"with {settings.credential}" if settings.credential else "without a token"
        place = f"{settings.host or ''}{settings.path}"
        lines.append(f"  {route.name}: {place} -> {settings.upstream} {with_what}")
    return lines
