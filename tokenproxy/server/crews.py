"""Crews one after the other: the workers that there are take up another config, or new ones do.

| a new config               | then                                                           |
|----------------------------|----------------------------------------------------------------|
| with the same listeners    | each worker takes it up, and no connection is closed           |
| with others, or with other | a new crew serves beside the old one, which is drained as soon |
| `workers`                  | as all of the new one accept connections                       |

A worker that is started later begins with the config that is in force then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from tokenproxy.clock import Clock
from tokenproxy.config.model import Config
from tokenproxy.events import Observe
from tokenproxy.server.channel import Brief, Inherited
from tokenproxy.server.crew import Crew, Worker
from tokenproxy.server.listeners import Bound
from tokenproxy.server.turns import shared
from tokenproxy.tasks import cancelled, spawn

LEEWAY = 1.0  # seconds that workers may take beyond what they are given

Briefing = Callable[[int], Brief]
Launch = Callable[[Briefing, int], Awaitable[Worker]]


@dataclass(slots=True)
class Post:
    """A crew at its listeners, and the config that it serves by."""

    crew: Crew
    config: Config
    owned: AsyncExitStack


class Crews:
    """The crew that serves, in `async with`, and those that are drained."""

    def __init__(self, launch: Launch, lifeline: int, clock: Clock, observe: Observe) -> None:
        self._launch = launch
        self._lifeline = lifeline
        self._clock = clock
        self._observe = observe
        self._post: Post | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._post is not None:
            await self._post.owned.aclose()
        await cancelled(*self._leaving)

    @property
    def _serving(self) -> Post:
        if self._post is None:
            raise RuntimeError("there is no crew yet: `await crews.relieve(…)`")
        return self._post

    async def relieve(
        self, config: Config, workers: int, bound: Sequence[Bound], stopping: asyncio.Event
    ) -> bool:
        """Have a new crew serve; False where `stopping` is set before it does.

        Raises:
            WorkerError: one of it does not come to serve; the crew before it goes on.
        """
        inherited = tuple(_inherited(one) for one in bound)
        async with AsyncExitStack() as owned:
            turns = owned.enter_context(shared(workers))

            def brief(index: int) -> Brief:
                return Brief(post.config, workers, inherited, turns, self._lifeline, index)

            def launch(index: int) -> Awaitable[Worker]:
                return self._launch(brief, index)

            crew = Crew(workers, launch, self._clock, self._observe)
            post = Post(crew, config, owned)
            await owned.enter_async_context(crew)
            serves = await crew.serves(stopping)
            post.owned = owned.pop_all()
        before, self._post = self._post, post
        if before is not None:
            self._dismiss(before)
        return serves

    def _dismiss(self, post: Post) -> None:
        post.crew.drain()
        leaving = spawn(self._leave(post), name="a crew leaves")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, post: Post) -> None:
        async with post.owned:
            grace = post.config.shutdown_delay + post.config.shutdown_grace
            await post.crew.ended(grace + LEEWAY)

    async def take_up(self, config: Config) -> None:
        """Have the crew that serves do so by another config with the same listeners."""
        self._serving.config = config
        await self._serving.crew.take_up(config)

    def drain(self) -> None:
        """Tell the crew to drain."""
        self._serving.crew.drain()

    async def ended(self, seconds: float) -> None:
        """Wait until all have ended, so many seconds at most."""
        await self._serving.crew.ended(seconds)

    async def left(self, seconds: float) -> None:
        """The same for those that were drained before."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=max(0.0, seconds))


def _inherited(bound: Bound) -> Inherited:
    return Inherited(bound.url, tuple(one.fileno() for one in bound.sockets))
