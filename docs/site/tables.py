"""Metrics, error codes and log events, as the program has them.

What to do about a code or an event is written once, for people, in `operations.md`.
"""

import dataclasses
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from docs.site.markdown import code, table
from tokenproxy.admin.figures import Figures
from tokenproxy.admin.metrics import TEXT, Gathered, exposed
from tokenproxy.admin.parts import ConfigState
from tokenproxy.events import Event, RequestServed
from tokenproxy.proxy.answers import ErrorCode
from tokenproxy.server.log import FIGURES, LINES
from tokenproxy.tokens.slot import State
from tokenproxy.tokens.status import Status

OPERATIONS = Path(__file__).parents[1] / "operations.md"
_ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$", re.MULTILINE)
_NAMES_IN_LINES = {"seconds": "ms", "complete": "incomplete"}  # of an event's fields


def metrics() -> str:
    """Each metric: its name, type, labels and what it counts."""
    rows = [
        (code(_name(family)), family.type, _labels(family), family.documentation)
        for family in _families()
    ]
    return table(["metric", "type", "labels", "what it tells"], rows)


def _families() -> Iterator[Metric]:
    """One series of each, as of a proxy with one route and one credential."""
    figures = Figures()
    figures(RequestServed("shop", "GET", "/", 200, 0.1, 0, 0, replayed=False, code=None))
    fresh = Status(State.FRESH, not_persisted=False, expires_at=1.0, last_renewal=None,
                   last_error=None)  # fmt: skip
    gathered = Gathered("0", figures, ["shop"], {"shop": fresh}, ConfigState(None, 1.0))
    text, _ = exposed(gathered, TEXT)
    for family in text_string_to_metric_families(text.decode()):
        if not family.name.endswith("_created"):
            yield family


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> str:
    names = [name for sample in family.samples for name in sample.labels if name != "le"]
    return ", ".join(map(code, dict.fromkeys(names)))


def errors() -> str:
    """Each code of the proxy's own answers, with its status and what to do."""
    told = {(name, cells[0]): cells[1:] for name, cells in _rows()}
    rows = [
        (code(each.value), str(each.status), code(each.proxy_error or ""),
         *told[each.value, str(each.status)])
        for each in ErrorCode
    ]  # fmt: skip
    return table(["code", "status", "`Proxy-Status` error", "cause", "what to do"], rows)


def events() -> str:
    """Each event of the log, with its level, its fields and what to do."""
    told = dict(_rows())
    rows = [
        (code(name), logging.getLevelName(level).lower(), _fields(event), *told[name][1:])
        for event, (level, name) in LINES.items()
    ]
    return table(["event", "level", "fields", "what it means", "what to do"], rows)


def _fields(event: type[Event]) -> str:
    names = [field.name for field in dataclasses.fields(event) if field.name not in FIGURES]
    return ", ".join(code(_NAMES_IN_LINES.get(name, name)) for name in names)


def _rows() -> Iterator[tuple[str, list[str]]]:
    """The rows of the tables of `operations.md` that are about one name."""
    text = OPERATIONS.read_text().replace("](#", f"](../{OPERATIONS.name}#")
    for name, cells in _ROW.findall(text):
        yield name, [cell.strip() for cell in cells.split("|")]
