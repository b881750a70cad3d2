"""At most one renewal at a time, as a task of its own.

Nobody waits for the task: who wants a token waits until the slot has changed, and looks again.
So one who leaves cancels nobody else, and whoever wakes finds the slot settled. The outcome
settles in the task's done callback, which also runs for a task that was cancelled before its
first step, and for one that met a fault.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from tokenproxy.clock import Clock, Moment
from tokenproxy.errors import SourceError, SourceUnavailable
from tokenproxy.events import Event, LoginRequired, Observe, RenewalFailed
from tokenproxy.tasks import Bell, cancelled, done_within, spawn
from tokenproxy.tokens.slot import Refused, Slot


class Renew(Protocol):
    """What a flight runs."""

    def __call__(self, *, forced: bool) -> Coroutine[Any, Any, Event | None]:
        """Put a good token into the slot, or tell it why not; what there is to announce then.

        Raises:
            SourceUnavailable: it has not even come to that.
        """


class Flight:
    """The renewal of one credential; `changed` rings when it has settled."""

    def __init__(
        self,
        name: str,
        slot: Slot,
        renew: Renew,
        *,
        clock: Clock,
        observe: Observe,
        changed: Bell,
    ) -> None:
        self._name = name
        self._slot = slot
        self._renew = renew
        self._clock = clock
        self._observe = observe
        self._changed = changed
        self._task: asyncio.Task[Event | None] | None = None
        self._forced = False
        self._last: Event | None = None
        self.closed = False

    def begin(self) -> None:
        """Start a renewal, unless one is under way."""
        if self._task is None and not self.closed:
            forced, self._forced = self._forced, False
            self._slot.begin()
            self._task = spawn(self._renew(forced=forced), name=f"renew {self._name}")
            self._task.add_done_callback(self._settle)

    def force(self) -> None:
        """Start a renewal that asks the source whatever we have: now, or after this one."""
        self._forced = True
        self.begin()

    async def landed(self) -> Event | None:
        """Wait until no renewal is under way; what the last one had to announce."""
        while self._task is not None:
            await asyncio.wait({self._task})
            await asyncio.sleep(0)  # its callback comes first
        return self._last

    async def close(self, grace: float, at_rest: AbstractAsyncContextManager[None]) -> None:
        """Begin none any more; one under way has `grace` seconds, and is cancelled `at_rest`.

        It does not outlive whoever closes: one who is cancelled meanwhile ends it on the way out.
        """
        self.closed = True
        try:
            if self._task is not None:
                await self._land(self._task, grace, at_rest)
        finally:
            self._changed.ring()

    async def _land(
        self,
        task: asyncio.Task[Event | None],
        grace: float,
        at_rest: AbstractAsyncContextManager[None],
    ) -> None:
        try:
            await done_within(task, grace, self._clock.sleep)
        finally:
            if not task.done():
                await _cut_off(task, at_rest)

    def _settle(self, task: asyncio.Task[Event | None]) -> None:
        self._task = None
        event = self._last = self._conclude(task)
        if self._forced:
            self.begin()
        self._changed.ring()
        if event is not None:
            self._observe(event)

    def _conclude(self, task: asyncio.Task[Event | None]) -> Event | None:
        self._slot.abandon()
        if task.cancelled():
            return None
        match task.exception():
            case None:
                return task.result()
            case SourceUnavailable() as error:
                seconds = self._slot.held_up(error, self._clock.now())
                return RenewalFailed(self._name, str(error), seconds)
            case fault:  # nobody must be left waiting for ever by a mistake of our own
                error = SourceUnavailable(self._explain(fault))
                return setback(self._name, self._slot, error, self._clock.now())

    def _explain(self, fault: BaseException) -> str:
        return (
            f"credential '{self._name}': the renewal met a fault in tokenproxy itself "
            f"({type(fault).__name__}); it is tried again, but please report it"
        )


async def _cut_off(
    task: asyncio.Task[Event | None], at_rest: AbstractAsyncContextManager[None]
) -> None:
    try:
        async with at_rest:
            await cancelled(task)
    finally:
        task.cancel()  # one who is cancelled once more waits for no save


def setback(
    name: str, slot: Slot, error: SourceError, now: Moment, took: float | None = None
) -> Event:
    """Tell the slot that a renewal has failed, and `took` so long; what there is to announce."""
    if not isinstance(error, SourceUnavailable):
        return LoginRequired(name, slot.refused(str(error)).why, took)
    match slot.failed(error, now):
        case Refused(why):
            return LoginRequired(name, why, took)
        case float() as seconds:
            return RenewalFailed(name, str(error), seconds, took)
