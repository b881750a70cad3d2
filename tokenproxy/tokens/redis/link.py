"""Asking one Redis: few connections, a deadline for each call, and no error but StoreError."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from redis.commands.core import AsyncScript
from redis.exceptions import InvalidResponse

from tokenproxy.tokens.redis.address import Server
from tokenproxy.tokens.redis.ended import ended
from tokenproxy.tokens.redis.trouble import trouble

T = TypeVar("T")

CONNECTIONS = 8  # at once, for all credentials: a call takes a millisecond
SHORTEST_CALL = 0.2  # once we are about to end: a Redis that works takes a hundredth of it
LONGEST_CALL = 5.0  # from waiting for a connection to the answer; sentinels may hang on the way


class Link:
    """All calls to one Redis but listening, which has a connection of its own."""

    def __init__(self, server: Server, connections: int = CONNECTIONS) -> None:
        self._server = server
        self._free = asyncio.Semaphore(connections)
        self._scripts: dict[str, AsyncScript] = {}
        self._longest = LONGEST_CALL
        self._limits: set[asyncio.Timeout] = set()

    def hurry(self) -> None:
        """Give up soon whatever is asked, or has been asked already."""
        self._longest = SHORTEST_CALL
        soon = asyncio.get_running_loop().time() + SHORTEST_CALL
        for limit in self._limits:
            limit.reschedule(soon)

    async def fields(self, key: str, *names: str) -> tuple[bytes | None, ...]:
        """Fields of a hash; None for those that it has not. Raises StoreError."""

        async def ask() -> tuple[bytes | None, ...]:
            client = self._server.client
            values = await client.execute_command("HMGET", key, *names)  # type: ignore[no-untyped-call]
            if len(values) != len(names) or not all(map(_is_field, values)):
                raise InvalidResponse("not the fields of a hash")
            return tuple(values)

        return await self._answer(ask)

    async def run(self, script: str, keys: Sequence[str], *arguments: bytes | str | int) -> int:
        """The number that a Lua script returns, 0 for nothing.

        It goes by its hash, and whole where the server does not know that.

        Raises:
            StoreError: it has not run, or may have: nobody can tell then.
        """
        if script not in self._scripts:
            self._scripts[script] = self._server.client.register_script(script)
        known = self._scripts[script]

        async def ask() -> int:
            return int(await known(keys=keys, args=arguments) or 0)

        return await self._answer(ask)

    async def close(self) -> None:
        """Close all connections, in order or not."""
        await self._server.close()

    async def _answer(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await ended(self._in_time(call), cancels=True)
        except Exception as error:  # redis-py says ValueError to nonsense, and more
            raise trouble(self._server.place, error) from error

    async def _in_time(self, call: Callable[[], Awaitable[T]]) -> T:
        async with asyncio.timeout(self._longest) as limit:
            self._limits.add(limit)
            try:
                async with self._free:
                    return await call()
            finally:
                self._limits.discard(limit)


def _is_field(value: object) -> bool:
    return value is None or isinstance(value, bytes)
