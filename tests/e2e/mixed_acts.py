"""What stands round a proxy, and what is done to all of it at once.

An act is a caller with an upstream's misbehaviour, a fault of an issuer, or a reload. Each has
chances of its own, from the seed and its number: what failed can be done again.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from tests.e2e.mixed_callers import CALLERS, GONE, Place
from tests.e2e.mixed_upstream import MixedUpstream
from tokenproxy.testing import Endpoint, Issuer, faults

SEED = 20_261_124
AT_ONCE = 50
MOST = 24  # connections to an upstream
STUCK = 30.0  # seconds: no act may take so long
NAMES = ("plain", "shop", "lost", "refused")
PASSING: tuple[faults.Fault, ...] = (
    faults.SERVER_ERROR,
    faults.BAD_GATEWAY,
    faults.UNAVAILABLE,
    faults.TOO_MANY,
    faults.HTML_PAGE,
    faults.BAD_JSON,
    faults.EMPTY_200,
    faults.LIST_200,
    faults.too_many(retry_after="1"),
    faults.redirect("http://127.0.0.1/elsewhere"),
    faults.deep(1000),
    faults.Hang(1.0),
    faults.Hang(1.0, carried_out=True),
    faults.DropBeforeAnswer(),
    faults.DropBeforeAnswer(carried_out=False),
    faults.CutShort(),
    faults.SlowBytes(),
    faults.Huge(2 << 20),
    faults.GzipBomb(2 << 20),
)
ODD: tuple[faults.Fault, ...] = (
    faults.CREATED,
    faults.AS_TEXT,
    faults.AS_FORM,
    faults.WITH_BOM,
    faults.GZIPPED,
    *(faults.with_field("expires_in", odd) for odd in ("9", 0, -1, 1e18, None, "NaN")),
    faults.without("refresh"),
)
REFUSALS: tuple[faults.Fault, ...] = (
    faults.INVALID_GRANT,
    faults.INVALID_REQUEST,
    faults.INVALID_GRANT_IN_200,
    faults.TOKEN_NOT_VALID,
    faults.USER_INACTIVE,
    faults.EMPTY_400,
    faults.EMPTY_401,
    faults.EMPTY_403,
)

Reload = Callable[[], None]


# -- the stage ------------------------------------------------------------------------------------


@dataclass
class Stage:
    """All that stands round a proxy."""

    folder: Path
    upstream: MixedUpstream
    shop: Issuer
    lost: Issuer  # its credential will need a person, sooner or later
    refused: int  # a port where nobody listens
    reloads: int = 0

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def settings(self) -> dict[str, Any]:
        """Of the config; another after each of `reloads`."""
        return {
            "timeouts": {"request_head": 0.5, "keep_alive": 1, "request_body_idle": 0.5},
            "store": {"type": "file", "path": str(self.store)},
            "shutdown_grace": 3,
            "credentials": {"shop": _login(self.shop), "lost": _login(self.lost)},
            "routes": [self._route(name) for name in NAMES],
        }

    def _route(self, name: str) -> dict[str, Any]:
        refused = f"http://127.0.0.1:{self.refused}"
        return {
            "name": name,
            "path": f"/{name}",
            "upstream": refused if name == "refused" else self.upstream.url,
            "credential": name if name in {"shop", "lost"} else None,
            "max_connections": MOST,
            "timeouts": {"connect": 1, "response_head": 0.5, "idle": 0.5},
            "replay": {"memory": 1000, "max_body": 100_000, "dir": str(self.spool)},
            "headers": {"set": {"X-Reloads": str(self.reloads)}},
        }

    def litter(self) -> list[str]:
        """The files that there are."""
        return sorted(str(path) for path in self.folder.rglob("*") if path.is_file())


def _login(issuer: Issuer) -> dict[str, Any]:
    return {
        "type": "simplejwt",
        "base_url": issuer.url,
        "username": issuer.username,
        "password": issuer.password,
        "refresh": {"min_interval": 0, "timeout": 0.5, "wait": 1, "retries": 1},
    }


# -- the acts -------------------------------------------------------------------------------------


@dataclass
class Mix:
    """Acts without end, `AT_ONCE` of them at a time."""

    stage: Stage
    place: Place
    reload: Reload
    done: Counter[str] = field(default_factory=Counter)
    _next: int = 0

    async def play(self, count: int) -> None:
        """So many of them. Raises AssertionError with the number of one that does not end."""
        last = self._next + count
        await asyncio.gather(*(self._act_on(last) for _ in range(AT_ONCE)))

    async def _act_on(self, last: int) -> None:
        while self._next < last:
            number, self._next = self._next, self._next + 1
            dice = Random(f"{SEED}/{number}")
            act = self._chosen(dice)
            try:
                async with asyncio.timeout(STUCK):
                    self.done[await _outcome(act(self.place, dice))] += 1
            except TimeoutError:
                raise AssertionError(f"act {number} of seed {SEED}, {act}, never ended") from None

    def _chosen(self, dice: Random) -> Callable[[Place, Random], Awaitable[None]]:
        chance = dice.random()
        if chance < 0.005:
            return self._reload
        if chance < 0.1:
            return self._fail
        return dice.choice(CALLERS)

    async def _reload(self, place: Place, dice: Random) -> None:
        del place, dice
        self.stage.reloads += 1
        self.reload()

    async def _fail(self, place: Place, dice: Random) -> None:
        """Have an issuer fail at its next call, and perhaps make that call needed."""
        del place
        shop, lost = self.stage.shop, self.stage.lost
        if dice.random() < 0.2:
            lost.fail_next(1, dice.choice((*PASSING, *ODD, *REFUSALS)))
            lost.expire_now()
            return
        shop.recover()  # one at a time: else it would fail for ever
        if dice.random() < 0.3:
            shop.fail_next(1, dice.choice(REFUSALS), endpoint=Endpoint.REFRESH)
        else:
            shop.fail_next(1, dice.choice((*PASSING, *ODD)))
        dice.choice((shop.expire_now, shop.revoke))()


async def _outcome(act: Awaitable[None]) -> str:
    try:
        await act
    except (*GONE, aiohttp.ClientError) as error:
        return type(error).__name__
    return "done"
