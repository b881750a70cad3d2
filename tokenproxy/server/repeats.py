"""Which faults are written, so that one that goes on and on does not fill a disk.

A kind of fault is written once in an interval; the rest are counted. A line that says
`repeated: N` stands for so many.

| the kind                                | comes               | its interval ends       |
|-----------------------------------------|---------------------|-------------------------|
| is unknown                              | written, interval   | -                       |
| is in its interval, nothing held        | held                | forgotten               |
| is in its interval, some held           | held, counted       | the last one is written |
|                                         |                     | with the count, interval|
| is over its interval, some held         | written with the    | -                       |
|                                         | count, interval     |                         |

The last row is for processes without an event loop to end intervals in time.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

INTERVAL = 10.0  # seconds: a person who watches sees it go on, and a day of it is under 2 MB
MOST_KINDS = 256  # errors may quote what others say, so that there is no end of kinds

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Line(Generic[F]):
    """A fault to be written; `repeated` is how many it stands for, where it may be more than it."""

    fault: F
    repeated: int | None = None


@dataclass(slots=True)
class _Kind(Generic[F]):
    ends: float
    last: F
    held: int = 0


class Repeats(Generic[F]):
    """Decides on each fault of a log; `now` is in seconds, and never goes backward."""

    def __init__(self, interval: float = INTERVAL, most: int = MOST_KINDS) -> None:
        self._interval = interval
        self._most = most
        self._kinds: dict[Hashable, _Kind[F]] = {}  # in the order in which intervals end

    def came(self, kind: Hashable, fault: F, now: float) -> list[Line[F]]:
        """What is to be written, now that this one has come."""
        known = self._kinds.get(kind)
        if known is not None and now < known.ends:
            known.last, known.held = fault, known.held + 1
            return []
        lines = self._make_room() if known is None else []
        repeated = known.held + 1 if known is not None and known.held else None
        self._begin(kind, fault, now)
        return [*lines, Line(fault, repeated)]

    def due(self, now: float) -> list[Line[F]]:
        """What is to be written of the kinds whose interval has ended."""
        lines: list[Line[F]] = []
        for kind, known in list(self._kinds.items()):
            if known.ends > now:
                break
            del self._kinds[kind]
            if known.held:
                lines.append(Line(known.last, known.held))
                self._begin(kind, known.last, now)
        return lines

    def rest(self) -> list[Line[F]]:
        """All that is held, at the end."""
        kinds, self._kinds = self._kinds, {}
        return [Line(known.last, known.held) for known in kinds.values() if known.held]

    @property
    def ends(self) -> float | None:
        """When the next interval ends in which something is held."""
        return next((known.ends for known in self._kinds.values() if known.held), None)

    def _begin(self, kind: Hashable, fault: F, now: float) -> None:
        self._kinds.pop(kind, None)
        self._kinds[kind] = _Kind(now + self._interval, fault)

    def _make_room(self) -> list[Line[F]]:
        """Forget the oldest kind where there are as many as may be; what it held is written."""
        if len(self._kinds) < self._most:
            return []
        oldest = self._kinds.pop(next(iter(self._kinds)))
        return [Line(oldest.last, oldest.held)] if oldest.held else []
