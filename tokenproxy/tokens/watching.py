"""Folders watched for changes: one watch each, however many want to hear of it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from pathlib import Path

import watchfiles

from tokenproxy.tasks import spawn

DEBOUNCE_MS = 100  # the writes of one save arrive as one change
STEP_MS = 50
MAX_LINKS = 40  # symlinks on one path, as Linux has it; more are a loop
LOOK_AGAIN = 1.0  # seconds until a folder that could not be watched is tried again

Places = Callable[[], Iterable[Path]]


class FolderWatch:
    """Tells its listeners that something has changed in some folders, and not what.

    `places` names the folders and is asked again after every change: a symlink may lead
    elsewhere by then. Of the files in them only those count whose names end in `suffix`.
    """

    def __init__(self, places: Places, *, suffix: str = "") -> None:
        self._places = places
        self._suffix = suffix
        self._listeners: set[asyncio.Event] = set()
        self._watching: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yields once the watch stands, then after every change.

        A listener that is slow hears of several changes at once. Ends only when it is closed;
        where there is nothing to watch it never yields.
        """
        changed = asyncio.Event()
        self._listeners.add(changed)
        if self._watching is None:
            self._stop = asyncio.Event()
            self._watching = spawn(self._watch(self._stop), name="watch folders")
        else:
            changed.set()  # the watch stands already, or will tell when it does
        try:
            while True:
                await changed.wait()
                changed.clear()
                yield
        finally:
            await self._leave(changed)

    async def _leave(self, listener: asyncio.Event) -> None:
        """The last one out waits until the thread of the watch has ended."""
        self._listeners.discard(listener)
        if not self._listeners and self._watching is not None:
            watching, self._watching = self._watching, None
            self._stop.set()
            await asyncio.wait({watching})

    async def _watch(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._watch_while_there(stop)
            except (OSError, RuntimeError):  # no such folder, or no watches left
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN):
                        await stop.wait()

    async def _watch_while_there(self, stop: asyncio.Event) -> None:
        folders = self._folders()
        # Runs when the thread of the watch has been started: what changed before is told now.
        asyncio.get_running_loop().call_soon(self._tell)
        watch = watchfiles.awatch(
            *folders,
            watch_filter=lambda _, path: path.endswith(self._suffix) or Path(path) in folders,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            recursive=False,
            ignore_permission_denied=True,
        )
        async with aclosing(watch) as changes:
            async for _ in changes:
                self._tell()
                if self._folders() != folders:
                    return

    def _folders(self) -> dict[Path, int]:
        """The folders and their inodes: one that was made anew is another. Raises OSError."""
        return {folder: folder.stat().st_ino for folder in self._places()}

    def _tell(self) -> None:
        for listener in self._listeners:
            listener.set()


async def file_changes(path: Path) -> AsyncGenerator[None, None]:
    """Yields when there is another file at `path`, or something else in it.

    Folders are watched rather than the file: Kubernetes swaps a symlink beside it. A file that
    has gone is no reason to look: it may be on its way back.
    """
    seen = look(path)
    async with aclosing(FolderWatch(lambda: folders_of(path)).changes()) as changes:
        async for _ in changes:
            before, seen = seen, look(path)
            if seen not in {None, before}:
                yield


def look(path: Path) -> tuple[int, ...] | None:
    """What changes with the file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def folders_of(path: Path) -> set[Path]:
    """The folders in which something may change that leads elsewhere.

    Those of the file, of each symlink on the way to it, and of what these lead to: whoever
    watches a folder through a symlink sees nothing of the symlink.
    """
    return {path.parent, *_folders_of_links(path)}


def _folders_of_links(path: Path) -> set[Path]:
    """The folders, without symlinks in them, of all that a path goes by."""
    folders: set[Path] = set()
    waiting = [path]
    for _ in range(MAX_LINKS):
        if not waiting:
            break
        here = waiting.pop()
        for step in (here, *here.parents):
            if step.is_symlink():
                folder = step.parent.resolve()  # above it no symlink is left
                folders.add(folder)
                waiting.append(folder / step.readlink())
    with suppress(OSError, RuntimeError):  # a circle
        folders.add(path.resolve().parent)
    return folders
