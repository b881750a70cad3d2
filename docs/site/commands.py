"""The command line, as typer has it."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from docs.site.markdown import code, table
from tokenproxy.cli.app import app

NAME = "tokenproxy"
Parameter = TyperOption | TyperArgument


def group() -> TyperGroup:
    """All verbs."""
    found = typer.main.get_command(app)
    assert isinstance(found, TyperGroup)  # noqa: S101 - it has more than one verb
    return found


def written() -> str:
    """A section for each verb: what it does, how it is typed, and its options."""
    verbs = group()
    whole = typer.Context(verbs, info_name=NAME)
    return "\n".join(
        _verb(typer.Context(verb, parent=whole, info_name=name))
        for name, verb in verbs.commands.items()
        if not verb.hidden
    )


def _verb(context: typer.Context) -> str:
    verb = context.command
    usage = " ".join((context.command_path, *verb.collect_usage_pieces(context)))
    text = (verb.help or "").split("\f")[0]
    rows = list(_rows(verb.get_params(context)))
    options = table(["option", "variable", "default", "what it does"], rows)
    return f"## {context.info_name}\n\n{text}\n\n```text\n{usage}\n```\n\n{options}"


def _rows(parameters: list[Any]) -> Iterator[tuple[str, ...]]:
    for each in parameters:
        if getattr(each, "hidden", False) or each.name == "help":
            continue
        yield _typed(each), _variable(each), _default(each), getattr(each, "help", "") or ""


def _typed(parameter: Parameter) -> str:
    metavar = parameter.metavar or (parameter.name or "").upper()
    if isinstance(parameter, TyperOption):
        flag = parameter.is_flag
        names = ", ".join((*parameter.opts, *parameter.secondary_opts))
        return code(names if flag else f"{names} {metavar}")
    return code(metavar)


def _variable(parameter: Parameter) -> str:
    named = parameter.envvar
    return code(named if isinstance(named, str) else ", ".join(named or ()))


def _default(parameter: Parameter) -> str:
    value = parameter.default
    shown = value is not None and value is not False and not callable(value)
    return code(str(value)) if shown else ""
