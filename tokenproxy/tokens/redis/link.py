"""Asking one Redis: few connections, a deadline for each call, and no error but StoreError."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.commands.core import AsyncScript

from tokenproxy.tokens.redis.address import Server
from tokenproxy.tokens.redis.ended import ended
from tokenproxy.tokens.redis.trouble import trouble

CONNECTIONS = 8  # at once, for all credentials: a call takes a millisecond
LONGEST_CALL = 5.0  # from waiting for a connection to the answer; sentinels may hang on the way


class Link:
    """All calls to one Redis but listening, which has a connection of its own."""

    def __init__(self, server: Server, connections: int = CONNECTIONS) -> None:
        self._server = server
        self._free = asyncio.Semaphore(connections)
        self._scripts: dict[str, AsyncScript] = {}

    async def ask(self, *command: str) -> Any:
        """The answer to a command. Raises StoreError."""
        client = self._server.client
        return await self._answer(lambda: client.execute_command(*command))  # type: ignore[no-untyped-call]

    async def run(self, script: str, keys: Sequence[str], *arguments: str | bytes | int) -> Any:
        """What a Lua script returns; it goes by its hash, and whole where that is not known.

        Raises:
            StoreError: it has not run, or may have: nobody can tell then.
        """
        if script not in self._scripts:
            self._scripts[script] = self._server.client.register_script(script)
        known = self._scripts[script]
        return await self._answer(lambda: known(keys=keys, args=arguments))

    async def close(self) -> None:
        """Close all connections, in order or not."""
        await self._server.close()

    async def _answer(self, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await ended(self._in_time(call), cancels=True)
        except Exception as error:  # redis-py says ValueError to nonsense, and more
            raise trouble(self._server.place, error) from error

    async def _in_time(self, call: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(LONGEST_CALL), self._free:
            return await call()
