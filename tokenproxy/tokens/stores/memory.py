"""Tokens that live as long as the process."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tokenproxy.tokens.store import Conflict, Lease, Saved
from tokenproxy.tokens.token import Record


@dataclass(frozen=True, slots=True)
class MemoryLease:
    """Held until its context ends, and lost never."""

    fence: int = 0
    lost: bool = False


@dataclass
class _Cell:
    """One record, and all who share it."""

    record: Record = field(default_factory=Record)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    listeners: set[asyncio.Event] = field(default_factory=set)


class MemoryStores:
    """Contract 1, `store: {type: memory}`: stores of the same key share their record."""

    def __init__(self) -> None:
        self._cells: dict[str, _Cell] = {}

    def open(self, key: str) -> "MemoryStore":
        """The record of that key."""
        return MemoryStore(self._cells.setdefault(key, _Cell()))

    def hurry(self) -> None:
        """Nothing here waits for another machine."""

    async def close(self) -> None:
        """What is kept goes with the process."""


class MemoryStore:
    """One record in memory."""

    renews_without_lock = True

    def __init__(self, cell: _Cell) -> None:
        self._cell = cell

    async def load(self) -> Record:
        """The record as it stands."""
        return self._cell.record

    async def save(self, record: Record, *, after: int, lease: Lease | None) -> Saved | Conflict:
        """Keep `record`, if nobody else has saved since `after`."""
        del lease
        if self._cell.record.generation != after:
            return Conflict(self._cell.record)
        self._put(record)
        return Saved()

    async def delete(self, *, lease: Lease | None) -> None:
        """Leave a tombstone."""
        del lease
        self._put(self._cell.record.tombstone())

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[Lease]:
        """One holder at a time."""
        async with self._cell.lock:
            yield MemoryLease()

    async def watch(self) -> AsyncGenerator[None, None]:
        """Yields after every save and deletion."""
        changed = asyncio.Event()
        self._cell.listeners.add(changed)
        try:
            while True:
                await changed.wait()
                changed.clear()
                yield
        finally:
            self._cell.listeners.discard(changed)

    def _put(self, record: Record) -> None:
        self._cell.record = record
        for listener in self._cell.listeners:
            listener.set()
