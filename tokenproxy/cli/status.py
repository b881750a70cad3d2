"""`tokenproxy status`: how each credential stands."""

import asyncio
import json
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tokenproxy.cli.config import ConfigOption
from tokenproxy.cli.credential import opened, stored
from tokenproxy.cli.output import out, say
from tokenproxy.cli.times import ago, good_for
from tokenproxy.clock import SystemClock
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
HEADINGS = ("credential", "state", "token", "renewed", "last error")
WIDE = 72  # columns; a narrower terminal is not told when a token was renewed
BAR, NARROW_BAR = 20, 8


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
        _show(statuses)
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


def _show(statuses: dict[str, Status]) -> None:
    """A table with bars for a person, and a line a credential for whatever reads a pipe."""
    if out.is_terminal:
        out.print(*person_view(statuses, out.width, SystemClock().now().wall), soft_wrap=False)
        return
    rows = [HEADINGS, *(_row(name, status) for name, status in statuses.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out.print("   ".join(cells).rstrip(), markup=False)


def _row(name: str, status: Status) -> tuple[str, ...]:
    error = _error(name, status) or "-"
    return name, status.state.value, _life(status), ago(status.last_renewal), error


def _error(name: str, status: Status) -> str:
    """On one line, and without the name, which stands beside it anyway."""
    error = " ".join(redact(status.last_error or "").split())
    return error.removeprefix(f"credential '{name}': ")


def _life(status: Status) -> str:
    has_token = status.state in {State.FRESH, State.AGEING, State.EXPIRED}
    return good_for(status.expires_at) if has_token else _without_token(status)


def person_view(statuses: dict[str, Status], width: int, now: float) -> list[RenderableType]:
    """For a terminal of that width: a table, and below it what went wrong, a sentence each."""
    told: list[RenderableType] = [_life_table(statuses, width, now)]
    for name, status in statuses.items():
        if error := _error(name, status):
            told.append(Text.assemble("\n", (name, "bold"), f": {error}"))
    return told


def _life_table(statuses: dict[str, Status], width: int, now: float) -> Table:
    """A bar shows how much of a token's life is left."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    bar = BAR if width >= WIDE else NARROW_BAR
    headings = [*HEADINGS[:2], "life", *HEADINGS[2:4]]
    for heading in headings if width >= WIDE else headings[:4]:
        table.add_column(heading, overflow="fold", header_style="dim")
    for name, status in statuses.items():
        _, state, life, renewed, _ = _row(name, status)
        cells: list[RenderableType] = [
            Text(name),
            Text(state, style=STYLES[status.state]),
            _bar(status, bar, now),
            Text(life),
            *([Text(renewed)] if width >= WIDE else []),
        ]
        table.add_row(*cells)
    return table


def _bar(status: Status, width: int, now: float) -> RenderableType:
    """The share of its life that a token has left; nothing where it is not known."""
    if status.expires_at is None or status.issued_at is None:
        return Text("")
    life = max(status.expires_at - status.issued_at, 1.0)
    left = min(max(status.expires_at - now, 0.0), life)
    style = STYLES[status.state]
    return ProgressBar(
        total=life, completed=left, width=width, complete_style=style, finished_style=style
    )


def _without_token(status: Status) -> str:
    if not status.is_stored:
        return "read when it is needed"
    return "-" if status.is_readable else "the store cannot be read"
