"""The time in which something is counted, and what the measured processes used in it."""

from collections.abc import Sequence
from time import perf_counter

from bench.load.order import Measured, Order
from bench.processes import cpu_seconds, resident

WARM_UP = 0.3


class Window:
    """Opened after the warm-up, at the first thing to be counted; over once its seconds are."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._warm = perf_counter() + WARM_UP
        self._began = 0.0
        self._cpu = 0.0
        self._before = resident(order.processes)
        self.count = 0
        self.lost = 0

    def add(self, count: int = 1) -> bool:
        """Count them, if it is open; true says that the window is over."""
        now = perf_counter()
        if self._began:
            self.count += count
            return now >= self._began + self._order.seconds
        if now >= self._warm:
            self.open()
        return False

    def open(self) -> None:
        """Count from now on."""
        self._began, self._cpu = perf_counter(), cpu_seconds(self._order.processes)

    @property
    def is_open(self) -> bool:
        """Things are being counted."""
        return bool(self._began)

    def close(self, latencies: Sequence[float] = ()) -> Measured:
        """What was measured."""
        ordered = sorted(latencies) or [0.0]
        after = resident(self._order.processes)
        return Measured(
            count=self.count,
            seconds=perf_counter() - self._began,
            cpu=cpu_seconds(self._order.processes) - self._cpu,
            resident=after,
            grown=after - self._before,
            lost=self.lost,
            p50=ordered[len(ordered) // 2],
            p99=ordered[len(ordered) * 99 // 100],
            worst=ordered[-1],
        )
