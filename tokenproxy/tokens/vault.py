"""A keeper's dealings with its store: what is newest, what is saved, what waits to be saved.

The store may lag behind what we know (a disk that was full, a folder restored from a backup, a
Redis that lost its last write). We never go back: our own record is used, and written again.
A store that fails stops no token from being used; the token is then in memory only, which is
told, and saving is tried again until it works (contract 3.3.8).

Loads and saves take turns, so that what a load brings is never older than a save that ended
before it. Whoever needs both the store's lock and its turn takes the lock first.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

from tokenproxy.clock import Clock
from tokenproxy.errors import StoreError
from tokenproxy.events import NotPersisted, Observe, Persisted, StoreTrouble
from tokenproxy.tasks import cancelled, done_within, spawn
from tokenproxy.tokens.store import Conflict, Lease, Saved, TokenStore
from tokenproxy.tokens.token import Record

FIRST_SAVE_AGAIN = 2.0
LONGEST_SAVE_AGAIN = 60.0
LAST_SAVE = 0.5  # seconds that closing spends on a record that is still unsaved
MOST_CONFLICTS = 5  # under the lock one is an accident; more mean that somebody keeps no lock


class Vault:
    """One credential's record: in the store, or waiting to be stored.

    `known` is the newest record that was loaded or saved; `trouble` is why the store could not be
    read the last time; `unsaved` is what it has not taken yet, and `why_unsaved` says why.
    """

    def __init__(self, name: str, store: TokenStore, *, clock: Clock, observe: Observe) -> None:
        self._name = name
        self._store = store
        self._clock = clock
        self._observe = observe
        self._turn = asyncio.Lock()
        self._stored = 0  # the generation that the store was last seen to hold
        self._told = False
        self._saving: asyncio.Task[None] | None = None
        self.known = Record()
        self.trouble: str | None = None
        self.why_unsaved = ""
        self.unsaved: Record | None = None

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[Lease | None]:
        """The store's lock; None where it cannot be had and the store can do without.

        Raises:
            StoreError: nothing may be renewed without the lock, and it cannot be had.
        """
        lock = self._store.lock()
        lease = await self._enter(lock)
        try:
            yield lease
        finally:
            if lease is not None:
                await self._leave(lock)

    async def probe(self) -> None:
        """Lock the store and read it. Raises StoreError."""
        async with self._store.lock():
            await self.load()

    def at_rest(self) -> AbstractAsyncContextManager[None]:
        """While this is held nothing is being saved, and no save begins."""
        return self._turn

    async def load(self) -> Record:
        """What the store holds, or what we know, where that is newer. Raises StoreError."""
        async with self._turn:
            try:
                stored = await self._store.load()
            except StoreError as error:
                self.trouble = str(error)
                raise
            self.trouble = None
            self._stored = stored.generation
            if self.unsaved is not None:
                if _supersedes(stored, self.unsaved):
                    self._now_stored(stored)
            elif stored.generation < self.known.generation:
                self._save_later(self.known, at_once=True)
            else:
                self._now_stored(stored)
            return self.known

    async def save(self, record: Record, lease: Lease | None) -> Record:
        """Make `record` the next generation; what is given back is the one to use.

        A store that fails leaves it in memory. A store that has moved on while our lease was
        lost wins: whoever held the lock after us got the issuer's later answer.
        """
        async with self._turn:
            try:
                self._now_stored(await self._put(record, lease))
            except Exception as error:  # noqa: BLE001 - what has come is kept, whatever went wrong
                self.known = self._next(record)
                self._tell_unsaved(error)
                self._save_later(self.known)
            return self.known

    async def note(self, record: Record, lease: Lease | None) -> Record:
        """Save what only tells how a renewal went; what is given back is the one to use.

        It is worth less than any token: where the store has moved on, that counts, and where it
        cannot be written, nobody else is told.
        """
        async with self._turn:
            new = self._next(record)
            try:
                outcome = await self._store.save(new, after=self._stored, lease=lease)
            except Exception as error:  # noqa: BLE001 - nothing is lost by it
                self._observe(StoreTrouble(self._name, _explained(error)))
                return record
            match outcome:
                case Saved():
                    self._now_stored(new)
                    return new
                case Conflict(other):
                    self._stored = other.generation
                    if self.unsaved is None or _supersedes(other, self.unsaved):
                        self._now_stored(other)
                    return self.known

    def changes(self) -> AsyncGenerator[None, None]:
        """Yields whenever the store may hold something else."""
        return self._store.watch()

    async def close(self) -> None:
        """Stop trying to save; try once more where something is left to save."""
        async with self.at_rest():
            await cancelled(self._saving)
        if self.unsaved is not None:
            last = spawn(self._save_unsaved(), name=f"save {self._name} at the end")
            await done_within(last, LAST_SAVE, self._clock.sleep)
            async with self.at_rest():
                await cancelled(last)

    async def _enter(self, lock: AbstractAsyncContextManager[Lease]) -> Lease | None:
        try:
            return await lock.__aenter__()
        except StoreError as error:
            if not self._store.renews_without_lock:
                raise
            self._observe(StoreTrouble(self._name, str(error)))
            return None

    async def _leave(self, lock: AbstractAsyncContextManager[Lease]) -> None:
        """What was done under the lock stands, even where it cannot be given back in order."""
        try:
            await lock.__aexit__(None, None, None)
        except StoreError as error:
            self._observe(StoreTrouble(self._name, str(error)))

    async def _put(self, record: Record, lease: Lease | None) -> Record:
        """Save it as the next generation; what the store holds then. Raises StoreError."""
        for _ in range(MOST_CONFLICTS):
            new = self._next(record)
            match await self._store.save(new, after=self._stored, lease=lease):
                case Saved():
                    return new
                case Conflict(other):
                    self._stored = other.generation
                    if lease is not None and lease.lost and other.generation >= new.generation:
                        return other
        raise StoreError(
            f"the record of credential '{self._name}' is being changed by somebody who does not "
            "lock it: make sure that nothing but tokenproxy writes to the store"
        )

    def _next(self, record: Record) -> Record:
        return replace(record, generation=max(self.known.generation, self._stored) + 1)

    def _save_later(self, record: Record, *, at_once: bool = False) -> None:
        """`at_once` where the store works, and has only lost what it had."""
        self.unsaved = record
        if self._saving is None or self._saving.done():
            pause = 0.0 if at_once else FIRST_SAVE_AGAIN
            self._saving = spawn(self._keep_saving(pause), name=f"save {self._name} again")

    async def _keep_saving(self, pause: float) -> None:
        while self.unsaved is not None:
            await self._clock.sleep(pause)
            pause = min(max(pause * 2, FIRST_SAVE_AGAIN), LONGEST_SAVE_AGAIN)
            await self._save_unsaved()

    async def _save_unsaved(self) -> None:
        try:
            async with self.locked() as lease, self._turn:
                if self.unsaved is None:
                    return
                stored = await self._store.load()
                self._stored = stored.generation
                if not _supersedes(stored, self.unsaved):
                    stored = await self._put(self.unsaved, lease)
                self._now_stored(stored)
        except Exception as error:  # noqa: BLE001 - it is tried again, whatever went wrong
            self._tell_unsaved(error)

    def _now_stored(self, record: Record) -> None:
        self.known = record
        self._stored = record.generation
        self.unsaved = None
        if self._told:
            self._told = False
            self._observe(Persisted(self._name))

    def _tell_unsaved(self, error: Exception) -> None:
        self.why_unsaved = _explained(error)
        if not self._told:
            self._told = True
            self._observe(NotPersisted(self._name, self.why_unsaved))


def _explained(error: Exception) -> str:
    if isinstance(error, StoreError):
        return str(error)
    return f"the store met a fault in tokenproxy itself ({type(error).__name__})"


def _supersedes(stored: Record, ours: Record) -> bool:
    """Whether what the store holds by now is worth more than what it has not taken from us.

    The later renewal has the refresh token that works, and what was deleted later than that stays
    so. Where a time is missing, whoever has saved has seen at least as much.
    """
    if stored.renewed_at is None or ours.renewed_at is None:
        return stored.generation >= ours.generation
    return (stored.renewed_at, stored.generation) > (ours.renewed_at, ours.generation)
