"""Work that is waited for to its end, and a cancellation that nothing can swallow."""

import asyncio

import pytest

from tokenproxy.tasks import spawn
from tokenproxy.tokens.redis.ended import ended

PATIENCE = 20.0  # seconds; what takes as long will never come


class _Stubborn:
    """Work that swallows so many cancellations, then ends with one or when it is let go."""

    def __init__(self, swallows: int) -> None:
        self._swallows = swallows
        self.cancellations = 0
        self.go = asyncio.Event()
        self.has_ended = False

    async def work(self) -> str:
        try:
            while not self.go.is_set():
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    self.cancellations += 1
                    if self.cancellations > self._swallows:
                        raise
            return "done"
        finally:
            self.has_ended = True


async def test_work_gives_what_it_gives() -> None:
    stubborn = _Stubborn(0)
    stubborn.go.set()
    assert await ended(stubborn.work(), cancels=True) == "done"


async def test_work_raises_what_it_raises() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ended(fail(), cancels=True)


@pytest.mark.parametrize("swallows", [0, 1, 2])
async def test_a_cancellation_that_is_swallowed_is_sent_again(swallows: int) -> None:
    stubborn = _Stubborn(swallows)
    caller = spawn(ended(stubborn.work(), cancels=True), name="caller")
    await asyncio.sleep(0.01)
    caller.cancel()
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait({caller})
    assert caller.cancelled()
    assert stubborn.has_ended
    assert stubborn.cancellations == swallows + 1


async def test_a_cancellation_that_comes_with_the_outcome_is_told() -> None:
    stubborn = _Stubborn(0)
    caller = spawn(ended(stubborn.work(), cancels=False), name="caller")
    await asyncio.sleep(0.01)
    stubborn.go.set()
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    assert stubborn.cancellations == 0


async def test_work_that_is_not_to_be_cancelled_ends_before_its_caller_does() -> None:
    stubborn = _Stubborn(0)
    caller = spawn(ended(stubborn.work(), cancels=False), name="caller")
    for _ in range(3):
        await asyncio.sleep(0.01)
        caller.cancel()
    assert not caller.done()
    stubborn.go.set()
    await asyncio.wait({caller})
    assert caller.cancelled()
    assert stubborn.has_ended
    assert stubborn.cancellations == 0
