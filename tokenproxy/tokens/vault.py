"""A keeper's dealings with its store: what is newest, what is saved, what waits to be saved.

The store may lag behind what we know (a disk that was full, a folder restored from a backup, a
Redis that lost its last write). We never go back: our own record is used, and written again.
A store that fails stops no token from being used; the token is then in memory only, which is
told, and saving is tried again until it works (contract 3.3.8).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace

from tokenproxy.clock import Clock
from tokenproxy.errors import SourceUnavailable, StoreError
from tokenproxy.events import NotPersisted, Observe, Persisted, StoreTrouble
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens.store import Conflict, Lease, Saved, TokenStore
from tokenproxy.tokens.token import Record

FIRST_SAVE_AGAIN = 2.0
LONGEST_SAVE_AGAIN = 60.0


class Vault:
    """One credential's record: in the store, or waiting to be stored."""

    def __init__(self, name: str, store: TokenStore, *, clock: Clock, observe: Observe) -> None:
        self._name = name
        self._store = store
        self._clock = clock
        self._observe = observe
        self._newest = Record()
        self._stored = 0  # the generation that the store was last seen to hold
        self._told = False
        self.unsaved: Record | None = None
        self._saving: asyncio.Task[None] | None = None

    async def lock(self, stack: AsyncExitStack) -> Lease | None:
        """The store's lock until `stack` closes; None where it can do without.

        Raises:
            SourceUnavailable: nothing may be renewed without the lock, and it cannot be had.
        """
        try:
            return await stack.enter_async_context(self._store.lock())
        except StoreError as error:
            if not self._store.renews_without_lock:
                raise SourceUnavailable(str(error)) from error
            self._observe(StoreTrouble(self._name, str(error)))
            return None

    async def load(self) -> Record:
        """What the store holds, or what we know, where that is newer. Raises StoreError."""
        stored = await self._store.load()
        self._stored = stored.generation
        if stored.generation >= self._newest.generation:
            self._newest = stored
            self.unsaved = None
        elif self.unsaved is None:
            self._save_later(self._newest)
        return self._newest

    async def newest(self) -> Record:
        """The same, but a store that fails is no obstacle."""
        try:
            return await self.load()
        except StoreError as error:
            self._observe(StoreTrouble(self._name, str(error)))
            return self._newest

    async def save(self, record: Record, lease: Lease | None) -> Record:
        """Make `record` the next generation; what is given back is the one to use.

        A store that fails leaves it in memory. A store that has moved on while our lease was
        lost wins: whoever held the lock after us got the issuer's later answer.
        """
        generation = max(record.generation, self._newest.generation, self._stored) + 1
        new = self._newest = replace(record, generation=generation)
        try:
            saved = await self._store.save(new, after=self._stored, lease=lease)
        except StoreError as error:
            self._tell_unsaved(error)
            self._save_later(new)
            return new
        match saved:
            case Saved():
                self._tell_saved(new)
                return new
            case Conflict(other):
                return await self._settle(new, other, lease)

    async def _settle(self, ours: Record, other: Record, lease: Lease | None) -> Record:
        self._stored = other.generation
        if lease is not None and lease.lost and other.generation >= ours.generation:
            self._newest = other
            return other
        return await self.save(ours, lease)

    def changes(self) -> AsyncGenerator[None, None]:
        """Yields whenever the store may hold something else."""
        return self._store.watch()

    async def close(self) -> None:
        """Stop trying to save; try once more where something is left to save."""
        await cancelled(self._saving)
        if self.unsaved is not None:
            await self._save_once(self.unsaved)

    def _save_later(self, record: Record) -> None:
        self.unsaved = record
        if self._saving is None or self._saving.done():
            self._saving = spawn(self._keep_saving(), name=f"save {self._name} again")

    async def _keep_saving(self) -> None:
        pause = FIRST_SAVE_AGAIN
        while self.unsaved is not None:
            await self._clock.sleep(pause)
            pause = min(pause * 2, LONGEST_SAVE_AGAIN)
            if self.unsaved is not None:
                await self._save_once(self.unsaved)

    async def _save_once(self, record: Record) -> None:
        try:
            async with self._store.lock() as lease:
                stored = await self._store.load()
                self._stored = stored.generation
                if stored.generation < record.generation:
                    await self._store.save(record, after=stored.generation, lease=lease)
        except StoreError as error:
            self._tell_unsaved(error)
            return
        if self.unsaved is record:
            self._tell_saved(record)

    def _tell_saved(self, record: Record) -> None:
        self._stored = record.generation
        self.unsaved = None
        if self._told:
            self._told = False
            self._observe(Persisted(self._name))

    def _tell_unsaved(self, error: StoreError) -> None:
        if not self._told:
            self._told = True
            self._observe(NotPersisted(self._name, str(error)))
