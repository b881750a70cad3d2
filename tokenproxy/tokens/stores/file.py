"""Tokens in a folder of the user's own: one file and one lock a credential.

A save writes a new file, syncs it, renames it over the old one and syncs the folder, so that a
crash at any point leaves one whole generation, the old or the new. The lock is the operating
system's (`flock`): it lasts as long as its holder, and a holder that dies gives it back. A
second one, on the folder, makes each comparing and setting one step, also for those who could
not have the first.

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
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import BaseFileLock, FileLock, Timeout

from tokenproxy.errors import StoreError
from tokenproxy.tasks import spawn
from tokenproxy.tokens.codec import Codec, CodecFor, Unreadable, plain
from tokenproxy.tokens.store import Conflict, Lease, Saved
from tokenproxy.tokens.token import Record
from tokenproxy.tokens.watching import FolderWatch

T = TypeVar("T")

MAX_RECORD = 4 << 20
LOCK_POLL = 0.02  # seconds between looks at a lock that another process holds
LONGEST_SAVE = 2.0  # seconds that a save of another process is waited for
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileLease:
    """Held by the operating system until its context ends, and lost never."""

    fence: int = 0
    lost: bool = False


class FileStores:
    """Contract 1, `store: {type: file}`: a folder, made when it is first needed."""

    def __init__(self, folder: Path, codec_for: CodecFor = plain) -> None:
        self._folder = folder
        self._codec_for = codec_for
        self._watch = FolderWatch(lambda: [folder], suffix=".json")

    def open(self, key: str) -> "FileStore":
        """The record of that key."""
        return FileStore(self._folder, key, self._watch, self._codec_for(key))

    async def close(self) -> None:
        """Nothing is held between two calls."""


class FileStore:
    """One record in a file."""

    renews_without_lock = True

    def __init__(self, folder: Path, key: str, watch: FolderWatch, codec: Codec) -> None:
        self._folder = folder
        self._codec = codec
        self._path = folder / f"{key}.json"
        self._fresh = folder / f"{key}.new"
        self._lock = folder / f"{key}.lock"
        self._watch = watch

    async def load(self) -> Record:
        """The record as it stands; an empty one where the file is missing or corrupt."""
        return await self._in_thread(self._load, "read")

    async def save(self, record: Record, *, after: int, lease: Lease | None) -> Saved | Conflict:
        """Write, sync, rename, sync; a corrupt file is set aside first."""
        del lease
        return await self._in_thread(lambda: self._save(record, after), "written")

    async def delete(self, *, lease: Lease | None) -> None:
        """Leave a tombstone in the file's place."""
        del lease
        await self._in_thread(self._bury, "written")

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[Lease]:
        """The lock that all processes share, waited for as long as it takes."""
        await self._in_thread(self._make_folder, "made")
        lock = FileLock(
            self._lock,
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
            raise self._error("locked", error) from error
        return True

    async def watch(self) -> AsyncGenerator[None, None]:
        """Yields when a record in the folder has changed, and once when it begins to watch."""
        with contextlib.suppress(StoreError):
            await self._in_thread(self._make_folder, "made")
        async with contextlib.aclosing(self._watch.changes()) as changes:
            async for _ in changes:
                yield

    async def _in_thread(self, work: Callable[[], T], done: str) -> T:
        """Do what blocks in a thread; what fails there is a StoreError.

        It is waited for also by a caller who is cancelled, who would else give back the lock
        under a write.
        """
        task = spawn(asyncio.to_thread(work), name=f"{self._path.name} is {done}")
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # has been seen
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():
                await asyncio.wait({task})
        try:
            return task.result()
        except OSError as error:
            raise self._error(done, error) from error

    def _error(self, done: str, error: OSError) -> StoreError:
        reason = error.strerror or type(error).__name__
        if error.errno == errno.ELOOP:
            reason = "a symbolic link stands where a file should be"
        return StoreError(
            f"the store in {self._folder} cannot be {done} ({reason}): mend the folder, or name "
            "another in the config's 'store'"
        )

    # -- what blocks -------------------------------------------------------------------------

    def _load(self) -> Record:
        try:
            _refuse_others(self._folder.stat(), self._folder)
            return self._codec.decode(self._read())
        except (FileNotFoundError, Unreadable):
            return Record()

    def _read(self) -> bytes:
        descriptor = os.open(self._path, READ)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise StoreError(f"{self._path} is not a file: move it away")
            _refuse_others(status, self._path)
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(MAX_RECORD)
        finally:
            os.close(descriptor)

    def _save(self, record: Record, after: int) -> Saved | Conflict:
        with self._alone() as folder:
            stored = self._load()
            if stored.generation != after:
                return Conflict(stored)
            self._replace(record, folder)
            return Saved()

    def _bury(self) -> None:
        with self._alone() as folder:
            self._replace(self._load().tombstone(), folder)

    def _replace(self, record: Record, folder: int) -> None:
        self._set_aside_corrupt()
        try:
            self._write(self._codec.encode(record))
            self._fresh.rename(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                self._fresh.unlink()
            raise
        os.fsync(folder)

    def _write(self, content: bytes) -> None:
        self._fresh.unlink(missing_ok=True)  # left by a process that was killed here
        with os.fdopen(os.open(self._fresh, CREATE, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)  # a umask may have taken what the owner needs
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _set_aside_corrupt(self) -> None:
        """While nobody else saves: a mere reader might move what has just been mended."""
        try:
            self._codec.decode(self._read())
        except FileNotFoundError:
            return
        except Unreadable:
            self._path.rename(self._path.with_suffix(f".corrupt-{time.time_ns()}"))

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """The folder's descriptor, while nobody else saves in it."""
        self._make_folder()
        descriptor = os.open(self._folder, FOLDER)
        try:
            self._exclude_others(descriptor)
            yield descriptor
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have a copy of it
            os.close(descriptor)

    def _exclude_others(self, descriptor: int) -> None:
        for _ in range(round(LONGEST_SAVE / LOCK_POLL)):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOCK_POLL)
            except OSError:
                return  # a filesystem that cannot do it (NFS): the lock of the file must do
            else:
                return
        raise TimeoutError(errno.ETIMEDOUT, "another process is in the middle of a save")

    def _make_folder(self) -> None:
        if not self._folder.exists():
            _make_private(self._folder)
        _refuse_others(self._folder.stat(), self._folder)


def _make_private(folder: Path) -> None:
    """Make `folder` and what is missing above it, each for its owner only."""
    if not folder.parent.exists():
        _make_private(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # a umask may have taken what the owner needs


def _refuse_others(status: os.stat_result, path: Path) -> None:
    if status.st_mode & OTHERS_WRITE:
        raise StoreError(
            f"{path} can be written by others: run 'chmod go-w {path}', or name another folder in "
            "the config's 'store'"
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise StoreError(
            f"{path} belongs to another user: name a folder of your own in the config's 'store'"
        )
