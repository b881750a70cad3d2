"""The workers of a supervisor: started together, and replaced one by one.

| a worker ends                | then                                                    |
|------------------------------|---------------------------------------------------------|
| before all have come to serve| WorkerError: the others are ended, too                  |
| later                        | it is told of, and replaced after a pause (`Restarts`)  |
| after it was told to drain   | that is what it was to do                               |
| since it hangs: it does not  | it is killed, told of, and replaced; the others have    |
| take up another config       | taken that up meanwhile                                 |
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

from tokenproxy.clock import Clock
from tokenproxy.config.model import Config
from tokenproxy.errors import WorkerError
from tokenproxy.events import Observe, WorkerDied
from tokenproxy.server.channel import Order
from tokenproxy.server.restarts import Restarts
from tokenproxy.tasks import cancelled, done_within, spawn

TO_TAKE_UP = 30.0  # seconds for another config: to read a store that does not answer takes a few
HUNG = "it did not take up another config in {:g} s, and was killed: another takes its place"
LAST_WORDS = 2.0  # seconds that workers have to end in when they are told to do so now


@dataclass(frozen=True, slots=True)
class End:
    """How a worker's process ended: with a code, or by a signal, or it never began."""

    code: int | None = None
    signal: str | None = None
    error: str | None = None

    @property
    def is_orderly(self) -> bool:
        """Whether it ended by itself, and with nothing to tell."""
        return self.code == 0

    def __str__(self) -> str:
        if self.error is not None:
            return self.error
        return f"killed by {self.signal}" if self.signal else f"it ended with code {self.code}"


class Worker(Protocol):
    """A process that serves."""

    def order(self, order: Order) -> None:
        """Tell it to do something."""

    async def take_up(self, config: Config) -> None:
        """Have it serve by another config; wait until it does, or ends."""

    def kill(self) -> None:
        """End it by force."""

    async def attended(self, serves: Callable[[], None]) -> End:
        """Wait for its end; `serves` is called once it accepts connections."""


Launch = Callable[[int], Awaitable[Worker]]


class Crew:
    """`size` workers, each launched by its index, in `async with`; none is left after it.

    `launch` raises OSError where no process can be started.
    """

    def __init__(self, size: int, launch: Launch, clock: Clock, observe: Observe) -> None:
        self._launch = launch
        self._clock = clock
        self._observe = observe
        self._workers: dict[int, Worker] = {}
        self._waited_for = set(range(size))
        self._serving = asyncio.Event()
        self._since: dict[int, float] = {}
        self._draining = False
        self._hung: dict[int, str] = {}  # what is told of those that were killed for it
        self._tending: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        for index in self._waited_for:
            self._tending[index] = spawn(self._tend(index), name=f"worker {index}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._tell(Order.END)
        try:
            await self.ended(LAST_WORDS)
        finally:
            for worker in self._workers.values():
                worker.kill()
            await asyncio.gather(*self._tending.values(), return_exceptions=True)

    async def serves(self, stopping: asyncio.Event) -> bool:
        """Wait until all of them accept connections; False where `stopping` is set before.

        Raises:
            WorkerError: one of them does not come to do so.
        """
        serving = spawn(self._serving.wait(), name="all serve")
        stop = spawn(stopping.wait(), name="stop")
        try:
            await asyncio.wait(
                {serving, stop, *self._tending.values()}, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            await cancelled(serving, stop)
        for tending in self._tending.values():
            if tending.done():
                tending.result()
        return not stopping.is_set()

    async def take_up(self, config: Config) -> None:
        """Have all serve by another config; one that cannot, or hangs, ends and is replaced."""
        await asyncio.gather(*(self._take_up(config, *each) for each in self._workers.items()))

    async def _take_up(self, config: Config, index: int, worker: Worker) -> None:
        taking = spawn(worker.take_up(config), name=f"worker {index} takes up a config")
        try:
            if not await done_within(taking, TO_TAKE_UP, self._clock.sleep):
                self._hung[index] = HUNG.format(TO_TAKE_UP)
                worker.kill()
        finally:
            await cancelled(taking)

    def drain(self) -> None:
        """Tell all to drain, and replace none from now on."""
        self._tell(Order.DRAIN)

    def _tell(self, order: Order) -> None:
        self._draining = True
        for index, tending in self._tending.items():
            if index in self._workers:
                self._workers[index].order(order)
            else:
                tending.cancel()

    async def ended(self, seconds: float) -> None:
        """Wait until all have ended, so many seconds at most."""
        all_ended = asyncio.gather(*self._tending.values(), return_exceptions=True)
        await done_within(all_ended, seconds, self._clock.sleep)

    async def _tend(self, index: int) -> None:
        restarts = Restarts()
        while True:
            end = await self._life(index)
            if self._draining:
                if self._serving.is_set() and not end.is_orderly:
                    self._tell_of(index, end, None)
                return
            if not self._serving.is_set():
                raise WorkerError(f"worker {index} does not come to serve ({end})")
            pause = restarts.pause(self._served(index))
            self._tell_of(index, end, pause)
            await self._clock.sleep(pause)

    async def _life(self, index: int) -> End:
        try:
            worker = self._workers[index] = await self._launch(index)
        except OSError as error:
            return End(error=f"no process can be started: {error.strerror}")
        try:
            end = await worker.attended(lambda: self._comes_to_serve(index))
            return replace(end, error=self._hung.pop(index, end.error))
        finally:
            del self._workers[index]

    def _served(self, index: int) -> float:
        """Seconds for which the last one did; none where it never came to it."""
        now = self._clock.now().steady
        return now - self._since.pop(index, now)

    def _comes_to_serve(self, index: int) -> None:
        self._since[index] = self._clock.now().steady
        self._waited_for.discard(index)
        if not self._waited_for:
            self._serving.set()

    def _tell_of(self, index: int, end: End, restart_in: float | None) -> None:
        self._observe(WorkerDied(index, end.code, end.signal, end.error, restart_in))
