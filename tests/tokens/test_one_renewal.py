"""A keeper's promises to those who wait: one renewal, stored first, and nobody cancels it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

import pytest

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.events import Event
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.slot import Rejection, State
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.stores.memory import MemoryStores
from tokenproxy.tokens.token import Granted, Record, Token

LIFE = 100.0


class Scripted(Source):
    """Gives numbered tokens, after what stands in `fails`; waits while `gate` is closed."""

    def __init__(self, clock: Clock, *, can_login: bool = True) -> None:
        self._clock = clock
        self._can_login = can_login
        self.calls: list[Attempt] = []
        self.fails: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.helpless = "a person must act"

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        renew = (Attempt.RENEW,) if record.refresh else ()
        return renew + ((Attempt.LOGIN,) if self._can_login else ())

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        self.calls.append(attempt)
        await self.gate.wait()
        if self.fails:
            raise self.fails.pop(0)
        number, now = len(self.calls), self._clock.now().wall
        return Granted(Token(Secret(f"access-{number}"), now, now + LIFE), Secret(f"r-{number}"))


class Bench:
    """One source and one store, and as many keepers on them as a test asks for."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.source = Scripted(self.clock)
        self.stores = MemoryStores()
        self.events: list[Event] = []
        self.keepers: list[Keeper] = []

    async def keeper(self, **settings: object) -> Keeper:
        told = {"background": False, "min_interval": 10, "jitter": 0, **settings}
        keeper = Keeper(
            "shop",
            self.source,
            self.stores.open("shop"),
            Refresh.model_validate(told),
            clock=self.clock,
            random=Random(1),
            observe=self.events.append,
        )
        self.keepers.append(keeper)
        await keeper.start()
        return keeper


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    for keeper in bench.keepers:
        await keeper.close()


async def gathered(keeper: Keeper, number: int) -> set[str]:
    held = await asyncio.gather(*(keeper.get() for _ in range(number)))
    return {one.token.access.reveal() for one in held}


async def test_200_who_wait_cost_one_call(bench: Bench) -> None:
    assert await gathered(await bench.keeper(), 200) == {"access-1"}
    assert bench.source.calls == [Attempt.LOGIN]


async def test_two_keepers_on_one_store_cost_one_call(bench: Bench) -> None:
    first, second = await bench.keeper(), await bench.keeper()

    both = await asyncio.gather(gathered(first, 50), gathered(second, 50))

    assert list(both) == [{"access-1"}] * 2
    assert len(bench.source.calls) == 1


async def test_one_who_leaves_cancels_nobody_else(bench: Bench) -> None:
    keeper = await bench.keeper()
    bench.source.gate.clear()
    leaving = asyncio.create_task(keeper.get())  # noqa: TID251 - cancelled below
    staying = asyncio.create_task(keeper.get())  # noqa: TID251 - awaited below
    await bench.clock.settle()
    leaving.cancel()
    await asyncio.wait({leaving})
    bench.source.gate.set()

    assert (await staying).token.access.reveal() == "access-1"
    assert len(bench.source.calls) == 1


async def test_a_renewal_that_nobody_waits_for_any_more_is_stored_all_the_same(
    bench: Bench,
) -> None:
    keeper = await bench.keeper()
    bench.source.gate.clear()
    leaving = asyncio.create_task(keeper.get())  # noqa: TID251 - cancelled below
    await bench.clock.settle()
    leaving.cancel()
    await asyncio.wait({leaving})
    bench.source.gate.set()
    await bench.clock.settle()

    stored = await bench.stores.open("shop").load()
    assert stored.token is not None
    assert stored.token.access.reveal() == "access-1"


async def test_whoever_asks_between_the_end_of_a_renewal_and_its_settling_does_not_spin(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop would never run the callbacks that let the question be answered."""
    keeper = await bench.keeper()
    asked: list[asyncio.Task[object]] = []
    flight = keeper._flight
    settle: Callable[[asyncio.Task[None]], None] = flight._settle

    def ask_first(task: asyncio.Task[None]) -> None:
        asked.append(asyncio.create_task(keeper.get()))  # noqa: TID251 - awaited below
        asyncio.get_running_loop().call_soon(settle, task)

    monkeypatch.setattr(type(flight), "_settle", lambda _, task: ask_first(task))
    await asyncio.wait_for(keeper.get(), 5)
    for task in asked:
        await asyncio.wait_for(task, 5)

    assert len(bench.source.calls) == 1


async def test_late_rejections_leave_a_newer_token_alone(bench: Bench) -> None:
    keeper = await bench.keeper()
    old = await keeper.get()
    await bench.clock.advance(11)
    assert keeper.rejected(old.generation) is Rejection.RENEW
    newer = await keeper.replaced(old.generation)
    assert newer is not None

    assert {keeper.rejected(old.generation) for _ in range(10)} == {Rejection.NEWER}

    assert keeper.peek() == newer
    assert len(bench.source.calls) == 2


async def test_a_token_younger_than_min_interval_stays(bench: Bench) -> None:
    keeper = await bench.keeper()
    held = await keeper.get()
    await bench.clock.advance(9)

    assert keeper.rejected(held.generation) is Rejection.KEEP
    assert keeper.peek() == held


async def test_a_token_in_its_window_is_renewed_once_behind_those_who_use_it(bench: Bench) -> None:
    keeper = await bench.keeper()
    await keeper.get()
    await bench.clock.advance(LIFE * 0.8)

    held = [keeper.peek() for _ in range(10)]

    assert {one.token.access.reveal() for one in held if one} == {"access-1"}
    await bench.clock.settle()
    assert bench.source.calls == [Attempt.LOGIN, Attempt.RENEW]
    assert (await keeper.get()).token.access.reveal() == "access-2"


async def test_the_background_renews_ahead_of_need_with_no_request(bench: Bench) -> None:
    await bench.keeper(background=True)
    await bench.clock.settle()

    for _ in range(4):
        await bench.clock.advance(LIFE * 0.8)

    assert bench.source.calls == [Attempt.LOGIN] + [Attempt.RENEW] * 4


async def test_a_refused_refresh_goes_to_the_login_and_is_not_sent_again(bench: Bench) -> None:
    keeper = await bench.keeper()
    await keeper.get()
    await bench.clock.advance(LIFE + 1)
    bench.source.fails = [SourceRefused("refused")]

    assert (await keeper.get()).token.access.reveal() == "access-3"
    assert bench.source.calls == [Attempt.LOGIN, Attempt.RENEW, Attempt.LOGIN]


async def test_a_refused_login_is_sent_once(bench: Bench) -> None:
    keeper = await bench.keeper(background=True)
    bench.source.fails = [SourceRefused("refused")] * 9
    for _ in range(5):
        with pytest.raises(SourceRefused):
            await keeper.get()
        await bench.clock.advance(600)

    assert len(bench.source.calls) == 1
    assert keeper.state is State.LOGIN_REQUIRED


async def test_a_ten_second_outage_costs_at_most_eight_calls_and_ends_by_itself(
    bench: Bench,
) -> None:
    keeper = await bench.keeper(background=True)
    outage = [SourceUnavailable("down", retriable=True)] * 1000
    bench.source.fails = list(outage)
    for _ in range(100):
        await bench.clock.advance(0.1)
        keeper.renew_behind()
    assert 1 < len(bench.source.calls) <= 8

    bench.source.fails = []
    await bench.clock.advance(10)

    assert keeper.peek() is not None


async def test_no_call_comes_before_retry_after(bench: Bench) -> None:
    keeper = await bench.keeper(background=True)
    bench.source.fails = [SourceUnavailable("busy", retriable=True, retry_after=120)]
    await bench.clock.settle()
    first = len(bench.source.calls)
    await bench.clock.advance(119)
    assert len(bench.source.calls) == first <= 1

    with pytest.raises(SourceUnavailable) as refusal:
        await keeper.get()
    assert refusal.value.retry_after is not None

    await bench.clock.advance(60)
    assert keeper.peek() is not None


async def test_a_request_waits_no_longer_than_it_should(bench: Bench) -> None:
    keeper = await bench.keeper(wait=3)
    bench.source.gate.clear()
    waiting = asyncio.create_task(keeper.get())  # noqa: TID251 - awaited below
    await bench.clock.settle()
    await bench.clock.advance(3.1)

    with pytest.raises(SourceUnavailable):
        await waiting

    bench.source.gate.set()
    await bench.clock.settle()
    assert keeper.peek() is not None


@pytest.mark.parametrize("jump", [7200.0, -3600.0])
async def test_a_clock_that_was_set_costs_at_most_one_renewal_more(
    bench: Bench, jump: float
) -> None:
    keeper = await bench.keeper(background=True)
    await bench.clock.settle()
    bench.clock.jump(wall=jump)

    await bench.clock.advance(31)

    assert len(bench.source.calls) <= 2
    assert keeper.peek() is not None


async def test_a_fault_in_a_source_leaves_nobody_waiting(bench: Bench) -> None:
    keeper = await bench.keeper()
    bench.source.fails = [ZeroDivisionError()]

    with pytest.raises(SourceUnavailable, match="ZeroDivisionError"):
        await keeper.get()


async def test_a_renewal_under_way_is_stored_before_the_keeper_is_closed(bench: Bench) -> None:
    keeper = await bench.keeper()
    bench.source.gate.clear()
    keeper.renew_behind()
    await bench.clock.settle()
    closing = asyncio.create_task(keeper.close(5))  # noqa: TID251 - awaited below
    await bench.clock.settle()
    bench.source.gate.set()
    await closing

    assert (await bench.stores.open("shop").load()).generation == 1
