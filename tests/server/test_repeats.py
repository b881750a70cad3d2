"""Which of many faults are written, told by a clock that the tests move."""

import asyncio

import pytest

from tests.conftest import AheadClock
from tokenproxy.server.faults import Faults
from tokenproxy.server.repeats import Line, Repeats

INTERVAL = 10.0

# What happens at a second, and what is written: (fault, how many the line stands for).
# A fault is `kind` and a number; "-" ends intervals, "." ends the log.
Step = tuple[float, str, list[tuple[str, int | None]]]
STORIES: dict[str, list[Step]] = {
    "one alone": [(0, "a1", [("a1", None)]), (10, "-", []), (11, ".", [])],
    "the first is written at once, the last at the end of the interval": [
        (0, "a1", [("a1", None)]),
        (1, "a2", []),
        (9.9, "a3", []),
        (10, "-", [("a3", 2)]),
    ],
    "the end of an interval with a line begins another": [
        (0, "a1", [("a1", None)]),
        (1, "a2", []),
        (10, "-", [("a2", 1)]),
        (11, "a3", []),
        (20, "-", [("a3", 1)]),
        (30, "-", []),
        (31, "a4", [("a4", None)]),
    ],
    "without anything to end intervals the next one tells": [
        (0, "a1", [("a1", None)]),
        (1, "a2", []),
        (2, "a3", []),
        (50, "a4", [("a4", 3)]),
        (51, "a5", []),
    ],
    "an interval in which nothing was held is over at its end": [
        (0, "a1", [("a1", None)]),
        (10, "a2", [("a2", None)]),
        (15, "a3", []),
        (20, "-", [("a3", 1)]),
    ],
    "kinds have nothing to do with each other": [
        (0, "a1", [("a1", None)]),
        (1, "b1", [("b1", None)]),
        (2, "a2", []),
        (3, "b2", []),
        (10, "-", [("a2", 1)]),
        (11, "-", [("b2", 1)]),
    ],
    "what is held at the end is written": [
        (0, "a1", [("a1", None)]),
        (1, "a2", []),
        (2, "b1", [("b1", None)]),
        (3, ".", [("a2", 1)]),
        (4, ".", []),
    ],
    "too many kinds: the oldest is forgotten, and what it held written": [
        (0, "a1", [("a1", None)]),
        (1, "a2", []),
        (2, "b1", [("b1", None)]),
        (3, "c1", [("a2", 1), ("c1", None)]),
        (4, "d1", [("d1", None)]),
        (5, "b2", [("b2", None)]),
    ],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_a_fault_that_repeats_is_written_once_in_an_interval(story: list[Step]) -> None:
    repeats: Repeats[str] = Repeats(INTERVAL, most=2)
    for now, step, written in story:
        match step:
            case "-":
                lines = repeats.due(now)
            case ".":
                lines = repeats.rest()
            case fault:
                lines = repeats.came(fault[0], fault, now)
        assert lines == [Line(*line) for line in written], (now, step)


def test_no_fault_is_lost_of_however_many_kinds() -> None:
    repeats: Repeats[int] = Repeats(INTERVAL, most=8)
    lines: list[Line[int]] = []
    for number in range(10_000):
        lines += repeats.came(number % 7 if number % 3 else number, number, number / 100)
        if not number % 500:
            lines += repeats.due(number / 100)
        assert len(repeats._kinds) <= 8
    lines += repeats.rest()
    assert sum(line.repeated or 1 for line in lines) == 10_000


class Paper:
    """What faults are written on."""

    def __init__(self) -> None:
        self.clock = AheadClock()
        self.lines: list[tuple[str, int | None]] = []
        self.written = asyncio.Event()
        self.faults: Faults[str] = Faults(self._write, lambda: self.clock.now().steady)

    def _write(self, fault: str, repeated: int | None) -> None:
        self.lines.append((fault, repeated))
        self.written.set()


async def test_the_loop_ends_an_interval_in_time() -> None:
    paper = Paper()
    paper.faults.came("a", "first")
    paper.clock.skip(INTERVAL - 0.01)
    paper.faults.came("a", "second")
    paper.written.clear()
    await paper.written.wait()
    assert paper.lines == [("first", None), ("second", 1)]


def test_without_a_loop_the_rest_is_written_at_the_end() -> None:
    paper = Paper()
    for name in ("first", "second", "third"):
        paper.faults.came("a", name)
    paper.faults.end()
    assert paper.lines == [("first", None), ("third", 2)]


async def test_nothing_is_written_after_the_end() -> None:
    paper = Paper()
    paper.faults.came("a", "first")
    paper.faults.came("a", "second")
    paper.faults.end()
    assert paper.faults._timer is None
    assert paper.lines == [("first", None), ("second", 1)]
