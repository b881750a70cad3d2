"""`tokenproxy check`: validate a config, and put together what it says, without starting it."""

import asyncio
from typing import Annotated

import typer
from rich.markup import escape

from tokenproxy.cli.config import ConfigOption, load
from tokenproxy.cli.credential import opened
from tokenproxy.cli.output import out
from tokenproxy.cli.times import good_for
from tokenproxy.config.load import Loaded
from tokenproxy.config.model import Config
from tokenproxy.config.process import address_of
from tokenproxy.errors import ConfigError, SourceRefused, SourceUnavailable
from tokenproxy.proxy.route import RouteTable
from tokenproxy.redaction import redact
from tokenproxy.runtime import Runtime
from tokenproxy.tokens.keeper import Keeper


def check(
    config: ConfigOption = None,
    *,
    online: Annotated[
        bool,
        typer.Option(
            "--online", envvar="TOKENPROXY_ONLINE", help="Get a token for each credential as well."
        ),
    ] = False,
) -> None:
    """Validate a config file and say what it does."""
    path, loaded = load(config)
    try:
        asyncio.run(_put_together(loaded.config))
    except ConfigError as error:
        raise loaded.placed(error) from error
    out.print(f"{path} is fine.", style="bold green")
    for line in _summary(loaded.config):
        out.print(line, markup=False)
    if online:
        _raise_worst(asyncio.run(_try_all(loaded)))


async def _put_together(config: Config) -> None:
    """Open every file that it names, and start nothing. Raises ConfigError."""
    async with Runtime(config).built():
        pass


def _summary(config: Config) -> list[str]:
    table = RouteTable(config.routes)
    lines = [f"  listens on {', '.join(map(address_of, config.listen))}"]
    if config.admin is not None:
        lines.append(f"  admin on {config.admin}")
    for route in table.routes:
        settings = route.settings
        with_what = f"with {settings.credential}" if settings.credential else "without a token"
        place = f"{settings.host or ''}{settings.path}"
        lines.append(f"  {route.name}: {place} -> {settings.upstream} {with_what}")
    return lines


Outcome = SourceRefused | SourceUnavailable | None


async def _try_all(loaded: Loaded) -> list[Outcome]:
    """Get a token for each credential, and say what was seen."""
    async with opened(loaded, list(loaded.config.credentials)) as keepers:
        return list(await asyncio.gather(*(_try(name, keeper) for name, keeper in keepers.items())))


async def _try(name: str, keeper: Keeper) -> Outcome:
    try:
        held = await keeper.get()
    except (SourceRefused, SourceUnavailable) as error:
        out.print(f"  [red]{escape(name)}: no token:[/] {escape(redact(str(error)))}")
        return error
    out.print(f"  [green]{escape(name)}: has a token[/], {good_for(held.token.expires_at)}")
    return None


def _raise_worst(outcomes: list[Outcome]) -> None:
    """What needs a person before what may pass."""
    failures = [outcome for outcome in outcomes if outcome is not None]
    if failures:
        raise min(failures, key=lambda error: not isinstance(error, SourceRefused))
