"""The connections to one route's upstream: used again newest first, bounded, given out fairly."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from tokenproxy.errors import Overloaded, UpstreamError, UpstreamFault
from tokenproxy.proxy.wire.known import Memory
from tokenproxy.proxy.wire.outbound import AnswerHead
from tokenproxy.proxy.wire.sweep import Sweep
from tokenproxy.proxy.wire.upstream import Upstream

TOO_LATE = "no connection came about in time"
FULL = "all connections that the route's 'max_connections' allows are in use"
IDLE = 60.0  # seconds that a connection waits for its next request


class Egress(Protocol):
    """A proxy on the way out."""

    @property
    def named(self) -> str:
        """What a person knows it by."""

    @property
    def authorization(self) -> bytes | None:
        """What it asks to be shown with each request."""


class Connector(Protocol):
    """Makes connections to one upstream."""

    async def connect(self, make: Callable[[], Upstream]) -> Upstream:
        """A new one. Raises UpstreamError."""

    @property
    def asks_a_proxy(self) -> Egress | None:
        """The proxy that requests themselves are sent to, if they are."""

    def answered(self, connection: Upstream) -> None:
        """The first answer on a connection has come whole."""


class Pool:
    """One upstream's connections.

    `connector` makes them; `limit` is how many there may be; `patience`, in seconds, is how long it
    may take to get one, the making and the waiting each.
    """

    __slots__ = (
        "_connector",
        "_idle",
        "_limit",
        "_made",
        "_opening",
        "_sweep",
        "_waiters",
        "asks_a_proxy",
        "known",
        "patience",
    )

    def __init__(self, connector: Connector, sweep: Sweep, *, limit: int, patience: float) -> None:
        self._connector = connector
        self._sweep = sweep
        self._limit = limit
        self.patience = patience
        self.known: Memory[AnswerHead] = Memory()
        self.asks_a_proxy = connector.asks_a_proxy
        self._idle: dict[Upstream, None] = {}  # the newest last
        self._made: set[Upstream] = set()
        self._opening = 0
        self._waiters: deque[asyncio.Future[Upstream | None]] = deque()

    def take(self) -> Upstream | None:
        """A connection that stands, if there is one and nobody waits for it."""
        while self._idle and not self._waiters:
            newest = self._idle.popitem()[0]
            if newest.stands:
                return newest
        return None

    async def get(self, *, fresh: bool = False) -> Upstream:
        """A connection: one that stands unless it must be `fresh`, else a new one.

        Raises:
            UpstreamError: none can be made.
            Overloaded: there are as many as may be, and none came free in time.
        """
        given = None if fresh else self.take()
        while given is None:
            given = await self._given(fresh=fresh)
        return given

    async def _given(self, *, fresh: bool) -> Upstream | None:
        """A connection; None where the one that was given has ended before it was taken."""
        if fresh and self._idle and len(self._made) + self._opening >= self._limit:
            self._close(next(iter(self._idle)))  # the oldest makes room
        if self._waiters or len(self._made) + self._opening >= self._limit:
            given = await self._wait()
            if given is not None and not given.stands:
                return None
            if given is not None and not (fresh and given.is_reused):
                return given
            if given is not None:
                self._opening += 1
                self._close(given)
        else:
            self._opening += 1
        return await self._open()

    async def _wait(self) -> Upstream | None:
        """A connection that came free; None where room was made for a new one."""
        waiter: asyncio.Future[Upstream | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self.patience):
                return await asyncio.shield(waiter)
        except BaseException as error:
            self._leave(waiter)
            if isinstance(error, TimeoutError):
                raise Overloaded(FULL) from None
            raise

    def _leave(self, waiter: "asyncio.Future[Upstream | None]") -> None:
        """Wait no more; what has been given meanwhile is for the next."""
        if not waiter.done():
            self._waiters.remove(waiter)
            waiter.cancel()
        elif (given := waiter.result()) is not None:
            self.release(given)
        else:
            self._opening -= 1
            self._make_room()

    async def _open(self) -> Upstream:
        """Make one; room for it has been taken."""
        try:
            async with asyncio.timeout(self.patience):
                made = await self._connector.connect(lambda: Upstream(self))
        except TimeoutError as error:
            raise UpstreamError(
                "no connection came about in time", UpstreamFault.CONNECT_TIMEOUT
            ) from error
        else:
            if made.is_lost:
                raise UpstreamError("it closed the connection at once", UpstreamFault.BROKE_OFF)
            self._made.add(made)
            self._sweep.add(self)
            return made
        finally:
            self._opening -= 1
            self._make_room()

    # -- told by connections -----------------------------------------------------------------

    def release(self, connection: Upstream) -> None:
        """It is free again, if it stands."""
        if not connection.stands:
            return
        connection.is_reused = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        connection.idle_since = self._sweep.now
        self._idle[connection] = None

    def answered(self, connection: Upstream) -> None:
        """The first answer on it has come whole."""
        self._connector.answered(connection)

    def dropped(self, connection: Upstream) -> None:
        """It will not be used again."""
        self._idle.pop(connection, None)

    def gone(self, connection: Upstream) -> None:
        """It has ended."""
        self._idle.pop(connection, None)
        if connection in self._made:
            self._made.discard(connection)
            self._make_room()
            if not self._made:
                self._sweep.discard(self)

    def _make_room(self) -> None:
        """Let the first who waits make one, where there may be another."""
        while self._waiters and len(self._made) + self._opening < self._limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._opening += 1
                waiter.set_result(None)

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Close what has not been used for long."""
        while self._idle:
            oldest = next(iter(self._idle))
            if now - oldest.idle_since < IDLE:
                return
            self._close(oldest)

    def _close(self, connection: Upstream) -> None:
        self._idle.pop(connection, None)
        connection.abort()

    async def close(self) -> None:
        """End all connections, and wait until they have."""
        for connection in list(self._made):
            connection.leave()
        if self._made:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
