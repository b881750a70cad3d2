"""When a worker that died is replaced: soon, and later each time that it does not last."""

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0
LASTED = 10.0  # seconds of serving; what ends it later is not how it was started


class Restarts:
    """The deaths of one worker and its successors."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def pause(self, served: float) -> float:
        """Seconds before the next one is started, after one that served for so many."""
        self._in_a_row = 0 if served >= LASTED else min(self._in_a_row + 1, 30)
        return float(min(FIRST_PAUSE * 2 ** max(self._in_a_row - 1, 0), LONGEST_PAUSE))
