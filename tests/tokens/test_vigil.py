"""Renewals ahead of need come when they are due, and a watch that dies is begun again."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tokenproxy.errors import StoreError
from tokenproxy.tasks import Bell, cancelled, spawn
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.vigil import LONGEST_NAP, SHORTEST_NAP, WATCH_AGAIN, follow, look_ahead

DEAD = StoreError("the watch died")


# -- looking ahead ---------------------------------------------------------------------------


class Lookout:
    """Notes when it was told to renew; `attention` is what it says each time that it is asked."""

    def __init__(self, attention: float | None) -> None:
        self.clock = ManualClock()
        self.bell = Bell()
        self.attention = attention
        self.renewals: list[float] = []

    def renew(self) -> None:
        self.renewals.append(round(self.clock.now().steady - 1000, 3))


@asynccontextmanager
async def looking(attention: float | None) -> AsyncIterator[Lookout]:
    out = Lookout(attention)
    watch = look_ahead(out.bell, out.renew, lambda: out.attention, out.clock)
    task = spawn(watch, name="look ahead")
    await out.clock.settle()
    try:
        yield out
        assert not task.done()
    finally:
        await cancelled(task)
    assert out.clock.sleepers == 0


async def test_a_token_is_looked_at_at_once_and_when_it_wants_to_be() -> None:
    async with looking(attention=7.5) as out:
        assert out.renewals == [0]
        await out.clock.advance(20)
        assert out.renewals == [0, 7.5, 15]


@pytest.mark.parametrize("attention", [None, 1e9, LONGEST_NAP])
async def test_nothing_is_slept_through_for_long(attention: float | None) -> None:
    async with looking(attention) as out:
        await out.clock.advance(2 * LONGEST_NAP)
        assert out.renewals == [0, LONGEST_NAP, 2 * LONGEST_NAP]


@pytest.mark.parametrize("attention", [0.0, -5.0, 1e-9])
async def test_a_time_that_is_over_already_makes_no_timer_spin(attention: float) -> None:
    async with looking(attention) as out:
        assert out.renewals == [0]
        await out.clock.advance(3.5 * SHORTEST_NAP)
        assert len(out.renewals) == 4


async def test_a_change_is_looked_at_at_once() -> None:
    async with looking(attention=20) as out:
        await out.clock.advance(5)
        out.bell.ring()
        await out.clock.settle()
        assert out.renewals == [0, 5]
        await out.clock.advance(20)
        assert out.renewals == [0, 5, 25]


async def test_what_changes_while_it_renews_is_not_missed() -> None:
    out = Lookout(attention=None)

    def renew() -> None:
        out.renew()
        if len(out.renewals) == 1:
            out.bell.ring()

    task = spawn(look_ahead(out.bell, renew, lambda: None, out.clock), name="look ahead")
    await out.clock.settle()

    assert out.renewals == [0, 0]
    await cancelled(task)


# -- following -------------------------------------------------------------------------------


@dataclass
class Watched:
    """Watches that tell what is put on `news`: a change, an error to die of, or their end."""

    clock: ManualClock = field(default_factory=ManualClock)
    news: "asyncio.Queue[Exception | str | None]" = field(default_factory=asyncio.Queue)
    acts: list[float] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)
    act_fails: list[Exception] = field(default_factory=list)
    begun: int = 0
    closed: int = 0

    async def changes(self) -> AsyncGenerator[None, None]:
        self.begun += 1
        try:
            while True:
                match await self.news.get():
                    case Exception() as error:
                        raise error
                    case "end":
                        return
                    case _:
                        yield
        finally:
            self.closed += 1

    async def act(self) -> None:
        self.acts.append(self.clock.now().steady - 1000)
        if self.act_fails:
            raise self.act_fails.pop(0)

    async def tell(self, *news: Exception | str | None) -> None:
        for one in news:
            self.news.put_nowait(one)
        await self.clock.settle()


@asynccontextmanager
async def following(
    changes: Callable[[Watched], Callable[[], AsyncGenerator[None, None]]] = lambda w: w.changes,
) -> AsyncIterator[tuple[Watched, asyncio.Task[None]]]:
    watched = Watched()
    watch = follow(changes(watched), watched.act, watched.troubles.append, watched.clock)
    task = spawn(watch, name="follow")
    await watched.clock.settle()
    try:
        yield watched, task
    finally:
        await cancelled(task)
    assert watched.begun == watched.closed
    assert watched.clock.sleepers == 0


async def test_every_change_is_acted_on_and_nothing_before_the_first() -> None:
    async with following() as (watched, _):
        assert watched.acts == []
        await watched.tell(None, None, None)
        assert len(watched.acts) == 3
        assert (watched.begun, watched.troubles) == (1, [])


async def test_where_there_can_be_no_changes_it_ends() -> None:
    async with following() as (watched, task):
        await watched.tell("end")
        assert task.done()
        assert (watched.begun, watched.acts, watched.troubles) == (1, [], [])


async def test_a_watch_that_died_is_told_and_begun_again_after_a_while() -> None:
    async with following() as (watched, _):
        await watched.tell(DEAD)
        assert (watched.troubles, watched.closed) == ([DEAD], 1)
        await watched.clock.advance(WATCH_AGAIN - 0.1)
        assert watched.begun == 1
        await watched.clock.advance(0.1)
        assert watched.begun == 2


async def test_what_may_have_changed_while_nobody_watched_is_acted_on() -> None:
    async with following() as (watched, _):
        await watched.tell(DEAD)
        await watched.clock.advance(WATCH_AGAIN)
        assert watched.acts == [WATCH_AGAIN]

        await watched.tell(None)
        assert len(watched.acts) == 2


async def test_a_watch_that_dies_again_and_again_is_never_given_up() -> None:
    async with following() as (watched, task):
        await watched.tell(*[DEAD] * 5)
        await watched.clock.advance(5 * WATCH_AGAIN)
        assert watched.troubles == [DEAD] * 5
        assert watched.begun == 6
        assert not task.done()


@pytest.mark.parametrize("error", [DEAD, ZeroDivisionError()], ids=["store", "fault"])
async def test_a_change_that_could_not_be_acted_on_is_acted_on_later(error: Exception) -> None:
    async with following() as (watched, _):
        watched.act_fails = [error]
        await watched.tell(None)
        assert (watched.troubles, watched.closed) == ([error], 1)

        await watched.clock.advance(WATCH_AGAIN)

        assert watched.acts == [0, WATCH_AGAIN]
        assert watched.troubles == [error]


async def test_a_watch_that_cannot_even_be_made_is_begun_again() -> None:
    made: list[None] = []

    def changes(watched: Watched) -> Callable[[], AsyncGenerator[None, None]]:
        def make() -> AsyncGenerator[None, None]:
            made.append(None)
            if len(made) < 3:
                raise DEAD
            return watched.changes()

        return make

    async with following(changes) as (watched, _):
        await watched.clock.advance(2 * WATCH_AGAIN)
        assert watched.troubles == [DEAD, DEAD]
        assert watched.begun == 1
        assert watched.acts == [2 * WATCH_AGAIN]


async def test_whoever_ends_it_ends_its_watch() -> None:
    async with following() as (watched, task):
        await cancelled(task)
        assert (watched.closed, watched.troubles) == (1, [])
