"""What `tokenproxy run` is: one process that serves, or a supervisor with its workers.

SIGTERM and SIGINT begin the shutdown; a second one ends it now. SIGHUP has the config read again.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from tokenproxy.config.confidential import Known
from tokenproxy.config.model import Config
from tokenproxy.environment import take_service
from tokenproxy.events import Observe, Stopping
from tokenproxy.runtime import World
from tokenproxy.server.activation import check_wanted, passed_sockets
from tokenproxy.server.configfile import ConfigFile
from tokenproxy.server.lines import in_whole_lines
from tokenproxy.server.listening import Passed
from tokenproxy.server.log import EventLog, ForeignLog
from tokenproxy.server.notify import Notifier
from tokenproxy.server.reload import Reloading, status
from tokenproxy.server.serve import Announce, Change, Changes, serve
from tokenproxy.server.share import number
from tokenproxy.server.supervisor import supervise
from tokenproxy.tasks import unless

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _settle() -> None:
    """What has been imported by now is never garbage: no collection need look at it."""
    gc.collect()
    gc.freeze()


def run(config: Config, announce: Announce, file: ConfigFile | None = None) -> None:
    """Serve until a signal comes; `announce` is given one line a listener.

    `file` is where the config comes from: it is read again on SIGHUP, and when it changes.

    Raises:
        ListenError: an address cannot be had.
        ConfigError: a file that the config names cannot be used.
        WorkerError: a worker does not come to serve.
    """
    service = take_service()
    passed = passed_sockets(service.descriptors)
    check_wanted(passed, config)
    log = EventLog(config.log, in_whole_lines(sys.stderr))
    with (
        Known(config),
        log,
        library_logs(ForeignLog(lambda: log.logger)),
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        _settle()
        program = Program(config, file, log, Notifier(service))
        runner.run(program.run(announce, passed))


class Program:
    """What runs: a config, told of to the log and to a service manager."""

    def __init__(
        self, config: Config, file: ConfigFile | None, log: EventLog, notifier: Notifier
    ) -> None:
        self._config = config
        self._file = file
        self._log = log
        self._notifier = notifier
        self._world = replace(World(), observe=log)
        self._workers = number(config.workers)

    async def run(self, announce: Announce, passed: Passed) -> None:
        """Serve until it is told to stop."""
        signals = Signals(self._world.observe, self._notifier)
        reloading = self._reloading(signals.reload)

        def announced(line: str) -> None:
            announce(line)
            self._notifier.ready(status(reloading.state))

        work = partial(serve, self._config, self._world, announced)
        if self._workers > 1:
            work = partial(supervise, self._config, self._world, announced)
        async with self._notifier.beating(), reloading:
            changes = _checked(reloading, passed)
            served = work(signals.stop, changes=changes, state=reloading.state, passed=passed)
            await unless(served, signals.end)

    def _reloading(self, asked: asyncio.Event) -> Reloading:
        world, notifier = self._world, self._notifier
        return Reloading(
            self._file,
            asked,
            world.clock,
            world.observe,
            applied=self._applied,
            begun=notifier.reloading,
            done=lambda state: notifier.ready(status(state)),
        )

    def _applied(self, config: Config) -> str | None:
        """Take up what is the process's own; what needs a restart."""
        self._log.change(config.log)
        needing = []
        if (self._workers == 1) != (number(config.workers) == 1):
            needing.append("workers")
        if (self._config.admin is None) != (config.admin is None):
            needing.append("admin")
        return ", ".join(needing) or None


def _checked(changes: Changes, passed: Passed) -> Changes:
    """The same, but that no config leaves callers waiting at a socket that was passed."""

    async def checked(change: Change) -> None:
        async def change_checked(config: Config) -> None:
            check_wanted(passed, config)
            await change(config)

        await changes(change_checked)

    return checked


class Signals:
    """What the process is told by signals, from when it is made."""

    def __init__(self, observe: Observe, notifier: Notifier) -> None:
        self.stop, self.end, self.reload = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._observe = observe
        self._notifier = notifier
        self._has_terminal = has_terminal()
        loop = asyncio.get_running_loop()
        for sign in STOP_SIGNALS:
            loop.add_signal_handler(sign, self._told_to_stop, sign)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)

    def _told_to_stop(self, sign: signal.Signals) -> None:
        if self.stop.is_set():
            self.end.set()
            return
        self.stop.set()
        self._observe(Stopping(sign.name))
        self._notifier.stopping()

    def _hung_up(self) -> None:
        """Reload, unless it means that the terminal has gone which this was started on."""
        if self._has_terminal and not has_terminal():
            self._told_to_stop(signal.SIGHUP)
        else:
            self.reload.set()


def has_terminal() -> bool:
    """Whether standard input is one that is there."""
    try:
        os.tcgetpgrp(0)
    except OSError:
        return False
    return True


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every machine
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextlib.contextmanager
def library_logs(handler: logging.Handler) -> Iterator[None]:
    """What libraries log goes to `handler` in here; it is closed at the end."""
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
