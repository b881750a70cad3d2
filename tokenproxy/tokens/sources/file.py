"""A token that another program keeps in a file."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.file import File
from tokenproxy.tokens.answer import is_sendable, look_up
from tokenproxy.tokens.lifetime import Asked, expiry
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.token import Granted, Record, Token
from tokenproxy.tokens.watching import FolderWatch

MAX_TOKEN_FILE = 1 << 20
DEFAULT_FIELD = "access_token"


class FileSource(Source):
    """Contract 1.1, `file`: read again when something changes beside it, and when it is due.

    The folder is watched rather than the file: Kubernetes swaps a symlink beside it.
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
        """Yields when something in the file's folder has changed."""
        async with aclosing(FolderWatch(self._settings.path.parent).changes()) as changes:
            async for _ in changes:
                yield

    def _read(self) -> bytes:
        try:
            with self._settings.path.open("rb") as file:
                return file.read(MAX_TOKEN_FILE + 1)
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
        return look_up(json.loads(text), self._settings.field or DEFAULT_FIELD)

    def _failure(self, what: str) -> SourceUnavailable:
        return SourceUnavailable(f"credential '{self._name}': {self._settings.path} {what}")
