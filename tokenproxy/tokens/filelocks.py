"""A folder of the user's own, and the locks that processes share in it.

A lock is the operating system's (`flock`): it lasts as long as its holder, and a holder that
dies gives it back. There is one for each name, held over a renewal; and one on the folder, held
over a save, which makes comparing and setting one step also for those who could not have the
first.

Files are made 0600 and folders 0700 by the call that opens them; symlinks are not followed; a
folder or file that others can write is refused, and so is one that belongs to somebody else.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from tokenproxy.errors import StoreError
from tokenproxy.tasks import spawn

T = TypeVar("T")

LOCK_POLL = 0.02  # seconds between looks at a lock that another process holds
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileLease:
    """Held by the operating system until its context ends, and lost never."""

    fence: int = 0
    lost: bool = False


class PrivateFolder:
    """The folder at `path`, made when it is first needed.

    `named_in` is where its user chose it, as errors call it.
    """

    def __init__(self, path: Path, *, named_in: str = "the config's 'store'") -> None:
        self.path = path
        self._named_in = named_in

    @asynccontextmanager
    async def lock(self, name: str) -> AsyncIterator[FileLease]:
        """The lock in the file of that name, waited for as long as it takes. Raises StoreError."""
        await self.in_thread(self.make, "made")
        lock = FileLock(
            self.path / name,
            mode=0o600,
            blocking=False,
            thread_local=False,
            fallback_to_soft=False,  # a file that merely exists outlives a holder that dies
        )
        while not self._is_got(lock):  # noqa: ASYNC110 - nothing tells when a process lets go
            await asyncio.sleep(LOCK_POLL)  # the one place to be cancelled at, with nothing held
        try:
            yield FileLease()
        finally:
            lock.release()

    def _is_got(self, lock: BaseFileLock) -> bool:
        """Whether the lock was free; it takes microseconds to find out."""
        try:
            lock.acquire()
        except Timeout:
            return False
        except OSError as error:
            raise self.error("locked", error) from error
        return True

    async def in_thread(self, work: Callable[[], T], done: str) -> T:
        """Do what blocks in a thread; what fails there is a StoreError: it cannot be `done`.

        It is waited for also by a caller who is cancelled, who would else give back the lock
        under a write.
        """
        task = spawn(asyncio.to_thread(work), name=f"{self.path.name} is {done}")
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # has been seen
        was_cancelled: asyncio.CancelledError | None = None
        while not task.done():  # however often it is cancelled
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                was_cancelled = error
        if was_cancelled is not None:
            raise was_cancelled
        try:
            return task.result()
        except OSError as error:
            raise self.error(done, error) from error

    def error(self, done: str, error: OSError) -> StoreError:
        """What a person is told who finds that something cannot be `done`."""
        reason = error.strerror or type(error).__name__
        if error.errno == errno.ELOOP:
            reason = "a symbolic link stands where a file should be"
        return StoreError(
            f"the store in {self.path} cannot be {done} ({reason}): mend the folder, or name "
            f"another in {self._named_in}"
        )

    # -- what blocks -------------------------------------------------------------------------

    def make(self) -> None:
        """Have the folder there, and its owner's only. Raises OSError, StoreError."""
        if not self.path.exists():
            _make_private(self.path)
        self.check()

    def check(self) -> None:
        """Refuse a folder that is not the user's own. Raises OSError, StoreError."""
        self.refuse_others(self.path.stat(), self.path)

    def refuse_others(self, status: os.stat_result, path: Path) -> None:
        """Refuse a file or folder that is not the user's own. Raises StoreError."""
        if status.st_mode & OTHERS_WRITE:
            raise StoreError(
                f"{path} can be written by others: run 'chmod go-w {path}', or name another "
                f"folder in {self._named_in}"
            )
        if status.st_uid not in {os.geteuid(), 0}:
            raise StoreError(
                f"{path} belongs to another user: name a folder of your own in {self._named_in}"
            )

    @contextmanager
    def alone(self, patience: float) -> Iterator[int]:
        """The folder's descriptor, while nobody else is in here; `patience` is in seconds.

        Raises:
            TimeoutError: somebody else was in here for longer than that.
            OSError, StoreError: there is no such folder, or it is not the user's own.
        """
        self.make()
        descriptor = os.open(self.path, FOLDER)
        try:
            _exclude_others(descriptor, patience)
            yield descriptor
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have a copy of it
            os.close(descriptor)


def _exclude_others(descriptor: int, patience: float) -> None:
    for _ in range(round(patience / LOCK_POLL)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_POLL)
        except OSError:
            return  # a filesystem that cannot do it (NFS): the lock of the file must do
        else:
            return
    raise TimeoutError(errno.ETIMEDOUT, "another process is in the middle of a save")


def _make_private(folder: Path) -> None:
    """Make `folder` and what is missing above it, each for its owner only."""
    if not folder.parent.exists():
        _make_private(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # a umask may have taken what the owner needs
