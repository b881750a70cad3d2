"""A proxy of one route that needs no file: `--upstream URL` and where its token comes from.

The options become the mapping that a file would hold, and are checked as a file is; a mistake is
told by the name of the option that it came with.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from tokenproxy.cli.config import keep_known
from tokenproxy.cli.options import Chosen
from tokenproxy.config.load import Loaded, load_config
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError, Problem

LISTEN = "127.0.0.1:8080"
CREDENTIAL, ROUTE = "token", "upstream"
TOKENS = ("token_env", "token_file", "token_command")
THE_OPTIONS = "--token-env NAME, --token-file PATH or --token-command 'CMD …'"

UpstreamOption = Annotated[
    str | None,
    typer.Option(
        "--upstream",
        metavar="URL",
        envvar="TOKENPROXY_UPSTREAM",
        help="Serve this one with no config file; one of the next three gives its token.",
    ),
]
TokenEnvOption = Annotated[
    str | None,
    typer.Option(
        "--token-env",
        metavar="NAME",
        envvar="TOKENPROXY_TOKEN_ENV",
        help="The environment variable that holds the token.",
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="PATH",
        envvar="TOKENPROXY_TOKEN_FILE",
        help="The file that holds the token; it is read again when it changes.",
    ),
]
TokenCommandOption = Annotated[
    str | None,
    typer.Option(
        "--token-command",
        metavar="'CMD …'",
        envvar="TOKENPROXY_TOKEN_COMMAND",
        help="The command that prints the token; it is run by no shell, and again when needed.",
    ),
]


@dataclass(frozen=True, slots=True)
class Direct:
    """What the options say: an upstream, one of the three `TOKENS` with its value, a listener."""

    upstream: str
    token: str
    value: str
    listen: str | None = None

    def load(self, environment: Mapping[str, str]) -> Loaded:
        """The config that they stand for. Raises ConfigError."""
        try:
            return load_config(self._mapping(environment), environment=environment)
        except ConfigError as error:
            raise self.named(error) from error

    def named(self, error: ConfigError) -> ConfigError:
        """The same with the names of the options instead of the places in a config."""
        return ConfigError([self._named(problem) for problem in error.problems])

    def _named(self, problem: Problem) -> Problem:
        top = problem.path.split(".")[0]
        options = {"credentials": self.token, "listen": "listen"}
        option = options.get(top, "upstream").replace("_", "-")
        hint = " in a config file" if ", or say '" in problem.what else ""
        return replace(problem, path=f"--{option}", what=problem.what + hint)

    def _mapping(self, environment: Mapping[str, str]) -> dict[str, Any]:
        return {
            "listen": _plain(LISTEN if self.listen is None else self.listen),
            "admin": None,
            "store": {"type": "memory"},
            "credentials": {CREDENTIAL: self._credential(environment)},
            "routes": [
                {"name": ROUTE, "upstream": _plain(self.upstream), "credential": CREDENTIAL}
            ],
        }

    def _credential(self, environment: Mapping[str, str]) -> dict[str, Any]:
        match self.token:
            case "token_env":
                return {"type": "static", "token": _variable(self.value, environment)}
            case "token_file":
                return {"type": "file", "path": _plain(_file(self.value))}
            case _:
                return {"type": "command", "argv": [_plain(word) for word in _words(self.value)]}


def direct_of(context: typer.Context) -> Direct | None:
    """What the options of a verb say; None where a config file is to be read.

    Raises:
        ConfigError: they do not go together.
    """
    chosen = Chosen.of(context)
    if chosen.both("config", "upstream"):
        raise ConfigError("-c and --upstream exclude each other: give one of them")
    if chosen.one_of("config", "upstream") != "upstream":
        chosen.refuse(
            (*TOKENS, "listen"),
            "is for --upstream: give that as well, or say it in the config file",
        )
        return None
    token = chosen.one_of(*TOKENS)
    if token is None:
        raise ConfigError(f"--upstream needs a token: add {THE_OPTIONS}")
    if chosen.both(*TOKENS):
        raise ConfigError(f"there is more than one token: give only one of {THE_OPTIONS}")
    listen = chosen.values.get("listen")
    return Direct(str(chosen.values["upstream"]), token, str(chosen.values[token]), listen)


def load_direct(direct: Direct) -> Loaded:
    """The config of the options, with its secrets kept out of all that is written."""
    loaded = direct.load(variables())
    keep_known(loaded.config)
    return loaded


def _plain(text: str) -> str:
    """A text in which nothing is replaced: the caller's shell has done that."""
    return text.replace("$", "$$")


def _variable(name: str, environment: Mapping[str, str]) -> SecretStr:
    value = environment.get(name)
    if value is None:
        problem = "names an environment variable that is not set: set it, or name another"
        raise ConfigError([Problem("credentials", problem)])
    return SecretStr(value)


def _file(path: str) -> str:
    if Path(path).is_dir():
        problem = "is a folder: name the file in it that holds the token"
        raise ConfigError([Problem("credentials", problem)])
    return path


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        problem = "has a quote or backslash that nothing follows: close it"
        raise ConfigError([Problem("credentials", problem)]) from None
