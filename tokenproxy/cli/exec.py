"""`tokenproxy exec -- CMD …`: a command, and a proxy that is there for as long as it runs."""

import asyncio
import secrets
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import typer
from pydantic import SecretStr

from tokenproxy.cli.addresses import addresses, unreachable
from tokenproxy.cli.child import BY_SIGNAL, CannotRun, Child, Signals
from tokenproxy.cli.config import ConfigOption, keep_known, load
from tokenproxy.cli.direct import (
    TokenCommandOption,
    TokenEnvOption,
    TokenFileOption,
    UpstreamOption,
    direct_of,
    load_direct,
)
from tokenproxy.cli.output import complain, warn
from tokenproxy.config.confidential import for_commands
from tokenproxy.config.load import Loaded
from tokenproxy.config.model import Config
from tokenproxy.config.process import Log
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError, TokenproxyError
from tokenproxy.proxy.route import RouteTable
from tokenproxy.runtime import World
from tokenproxy.server.lines import in_whole_lines
from tokenproxy.server.log import EventLog, ForeignLog
from tokenproxy.server.run import library_logs, loop_factory
from tokenproxy.server.serve import Announce, serve
from tokenproxy.tasks import cancelled, spawn

PROXY_FAILED = 125
ANY_PORT = "localhost:0"  # both loopback addresses: nobody else can take one of them
MOST_GRACE = 1.0  # seconds, beside those that a renewal may take
Level = Literal["debug", "info", "warning", "error"]
Serve = Callable[[Announce, asyncio.Event], Coroutine[Any, Any, None]]

EnvOption = Annotated[
    str,
    typer.Option(
        "--env",
        metavar="NAME",
        envvar="TOKENPROXY_ENV",
        help="The variable that tells CMD the URL; $TOKENPROXY_URL_ROUTE is that of a route.",
    ),
]
KeepEnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-env",
        metavar="NAME",
        envvar="TOKENPROXY_KEEP_ENV",
        help="A variable that CMD gets although a secret of the config came by it; repeatable.",
    ),
]
LogLevelOption = Annotated[
    Level,
    typer.Option(
        "--log-level",
        envvar="TOKENPROXY_LOG_LEVEL",
        help="What the log on standard error tells.",
    ),
]
CommandArgument = Annotated[
    list[str], typer.Argument(metavar="CMD …", help="The command and its words.")
]


@dataclass(frozen=True, slots=True)
class Job:
    """A command to be run: `tell` makes the variables for the proxy's URL."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    tell: Callable[[str], Mapping[str, str]]


def exec_(
    context: typer.Context,
    command: CommandArgument,
    *,
    config: ConfigOption = None,
    env: EnvOption = "TOKENPROXY_URL",
    keep_env: KeepEnvOption = None,
    log_level: LogLevelOption = "warning",
    upstream: UpstreamOption = None,
    token_env: TokenEnvOption = None,
    token_file: TokenFileOption = None,
    token_command: TokenCommandOption = None,
) -> None:
    """Run a command with a proxy of its own, on a free port, and end with its exit code."""
    del upstream, token_env, token_file, token_command  # `direct_of` reads them
    direct = direct_of(context)
    loaded = load(config)[1] if direct is None else load_direct(direct)
    place = loaded.placed if direct is None else direct.named
    settings = _for_one_command(loaded.config, log_level)
    keep_known(settings)
    job = _job(loaded, settings, command, env, keep_env or [])
    try:
        raise typer.Exit(_run(job, settings))
    except ConfigError as error:
        raise place(error) from error


def _job(loaded: Loaded, settings: Config, command: list[str], env: str, keep: list[str]) -> Job:
    """Raise ConfigError where its variables cannot be told."""
    _check_name(env)
    routes = RouteTable(settings.routes).routes
    for name in unreachable(routes):
        warn(f"route '{name}' has no variable: its 'host' does not lead to this machine")
    key = None if settings.client_key is None else settings.client_key.get_secret_value()
    ours = variables()
    kept = {name: ours[name] for name in keep if name in ours}
    environment = {**for_commands(ours, loaded.config, loaded.variables), **kept}
    return Job(tuple(command), environment, lambda url: addresses(url, routes, env, key))


def _check_name(env: str) -> None:
    if not env or "=" in env or "\0" in env:
        raise ConfigError("--env must name a variable, as in --env API_URL")


def _for_one_command(config: Config, level: Level) -> Config:
    """The same on a port that is free; where callers must show a key, one for this run alone."""
    key = None if config.client_key is None else SecretStr(secrets.token_urlsafe(32))
    longest = max((each.refresh.timeout for each in config.credentials.values()), default=0.0)
    return config.model_copy(
        update={
            "listen": (ANY_PORT,),
            "admin": None,
            "workers": 1,
            "client_key": key,
            "shutdown_delay": 0.0,
            "shutdown_grace": min(config.shutdown_grace, longest + MOST_GRACE),
            "log": Log(level=level, format=config.log.format),
        }
    )


def _run(job: Job, config: Config) -> int:
    log = EventLog(config.log, in_whole_lines(sys.stderr))
    world = replace(World(), observe=log)

    async def serving(announce: Announce, stopping: asyncio.Event) -> None:
        await serve(config, world, announce, stopping)

    with ExitStack() as stack:
        stack.enter_context(log)
        stack.enter_context(library_logs(ForeignLog(lambda: log.logger)))
        runner = stack.enter_context(asyncio.Runner(loop_factory=loop_factory()))
        return runner.run(beside(job, serving))


async def beside(job: Job, serving: Serve) -> int:
    """Run the command beside the proxy; the exit code. Raises ConfigError."""
    stopping, listening = asyncio.Event(), asyncio.get_running_loop().create_future()

    def announce(line: str) -> None:
        if not listening.done():
            listening.set_result(line.partition(" on ")[2])

    with Signals() as signals:
        proxy = spawn(serving(announce, stopping), name="proxy")
        try:
            await asyncio.wait({proxy, listening}, return_when=asyncio.FIRST_COMPLETED)
            if proxy.done():
                return _failed(proxy)
            if signals.ending is not None:
                return BY_SIGNAL + signals.ending
            code = await _command(job, listening.result(), signals, proxy)
            stopping.set()
            await asyncio.wait({proxy})
            return code
        finally:
            await cancelled(proxy)


async def _command(job: Job, url: str, signals: Signals, proxy: "asyncio.Task[None]") -> int:
    """Its exit code; where the proxy ends before it, ours."""
    environment = {**job.environment, **job.tell(url)}
    try:
        child = Child(job.argv, environment, signals.mask)
    except CannotRun as error:
        complain(str(error))
        return error.code
    signals.pass_on(child.send)
    waiting = spawn(child.wait(), name="command")
    await asyncio.wait({proxy, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if waiting.done():
        return waiting.result()
    await child.end(waiting)
    return _failed(proxy)


def _failed(proxy: "asyncio.Task[None]") -> int:
    """Say why. Raises ConfigError: that is told with its place."""
    try:
        proxy.result()
    except ConfigError:
        raise
    except TokenproxyError as error:
        complain(f"the proxy has failed: {error}")
    except Exception as error:  # noqa: BLE001 - its text may hold anything
        complain(f"the proxy has failed by {type(error).__name__}; please report it")
    else:
        complain("the proxy has ended before the command")
    return PROXY_FAILED
