"""`tokenproxy health`: whether work may be sent to the proxy that runs, for container checks."""

import http.client
import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from tokenproxy.cli.config import ConfigOption
from tokenproxy.cli.output import complain, say
from tokenproxy.config.load import find_config, load_admin
from tokenproxy.config.process import split_address, split_unix
from tokenproxy.environment import variables
from tokenproxy.errors import ConfigError

PATIENCE = 5.0  # seconds; container checks wait for thirty, mostly
MOST = 1 << 20  # bytes of an answer; it has a line for each credential
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask, not to listen


AdminOption = Annotated[
    str | None,
    typer.Option(
        "--admin",
        metavar="ADDRESS",
        envvar="TOKENPROXY_ADMIN",
        help="Where to ask, host:port or unix:/path; else where the config says.",
    ),
]


def health(config: ConfigOption = None, admin: AdminOption = None) -> None:
    """Ask the proxy that runs whether it is ready: exit code 0 or 1."""
    address = admin if admin is not None else _by_the_config(config)
    try:
        with closing(_connection(address)) as connection:
            ready, reasons = _asked(connection)
    except (OSError, http.client.HTTPException, ValueError):
        complain(f"nothing answers on the admin listener, {address}: is it running?")
        raise typer.Exit(1) from None
    if not ready:
        complain(f"not ready: {', '.join(reasons)}")
        raise typer.Exit(1)
    say("ready")


def _by_the_config(path: Path | None) -> str:
    environment = variables()
    found = path if path is not None else find_config(environment, Path.cwd())
    address = load_admin(found, environment=environment)
    if address is None:
        raise ConfigError("the config has no 'admin' listener that could be asked: give it one")
    return address


def _asked(connection: http.client.HTTPConnection) -> tuple[bool, list[str]]:
    """Raise OSError, HTTPException or ValueError where there is no such answer."""
    connection.request("GET", "/readyz")
    found: Any = json.loads(connection.getresponse().read(MOST))
    if not isinstance(found, dict) or not isinstance(found.get("reasons"), list):
        raise ValueError("something else answers there")  # noqa: TRY004 - a kind of bad JSON
    return found.get("ready") is True, [str(reason) for reason in found["reasons"]]


def _connection(address: str) -> http.client.HTTPConnection:
    tcp, unix = split_address(address), split_unix(address)
    if unix is not None:
        return _UnixConnection(unix[0])
    if tcp is None:
        raise ConfigError("--admin must be 'host:port' or 'unix:/path'")
    if tcp[1] == 0:
        raise ConfigError(
            "the config has its 'admin' listener on a port that the system picks: name one"
        )
    return http.client.HTTPConnection(ANYWHERE.get(tcp[0], tcp[0]), tcp[1], timeout=PATIENCE)


class _UnixConnection(http.client.HTTPConnection):
    """One to a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
