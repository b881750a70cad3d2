"""Folders watched for changes: one watch each, however many want to hear of it."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import watchfiles

from tokenproxy.tasks import cancelled, spawn

DEBOUNCE_MS = 100  # the writes of one save arrive as one change
STEP_MS = 50


class FolderWatch:
    """Tells its listeners that something in `folder` has changed, and not what."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listeners: set[asyncio.Event] = set()
        self._watching: asyncio.Task[None] | None = None

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yields after every change; a listener that is slow hears of several at once.

        Ends only when it is closed; where the folder cannot be watched it never yields.
        """
        changed = asyncio.Event()
        self._listeners.add(changed)
        if self._watching is None:
            self._watching = spawn(self._watch(), name=f"watch {self._folder}")
        try:
            while True:
                await changed.wait()
                changed.clear()
                yield
        finally:
            await self._leave(changed)

    async def _leave(self, listener: asyncio.Event) -> None:
        self._listeners.discard(listener)
        if not self._listeners:
            watching, self._watching = self._watching, None
            await cancelled(watching)

    async def _watch(self) -> None:
        try:
            async for _ in watchfiles.awatch(
                self._folder,
                watch_filter=None,
                debounce=DEBOUNCE_MS,
                step=STEP_MS,
                recursive=False,
                ignore_permission_denied=True,
            ):
                for listener in self._listeners:
                    listener.set()
        except (OSError, RuntimeError):
            return  # no folder, or no watches left: changes are taken up at the next renewal
