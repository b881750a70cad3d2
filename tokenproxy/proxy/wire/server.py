"""The way in on sockets of our own: what `tokenproxy run` serves callers with.

One `Wire` makes a `Downstream` for each connection of all its listeners, and owns what they
share: the pools, the sweep of deadlines, the guards.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping

from tokenproxy.proxy.guard import Guard
from tokenproxy.proxy.hosts import Listener
from tokenproxy.proxy.parts import Parts
from tokenproxy.proxy.wire.downstream import Downstream
from tokenproxy.proxy.wire.leaving import LOOK_EVERY, Watch
from tokenproxy.proxy.wire.pool import Connector, Pool
from tokenproxy.proxy.wire.recognition import Known
from tokenproxy.proxy.wire.sweep import Sweep
from tokenproxy.secret import Secret
from tokenproxy.settings.callers import CallerTimeouts

MOST_GUARDS = 64  # a listener on all addresses is as many: any of 127.0.0.0/8 may be asked for


class Wire:
    """Serves callers; call it as a protocol factory. `empty` is set while nobody is connected."""

    def __init__(
        self,
        parts: Parts,
        connectors: Mapping[str, Connector],
        *,
        allowed_hosts: tuple[str, ...] = (),
        client_key: Secret | None = None,
        timeouts: CallerTimeouts | None = None,
        max_connections: int = 10_000,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.parts = parts
        self.timeouts = timeouts or CallerTimeouts()
        self.draining = False
        self.empty = asyncio.Event()
        self.empty.set()
        self.watch = Watch(self.loop, look_every)
        self.connections: set[Downstream] = set()
        self._allowed_hosts = allowed_hosts
        self._client_key = client_key
        self._max_connections = max_connections
        self._known: dict[object, Known] = {}
        self.sweep = Sweep(self.loop, self._shortest())
        self.pools = {
            route.name: Pool(
                connectors[route.name],
                self.sweep,
                limit=route.settings.max_connections,
                patience=route.settings.timeouts.connect,
            )
            for route in parts.table.routes
        }
        parts.load.add(self)

    def _shortest(self) -> float:
        """The shortest of the times that the sweep watches."""
        ours = self.timeouts
        times: list[float | None] = [ours.request_head, ours.keep_alive, ours.request_body_idle]
        for route in self.parts.table.routes:
            times += [route.settings.timeouts.response_head, route.settings.timeouts.idle]
        return min(time for time in times if time is not None)

    def __call__(self) -> Downstream:
        """A protocol for a new connection."""
        return Downstream(self)

    # -- asked by people ---------------------------------------------------------------------

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self.connections)

    def in_flight(self) -> Counter[str]:
        """The requests that are being answered, by route; one without a route has no name."""
        turns = [connection.current for connection in self.connections]
        return Counter(turn.route_name or "" for turn in turns if turn and turn.is_in_flight)

    # -- told by connections -----------------------------------------------------------------

    def known(self, transport: asyncio.Transport) -> Known:
        """What is known of the listener that a connection came by, told by its local address."""
        sockname = transport.get_extra_info("sockname")
        address = sockname if isinstance(sockname, tuple) else None
        scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        found = self._known.get((address, scheme))
        if found is None:
            addresses = () if address is None else ((str(address[0]), int(address[1])),)
            listener = Listener(addresses, scheme)
            guard = Guard(self.parts.table, listener, self._allowed_hosts, self._client_key)
            if len(self._known) >= MOST_GUARDS:
                self._known.clear()
            found = self._known[address, scheme] = Known(guard)
        return found

    def opened(self, connection: Downstream) -> None:
        """Count a connection in; one too many is told so, one that comes too late is closed."""
        self.connections.add(connection)
        self.empty.clear()
        self.sweep.add(connection)
        if self.draining:
            connection.transport.close()
        elif len(self.connections) > self._max_connections:
            connection.overload()

    def closed(self, connection: Downstream) -> None:
        """Count it out."""
        self.connections.discard(connection)
        self.sweep.discard(connection)
        if not self.connections:
            self.empty.set()

    # -- the end -----------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no more requests; those that have come are answered."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def abort(self) -> None:
        """End all connections, so that nobody takes an answer for whole."""
        for connection in list(self.connections):
            connection.abort()

    async def close(self) -> None:
        """End the connections to the upstreams too."""
        for pool in self.pools.values():
            await pool.close()
        self.sweep.close()
        self.parts.load.discard(self)
