"""`tokenproxy demo`: the main job on one machine, shown and told."""

import asyncio
import signal
from typing import Annotated

import typer

from tokenproxy.cli.tour import Tour
from tokenproxy.server.run import loop_factory
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing.demo import running_demo

CTRL_C = (signal.SIGINT, signal.SIGTERM)


def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", envvar="TOKENPROXY_ONCE", help="End after the tour.")
    ] = False,
) -> None:
    """Watch an API with short-lived, rotating tokens being used by clients that know of none."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_demo(once=once))


async def _demo(*, once: bool) -> None:
    stop = _stop_event()
    tour = Tour()
    async with running_demo(tour.observe) as world:
        touring = spawn(tour.run(world), name="tour")
        stopped = spawn(stop.wait(), name="Ctrl-C")
        try:
            await asyncio.wait({touring, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not touring.done():
                return
            await touring
            if not once:
                tour.invite(world)
                await stopped
        finally:
            await cancelled(touring, stopped)
            tour.farewell()


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in CTRL_C:
        loop.add_signal_handler(number, stop.set)
    return stop
