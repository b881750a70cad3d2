"""What a keeper costs a request while its token is fresh: `python -m bench.keeper`.

`peek` is what the request path asks; `get` is what it awaits otherwise. Both must answer a fresh
token without giving up their turn.
"""

import asyncio
import statistics
import sys
from random import Random
from time import process_time_ns

from tokenproxy.clock import SystemClock
from tokenproxy.runtime import unheard
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.stores.memory import MemoryStores
from tokenproxy.tokens.token import Granted, Record, Token

CALLS = 200_000
ROUNDS = 7


class Given(Source):
    """Always the same token, for an hour."""

    def attempts(self, record: Record) -> tuple[Attempt, ...]:
        """The one way."""
        del record
        return (Attempt.LOGIN,)

    async def fetch(self, attempt: Attempt, record: Record) -> Granted:
        """The one token."""
        del attempt, record
        now = SystemClock().now().wall
        return Granted(Token(Secret("x" * 400), now, now + 3600))


async def main() -> None:
    """Print the median of some rounds."""
    keeper = Keeper(
        "bench",
        Given(),
        MemoryStores().open("bench"),
        Refresh(background=False),
        clock=SystemClock(),
        random=Random(0),  # noqa: S311 - a benchmark
        observe=unheard,
    )
    await keeper.start()
    try:
        await keeper.get()
        _report("peek", [_peeks(keeper) for _ in range(ROUNDS)])
        _report("get", [_gets(keeper) for _ in range(ROUNDS)])
    finally:
        await keeper.close()


def _peeks(keeper: Keeper) -> float:
    peek = keeper.peek
    began = process_time_ns()
    for _ in range(CALLS):
        peek()
    return (process_time_ns() - began) / CALLS


def _gets(keeper: Keeper) -> float:
    get = keeper.get
    began = process_time_ns()
    for _ in range(CALLS):
        try:
            get().send(None)
        except StopIteration:
            continue
        raise RuntimeError("a fresh token was waited for")
    return (process_time_ns() - began) / CALLS


def _report(what: str, rounds: list[float]) -> None:
    nanoseconds = statistics.median(rounds)
    sys.stdout.write(
        f"{what:5} {nanoseconds:7.0f} ns  {1000 / nanoseconds:6.2f} million a second\n"
    )


if __name__ == "__main__":
    asyncio.run(main())
