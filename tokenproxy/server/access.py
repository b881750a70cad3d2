"""The access line, written by hand and in batches: one a request, so its cost is everybody's.

It says what `log.subscriber` says of the same event, in JSON (contract 6). Lines wait for at most
`HELD` seconds, and no longer than the next event of another kind, so that all stay in their order.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import TextIO

from tokenproxy.events import RequestServed
from tokenproxy.redaction import redact

HELD = 0.05
MOST = 128  # lines that are held
_MILLISECONDS = 1000
_REMEMBERED = 1024  # texts whose quoted form is kept


class Quotes(dict[str, str]):
    """Texts as JSON, remembered: names of routes, methods and codes are few."""

    def __missing__(self, text: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        self[text] = found = quoted(text)
        return found


class AccessLog:
    """Writes an access line for each request to `stream`; `now` is the wall clock, in seconds."""

    __slots__ = ("_held", "_now", "_quotes", "_said", "_second", "_stamp", "_stream", "_timer")

    def __init__(self, stream: TextIO, now: Callable[[], float]) -> None:
        self._stream = stream
        self._now = now
        self._held: list[str] = []
        self._said: list[str] = []  # what others have said in those lines
        self._timer: asyncio.TimerHandle | None = None
        self._quotes = Quotes()
        self._second = -1
        self._stamp = ""

    def served(self, event: RequestServed) -> None:
        """Write the line of a request, soon."""
        self._held.append(self._line(event))
        self._said.append(event.path)
        if event.error is not None:
            self._said.append(event.error)
        if len(self._held) >= MOST:
            self.flush()
        elif self._timer is None:
            self._wait()

    def _wait(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._timer = loop.call_later(HELD, self.flush)

    def flush(self) -> None:
        """Write what is held; a log that nobody reads any more stops nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held:
            lines = "".join(self._held)
            if redact.finds("\n".join(self._said)):  # once for all: to look costs the same
                lines = redact(lines)
            self._held.clear()
            self._said.clear()
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(lines)
                self._stream.flush()

    def _line(self, event: RequestServed) -> str:
        quotes = self._quotes
        code = "" if event.code is None else f', "code": {quotes[event.code]}'
        error = "" if event.error is None else f', "error": {quotes[event.error]}'
        broke_off = "" if event.complete else ', "incomplete": true'
        return (
            f'{{"route": {quotes[event.route]}, "method": {quotes[event.method]}, '
            f'"path": {quoted(event.path)}, "status": {event.status}, '
            f'"ms": {event.seconds * _MILLISECONDS:.1f}, "bytes_in": {event.bytes_in}, '
            f'"bytes_out": {event.bytes_out}, "replayed": {"true" if event.replayed else "false"}'
            f'{code}{error}{broke_off}, "event": "request", "level": "info", '
            f'"timestamp": "{self._time()}"}}\n'
        )

    def _time(self) -> str:
        """RFC 3339, in UTC, to the microsecond."""
        now = self._now()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1_000_000):06d}Z"
