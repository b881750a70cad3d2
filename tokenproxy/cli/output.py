"""What people see: answers on standard output, the rest on standard error."""

import sys

from rich.console import Console

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One line on standard output, at once: programs wait for it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def complain(sentence: str) -> None:
    """One error."""
    err.print("error:", style="bold red", end=" ")
    err.print(sentence, markup=False)


def warn(sentence: str) -> None:
    """Something that stops nothing."""
    err.print("warning:", style="bold yellow", end=" ")
    err.print(sentence, markup=False)
