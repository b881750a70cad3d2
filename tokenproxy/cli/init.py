"""`tokenproxy init`: a config to begin with."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.prompt import Prompt

from tokenproxy.cli.blocks import GRANTS, KINDS, Answers
from tokenproxy.cli.output import err, say, tell
from tokenproxy.cli.starter import next_step, written
from tokenproxy.config.load import load_config
from tokenproxy.config.yamlfile import read_yaml
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError, Problem
from tokenproxy.settings.oauth2 import GrantType

STANDARD_OUTPUT = "-"
OWNER_ONLY = 0o600
QUESTIONS = {
    "upstream": "Where does the API live?",
    "base_url": "Where does it sign in (the URL above /api/token/, or that of the login API)?",
    "issuer": "Who issues its tokens (the issuer's URL)?",
    "grant": "By which grant?",
    "client_id": "What is the client's id?",
    "username": "Who signs in (empty: told by a variable)?",
}
ASKED = {
    "simplejwt": ("base_url", "username"),
    "json": ("base_url", "username"),
    "oauth2": ("issuer", "grant", "client_id"),
}
BY_GRANT = {"password": ("username",)}

Kind = Literal[
    "simplejwt",
    "json",
    "oauth2",
    "kubernetes",
    "gcloud",
    "aws",
    "az",
    "gh",
    "command",
    "file",
    "static",
]


def _option(name: str, text: str, metavar: str = "TEXT") -> typer.models.OptionInfo:
    envvar = f"TOKENPROXY_{name[2:].replace('-', '_').upper()}"
    option: typer.models.OptionInfo = typer.Option(name, metavar=metavar, envvar=envvar, help=text)
    return option


def init(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Where to write it; - is standard output.")
    ] = "tokenproxy.yaml",
    *,
    kind: Annotated[
        Kind | None,
        typer.Option("--type", envvar="TOKENPROXY_TYPE", help="Where tokens come from."),
    ] = None,
    upstream: Annotated[str | None, _option("--upstream", "The API's URL.", "URL")] = None,
    name: Annotated[str | None, _option("--name", "What the credential is called.", "NAME")] = None,
    base_url: Annotated[
        str | None, _option("--base-url", "simplejwt, json: where it signs in.", "URL")
    ] = None,
    issuer: Annotated[str | None, _option("--issuer", "oauth2: the issuer.", "URL")] = None,
    grant: Annotated[
        GrantType | None, typer.Option("--grant", envvar="TOKENPROXY_GRANT", help="oauth2: how.")
    ] = None,
    client_id: Annotated[str | None, _option("--client-id", "oauth2: the client.", "ID")] = None,
    username: Annotated[str | None, _option("--username", "Who signs in.", "NAME")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", envvar="TOKENPROXY_FORCE", help="Overwrite what is there."),
    ] = False,
) -> None:
    """Write a commented config to begin with; on a terminal, ask what it is to say."""
    given = {
        "kind": kind,
        "upstream": upstream,
        "name": name,
        "base_url": base_url,
        "issuer": issuer,
        "grant": grant,
        "client_id": client_id,
        "username": username,
    }
    answers = _asked({key: value for key, value in given.items() if value is not None})
    text = written(answers)
    _check(text)
    if file == STANDARD_OUTPUT:
        say(text.rstrip("\n"))
    else:
        _write(Path(file), text, force=force)
    tell(next_step(answers, file))


def _asked(given: dict[str, str]) -> Answers:
    """What was given, and what a person says to the rest."""
    if sys.stdin.isatty() and err.is_terminal:
        if "kind" not in given:
            given["kind"] = _ask("Where do its tokens come from?", list(KINDS), "simplejwt")
        for key in ("upstream", *ASKED.get(given["kind"], ())):
            _fill(given, key)
        for key in BY_GRANT.get(given.get("grant", ""), ()):
            _fill(given, key)
    if "kind" not in given:
        raise ConfigError(f"--type is missing: it is one of {', '.join(KINDS)}")
    return Answers(**given)


def _fill(given: dict[str, str], key: str) -> None:
    if key not in given:
        usual = str(getattr(Answers(given["kind"]), key))
        if key == "base_url":
            usual = given.get("upstream", "")
        given[key] = _ask(QUESTIONS[key], list(GRANTS) if key == "grant" else None, usual)


def _ask(question: str, choices: list[str] | None, usual: str) -> str:
    return Prompt.ask(question, console=err, choices=choices, default=usual, show_default=True)


def _check(text: str) -> None:
    """Raise ConfigError where an answer cannot stand in a config."""
    try:
        load_config(_without_secrets(read_yaml(text).data), environment=variables())
    except ConfigError as error:
        problems = [_named(problem) for problem in error.problems]
        raise ConfigError(list(dict.fromkeys(problems))) from error


def _without_secrets(data: Any) -> Any:
    """What the file says, with its references taken for what they stand for."""
    match data:
        case dict():
            return {key: _without_secrets(value) for key, value in data.items()}
        case list():
            return [_without_secrets(value) for value in data]
        case str() if "${" in data:
            return "a-secret"
        case _:
            return data


def _named(problem: Problem) -> Problem:
    """By the option that it came with, where there is one."""
    key = problem.path.rpartition(".")[2].replace("_", "-")
    options = {"upstream", "issuer", "client-id", "username", "base-url", "grant"}
    if key in options:
        return Problem(f"--{key}", problem.what)
    return Problem("--name" if "credential" in problem.what else "", problem.what)


def _write(path: Path, text: str, *, force: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        descriptor = os.open(path, flags, OWNER_ONLY)
        os.fchmod(descriptor, OWNER_ONLY)  # one that was there may have had another mode
        with open(descriptor, "w", encoding="utf-8") as opened:  # noqa: PTH123 - no path
            opened.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already: name another file, or add --force") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}): name another") from error
    tell(f"wrote {path}")
