"""All verbs, put together."""

from typing import Annotated

import typer

import tokenproxy
from tokenproxy.cli.check import check
from tokenproxy.cli.demo import demo
from tokenproxy.cli.exec import exec_
from tokenproxy.cli.health import health
from tokenproxy.cli.init import init
from tokenproxy.cli.login import login
from tokenproxy.cli.logout import logout
from tokenproxy.cli.output import say
from tokenproxy.cli.refresh import refresh
from tokenproxy.cli.run import run
from tokenproxy.cli.schema import schema
from tokenproxy.cli.status import status
from tokenproxy.cli.token import token

app = typer.Typer(
    name="tokenproxy",
    help="A local reverse proxy that injects and refreshes access tokens.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command("exec", context_settings={"allow_interspersed_args": False})(exec_)
app.command()(check)
app.command()(demo)
app.command()(init)
app.command()(schema)
app.command()(login)
app.command()(logout)
app.command()(status)
app.command()(token)
app.command()(refresh)
app.command()(health)


def _version(*, wanted: bool) -> None:
    if wanted:
        say(f"tokenproxy {tokenproxy.__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda wanted: _version(wanted=wanted), is_eager=True),
    ] = False,
) -> None:
    """A local reverse proxy that injects and refreshes access tokens."""
    del version
