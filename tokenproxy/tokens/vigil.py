"""What goes on with nobody asking: watches on store and source, and renewals ahead of need."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from tokenproxy.clock import Clock
from tokenproxy.tasks import Bell, done_within

LONGEST_NAP = 30.0  # a clock that was set, or a machine that slept, is noticed within this time
SHORTEST_NAP = 0.01  # two clocks that round differently must not make a timer spin
WATCH_AGAIN = 10.0


async def look_ahead(
    changed: Bell,
    renew: Callable[[], None],
    attention: Callable[[], float | None],
    clock: Clock,
) -> None:
    """Call `renew` whenever `attention` says that it is time, and after every change."""
    while True:
        change = changed.next_ring
        renew()
        seconds = attention()
        nap = LONGEST_NAP if seconds is None else min(max(seconds, SHORTEST_NAP), LONGEST_NAP)
        await done_within(change, nap, clock.sleep)


async def follow(
    changes: Callable[[], AsyncGenerator[None, None]],
    act: Callable[[], Awaitable[None]],
    trouble: Callable[[Exception], None],
    clock: Clock,
) -> None:
    """Act on every change, until there can be none; a watch that fails is begun again."""
    missed = False
    while True:
        try:
            async with aclosing(changes()) as told:
                if missed:
                    await act()
                async for _ in told:
                    await act()
        except Exception as error:  # noqa: BLE001 - a watch that died would be missed too late
            trouble(error)
        else:
            return
        missed = True
        await clock.sleep(WATCH_AGAIN)
