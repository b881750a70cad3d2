"""What a keeper knows of a store: load, save after a generation, delete, lock, watch.

One process and a thousand replicas run the same code over this; every store passes the same
suite of tests.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from tokenproxy.tokens.token import Record


@dataclass(frozen=True, slots=True)
class Saved:
    """The record is durable."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written: the store holds `record`, whose generation is another."""

    record: Record


class Lease(Protocol):
    """A lock that is held, and kept alive, until its context ends."""

    @property
    def fence(self) -> int:
        """Grows with every lease; `save` refuses a lease that a later one has overtaken."""

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the lock by now."""


class TokenStore(Protocol):
    """Where the record of one credential lives. All methods raise StoreError, nothing else."""

    @property
    def renews_without_lock(self) -> bool:
        """Whether a renewal may go on where the lock cannot be made (contract 3.3.8)."""

    async def load(self) -> Record:
        """The record as it stands; `Record()` for none, `LOST` for an unreadable one."""

    async def save(self, record: Record, *, after: int, lease: Lease | None) -> Saved | Conflict:
        """Make `record` durable if the store still holds the generation `after`."""

    async def delete(self, *, lease: Lease | None) -> None:
        """Leave a tombstone: an empty record with a generation of its own, and the old `seed`."""

    def lock(self) -> AbstractAsyncContextManager[Lease]:
        """The one lock on this record, over all processes that share the store."""

    def watch(self) -> AsyncGenerator[None, None]:
        """Yields whenever the record may have changed; ends only when it is closed."""


class StoreFactory(Protocol):
    """One configured store, which gives each credential its own record."""

    def open(self, key: str) -> TokenStore:
        """The record of that key: letters, digits, `-` and `_`."""

    def hurry(self) -> None:
        """Give up soon whatever is asked from now on, or has been asked already."""

    async def close(self) -> None:
        """Give back connections; no store of it is used any more."""
