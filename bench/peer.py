"""What a peer is: a proxy that puts an Authorization header on each request to an upstream."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.processes import LOOPBACK

VIRTUAL_ENVIRONMENTS = Path(sys.prefix) / "bench"  # where install.sh makes the peers' own
TOKEN = "x" * 300  # where a peer can only put in one that never changes
LONG_LIFE = 3600  # seconds; nothing is renewed while the bench runs
CONNECTIONS = 12_000  # more than the bench opens to one peer
UPSTREAM_CONNECTIONS = 2_000  # the same on the other side


class Missing(Exception):
    """A peer that is not on this machine."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer is to run: its folder, its port, what is behind it, and where tokens come from.

    With `authority`, a file of certificates, the upstream speaks TLS. `issuer` is one of
    simplejwt's kind; `upstream_port` also has a token endpoint of OAuth 2. With `renewing` a token
    is to be renewed every second.
    """

    folder: Path
    port: int
    upstream_port: int
    token_port: int
    issuer: str
    authority: Path | None = None
    renewing: bool = False

    @property
    def upstream(self) -> str:
        """Its URL, without a slash at its end."""
        if self.authority:
            return f"https://localhost:{self.upstream_port}"
        return f"http://{LOOPBACK}:{self.upstream_port}"

    def token_url(self, life: int) -> str:
        """A token endpoint whose tokens live that many seconds."""
        return f"http://{LOOPBACK}:{self.token_port}/token/{life}"

    def write(self, name: str, text: str) -> str:
        """The path of a file of the peer's own."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True, slots=True)
class Command:
    """What starts a peer."""

    argv: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Peer(Protocol):
    """One proxy; `renews` says that it gets tokens by itself."""

    name: str
    renews: bool

    def version(self) -> str:
        """Which one it is, of this machine. Raise `Missing`, nothing else."""

    def command(self, place: Place) -> Command:
        """What runs it there; its files have been written."""


def program(name: str, environment: str | None = None) -> str:
    """The path of a program, of the system or of the virtual environment that install.sh made.

    Raises:
        Missing: it is not there.
    """
    folder = None if environment is None else VIRTUAL_ENVIRONMENTS / environment / "bin"
    path = shutil.which(name, path=None if folder is None else str(folder))
    if path is None:
        raise Missing(f"there is no {name}")
    return path


def told(*argv: str) -> str:
    """What a program says of itself."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()
