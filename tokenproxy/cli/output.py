"""What people see: answers on standard output, the rest on standard error.

Either may be closed, or full. Without standard error there is nobody to tell; what standard
output does not take is an error like any other.
"""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Literal

from rich.console import Console

from tokenproxy.environment import wants_escapes
from tokenproxy.errors import TokenproxyError
from tokenproxy.redaction import redact


def _console(*, stderr: bool = False) -> Console:
    colours: Literal["auto"] | None = "auto" if wants_escapes() else None
    return Console(
        stderr=stderr, highlight=False, soft_wrap=True, emoji=False, color_system=colours
    )


out = _console()
err = _console(stderr=True)

STDOUT, STDERR = 1, 2
STANDARD = (0, STDOUT, STDERR)


class OutputError(TokenproxyError):
    """Make room, or send the output elsewhere: not all of it could be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output ({error.strerror})")


class Output(io.TextIOWrapper):
    """Standard output, whose errors are told as ours: also what libraries print comes by here."""

    def write(self, text: str, /) -> int:
        """Write text."""
        try:
            return super().write(text)
        except OSError as error:
            raise OutputError(error) from error

    def flush(self) -> None:
        """Let go of what has been written."""
        try:
            super().flush()
        except OSError as error:
            raise OutputError(error) from error


def open_output() -> None:
    """Have three standard streams, come what may.

    One that was closed when we were started leaves its descriptor to the next socket or file,
    and whoever writes to standard error would write into that.
    """
    for descriptor in STANDARD:
        _fill(descriptor)
    if sys.stderr is None:
        sys.stderr = open(STDERR, "w", closefd=False)  # noqa: SIM115 - lasts as we do
    raw = open(STDOUT, "wb", closefd=False)  # noqa: SIM115 - the same
    encoding, errors = (sys.stdout.encoding, sys.stdout.errors) if sys.stdout else (None, None)
    sys.stdout = Output(raw, encoding, errors, line_buffering=True)


def _fill(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError as error:
        if error.errno == errno.EBADF:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
            os.set_inheritable(nowhere, True)  # noqa: FBT003 - it has no name


def give_up_output() -> None:
    """Send nowhere what could not be written: at its end the interpreter would try again."""
    for descriptor, stream in ((STDOUT, sys.stdout), (STDERR, sys.stderr)):
        try:
            stream.flush()
        except (OSError, OutputError):
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - no path
                os.dup2(nowhere.fileno(), descriptor)


def say(line: str) -> None:
    """One line on standard output, at once: programs wait for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def complain(sentence: str) -> None:
    """One error."""
    with suppress(OSError):
        err.print("error:", style="bold red", end=" ")
        err.print(redact(sentence), markup=False)


def tell(sentence: str) -> None:
    """Something to know, beside what is on standard output."""
    with suppress(OSError):
        err.print(redact(sentence), markup=False)


def warn(sentence: str) -> None:
    """Something that stops nothing."""
    with suppress(OSError):
        err.print("warning:", style="bold yellow", end=" ")
        err.print(redact(sentence), markup=False)
