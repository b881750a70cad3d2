"""`tokenproxy check`: validate a config, and put together what it says, without starting it."""

import asyncio

from tokenproxy.cli.config import ConfigOption, load
from tokenproxy.cli.output import out
from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError
from tokenproxy.proxy.route import RouteTable
from tokenproxy.runtime import Runtime


def check(config: ConfigOption = None) -> None:
    """Validate a config file and say what it does."""
    path, loaded = load(config)
    try:
        asyncio.run(_put_together(loaded.config))
    except ConfigError as error:
        raise loaded.placed(error) from error
    out.print(f"{path} is fine.", style="bold green")
    for line in _summary(loaded.config):
        out.print(line, markup=False)


async def _put_together(config: Config) -> None:
    """Open every file that it names, and start nothing. Raises ConfigError."""
    async with Runtime(config).built():
        pass


def _summary(config: Config) -> list[str]:
    table = RouteTable(config.routes)
    lines = [f"  listens on {', '.join(config.listen)}"]
    for route in table.routes:
        settings = route.settings
        with_what = f"with {settings.credential}" if settings.credential else "without a token"
        place = f"{settings.host or ''}{settings.path}"
        lines.append(f"  {route.name}: {place} -> {settings.upstream} {with_what}")
    return lines
