"""What is going on at this moment: asked of those who serve callers when somebody wants to know.

Requests pay nothing for it, and it cannot drift: who is being served is looked at, not counted.
"""

from collections import Counter
from typing import Protocol


class Busy(Protocol):
    """One who serves callers."""

    @property
    def connected(self) -> int:
        """How many connections of callers are open."""

    def in_flight(self) -> Counter[str]:
        """The requests that are being answered, by route; one without a route has no name."""


class Load:
    """All who serve callers in this process."""

    def __init__(self) -> None:
        self._busy: list[Busy] = []

    def add(self, busy: Busy) -> None:
        """One begins."""
        self._busy.append(busy)

    def discard(self, busy: Busy) -> None:
        """One has ended."""
        self._busy.remove(busy)

    @property
    def connections(self) -> int:
        """Of all of them."""
        return sum(busy.connected for busy in self._busy)

    def in_flight(self) -> Counter[str]:
        """Of all of them."""
        found: Counter[str] = Counter()
        for busy in self._busy:
            found.update(busy.in_flight())
        return found
