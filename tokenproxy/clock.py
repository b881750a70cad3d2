"""Time and chance, as values that are passed in: tests move the one and fix the other."""

import asyncio
import math
import time
from dataclasses import dataclass
from random import Random
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant, on two clocks, both in seconds.

    `wall` is the time of day (epoch), the one that issuers speak of, and it can be set and jump.
    `steady` never goes backward, and stands still while the machine sleeps. A deadline that
    must hold is kept on both, and is over when either says so.
    """

    wall: float
    steady: float

    def after(self, seconds: float) -> "Moment":
        """The moment that many seconds later."""
        return Moment(self.wall + seconds, self.steady + seconds)

    def until(self, deadline: "Moment") -> float:
        """Seconds left to `deadline` by the clock that reaches it first; below zero once over."""
        return min(deadline.wall - self.wall, deadline.steady - self.steady)

    def since(self, earlier: "Moment") -> float:
        """Seconds that have passed since `earlier`, by the clock on which more have."""
        return -self.until(earlier)


FOREVER = Moment(math.inf, math.inf)  # a deadline that never comes
LONG_AGO = Moment(-math.inf, -math.inf)  # one that has always been over


class Clock(Protocol):
    """What tells the time and lets it pass."""

    def now(self) -> Moment:
        """This instant."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long, by the steady clock."""


def wall_time() -> float:
    """This instant by the time of day, in seconds since the epoch, for those who write it down."""
    return time.time()  # noqa: TID251 - the one place that asks


def monotonic_microseconds() -> int:
    """This instant by CLOCK_MONOTONIC, as a service manager reads it."""
    return time.monotonic_ns() // 1000


def steady_time() -> float:
    """This instant by the steady clock, in seconds, for those who only count them."""
    return time.monotonic()  # noqa: TID251 - the one place that asks


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Moment:
        """This instant."""
        return Moment(time.time(), time.monotonic())  # noqa: TID251 - the one place that asks

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        await asyncio.sleep(seconds)

    def __repr__(self) -> str:
        return "SystemClock()"


def system_random() -> Random:
    """Chance for jitter: nothing secret rests on it."""
    return Random()  # noqa: S311 - spreads load, guards nothing
