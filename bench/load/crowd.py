"""The connections of one measurement, and when it is over."""

import asyncio

from bench.load.caller import Caller, Failed, request_head
from bench.load.order import Measured, Order
from bench.load.window import Window
from bench.processes import LOOPBACK
from tokenproxy.tasks import spawn

MOST_LOST = 100  # a peer that ends this many connections is broken
PATIENCE = 30.0  # for whatever does not end with its window
TOGETHER = 100  # connections that are opened at once


class Crowd:
    """Connections of the class `CALLER`; a subclass says what is counted, and who sends when."""

    CALLER = Caller
    UPGRADE = False

    def __init__(self, order: Order) -> None:
        self.order = order
        self.window = Window(order)
        self.latencies: list[float] = []
        self.callers: set[Caller] = set()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = request_head(
            order.port, order.path, order.body, upgrade=self.UPGRADE, unique=order.unique
        )

    def answered(self, caller: Caller) -> None:
        """An answer has come whole: count it, and send the next."""
        if self.window.add():
            self.end()
        elif not self.over.done():
            self.ready(caller)

    def ready(self, caller: Caller) -> None:
        """That one may send."""
        caller.send()

    def start(self) -> None:
        """All connections are there."""
        for caller in list(self.callers):
            caller.send()

    async def run(self) -> Measured:
        """Until the window is over; no connection is left open.

        Raises:
            Failed: something was not answered as it should be, or not in time.
        """
        try:
            async with asyncio.timeout(self.order.seconds + PATIENCE):
                await self._open()
                self.start()
                await self.over
            return self.window.close(self.latencies)
        except TimeoutError:
            raise Failed("it took too long") from None
        finally:
            for caller in self.callers:
                caller.close()

    async def _open(self) -> None:
        """All connections, some at a time."""
        missing = self.order.connections
        while missing > 0 and not self.over.done():
            some = min(missing, TOGETHER)
            await asyncio.gather(*(self._open_one() for _ in range(some)))
            missing -= some

    def end(self, failure: Failed | None = None) -> None:
        """It is over."""
        if self.over.done():
            return
        if failure:
            self.over.set_exception(failure)
        else:
            self.over.set_result(None)

    async def _open_one(self) -> Caller:
        loop = asyncio.get_running_loop()
        try:
            _, caller = await loop.create_connection(self._caller, LOOPBACK, self.order.port)
        except OSError as error:
            raise Failed(f"no connection: {error}") from error
        self.callers.add(caller)
        return caller

    def _caller(self) -> Caller:
        return self.CALLER(self._head, self.order.body or 0, self.answered, self._ended)

    def _ended(self, caller: Caller, failure: Failed | None) -> None:
        """Some peers close a connection now and then: another takes its place."""
        self.callers.discard(caller)
        if self.over.done():
            return
        self.window.lost += 1
        if failure or self.window.lost > MOST_LOST:
            self.end(failure or Failed("it closes connections"))
        else:
            spawn(self._open_one(), name="reopen").add_done_callback(self._reopened)

    def _reopened(self, task: asyncio.Task[Caller]) -> None:
        if isinstance(error := task.exception(), Failed):
            self.end(error)
        else:
            self.ready(task.result())
