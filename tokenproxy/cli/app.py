"""All verbs, put together."""

from typing import Annotated, Any

import typer
from typer import rich_utils

import tokenproxy
from tokenproxy.cli import WRONG_USAGE
from tokenproxy.cli.check import check
from tokenproxy.cli.demo import demo
from tokenproxy.cli.exec import exec_
from tokenproxy.cli.health import health
from tokenproxy.cli.init import init
from tokenproxy.cli.login import login
from tokenproxy.cli.logout import logout
from tokenproxy.cli.output import say
from tokenproxy.cli.refresh import refresh
from tokenproxy.cli.run import run as run_
from tokenproxy.cli.schema import schema
from tokenproxy.cli.status import status
from tokenproxy.cli.token import token
from tokenproxy.environment import wants_escapes
from tokenproxy.errors import TokenproxyError

app = typer.Typer(
    name="tokenproxy",
    help="A local reverse proxy that injects and refreshes access tokens.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
if not wants_escapes():
    rich_utils.COLOR_SYSTEM = None


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *(f"  {line}" for line in lines)])


UNBROKEN = {"allow_interspersed_args": False}  # all behind the command is the command's
app.command(
    "run",
    epilog=_examples(
        "tokenproxy run -c shop.yaml",
        "tokenproxy run --upstream https://api.example --token-env API_TOKEN",
        "tokenproxy run --upstream https://api.github.com --token-command 'gh auth token'",
    ),
)(run_)
app.command(
    "exec",
    context_settings=UNBROKEN,
    epilog=_examples(
        "tokenproxy exec -- sh -c 'curl $TOKENPROXY_URL/items'",
        "tokenproxy exec --env API_URL -- pytest",
        "tokenproxy exec --upstream https://api.example --token-file token -- ./sync.sh",
    ),
)(exec_)
app.command(epilog=_examples("tokenproxy check", "tokenproxy check --online"))(check)
app.command(epilog=_examples("tokenproxy demo --once"))(demo)
app.command(
    epilog=_examples(
        "tokenproxy init",
        "tokenproxy init --type simplejwt --base-url https://shop.example --username anna",
        "tokenproxy init - --type oauth2 --grant device_code --issuer https://login.example",
    )
)(init)
app.command(epilog=_examples("tokenproxy schema > tokenproxy.schema.json"))(schema)
app.command(epilog=_examples("tokenproxy login shop", "tokenproxy login --no-browser shop"))(login)
app.command(epilog=_examples("tokenproxy logout shop"))(logout)
app.command(epilog=_examples("tokenproxy status", "tokenproxy status --json"))(status)
app.command(epilog=_examples('curl -H "Authorization: Bearer $(tokenproxy token shop)" …'))(token)
app.command(epilog=_examples("tokenproxy refresh shop"))(refresh)
app.command(epilog=_examples("tokenproxy health", "tokenproxy health --admin 127.0.0.1:8081"))(
    health
)


class WrongUsage(TokenproxyError):
    """Look at the help: the words of the command line are not what the verb takes."""


def run() -> int:
    """Do what the command line says; the exit code. Raises WrongUsage and what verbs raise."""
    try:
        code: Any = app(prog_name=app.info.name, standalone_mode=False)
    except typer.Abort:
        raise WrongUsage("nobody answers: give what is asked for as options") from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own have it, whichever click it uses
            raise
        raise WrongUsage(_sentence(error)) from error
    return int(code or 0)


def _sentence(error: Any) -> str:
    path = "tokenproxy" if error.ctx is None else error.ctx.command_path
    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    return f"{message[:1].lower()}{message[1:]}: see '{path} --help'"


def _version(*, wanted: bool) -> None:
    if wanted:
        say(f"tokenproxy {tokenproxy.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _version(wanted=wanted),
            is_eager=True,
            help="Show the version.",
        ),
    ] = False,
) -> None:
    """A local reverse proxy that injects and refreshes access tokens."""
    del version
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(WRONG_USAGE)
