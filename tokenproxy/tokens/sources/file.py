"""A token that another program keeps in a file."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.file import File
from tokenproxy.tokens.answer import look_up
from tokenproxy.tokens.lifetime import Asked, expiry
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record, Token, is_sendable
from tokenproxy.tokens.watching import file_changes

MAX_TOKEN_FILE = 1 << 20
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

    def changes(self) -> AsyncGenerator[None, None]:
        """Yields when there is another file, or something else in it."""
        return file_changes(self._settings.path)

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
