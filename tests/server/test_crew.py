"""A crew of workers that are no processes, and end when the test says so."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tokenproxy.config.model import Config
from tokenproxy.errors import WorkerError
from tokenproxy.events import Event, WorkerDied
from tokenproxy.server.channel import Order
from tokenproxy.server.crew import HUNG, LAST_WORDS, TO_TAKE_UP, Crew, End
from tokenproxy.server.restarts import FIRST_PAUSE, LASTED, LONGEST_PAUSE
from tokenproxy.tasks import spawn
from tokenproxy.testing.clock import ManualClock

KILLED = End(signal="SIGKILL")
FINE = End(code=0)


class Made:
    """A worker; unless it is `deaf`, it ends when it is told to."""

    def __init__(self, *, serves: bool, deaf: bool) -> None:
        self.orders: list[Order] = []
        self.configs: list[Config] = []
        self.killed = 0
        self.hangs = False
        self._serves = serves
        self._deaf = deaf
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    def order(self, order: Order) -> None:
        self.orders.append(order)
        if not self._deaf:
            self.end(FINE)

    async def take_up(self, config: Config) -> None:
        self.configs.append(config)
        if self.hangs:
            await asyncio.shield(self._end)

    def kill(self) -> None:
        self.killed += 1
        self.end(KILLED)

    def end(self, how: End) -> None:
        if not self._end.done():
            self._end.set_result(how)

    async def attended(self, serves: Callable[[], None]) -> End:
        if self._serves:
            serves()
        return await self._end


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.events: list[Event] = []
        self.made: list[tuple[int, Made]] = []
        self.stopping = asyncio.Event()
        self.serves = True
        self.deaf = False
        self.failure: OSError | None = None

    async def launch(self, index: int) -> Made:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        worker = Made(serves=self.serves, deaf=self.deaf)
        self.made.append((index, worker))
        return worker

    @asynccontextmanager
    async def crew(self, size: int) -> AsyncIterator[Crew]:
        async with Crew(size, self.launch, self.clock, self.events.append) as crew:
            yield crew
        assert all(worker.orders or worker._end.done() for _, worker in self.made)

    def of(self, index: int) -> list[Made]:
        return [worker for its, worker in self.made if its == index]


async def test_all_are_launched_once_and_serve() -> None:
    scene = Scene()
    async with scene.crew(3) as crew:
        assert await crew.serves(scene.stopping)
        assert sorted(index for index, _ in scene.made) == [0, 1, 2]
    assert {tuple(worker.orders) for _, worker in scene.made} == {(Order.END,)}
    assert scene.events == []


async def test_one_that_dies_is_replaced_after_a_pause_and_the_others_left_alone() -> None:
    scene = Scene()
    async with scene.crew(2) as crew:
        await crew.serves(scene.stopping)
        scene.of(0)[0].end(KILLED)
        await scene.clock.settle()
        assert scene.events == [WorkerDied(0, None, "SIGKILL", None, FIRST_PAUSE)]
        assert len(scene.of(0)) == 1

        await scene.clock.advance(FIRST_PAUSE)

        assert (len(scene.of(0)), len(scene.of(1))) == (2, 1)
        assert scene.of(1)[0].orders == []


async def test_one_that_does_not_last_is_not_started_over_and_over() -> None:
    scene = Scene()
    async with scene.crew(2) as crew:
        await crew.serves(scene.stopping)
        scene.serves = False
        for _ in range(20):
            scene.of(0)[-1].end(End(code=1, error="a sentence"))
            await scene.clock.advance(LONGEST_PAUSE)

    pauses = [event.restart_in for event in scene.events if isinstance(event, WorkerDied)]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[10:] == [LONGEST_PAUSE] * 10
    assert len(scene.of(1)) == 1


async def test_no_process_to_be_had_is_a_death_like_any_other() -> None:
    scene = Scene()
    async with scene.crew(2) as crew:
        await crew.serves(scene.stopping)
        scene.failure = OSError(11, "Resource temporarily unavailable")
        scene.of(0)[0].end(KILLED)
        await scene.clock.advance(FIRST_PAUSE)

        error = "no process can be started: Resource temporarily unavailable"
        assert scene.events[1] == WorkerDied(0, None, None, error, 2 * FIRST_PAUSE)

        scene.failure = None
        await scene.clock.advance(2 * FIRST_PAUSE)
        assert len(scene.of(0)) == 2


async def test_after_one_that_lasted_the_pause_is_short_again() -> None:
    scene = Scene()
    async with scene.crew(1) as crew:
        await crew.serves(scene.stopping)
        for lived in (0.0, 0.0, LASTED):
            await scene.clock.advance(lived)
            scene.of(0)[-1].end(KILLED)
            await scene.clock.advance(1)
    pauses = [event.restart_in for event in scene.events if isinstance(event, WorkerDied)]
    assert pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE, FIRST_PAUSE]


# -- the start ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (End(code=7), "it ended with code 7"),
        (KILLED, "killed by SIGKILL"),
        (End(code=1, error="the store is on fire"), "the store is on fire"),
        (FINE, "it ended with code 0"),
    ],
)
async def test_one_that_does_not_come_to_serve_ends_all_with_one_sentence(
    end: End, why: str
) -> None:
    scene = Scene()
    scene.serves = False
    sentence = re.escape(f"worker 1 does not come to serve ({why})")
    async with scene.crew(3) as crew:
        waiting = spawn(crew.serves(scene.stopping), name="serves")
        await scene.clock.settle()
        scene.of(1)[0].end(end)
        with pytest.raises(WorkerError, match=f"^{sentence}$"):
            await waiting
    assert len(scene.made) == 3
    assert scene.events == []


async def test_no_process_to_be_had_at_the_start_is_one_sentence() -> None:
    scene = Scene()
    scene.failure = OSError(12, "Cannot allocate memory")
    async with scene.crew(3) as crew:
        with pytest.raises(WorkerError, match="no process can be started: Cannot allocate memory"):
            await crew.serves(scene.stopping)
    assert scene.made == []


async def test_a_stop_during_the_start_is_no_failure() -> None:
    scene = Scene()
    scene.serves = False
    async with scene.crew(2) as crew:
        waiting = spawn(crew.serves(scene.stopping), name="serves")
        await scene.clock.settle()
        scene.stopping.set()
        assert not await waiting
        crew.drain()
        await crew.ended(10)
    assert {tuple(worker.orders) for _, worker in scene.made} == {(Order.DRAIN,)}


# -- the end -----------------------------------------------------------------------------------


async def test_those_that_are_told_to_drain_are_not_replaced() -> None:
    scene = Scene()
    scene.deaf = True
    async with scene.crew(2) as crew:
        await crew.serves(scene.stopping)
        crew.drain()
        scene.of(0)[0].end(FINE)
        scene.of(1)[0].end(KILLED)
        await crew.ended(10)
        await scene.clock.advance(LONGEST_PAUSE)
    assert len(scene.made) == 2
    assert scene.events == [WorkerDied(1, None, "SIGKILL", None, None)]


async def test_one_that_waits_to_be_replaced_holds_up_no_end() -> None:
    scene = Scene()
    async with scene.crew(2) as crew:
        await crew.serves(scene.stopping)
        scene.of(0)[0].end(KILLED)
        await scene.clock.settle()
        crew.drain()
        await crew.ended(10)
    assert len(scene.made) == 2
    assert scene.clock.sleepers == 0


async def test_one_that_obeys_nothing_is_killed() -> None:
    scene = Scene()
    scene.deaf = True

    async def whole() -> None:
        async with scene.crew(1) as crew:
            await crew.serves(scene.stopping)
            crew.drain()
            await crew.ended(10)

    running = spawn(whole(), name="whole")
    await scene.clock.settle()
    await scene.clock.advance(10)
    [worker] = scene.of(0)
    assert (worker.orders, worker.killed) == ([Order.DRAIN, Order.END], 0)
    await scene.clock.advance(LAST_WORDS)
    await running
    assert worker.killed == 1


async def test_cancelled_it_leaves_none_behind() -> None:
    scene = Scene()

    async def whole() -> None:
        async with scene.crew(2) as crew:
            await crew.serves(scene.stopping)
            await crew.ended(1000)

    running = spawn(whole(), name="whole")
    await scene.clock.settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {tuple(worker.orders) for _, worker in scene.made} == {(Order.END,)}


async def test_one_that_hangs_is_waited_for_no_longer_than_another_config_may_take() -> None:
    scene = Scene()
    async with scene.crew(2) as crew:
        await crew.serves(scene.stopping)
        scene.of(0)[0].hangs = True
        taking = spawn(crew.take_up(Config()), name="take up")
        await scene.clock.advance(TO_TAKE_UP - 1)
        assert not taking.done()
        await scene.clock.advance(1)
        await taking
        assert [scene.of(index)[0].killed for index in (0, 1)] == [1, 0]
        told = HUNG.format(TO_TAKE_UP)
        assert scene.events == [WorkerDied(0, None, "SIGKILL", told, FIRST_PAUSE)]
        await scene.clock.advance(FIRST_PAUSE)
        assert len(scene.of(0)) == 2
