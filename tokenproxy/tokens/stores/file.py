"""Tokens in a folder of the user's own: one file and one lock a credential.

A save writes a new file, syncs it, renames it over the old one and syncs the folder, so that a
crash at any point leaves one whole generation, the old or the new. The lock is the operating
system's (`flock`): it lasts as long as its holder, and a holder that dies gives it back.

Files are made 0600 and folders 0700 by the call that opens them; symlinks are not followed; a
folder or file that others can write is refused, and so is one that belongs to somebody else.
"""

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import AsyncFileLock

from tokenproxy.errors import StoreError
from tokenproxy.tokens.codec import Unreadable, decode, encode
from tokenproxy.tokens.store import Conflict, Lease, Saved
from tokenproxy.tokens.token import Record
from tokenproxy.tokens.watching import FolderWatch

T = TypeVar("T")

MAX_RECORD = 4 << 20
LOCK_POLL = 0.02  # seconds between looks at a lock that another process holds
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class FileLease:
    """Held by the operating system until its context ends, and lost never."""

    fence: int = 0
    lost: bool = False


class FileStores:
    """Contract 1, `store: {type: file}`: a folder, made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watch = FolderWatch(folder)

    def open(self, key: str) -> "FileStore":
        """The record of that key."""
        return FileStore(self._folder, key, self._watch)


class FileStore:
    """One record in a file."""

    renews_without_lock = True

    def __init__(self, folder: Path, key: str, watch: FolderWatch) -> None:
        self._folder = folder
        self._path = folder / f"{key}.json"
        self._fresh = folder / f"{key}.new"
        self._lock = folder / f"{key}.lock"
        self._watch = watch

    async def load(self) -> Record:
        """The record as it stands; an empty one where the file is missing or corrupt."""
        return await self._in_thread(self._load)

    async def save(self, record: Record, *, after: int, lease: Lease | None) -> Saved | Conflict:
        """Write, sync, rename, sync; a corrupt file is set aside first."""
        del lease
        return await self._in_thread(lambda: self._save(record, after))

    async def delete(self, *, lease: Lease | None) -> None:
        """Leave a tombstone in the file's place."""
        del lease
        await self._in_thread(self._bury)

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[Lease]:
        """The lock that all processes share, waited for as long as it takes."""
        await self._in_thread(self._make_folder)
        lock = AsyncFileLock(self._lock, mode=0o600, thread_local=False, run_in_executor=False)
        try:
            await lock.acquire(poll_interval=LOCK_POLL)
        except OSError as error:
            raise self._error("be locked", error) from error
        try:
            yield FileLease()
        finally:
            await lock.release()

    async def watch(self) -> AsyncGenerator[None, None]:
        """Yields when something in the folder has changed."""
        with contextlib.suppress(StoreError):
            await self._in_thread(self._make_folder)
        async with contextlib.aclosing(self._watch.changes()) as changes:
            async for _ in changes:
                yield

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do what blocks in a thread; what fails there is a StoreError."""
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise self._error("be used", error) from error

    def _error(self, what: str, error: OSError) -> StoreError:
        reason = error.strerror or type(error).__name__
        return StoreError(f"the store in {self._folder} cannot {what} ({reason})")

    def _load(self) -> Record:
        try:
            return decode(self._read())
        except (FileNotFoundError, Unreadable):
            return Record()

    def _read(self) -> bytes:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            self._refuse_others(os.fstat(descriptor), self._path)
            return file.read(MAX_RECORD)

    def _save(self, record: Record, after: int) -> Saved | Conflict:
        self._make_folder()
        stored = self._load()
        if stored.generation != after:
            return Conflict(stored)
        self._set_aside_corrupt()
        self._write(record)
        return Saved()

    def _bury(self) -> None:
        self._make_folder()
        self._set_aside_corrupt()
        self._write(Record(self._load().generation + 1))

    def _write(self, record: Record) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fresh.unlink()  # left by a process that was killed here
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(self._fresh, flags, 0o600), "wb") as file:
                file.write(encode(record))
                file.flush()
                os.fsync(file.fileno())
            self._fresh.rename(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                self._fresh.unlink()
            raise
        self._sync_folder()

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _set_aside_corrupt(self) -> None:
        """Under the lock only: a reader without it might move what has just been mended."""
        try:
            decode(self._read())
        except FileNotFoundError:
            return
        except Unreadable:
            self._path.rename(self._path.with_suffix(f".corrupt-{time.time_ns()}"))

    def _make_folder(self) -> None:
        if not self._folder.exists():
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self._folder.mkdir(mode=0o700)
        self._refuse_others(self._folder.stat(), self._folder)

    def _refuse_others(self, status: os.stat_result, path: Path) -> None:
        if status.st_mode & OTHERS_WRITE:
            raise StoreError(
                f"{path} can be written by others: run 'chmod go-w {path}', or name a folder in it"
            )
        if status.st_uid not in {os.geteuid(), 0}:
            raise StoreError(f"{path} belongs to another user: name a folder of your own")
