"""The log: events as lines on standard error (contract 6).

No line ever holds a token, a secret or a query. What callers and issuers sent is escaped, so
that it can neither break a line nor move a cursor.
"""

import contextlib
import dataclasses
import logging
import sys
from collections.abc import Callable, Hashable
from typing import Any, Literal, Self, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from tokenproxy.clock import steady_time, wall_time
from tokenproxy.config.process import Log
from tokenproxy.environment import wants_escapes
from tokenproxy.events import (
    DescriptorsUsedUp,
    Event,
    InternalError,
    LoginRequired,
    NotPersisted,
    Observe,
    Persisted,
    Reloaded,
    ReloadFailed,
    ReloadUnneeded,
    RenewalFailed,
    RequestServed,
    SignInFailed,
    Stopping,
    StoreTrouble,
    TokenRejected,
    TokenRenewed,
    TokenTakenUp,
    WorkerDied,
    WorkerStarted,
)
from tokenproxy.redaction import redact
from tokenproxy.server.access import AccessLog
from tokenproxy.server.faults import Faults

MILLISECONDS = 1000
FIGURES = frozenset({"upstream_seconds", "replay"})  # of an event, that are for metrics alone


def open_log(settings: Log, stream: TextIO = sys.stderr) -> FilteringBoundLogger:
    """A logger that writes to `stream` as the settings say; nothing global is changed."""
    level: int = logging.getLevelNamesMapping()[settings.level.upper()]
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=_processors(_format(settings.format, stream), stream),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return logger


def _format(wanted: Literal["auto", "console", "json"], stream: TextIO) -> str:
    if wanted == "auto":
        return "console" if stream.isatty() else "json"
    return wanted


def _processors(form: str, stream: TextIO) -> list[Processor]:
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=form == "json"),
    ]
    if form == "json":
        return [*shared, structlog.processors.JSONRenderer(), _redacted]
    return [
        *shared,
        _escape,
        structlog.dev.ConsoleRenderer(colors=stream.isatty() and wants_escapes()),
        _redacted,
    ]


def _redacted(logger: Any, method: str, line: Any) -> str:
    del logger, method
    return redact(str(line))


def _escape(
    logger: Any, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    del logger, method
    return {
        key: value.encode("unicode_escape").decode() if isinstance(value, str) else value
        for key, value in event.items()
    }


# Level and name of each event; its fields are the event's own.
LINES: dict[type[Event], tuple[int, str]] = {
    RequestServed: (logging.INFO, "request"),
    TokenRenewed: (logging.INFO, "renewed"),
    TokenTakenUp: (logging.INFO, "taken_up"),
    TokenRejected: (logging.INFO, "rejected"),
    RenewalFailed: (logging.WARNING, "renewal_failed"),
    LoginRequired: (logging.ERROR, "login_required"),
    SignInFailed: (logging.WARNING, "sign_in_failed"),
    NotPersisted: (logging.WARNING, "not_persisted"),
    Persisted: (logging.INFO, "persisted"),
    StoreTrouble: (logging.WARNING, "store_trouble"),
    InternalError: (logging.ERROR, "internal_error"),
    DescriptorsUsedUp: (logging.WARNING, "descriptors_used_up"),
    WorkerStarted: (logging.INFO, "worker_started"),
    WorkerDied: (logging.ERROR, "worker_died"),
    Reloaded: (logging.INFO, "reloaded"),
    ReloadFailed: (logging.ERROR, "reload_failed"),
    ReloadUnneeded: (logging.INFO, "reload_unneeded"),
    Stopping: (logging.INFO, "stopping"),
}


def subscriber(log: FilteringBoundLogger) -> Observe:
    """What writes each event to `log`; a log that nobody reads any more stops nothing."""

    def write(event: Event) -> None:
        _write(log, event)

    return write


def _write(log: FilteringBoundLogger, event: Event, repeated: int | None = None) -> None:
    level, name = LINES[type(event)]
    if log.is_enabled_for(level):
        with contextlib.suppress(OSError, ValueError):
            log.log(level, name, **_fields(event), **_count(repeated))


def _count(repeated: int | None) -> dict[str, int]:
    """How many faults a line stands for, where it may be more than one."""
    return {} if repeated is None else {"repeated": repeated}


def _kind(event: Event) -> Hashable:
    """What two events have in common of which one is a repeat: all but what is measured."""
    values = (getattr(event, field.name) for field in dataclasses.fields(event))
    return type(event), *(value for value in values if not isinstance(value, float))


def _fields(event: Event) -> dict[str, Any]:
    """The event's fields that say something; times that it took as `ms`."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        if field.name in FIGURES or value is None:
            continue
        if field.name == "seconds":
            fields["ms"] = round(value * MILLISECONDS, 1)
        elif field.name == "complete":
            fields |= {} if value else {"incomplete": True}
        elif isinstance(value, float):
            fields[field.name] = round(value, 1)
        else:
            fields[field.name] = value
    return fields


class EventLog:
    """Observes: writes each event to `stream`, the lines of requests by hand where that can be.

    Faults that repeat are written once in an interval, by `now`, the steady clock; a reload that
    fails is told each time, since somebody has just asked for it. `logger` is for all that is no
    event. Leaving it as a context writes what is still held.
    """

    def __init__(
        self, settings: Log, stream: TextIO, now: Callable[[], float] = steady_time
    ) -> None:
        self._stream = stream
        self._access: AccessLog | None = None
        self._faults: Faults[Event] = Faults(self._write, now)
        self.change(settings)

    def change(self, settings: Log) -> None:
        """Write as these settings say from now on."""
        if self._access is not None:
            self._access.flush()
        self.logger = open_log(settings, self._stream)
        is_json = _format(settings.format, self._stream) == "json"
        is_told = self.logger.is_enabled_for(LINES[RequestServed][0])
        self._access = AccessLog(self._stream, wall_time) if is_json and is_told else None

    def __call__(self, event: Event) -> None:
        """Write one event."""
        if type(event) is RequestServed and self._access is not None:
            self._access.served(event)
        elif LINES[type(event)][0] >= logging.WARNING and type(event) is not ReloadFailed:
            self._faults.came(_kind(event), event)
        else:
            self._write(event)

    def _write(self, event: Event, repeated: int | None = None) -> None:
        if self._access is not None:
            self._access.flush()
        _write(self.logger, event, repeated)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._faults.end()
        if self._access is not None:
            self._access.flush()


Foreign = tuple[str, str, str | None]  # a logger, its message, and an exception's type


class ForeignLog(logging.Handler):
    """What libraries log, as one event a line: their template without its arguments.

    The arguments can hold what callers and servers sent. What repeats is written once in an
    interval, by `now`; closing it writes what is still held. `log` gives the logger of the moment.
    """

    def __init__(
        self, log: Callable[[], FilteringBoundLogger], now: Callable[[], float] = steady_time
    ) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._faults: Faults[Foreign] = Faults(self._write, now)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        kind = record.exc_info[0] if record.exc_info else None
        template = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        fault = (record.name, template.split("\n", 1)[0], kind.__name__ if kind else None)
        self._faults.came(fault, fault)

    def close(self) -> None:
        """Write what is held."""
        self._faults.end()
        super().close()

    def _write(self, fault: Foreign, repeated: int | None) -> None:
        logger, message, error = fault
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            self._log().warning(
                "library", logger=logger, message=message, error=error, **_count(repeated)
            )
