"""The store and the keepers of one config, and what they inherit from the config before it.

| of the config before              | in the next one                                            |
|-----------------------------------|------------------------------------------------------------|
| the same store                    | is shared, connections and all                             |
| the same credential in that store | its keeper goes on, with its token and its session         |
| a changed one                     | has a keeper of its own; the old one serves who has it yet |
| one that is gone                  | ends with the last request under the old config            |

The same is what has equal settings and equal files behind them. All that is shared is closed
by the last who uses it, and a keeper is ended by the last who leaves it.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Literal

import aiohttp

from tokenproxy.clock import Clock
from tokenproxy.events import Observe
from tokenproxy.settings.command import Command
from tokenproxy.settings.credential import NetworkCredential
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.stores import AnyStore
from tokenproxy.settings.tls import Tls
from tokenproxy.tasks import cancelled, done_within, spawn
from tokenproxy.tokens import endpoint
from tokenproxy.tokens.build import build_source, build_stores
from tokenproxy.tokens.fingerprint import config_label, record_key
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.mistakes import Mistakes
from tokenproxy.tokens.namedfiles import Contents, theirs
from tokenproxy.tokens.shared import Shared
from tokenproxy.tokens.store import StoreFactory
from tokenproxy.tokens.stores.memory import MemoryStores


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What keepers take from outside; `environment` is what commands get."""

    clock: Clock
    random: Random
    observe: Observe
    variables: Mapping[str, str]
    environment: Mapping[str, str]
    state_folder: Path


@dataclass(frozen=True, slots=True)
class _Terms:
    """All that a keeper was made by: where it is equal, so is the keeper."""

    settings: AnyCredential
    files: Contents
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A keeper, and the stores that it keeps its record in."""

    terms: _Terms
    keeper: Shared[Keeper]
    stores: Shared[StoreFactory]


class Estate:
    """Stores and keepers; `build` it, `start` it, and `close` the keepers before the stack ends."""

    def __init__(
        self,
        store: AnyStore,
        credentials: Mapping[str, AnyCredential],
        around: Surroundings,
    ) -> None:
        self.keepers: dict[str, Keeper] = {}
        self._store = store
        self._credentials = credentials
        self._around = around
        self._kept: dict[str, _Kept] = {}
        self._new: list[Keeper] = []
        self._stores: Shared[StoreFactory] | None = None
        self._ours_to_end: list[Keeper] | None = None  # once it has left

    async def build(
        self,
        stack: AsyncExitStack,
        mistakes: Mistakes,
        before: "Estate | None",
        files: Contents,
    ) -> None:
        """Put all of it together, and start nothing; the stack gives it back.

        `files` are those that the credentials name, as they are now.
        """
        self.keepers, self._kept, self._new, self._ours_to_end = {}, {}, [], None
        stores = self._build_stores(mistakes, before)
        self._stores = stores
        stack.push_async_callback(stores.release)
        stack.push_async_callback(self._give_up)
        for name, settings in self._credentials.items():
            terms = self._terms(settings, files)
            kept = None if before is None else before.bequeath(name, terms, stores)
            if kept is None:
                with mistakes.noted(f"credentials.{name}"):
                    kept = await self._new_keeper(name, terms, stores, mistakes)
            if kept is not None:
                stack.push_async_callback(kept.keeper.release)
                self._kept[name] = kept
                self.keepers[name] = kept.keeper.value

    def bequeath(self, name: str, terms: _Terms, stores: Shared[StoreFactory]) -> _Kept | None:
        """The keeper of that name for one more user, if it is one by these terms."""
        kept = self._kept.get(name)
        if kept is None or kept.terms != terms or kept.stores is not stores:
            return None
        kept.keeper.share()
        return kept

    def _build_stores(self, mistakes: Mistakes, before: "Estate | None") -> Shared[StoreFactory]:
        if before is not None and before._stores is not None and before._store == self._store:  # noqa: SLF001 - one of us
            return before._stores.share()  # noqa: SLF001 - the same
        stores: StoreFactory = MemoryStores()
        with mistakes.noted("store"):
            stores = build_stores(self._store, state_folder=self._around.state_folder)
        return Shared(stores, stores.close)

    def _terms(self, settings: AnyCredential, files: Contents) -> _Terms:
        runs = isinstance(settings, Command)
        return _Terms(settings, theirs(settings, files), self._around.environment if runs else {})

    async def _new_keeper(
        self, name: str, terms: _Terms, stores: Shared[StoreFactory], mistakes: Mistakes
    ) -> _Kept:
        """A keeper, with the session that it asks its issuer by. Raises ConfigError."""
        where = f"credentials.{name}"
        tls: ssl.SSLContext | Literal[True] = True
        with mistakes.noted(where):
            tls = endpoint.tls_context(_tls(terms.settings), f"{where}.tls")
        async with AsyncExitStack() as own:
            session = await own.enter_async_context(endpoint.open_session(tls=tls))
            keeper = self._keeper(name, terms.settings, session, stores.value)
            self._new.append(keeper)
            return _Kept(terms, Shared(keeper, own.pop_all().aclose), stores)

    def _keeper(
        self,
        name: str,
        settings: AnyCredential,
        session: aiohttp.ClientSession,
        stores: StoreFactory,
    ) -> Keeper:
        around = self._around
        source = build_source(
            name,
            settings,
            session=session,
            environment=around.environment,
            variables=around.variables,
            clock=around.clock,
        )
        kept_in = stores if source.persistent else MemoryStores()
        return Keeper(
            name,
            source,
            kept_in.open(record_key(name, settings)),
            settings.refresh,
            clock=around.clock,
            random=around.random,
            observe=around.observe,
            config=cache(partial(config_label, record_key(name, settings), settings)),
        )

    async def start(self, *, ahead: bool) -> None:
        """Start the keepers that are new; the others go on. Not all renew `ahead` of need.

        All at once: a store that does not answer holds up all of them no longer than one.
        """
        await asyncio.gather(*(keeper.start(ahead=ahead) for keeper in self._new))

    async def close(self, grace: float) -> None:
        """End the keepers that nobody else uses; a renewal under way is given `grace` seconds.

        All at once: together they get the grace that each of them may need. After that the store
        is given up on, where it does not answer. None is left behind by one whose leaving is
        cancelled: then they get no grace.
        """
        keepers = self._leave()
        closing = spawn(_close_all(keepers, grace), name="close keepers")
        try:
            await done_within(closing, grace, self._around.clock.sleep)
        except asyncio.CancelledError:
            self._hurry()
            await cancelled(closing)
            await _close_all(keepers, 0.0)
            raise
        self._hurry()
        await asyncio.wait({closing})
        closing.result()

    def _hurry(self) -> None:
        if self._stores is not None and self._stores.is_left:
            self._stores.value.hurry()

    def _leave(self) -> list[Keeper]:
        """Be one user less of all that is shared, once; the keepers that nobody else stays with."""
        if self._ours_to_end is None:
            if self._stores is not None:
                self._stores.leave()
            kept = self._kept.values()
            self._ours_to_end = [each.keeper.value for each in kept if each.keeper.leave()]
        return self._ours_to_end

    async def _give_up(self) -> None:
        """Leave what was put together and never closed."""
        if self._ours_to_end is None:
            await _close_all(self._leave(), 0.0)


async def _close_all(keepers: Sequence[Keeper], grace: float) -> None:
    closing = [keeper.close(grace) for keeper in keepers]
    for outcome in await asyncio.gather(*closing, return_exceptions=True):
        if outcome is not None:
            raise outcome


def _tls(settings: AnyCredential) -> Tls:
    return settings.tls if isinstance(settings, NetworkCredential) else Tls()
