"""Tokens in a folder of the user's own: one file and one lock a credential.

A save writes a new file, syncs it, renames it over the old one and syncs the folder, so that a
crash at any point leaves one whole generation, the old or the new. A record that is there but
cannot be opened (it is sealed, and its key is not ours) is left as it is, whatever is asked.

Files are made 0600 by the call that opens them, and symlinks are not followed; the folder, and
the locks in it, are a `PrivateFolder`'s.
"""

import contextlib
import os
import stat
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path

from tokenproxy.errors import StoreError
from tokenproxy.tokens.codec import Codec, CodecFor, Unreadable, plain
from tokenproxy.tokens.filelocks import PrivateFolder
from tokenproxy.tokens.store import Conflict, Lease, Saved
from tokenproxy.tokens.token import LOST, Record
from tokenproxy.tokens.watching import FolderWatch

MAX_RECORD = 4 << 20
LONGEST_SAVE = 2.0  # seconds that a save of another process is waited for
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FileStores:
    """Contract 1, `store: {type: file}`: a folder, made when it is first needed."""

    def __init__(self, folder: Path, codec_for: CodecFor = plain) -> None:
        self._folder = PrivateFolder(folder)
        self._codec_for = codec_for
        self._watch = FolderWatch(lambda: [folder], suffix=".json")

    def open(self, key: str) -> "FileStore":
        """The record of that key."""
        return FileStore(self._folder, key, self._watch, self._codec_for(key))

    def hurry(self) -> None:
        """Nothing here waits for another machine."""

    async def close(self) -> None:
        """Nothing is held between two calls."""


class FileStore:
    """One record in a file."""

    renews_without_lock = True

    def __init__(self, folder: PrivateFolder, key: str, watch: FolderWatch, codec: Codec) -> None:
        self._folder = folder
        self._codec = codec
        self._path = folder.path / f"{key}.json"
        self._fresh = folder.path / f"{key}.new"
        self._lock = f"{key}.lock"
        self._watch = watch

    async def load(self) -> Record:
        """The record as it stands; an empty one where the file is missing or corrupt."""
        return await self._folder.in_thread(self._load, "read")

    async def save(self, record: Record, *, after: int, lease: Lease | None) -> Saved | Conflict:
        """Write, sync, rename, sync; a corrupt file is set aside first."""
        del lease
        return await self._folder.in_thread(lambda: self._save(record, after), "written")

    async def delete(self, *, lease: Lease | None) -> None:
        """Leave a tombstone in the file's place."""
        del lease
        await self._folder.in_thread(self._bury, "written")

    def lock(self) -> AbstractAsyncContextManager[Lease]:
        """The lock that all processes share, waited for as long as it takes."""
        return self._folder.lock(self._lock)

    async def watch(self) -> AsyncGenerator[None, None]:
        """Yields when a record in the folder has changed, and once when it begins to watch."""
        with contextlib.suppress(StoreError):
            await self._folder.in_thread(self._folder.make, "made")
        async with contextlib.aclosing(self._watch.changes()) as changes:
            async for _ in changes:
                yield

    # -- what blocks -------------------------------------------------------------------------

    def _load(self) -> Record:
        try:
            self._folder.check()
            return self._codec.decode(self._read())
        except FileNotFoundError:
            return Record()
        except Unreadable:
            return LOST

    def _read(self) -> bytes:
        descriptor = os.open(self._path, READ)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise StoreError(f"{self._path} is not a file: move it away")
            self._folder.refuse_others(status, self._path)
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

    def _alone(self) -> AbstractContextManager[int]:
        """The folder's descriptor, while nobody else saves in it."""
        return self._folder.alone(LONGEST_SAVE)
