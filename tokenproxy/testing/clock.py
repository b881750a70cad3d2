"""A clock that stands still until a test moves it.

    clock = ManualClock()
    task = spawn(clock.sleep(30), name="sleeper")
    await clock.advance(30)     # the task has run on

| moved by              | wall      | steady    | sleepers                                       |
|-----------------------|-----------|-----------|------------------------------------------------|
| `advance(30)`         | +30       | +30       | woken one by one, each at its own deadline     |
| `jump(wall=7200)`     | +7200     | stays     | sleep on: somebody has set the time of day     |
| `jump(wall=30)`       | +30       | stays     | sleep on: the machine was suspended            |
| `jump(steady=30)`     | stays     | +30       | woken all at once: the process was held up     |
"""

import asyncio
import itertools
from bisect import insort
from contextlib import suppress

from tokenproxy.clock import Moment

SETTLE_TURNS = 100  # longer than any chain of awaits that one wake sets off; under a millisecond

_Sleeper = tuple[float, int, "asyncio.Future[None]"]  # deadline, order of arrival, what it awaits


class ManualClock:
    """A `tokenproxy.clock.Clock` whose time only a test moves.

    `now` and `jump` may be called from any thread; all else belongs to the loop of the sleepers.
    """

    def __init__(self, *, wall: float = 1_800_000_000.0, steady: float = 1_000.0) -> None:
        self._steady = steady
        self._ahead = wall - steady  # kept instead of `wall`, so that the two never drift apart
        self._sleeping: list[_Sleeper] = []
        self._order = itertools.count()
        self._watchers: list[asyncio.Event] = []

    def now(self) -> Moment:
        """The moment to which the clock was moved last."""
        return Moment(self._steady + self._ahead, self._steady)

    @property
    def sleepers(self) -> int:
        """How many wait for time to pass."""
        return len(self._sleeping)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved that far; zero and less only let others run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        sleeper = (self._steady + seconds, next(self._order), woken)
        insort(self._sleeping, sleeper)
        self._tell_watchers()
        try:
            await woken
        finally:
            with suppress(ValueError):  # whoever was woken is off the list already
                self._sleeping.remove(sleeper)
            self._tell_watchers()

    async def until_sleepers(self, count: int) -> None:
        """Let the loop run, sockets and all, until so many sleep: no more and no fewer."""
        changed = asyncio.Event()
        self._watchers.append(changed)
        try:
            while self.sleepers != count:
                changed.clear()
                await changed.wait()
        finally:
            self._watchers.remove(changed)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks.

        Sleepers are woken in the order of their deadlines, each while the clock shows its own
        deadline, and what follows from a wake has happened before the next: a sleeper that
        sleeps again is woken again if its new deadline falls inside too. What other threads
        and other processes do is not waited for.

        Raises:
            ValueError: `seconds` is negative; `jump` sets a wall clock back.
        """
        _require_forward(seconds)
        end = self._steady + seconds
        await self.settle()
        while self._sleeping and self._sleeping[0][0] <= end:
            self._steady = max(self._steady, self._sleeping[0][0])
            self._wake_first()
            await self.settle()
        self._steady = end
        await self.settle()

    def jump(self, *, wall: float = 0.0, steady: float = 0.0) -> None:
        """Move either clock by so many seconds at one stroke; `wall` may be negative.

        Raises:
            ValueError: `steady` is negative: that clock never goes back.
        """
        _require_forward(steady)
        self._ahead += wall - steady
        self._steady += steady
        while self._sleeping and self._sleeping[0][0] <= self._steady:
            self._wake_first()

    async def settle(self) -> None:
        """Let the loop run until what can happen without time passing has happened."""
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)

    def _tell_watchers(self) -> None:
        for changed in self._watchers:
            changed.set()

    def _wake_first(self) -> None:
        _, _, woken = self._sleeping.pop(0)
        woken.get_loop().call_soon_threadsafe(_finish, woken)

    def __repr__(self) -> str:
        now = self.now()
        return f"ManualClock(wall={now.wall}, steady={now.steady}, sleepers={self.sleepers})"


def _require_forward(seconds: float) -> None:
    if seconds < 0:
        raise ValueError(f"the steady clock cannot go back by {-seconds} seconds")


def _finish(woken: "asyncio.Future[None]") -> None:
    if not woken.done():  # a sleeper may have been cancelled since
        woken.set_result(None)
