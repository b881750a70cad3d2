"""The environment: read here, once, and passed on as values."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs


def variables() -> Mapping[str, str]:
    """A copy of the process's environment variables."""
    return dict(os.environ)  # noqa: TID251 - the one place that asks


def wants_escapes() -> bool:
    """Whether a terminal may be sent colours and other escape codes (no-color.org)."""
    told = variables()
    return not told.get("NO_COLOR") and told.get("TERM") != "dumb"


def state_folder() -> Path:
    """Where this user's tokens live unless the config names a folder."""
    return Path(platformdirs.user_state_dir("tokenproxy", appauthor=False))


MOST_MICROSECONDS = (1 << 64) - 2  # sd_watchdog_enabled(3): one more stands for never
MOST_DESCRIPTORS = (1 << 31) - 4  # sd_listen_fds(3): they are ints, and begin with 3


@dataclass(frozen=True, slots=True)
class Service:
    """What a service manager tells this process, and nobody that it starts."""

    notify_socket: str | None = None
    watchdog: float | None = None  # seconds in which it wants to hear of us
    descriptors: int = 0  # that it passes: listening sockets, from 3 on


def take_service(process: int | None = None) -> Service:
    """Read it, and take it away from what others inherit (sd_notify(3), sd_listen_fds(3)).

    What is meant for another `process` than this one is not for us.
    """
    told = {name: os.environ.pop(name, "") for name in _SERVICE}  # noqa: TID251 - the same place
    ours = str(os.getpid() if process is None else process)
    microseconds = _number(told["WATCHDOG_USEC"], MOST_MICROSECONDS)
    watches = microseconds and told["WATCHDOG_PID"] in {"", ours}
    passes = told["LISTEN_PID"] == ours
    return Service(
        notify_socket=told["NOTIFY_SOCKET"] or None,
        watchdog=microseconds / 1e6 if watches else None,
        descriptors=_number(told["LISTEN_FDS"], MOST_DESCRIPTORS) if passes else 0,
    )


def _number(text: str, most: int) -> int:
    """0 where it is none, or more than it may be."""
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(most)):
        return 0
    number = int(text)
    return number if number <= most else 0


_SERVICE = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
)
