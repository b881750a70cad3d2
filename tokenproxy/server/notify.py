"""Telling a service manager how it goes (sd_notify(3)); with none of them, nobody."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from tokenproxy.clock import monotonic_microseconds
from tokenproxy.environment import Service
from tokenproxy.tasks import cancelled, spawn

ABSTRACT = "@"  # the first letter of a name that is no file's: a NUL for the kernel
BEATS = 2  # in the time in which one is wanted
LEAST = 0.001  # seconds between two of them, whatever is wanted
MAX_STATUS = 1024  # bytes: it is one line for people, and a datagram has an end


class Notifier:
    """Says it as datagrams; a manager that is gone or deaf holds up nothing."""

    def __init__(self, service: Service) -> None:
        self._address = _address(service.notify_socket)
        self._watchdog = service.watchdog

    def ready(self, status: str) -> None:
        """It serves, or serves by another config."""
        shown = status.encode()[:MAX_STATUS].decode(errors="ignore")
        self._say("READY=1", f"STATUS={shown}")

    def reloading(self) -> None:
        """It reads its config again; `ready` says when that is over."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={monotonic_microseconds()}")

    def stopping(self) -> None:
        """It ends."""
        self._say("STOPPING=1", "STATUS=Draining")

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Show that the event loop lives, as often as the manager wants to see it, in here."""
        if self._watchdog is None:
            yield
            return
        beating = spawn(self._beat(max(LEAST, self._watchdog / BEATS)), name="watchdog")
        try:
            yield
        finally:
            await cancelled(beating)

    async def _beat(self, every: float) -> None:
        while True:
            self._say("WATCHDOG=1")
            await asyncio.sleep(every)

    def _say(self, *lines: str) -> None:
        if self._address is None:
            return
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
            contextlib.suppress(OSError),
        ):
            sender.settimeout(0)
            sender.sendto("\n".join(lines).encode(), self._address)


def _address(name: str | None) -> str | None:
    """As the kernel knows it; other families than unix are for machines, and not told."""
    if name is None or name[:1] not in {"/", ABSTRACT}:
        return None
    return name.replace(ABSTRACT, "\0", 1) if name.startswith(ABSTRACT) else name
