"""A request's body: read once from the caller, sent once or twice (contract 3.3.3).

The upload starts before the body has arrived whole. What has been read is kept in a spool, in
memory and past `memory` in an unlinked file, so that a second send gives the spool first and
then the rest. A body that outgrows `max_body`, or a spool that cannot be written, makes the
request not replayable, and is no error.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO

from tokenproxy.settings.route import Replay

PIECE = 1 << 16  # bytes that are read back from the spool at once

Read = Callable[[], Awaitable[bytes]]


class BodyGone(Exception):
    """The body was asked for again and has not been kept."""


class Spool:
    """Bytes that are kept for a replay; `kept` is False once there were too many."""

    def __init__(self, settings: Replay) -> None:
        self._settings = settings
        self._memory: bytearray | bytes = b""
        self._file: IO[bytes] | None = None
        self.size = 0
        self.kept = True

    @classmethod
    def holding(cls, settings: Replay, piece: bytes) -> "Spool":
        """One that keeps that piece, which is no larger than what it may have in memory."""
        spool = cls(settings)
        spool._memory = piece
        spool.size = len(piece)
        return spool

    def keep(self, piece: bytes) -> bool:
        """Add to what is kept; False where that is given up, and whoever owns this must `drop` it.

        What was kept before can still be read until then.
        """
        if not self.kept or self.size + len(piece) > self._settings.max_body:
            return False
        try:
            if self._file is None and self.size + len(piece) <= self._settings.memory:
                self._memory = self._memory or bytearray()
                self._memory += piece
            else:
                self._to_file(piece)
        except OSError:
            return False
        self.size += len(piece)
        return True

    def read(self, offset: int) -> bytes:
        """Some bytes from `offset` on, which lies before the end of what is kept.

        Raises:
            BodyGone: nothing is kept any more, or it cannot be read.
        """
        if not self.kept:
            raise BodyGone
        if self._file is None:
            return bytes(self._memory[offset : offset + PIECE])
        try:
            piece = os.pread(self._file.fileno(), PIECE, offset)
        except OSError as error:
            raise BodyGone from error
        if not piece:
            raise BodyGone
        return piece

    def drop(self) -> None:
        """Keep nothing any more."""
        self.kept = False
        self._memory = b""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _to_file(self, piece: bytes) -> None:
        if self._file is None:
            # Unbuffered and unlinked: nothing is left behind, whatever happens to us.
            file = tempfile.TemporaryFile(buffering=0, dir=self._settings.dir)  # noqa: SIM115 - closed by `drop`
            try:
                _write_all(file, self._memory)
            except OSError:
                file.close()
                raise
            self._file = file
            self._memory = b""
        _write_all(self._file, piece)


def _write_all(file: IO[bytes], data: bytes | bytearray) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += file.write(view[done:])


class Body:
    """An async iterable of a request's bytes, from the beginning each time it is iterated.

    `read` gives the next bytes from the caller, and none at the end; `length` is the
    Content-Length in bytes, None where it is unknown. Only the last iteration gives anything:
    an older one waits for ever, to be cancelled, so that two sends never share the caller's bytes.
    """

    def __init__(self, read: Read, *, length: int | None, replay: Replay) -> None:
        self._read = read
        self._spool = Spool(replay)
        if length is not None and length > replay.max_body:
            self._spool.drop()
        self._reading = asyncio.Lock()
        self._flowing = asyncio.Event()
        self._ended = False
        self._passes = 0
        self.length = length
        self.bytes_in = 0
        self.broke_off = False  # by the caller: what it sent is no whole request

    @property
    def replayable(self) -> bool:
        """Whether another iteration can begin at the beginning."""
        return self._spool.kept or self.bytes_in == 0

    def hold(self) -> None:
        """Let the iteration that is under way wait: what it takes now may be lost to a replay."""
        self._flowing.clear()

    def go_on(self) -> None:
        """Let it have the rest after all."""
        self._flowing.set()

    def close(self) -> None:
        """Give back memory and file."""
        self._spool.drop()

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._passes += 1
        self._flowing.set()
        return _Pass(self, self._passes)

    async def piece(self, number: int, offset: int) -> bytes:
        """The bytes at `offset` for the iteration of that number; empty at the end."""
        async with self._reading:
            await self._flowing.wait()
            if number == self._passes:
                return await self._at(offset)
        await asyncio.get_running_loop().create_future()  # for ever: its sender is being cancelled
        return b""

    async def _at(self, offset: int) -> bytes:
        if offset < self.bytes_in:
            return self._spool.read(offset)
        return b"" if self._ended else await self._next()

    async def _next(self) -> bytes:
        try:
            piece = await self._read()
        except Exception:
            self.broke_off = True
            raise
        self._ended = not piece
        self.bytes_in += len(piece)
        if not self._spool.keep(piece):
            self._spool.drop()
        return piece


class _Pass:
    """One iteration over a body."""

    def __init__(self, body: Body, number: int) -> None:
        self._body = body
        self._number = number
        self._offset = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._body.piece(self._number, self._offset)
        if not piece:
            raise StopAsyncIteration
        self._offset += len(piece)
        return piece
