"""A token that another program keeps in a file."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.file import File
from tokenproxy.tokens.answer import look_up
from tokenproxy.tokens.lifetime import Asked, expiry
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record, Token, is_sendable
from tokenproxy.tokens.watching import FolderWatch

MAX_TOKEN_FILE = 1 << 20
MAX_LINKS = 40  # as Linux has it; more are a loop
DEFAULT_FIELD = "access_token"


class FileSource(Source):
    """Contract 1.1, `file`: read again when something changes beside it, and when it is due.

    Folders are watched rather than the file: Kubernetes swaps a symlink beside it.
    """

    persistent = False

    def __init__(self, name: str, settings: File, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        """The file is all there is."""
        return (Attempt.LOGIN,)

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        """What the file holds now."""
        access = self._token(await asyncio.to_thread(self._read))
        now = self._clock.now().wall
        expires_at = expiry(
            access,
            expires_in=None,
            asked=Asked(now, now),
            minted=False,
            default_ttl=self._settings.refresh.default_ttl,
        )
        return Granted(Token(Secret(access), now, expires_at))

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yields when there is another file, or something else in it.

        A file that has gone is no reason to ask: it may be on its way back.
        """
        seen = self._look()
        async with aclosing(FolderWatch(self._places).changes()) as changes:
            async for _ in changes:
                before, seen = seen, self._look()
                if seen not in {None, before}:
                    yield

    def _places(self) -> set[Path]:
        """The folders in which something may change that leads elsewhere.

        Those of the file, of each symlink on the way to it, and of what these lead to: whoever
        watches a folder through a symlink sees nothing of the symlink.
        """
        return {self._settings.path.parent, *_folders_of_links(self._settings.path)}

    def _look(self) -> tuple[int, ...] | None:
        """What changes with the file; None where there is none."""
        try:
            status = self._settings.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def _read(self) -> bytes:
        try:
            with open(self._settings.path, "rb", opener=_open_without_waiting) as file:
                return file.read(MAX_TOKEN_FILE + 1) or b""  # None from a FIFO that is empty
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise self._failure(f"cannot be read ({reason})") from error

    def _token(self, content: bytes) -> str:
        if len(content) > MAX_TOKEN_FILE:
            raise self._failure("is too large to hold a token")
        try:
            text = content.decode("utf-8-sig").strip()
            access: object = text if self._settings.format == "text" else self._field(text)
        except (ValueError, RecursionError) as error:
            raise self._failure(f"is not {self._settings.format}") from error
        if not is_sendable(access):
            raise self._failure("holds no token that a request can carry")
        return access

    def _field(self, text: str) -> object:
        name = self._settings.field or DEFAULT_FIELD
        value = look_up(json.loads(text), name)
        if value is None:
            raise self._failure(f"has no field '{name}': check 'field' in the config")
        return value

    def _failure(self, what: str) -> SourceUnavailable:
        return SourceUnavailable(f"credential '{self._name}': {self._settings.path} {what}")


def _open_without_waiting(path: str, flags: int) -> int:
    """A FIFO that nobody writes to would else hold the thread for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


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
