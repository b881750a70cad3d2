"""`tokenproxy status`: how each credential stands."""

import asyncio
import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tokenproxy.cli.config import ConfigOption
from tokenproxy.cli.credential import opened, stored
from tokenproxy.cli.output import out, say
from tokenproxy.cli.times import ago, good_for
from tokenproxy.config.load import Loaded
from tokenproxy.redaction import redact
from tokenproxy.tokens.slot import State
from tokenproxy.tokens.status import Status

STYLES = {
    State.FRESH: "green",
    State.AGEING: "green",
    State.RENEWING: "yellow",
    State.EMPTY: "dim",
    State.EXPIRED: "yellow",
    State.UNAVAILABLE: "red",
    State.LOGIN_REQUIRED: "red",
}


def status(
    config: ConfigOption = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", envvar="TOKENPROXY_JSON", help="For programs.")
    ] = False,
) -> None:
    """Show how each credential stands, by what the store holds."""
    loaded = stored(config)
    statuses = asyncio.run(_statuses(loaded))
    if as_json:
        shown = {name: _fields(status) for name, status in statuses.items()}
        say(json.dumps({"credentials": shown}))
    else:
        out.print(_table(statuses))
    if not all(status.is_readable for status in statuses.values()):
        raise typer.Exit(1)


async def _statuses(loaded: Loaded) -> dict[str, Status]:
    async with opened(loaded, list(loaded.config.credentials)) as keepers:
        return {name: keeper.status() for name, keeper in keepers.items()}


def _fields(status: Status) -> dict[str, object]:
    """As the admin listener's `/api/status` has them; times are seconds since the epoch.

    Without `renewals`: these are counted by the processes that serve, and not stored.
    """
    return {
        "state": status.state.value,
        "not_persisted": status.not_persisted,
        "expires_at": status.expires_at,
        "last_renewal": status.last_renewal,
        "last_error": None if status.last_error is None else redact(status.last_error),
    }


def _table(statuses: dict[str, Status]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("credential", "state", "token", "renewed", "last error"):
        table.add_column(heading, overflow="fold", header_style="dim")
    for name, status in statuses.items():
        has_token = status.state in {State.FRESH, State.AGEING, State.EXPIRED}
        table.add_row(
            name,
            f"[{STYLES[status.state]}]{status.state.value}[/]",
            good_for(status.expires_at) if has_token else _without_token(status),
            ago(status.last_renewal),
            escape(redact(status.last_error or "-")),
        )
    return table


def _without_token(status: Status) -> str:
    if not status.is_stored:
        return "read when it is needed"
    return "-" if status.is_readable else "the store cannot be read"
