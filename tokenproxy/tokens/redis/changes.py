"""Hearing of changes: one connection and one channel for all records of a store.

Every save publishes the record's key, and whoever follows that key is woken. What was published
while there was no connection is lost, so all are woken whenever the subscription stands (again).

A connection that is silent is asked for a sign of life once a minute, which is all that an idle
store costs.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from random import Random
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError, ResponseError

from tokenproxy.clock import Clock
from tokenproxy.errors import StoreError
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens.redis.address import ANSWER_TIMEOUT, Server
from tokenproxy.tokens.redis.ended import ended
from tokenproxy.tokens.redis.trouble import trouble

QUIET = 60.0  # seconds of silence until a sign of life is asked for
FIRST_AGAIN = 0.1  # seconds until a subscription that broke is tried again
LONGEST_AGAIN = 2.0  # what others renew meanwhile is noticed that late


class Changes:
    """What is published on `channel`; it listens while somebody follows."""

    def __init__(self, server: Server, channel: str, *, clock: Clock, random: Random) -> None:
        self._server = server
        self.channel = channel
        self._clock = clock
        self._random = random
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._stands = False
        self._refused: StoreError | None = None
        self._pause = FIRST_AGAIN

    async def follow(self, key: str) -> AsyncGenerator[None, None]:
        """Yields once the subscription stands, after it has stood anew, and after every change.

        A listener that is slow hears of several changes at once. Ends only when it is closed.

        Raises:
            StoreError: the server does not let us subscribe.
        """
        changed = asyncio.Event()
        self._join(key, changed)
        try:
            while True:
                await changed.wait()
                changed.clear()
                if self._refused is not None:
                    raise self._refused
                yield
        finally:
            await self._leave(key, changed)

    async def close(self) -> None:
        """Stop listening."""
        listening, self._listening = self._listening, None
        self._stands = False
        await cancelled(listening)

    def _join(self, key: str, changed: asyncio.Event) -> None:
        self._listeners.setdefault(key, set()).add(changed)
        if self._listening is None or self._listening.done():
            self._refused = None
            self._listening = spawn(self._listen(), name=f"listen on {self.channel}")
        elif self._stands:
            changed.set()

    async def _leave(self, key: str, changed: asyncio.Event) -> None:
        """The last one out waits until the connection has been closed."""
        listeners = self._listeners[key]
        listeners.discard(changed)
        if not listeners:
            del self._listeners[key]
        if not self._listeners:
            await self.close()

    # -- the one who listens -----------------------------------------------------------------

    async def _listen(self) -> None:
        """Until the server refuses: a connection that is lost is made again."""
        while True:
            subscription = self._server.client.pubsub()
            try:
                await self._hear(subscription)
            except ResponseError as error:
                self._stands = False
                self._refused = trouble(self._server.place, error)
                self._tell_all()
                return
            except Exception:  # noqa: BLE001 - who loads or saves tells of it; here it is only late
                self._stands = False
            finally:
                await _end(subscription)
            await self._clock.sleep(self._pause * self._random.uniform(0.5, 1.0))
            self._pause = min(self._pause * 2, LONGEST_AGAIN)

    async def _hear(self, subscription: PubSub) -> None:
        """Wake whom it concerns. Raises what redis-py does, and TimeoutError."""
        await ended(subscription.subscribe(self.channel), cancels=True)
        asked = True
        while True:
            patience = ANSWER_TIMEOUT if asked else QUIET
            message = await ended(subscription.get_message(timeout=patience), cancels=True)
            if message is not None:
                asked = False
                self._tell(message)
            elif asked:
                raise TimeoutError
            else:
                await ended(_ping(subscription), cancels=True)
                asked = True

    def _tell(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "subscribe":  # also where redis-py has made the connection anew by itself
                self._stands = True
                self._pause = FIRST_AGAIN
                self._tell_all()
            case "message":
                key = message["data"].decode(errors="replace")
                for changed in self._listeners.get(key, ()):
                    changed.set()
            case _:
                pass

    def _tell_all(self) -> None:
        for listeners in self._listeners.values():
            for changed in listeners:
                changed.set()


async def _ping(subscription: PubSub) -> None:
    await subscription.ping()


async def _end(subscription: PubSub) -> None:
    with suppress(RedisError, OSError):
        await ended(subscription.aclose(), cancels=False)  # type: ignore[no-untyped-call]
