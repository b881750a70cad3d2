"""Tokens in a Redis or Valkey, shared by all replicas.

| name                              | is                                                          |
|-----------------------------------|-------------------------------------------------------------|
| `{prefix}{KEY}`                   | a hash: `record`, as the codec writes it; `holder`, `fence` |
| `{prefix}{KEY}:lock`              | the owner of the lock, which lapses by itself               |
| `{prefix}{KEY}:corrupt-…`         | what could not be read, set aside; by the time in ns        |
| `{prefix}changes`, a channel      | tells the KEY of every record that is saved                 |

The braces are there in Redis too, around each KEY: they keep what one script touches in one slot.

A save is compare-and-set in a script. It compares what was read, byte for byte, and not a
generation that would have to stand in the open beside a sealed record, and might belie it: bytes
that are the same hold the same generation. Whether the lease is still the newest is asked in the
same step (`tokenproxy.tokens.redis.lease` has the table). A record lasts until it is replaced.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random

from tokenproxy.clock import Clock, SystemClock, system_random
from tokenproxy.errors import StoreError
from tokenproxy.tokens.codec import Codec, CodecFor, Unreadable
from tokenproxy.tokens.redis.address import open_server
from tokenproxy.tokens.redis.changes import Changes
from tokenproxy.tokens.redis.lease import LEASE, RedisLease, RedisLock
from tokenproxy.tokens.redis.link import CONNECTIONS, Link
from tokenproxy.tokens.store import Conflict, Lease, Saved
from tokenproxy.tokens.token import LOST, Record

MOST_TRIES = 10  # one more means that somebody writes all the time

_SWAP = """
local stored = redis.call('HGET', KEYS[1], 'record') or ''
if stored == ARGV[2] then return 1 end
if stored ~= ARGV[1] then return 0 end
if ARGV[3] ~= '' and redis.call('HGET', KEYS[1], 'holder') ~= ARGV[3] then return 0 end
redis.call('PUBLISH', ARGV[4], ARGV[5])
if KEYS[2] then redis.call('SET', KEYS[2], stored) end
redis.call('HSET', KEYS[1], 'record', ARGV[2])
return 1
"""


class RedisStores:
    """Contract 1, `store: {type: redis}`: all records of one prefix, over a few connections.

    `lease` is in seconds: how long a holder that dies keeps the others waiting. Nothing is
    connected before it is needed.

    Raises:
        ConfigError: the URL is none of a Redis.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        codec_for: CodecFor,
        *,
        lease: float = LEASE,
        connections: int = CONNECTIONS,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        server = open_server(url)
        self._prefix = prefix
        self._codec_for = codec_for
        self._lease = lease
        self._clock = clock or SystemClock()
        self._random = random or system_random()
        self._link = Link(server, connections)
        self._changes = Changes(server, f"{prefix}changes", clock=self._clock, random=self._random)

    def open(self, key: str) -> "RedisStore":
        """The record of that key."""
        names = _Names(key, f"{self._prefix}{{{key}}}", self._changes.channel)
        lock = RedisLock(
            self._link,
            (names.lock, names.record),
            self._lease,
            clock=self._clock,
            random=self._random,
        )
        return RedisStore(names, self._codec_for(key), self._link, lock, self._changes)

    def hurry(self) -> None:
        """Give up soon whatever is asked."""
        self._link.hurry()

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        await self._changes.close()
        await self._link.close()


@dataclass(frozen=True, slots=True)
class _Names:
    """What the record of one key is called in Redis."""

    key: str
    record: str
    channel: str

    @property
    def lock(self) -> str:
        return f"{self.record}:lock"

    def aside(self) -> str:
        """A name that nothing has had yet."""
        return f"{self.record}:corrupt-{time.time_ns()}"


@dataclass(frozen=True, slots=True)
class _Stored:
    """What stands in Redis, as it was read; `content` is empty where nothing does."""

    content: bytes
    record: Record
    is_corrupt: bool
    holder: bytes | None

    def is_under_another(self, lease: RedisLease) -> bool:
        """Whether the newest lease is another than that."""
        return lease.owner != self.holder


class RedisStore:
    """One record in Redis."""

    renews_without_lock = False

    def __init__(
        self, names: _Names, codec: Codec, link: Link, lock: RedisLock, changes: Changes
    ) -> None:
        self._names = names
        self._codec = codec
        self._link = link
        self._lock = lock
        self._changes = changes

    async def load(self) -> Record:
        """The record as it stands; `Record()` for none, `LOST` for one that cannot be read."""
        return (await self._read()).record

    async def save(self, record: Record, *, after: int, lease: Lease | None) -> Saved | Conflict:
        """Put it in the place of generation `after`, unless a later lease has overtaken `lease`.

        One that has is a Conflict too, whatever the generation, and `lease.lost` from then on.
        """
        ours = lease if isinstance(lease, RedisLease) else None
        content = self._codec.encode(record)
        for _ in range(MOST_TRIES):
            stored = await self._read()
            if ours is not None and stored.is_under_another(ours):
                ours.overtaken()
                return Conflict(stored.record)
            if stored.record.generation != after:
                return Conflict(stored.record)
            if await self._swap(stored, content, ours):
                return Saved()
        raise self._unruly()

    async def delete(self, *, lease: Lease | None) -> None:
        """Leave a tombstone in the record's place, whoever holds the lock: a person wants it."""
        del lease
        for _ in range(MOST_TRIES):
            stored = await self._read()
            content = self._codec.encode(stored.record.tombstone())
            if await self._swap(stored, content, None):
                return
        raise self._unruly()

    def lock(self) -> AbstractAsyncContextManager[Lease]:
        """The lease that all replicas share."""
        return self._lock.held()

    def watch(self) -> AsyncGenerator[None, None]:
        """Yields once it hears of changes, after it may have missed some, and after each one."""
        return self._changes.follow(self._names.key)

    async def _read(self) -> _Stored:
        """What stands there. Raises StoreError, also for a record that only another key opens."""
        content, holder = await self._link.fields(self._names.record, "record", "holder")
        record = Record()
        is_corrupt = False
        if content:
            try:
                record = self._codec.decode(content)
            except Unreadable:
                record, is_corrupt = LOST, True
        return _Stored(content or b"", record, is_corrupt, holder)

    async def _swap(self, stored: _Stored, content: bytes, lease: RedisLease | None) -> bool:
        """Put `content` in the place of what was read, set aside if it is corrupt.

        False where that has changed, or a later lease has overtaken ours.
        """
        names = self._names
        aside = [names.aside()] if stored.is_corrupt else []
        owner = b"" if lease is None else lease.owner
        what = (stored.content, content, owner, names.channel, names.key)
        return await self._link.run(_SWAP, [names.record, *aside], *what) == 1

    def _unruly(self) -> StoreError:
        return StoreError(
            f"the record '{self._names.record}' in Redis changes faster than it can be saved: make "
            "sure that nothing but tokenproxy writes to it"
        )
