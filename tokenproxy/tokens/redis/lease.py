"""A lock in Redis: a lease that is renewed while it is held, and who held it last.

Two keys, both of one record: the lock itself, which holds its owner's name and lapses by itself;
and the record's hash, which remembers the owner of the newest lease (`holder`) and its number
(`fence`). Taking the lock writes all three in one step.

| `holder` is    | the lock                 | `renew`                  | a save under our lease   |
|----------------|--------------------------|--------------------------|--------------------------|
| us             | is ours                  | lasts anew               | is made                  |
| us             | lapsed: we were held up  | ours again, nobody had   | is made, nobody had      |
|                |                          | taken it                 | taken it                 |
| somebody later | theirs                   | lost for good            | is refused               |
| nobody         | a later one gave it back | lost for good            | is refused               |
| nobody, or     | Redis has lost what it   | lost for good            | is refused: who came     |
| somebody older | was told (a failover)    |                          | since then, nobody knows |

A lease that is lost for good has been overtaken: a save under it is a Conflict with whatever the
record is by then, so that a holder who was held up never writes over what came after it.

Names are compared and not numbers: where a failover loses the newest lease, the next one has the
same number, but never the same name. Names also let each script be run twice, in case an answer
was lost; and a release takes the name away, so that a renewal that arrives after it does nothing.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

from tokenproxy.clock import Clock, Moment
from tokenproxy.errors import StoreError
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens.redis.ended import ended
from tokenproxy.tokens.redis.link import Link

LEASE = 10.0  # seconds that a dead holder keeps others waiting
RENEWALS = 3  # in one lease's time, so that two may fail
TRIES = 10  # the same, after one that has failed
POLL = (0.05, 0.25)  # seconds between looks at a lock that another holds

_TAKE = """
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then return redis.call('HGET', KEYS[2], 'fence') end
if owner then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('HSET', KEYS[2], 'holder', ARGV[1])
return redis.call('HINCRBY', KEYS[2], 'fence', 1)
"""
_RENEW = """
if redis.call('HGET', KEYS[2], 'holder') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
if redis.call('HGET', KEYS[2], 'holder') == ARGV[1] then redis.call('HDEL', KEYS[2], 'holder') end
"""


class RedisLease:
    """One holding of the lock; `owner` is a name that nobody else has."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: Moment | None = None
        self._overtaken = False
        self.owner = secrets.token_hex(16).encode()
        self.fence = 0  # not taken yet

    @property
    def lost(self) -> bool:
        """Whether somebody has taken the lock, or might have, as it has lapsed."""
        return self._overtaken or self._ends is None or self._clock.now().until(self._ends) <= 0

    def lasts_until(self, ends: Moment) -> None:
        """It has been taken or renewed."""
        self._ends = ends

    def overtaken(self) -> None:
        """Somebody else has taken the lock, or Redis has lost ours: there is no way back."""
        self._overtaken = True


class RedisLock:
    """The lock of one record: taken, kept and given back.

    `keys` are those of the lock and of the record; a lease lasts `seconds` unless it is renewed.
    """

    def __init__(
        self, link: Link, keys: tuple[str, str], seconds: float, *, clock: Clock, random: Random
    ) -> None:
        self._link = link
        self._keys = keys
        self._seconds = seconds
        self._milliseconds = round(seconds * 1000)
        self._clock = clock
        self._random = random

    @asynccontextmanager
    async def held(self) -> AsyncIterator[RedisLease]:
        """A lease, waited for as long as it takes.

        A release is not published: who waits for the lock waits for a token, which comes by the
        store's watch, and of a thousand who wait each would be woken by each of the others.

        Raises:
            StoreError: Redis cannot be asked.
        """
        lease = RedisLease(self._clock)
        await self._get(lease)
        keeping = spawn(self._keep(lease), name=f"keep {self._keys[0]}")
        try:
            yield lease
        finally:
            await ended(self._give_back(lease, keeping), cancels=False)

    async def _get(self, lease: RedisLease) -> None:
        try:
            while not await ended(self._is_got(lease), cancels=False):
                await self._clock.sleep(self._random.uniform(*POLL))
        except asyncio.CancelledError:
            if lease.fence:  # granted to somebody who had just left
                await ended(self._give_back(lease, None), cancels=False)
            raise

    async def _is_got(self, lease: RedisLease) -> bool:
        asked = self._clock.now()
        fence = await self._run(_TAKE, lease)
        if fence:
            lease.fence = fence
            lease.lasts_until(asked.after(self._seconds))
        return fence > 0

    async def _keep(self, lease: RedisLease) -> None:
        """Renew it until it is lost."""
        pause = self._seconds / RENEWALS
        while True:
            await self._clock.sleep(pause)
            asked = self._clock.now()
            try:
                is_kept = await self._run(_RENEW, lease)
            except StoreError:
                pause = self._seconds / TRIES
                continue
            if not is_kept:
                lease.overtaken()
                return
            lease.lasts_until(asked.after(self._seconds))
            pause = self._seconds / RENEWALS

    async def _give_back(self, lease: RedisLease, keeping: asyncio.Task[None] | None) -> None:
        await cancelled(keeping)
        with suppress(StoreError):  # it lapses by itself
            await self._run(_RELEASE, lease)

    async def _run(self, script: str, lease: RedisLease) -> int:
        return await self._link.run(script, self._keys, lease.owner, self._milliseconds)
