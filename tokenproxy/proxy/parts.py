"""What requests need, and do not own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from tokenproxy.clock import Clock
from tokenproxy.events import Observe
from tokenproxy.load import Load
from tokenproxy.proxy.bound import Bound
from tokenproxy.proxy.outbound import Upstream
from tokenproxy.proxy.route import RouteTable
from tokenproxy.tokens.slot import Held, Rejection


class TokenKeeper(Protocol):
    """What a request asks of `tokens.keeper.Keeper`."""

    def peek(self) -> Held | None:
        """A token that may be sent now."""

    async def get(self) -> Held:
        """A token that may be sent; raises SourceUnavailable or SourceRefused."""

    def rejected(self, generation: int) -> Rejection:
        """The API did not take that token."""

    async def replaced(self, generation: int) -> Held | None:
        """A newer token, or None."""

    def renew_behind(self) -> None:
        """Renew with nobody waiting."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What all requests share; `upstreams` are by the route's name, `keepers` the credential's."""

    table: RouteTable
    upstreams: Mapping[str, Upstream]
    keepers: Mapping[str, TokenKeeper]
    bound: Bound
    session: aiohttp.ClientSession
    clock: Clock
    observe: Observe
    load: Load = field(default_factory=Load)
