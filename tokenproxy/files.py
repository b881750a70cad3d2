"""Files that others write, read so that nobody makes us wait: no pipe, no device, no end of it."""

import errno
import os
import stat
from pathlib import Path

NOT_REGULAR = "it is no regular file"


def read_regular(path: Path, most: int) -> bytes:
    """What is in it, and one byte more than `most` where there is more than that.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: no file can have that name.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        return file.read(most + 1)


def read_anything(path: Path, most: int) -> bytes:
    """The same, also from a pipe: it is waited for whoever writes to it."""
    with path.open("rb") as file:
        return file.read(most + 1)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
