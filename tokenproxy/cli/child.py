"""A command that shares our terminal and process group, as under `env` or `nice`.

Signals that come to us are taken one by one by a thread and passed on. What the terminal sends
(Ctrl-C, a hang-up, another size) it sends to the whole group, so the command has had it already.
Signals that were ignored when we were started stay so, for the command as well, as under `nohup`;
Ctrl-Z stops the group, and `fg` wakes it.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from tokenproxy.errors import TokenproxyError

PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
OF_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)  # it ignores them, which commands do not expect
BY_SIGNAL = 128  # and the signal's number, as a shell says it
CANNOT_RUN, NOT_FOUND = 126, 127
Mask = set[int]
LAST_WORDS = 5.0  # seconds that the command has to end, once it must


class CannotRun(TokenproxyError):
    """Name another command: this one cannot be run; `code` is what a shell would say."""

    def __init__(self, name: str, error: OSError) -> None:
        is_missing = isinstance(error, FileNotFoundError)
        what = "there is no such command" if is_missing else str(error.strerror)
        super().__init__(f"cannot run '{name}' ({what})")
        self.code = NOT_FOUND if is_missing else CANNOT_RUN


class Child:
    """The command, once it has been started."""

    def __init__(self, argv: tuple[str, ...], environment: Mapping[str, str], mask: Mask) -> None:
        try:
            self._pid = os.posix_spawnp(
                argv[0], argv, environment, setsigmask=mask, setsigdef=OF_PYTHON
            )
        except (OSError, ValueError) as error:
            raise CannotRun(argv[0], _as_os_error(error)) from error
        self._ended: int | None = None

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self._ended is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    async def wait(self) -> int:
        """The exit code; 128 and the number of the signal that killed it."""
        await asyncio.to_thread(_wait, self._pid)
        if self._ended is None:  # nobody else has its number until it is taken from the list
            self._ended = _reaped(self._pid)
        return BY_SIGNAL - self._ended if self._ended < 0 else self._ended

    async def end(self, waiting: "asyncio.Task[int]") -> None:
        """Have it end; what does not is killed."""
        self.send(signal.SIGTERM)
        await asyncio.wait({waiting}, timeout=LAST_WORDS)
        self.send(signal.SIGKILL)
        await waiting


def _wait(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _reaped(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _as_os_error(error: OSError | ValueError) -> OSError:
    return error if isinstance(error, OSError) else OSError(0, "its name or a word of it is none")


class Signals:
    """Signals that come while inside, by a thread of their own; `mask` is what was blocked before.

    They are kept until somebody says with `pass_on` what becomes of them.
    """

    def __init__(self) -> None:
        self.mask: Mask = set()
        self.ending: int | None = None  # the first that asked us to end before there was a command
        self._taken = {each for each in PASSED_ON if signal.getsignal(each) != signal.SIG_IGN}
        self._send: Callable[[int], None] = self._kept
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self.mask = {*signal.pthread_sigmask(signal.SIG_BLOCK, self._taken)}
        threading.Thread(target=self._take, name="signals", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._send = lambda _: None  # they stay blocked: what comes now has nobody to go to

    def pass_on(self, send: Callable[[int], None]) -> None:
        """Call that with each that comes from now on, but for those of the terminal."""
        self._send = send

    def _kept(self, number: int) -> None:
        if number in ENDING and self.ending is None:
            self.ending = number

    def _take(self) -> None:
        while True:
            number, is_terminals = _next_signal(self._taken)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._came, number, is_terminals)

    def _came(self, number: int, is_terminals: bool) -> None:  # noqa: FBT001 - by position alone
        if self._send == self._kept or not is_terminals:
            self._send(number)


def _next_signal(taken: set[signal.Signals]) -> tuple[int, bool]:
    """The next one, and whether the terminal sent it."""
    if sys.platform == "darwin":  # which does not say who sent it
        return signal.sigwait(taken), _is_in_the_foreground()
    found = signal.sigwaitinfo(taken)
    return found.si_signo, found.si_code > 0  # SI_KERNEL; what a process sends is 0 or less


def _is_in_the_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)
