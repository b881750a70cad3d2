"""Standard error that many processes write to: a line of one is not cut by a line of another."""

import io
import os
import select
from typing import Any, TextIO


def open_lines(descriptor: int) -> TextIO:
    """A text stream that writes `WholeLines` to the descriptor, and leaves it open."""
    return io.TextIOWrapper(
        WholeLines(descriptor), encoding="utf-8", errors="backslashreplace", write_through=True
    )


def in_whole_lines(stream: TextIO) -> TextIO:
    """The same stream by its descriptor, so written; itself where it has none."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return stream
    stream.flush()
    return open_lines(descriptor)


class WholeLines(io.BufferedIOBase):
    """Writes what has come to the end of its line, in pieces that arrive whole.

    What one call writes to a file that is open to append stays together; so does what one call
    writes to a pipe, up to `PIPE_BUF` (POSIX, write). Only a longer line may be cut, by a pipe
    whose reader falls behind.
    """

    name = "<lines>"

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._begun = b""

    def fileno(self) -> int:
        """The descriptor that is written to."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: Any, /) -> int:
        """Write the lines that `content` ends, and keep what it only begins."""
        came = bytes(content)
        *lines, self._begun = (self._begun + came).split(b"\n")
        for piece in pieces([line + b"\n" for line in lines], select.PIPE_BUF):
            _write(self._descriptor, piece)
        return len(came)


def pieces(lines: list[bytes], size: int) -> list[bytes]:
    """Lines put together, into pieces of at most `size` bytes; a longer line stays one."""
    found: list[bytes] = []
    for line in lines:
        if found and len(found[-1]) + len(line) <= size:
            found[-1] += line
        else:
            found.append(line)
    return found


def _write(descriptor: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]
