"""Keeps one credential's token: one renewal for all who wait, however many they are.

What may be done is decided by the slot; a renewal is the flight's; what it does is the
renewer's; the store is behind the vault; and what goes on with nobody asking is the vigil.
Here are the questions that requests ask, and the lifetimes of all of these.
"""

import asyncio
import math
from collections.abc import Callable
from random import Random

from tokenproxy.clock import Clock, Moment
from tokenproxy.errors import SourceRefused, SourceUnavailable, StoreError
from tokenproxy.events import (
    LoginRequired,
    Observe,
    RenewalFailed,
    StoreTrouble,
    TokenRejected,
)
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tasks import Bell, cancelled, done_within, spawn
from tokenproxy.tokens.flight import Flight
from tokenproxy.tokens.renewer import Renewer
from tokenproxy.tokens.slot import Fetch, Held, Join, Refused, Rejection, Slot, State, Use, Wait
from tokenproxy.tokens.source import SignIn, Source
from tokenproxy.tokens.status import Status
from tokenproxy.tokens.store import TokenStore
from tokenproxy.tokens.token import Granted
from tokenproxy.tokens.vault import Vault
from tokenproxy.tokens.vigil import follow, look_ahead

SOON = 1.0  # seconds after which a caller who waited in vain may ask again


class Keeper:
    """The token of one credential, for one process.

    `config` gives a label that is another one when the credential's settings are.
    `start` it before use and `close` it after; in between nothing but `get` and `replaced`
    ever waits.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        store: TokenStore,
        settings: Refresh,
        *,
        clock: Clock,
        random: Random,
        observe: Observe,
        config: Callable[[], str] = lambda: "",
    ) -> None:
        self.name = name
        self._source = source
        self._config = config
        self._settings = settings
        self._clock = clock
        self._observe = observe
        self._changed = Bell()
        self._slot = Slot(settings, random, renewable=source.renewable)
        self._vault = Vault(name, store, clock=clock, observe=observe)
        self._renewer = Renewer(
            name,
            source,
            self._vault,
            self._slot,
            settings,
            clock=clock,
            random=random,
            observe=observe,
            changed=self._changed,
            config=config,
        )
        self._flight = Flight(
            name,
            self._slot,
            self._renewer.renew,
            clock=clock,
            observe=observe,
            changed=self._changed,
        )
        self._vigil: list[asyncio.Task[None]] = []
        self._told = False  # to end

    # -- asked by requests -------------------------------------------------------------------

    def peek(self) -> Held | None:
        """A token that may be sent now, if there is one; renewed behind the caller when due."""
        now = self._clock.now()
        return self._slot.fresh(now) or self._not_fresh(now)

    def _not_fresh(self, now: Moment) -> Held | None:
        match self._slot.need(now):
            case Use(held, renew):
                if renew:
                    self._flight.begin()
                return held
            case Join() | Fetch() | Wait() | Refused():
                return None

    async def get(self) -> Held:
        """A token that may be sent, waited for `refresh.wait` seconds at most.

        Raises:
            SourceUnavailable: there is none, and may be later.
            SourceRefused: there is none until a person acts.
        """
        if (held := self.peek()) is not None:
            return held
        deadline = self._clock.now().after(self._settings.wait)
        while True:
            match self._slot.need(self._clock.now()):
                case Use(held, renew):
                    if renew:
                        self._flight.begin()
                    return held
                case Refused(why):
                    raise SourceRefused(why)
                case Wait(why, seconds):
                    raise SourceUnavailable(why, retry_after=seconds)
                case Join() | Fetch():
                    self._flight.begin()
                    await self._change(deadline)

    async def _change(self, deadline: Moment) -> None:
        """Wait until the slot has changed; whoever waits cancels nobody by leaving."""
        if self._flight.closed:
            raise SourceUnavailable(f"credential '{self.name}': tokenproxy ends", retry_after=SOON)
        change, left = self._changed.next_ring, self._clock.now().until(deadline)
        if left <= 0 or not await done_within(change, left, self._clock.sleep):
            raise SourceUnavailable(
                f"no token for credential '{self.name}' came in time; it is still being fetched",
                retry_after=SOON,
            )

    def rejected(self, generation: int) -> Rejection:
        """The API did not take the token of `generation`, and only that one."""
        now = self._clock.now()
        used = self._slot.usable(now)
        rejection = self._slot.rejected(generation, now)
        if rejection is Rejection.RENEW and used is not None:
            self._changed.ring()
            self._observe(TokenRejected(self.name, used.token.access.label))
        return rejection

    async def replaced(self, generation: int) -> Held | None:
        """A newer token than that of `generation`; None where none could be had in time."""
        try:
            held = await self.get()
        except (SourceUnavailable, SourceRefused):
            return None
        return held if held.generation > generation else None

    def renew_behind(self) -> None:
        """Have a token that is due or dead renewed, with nobody waiting for it."""
        match self._slot.need(self._clock.now()):
            case Use(_, True) | Fetch():
                self._flight.begin()
            case Use() | Join() | Wait() | Refused():
                pass

    # -- asked by people ---------------------------------------------------------------------

    async def refresh(self) -> Held:
        """Ask the source now, whatever there is.

        A login that it has refused is sent again, but once in `min_interval` seconds: an account
        may be locked for many.

        Raises:
            SourceUnavailable: it did not answer.
            SourceRefused: it said no, or did so less than `min_interval` seconds ago.
        """
        if (why := self._renewer.refused_lately) is not None:
            raise SourceRefused(why)
        self._flight.force()
        match await self._flight.landed():
            case RenewalFailed(_, error, seconds):
                raise SourceUnavailable(error, retry_after=seconds)
            case LoginRequired(_, error):
                raise SourceRefused(error)
            case _:
                return await self.get()

    async def probe(self) -> None:
        """Find out whether the store can keep anything, before a person goes to any length.

        Raises:
            StoreError: it cannot be locked or read.
        """
        await self._vault.probe()

    async def adopt(self, granted: Granted) -> None:
        """Keep what a person has signed in for.

        Raises:
            StoreError: the store cannot be locked or read; or not be written, and the token is
                in memory only.
            SourceUnavailable: the token that came is over already.
        """
        await self._renewer.adopt(granted)
        self.check_persisted()

    async def forget(self) -> bool:
        """Forget the tokens, then have them revoked; False where the issuer cannot be told.

        Raises:
            StoreError: the store cannot be locked, read or written: nothing is forgotten there.
            SourceUnavailable: they are forgotten, but the issuer did not revoke them.
        """
        record = await self._renewer.forget()
        self.check_persisted()
        try:
            return await self._source.revoke(record)
        except SourceUnavailable as error:
            raise SourceUnavailable(
                f"{error}; it is forgotten here, and may still be good there",
                retry_after=error.retry_after,
            ) from error

    def check_persisted(self) -> None:
        """Raise StoreError where what there is lives in memory only."""
        if self.not_persisted:
            raise StoreError(self._vault.why_unsaved)

    @property
    def sign_in(self) -> SignIn | None:
        """How a person begins, where one must."""
        return self._source.sign_in

    def status(self) -> Status:
        """How it stands, for a person."""
        record, now = self._vault.known.under(self._config()), self._clock.now()
        held = self._slot.held
        return Status(
            state=self._slot.state(now),
            not_persisted=self.not_persisted,
            expires_at=None if held is None else held.token.expires_at,
            last_renewal=record.renewed_at,
            last_error=self._vault.trouble or record.error,
            is_stored=self._source.persistent,
            is_readable=self._vault.trouble is None,
            issued_at=None if held is None else held.token.issued_at,
            renews_at=None if held is None else self._renews_at(held),
            retry_at=self._slot.retry_at(now),
            token=None if held is None else held.token.access.label,
        )

    def _renews_at(self, held: Held) -> float | None:
        at = held.renew_from.wall
        return at if self._source.renewable and math.isfinite(at) else None

    @property
    def state(self) -> State:
        """The state as contract 4 names it."""
        return self._slot.state(self._clock.now())

    @property
    def is_renewing(self) -> bool:
        """Whether a renewal is under way."""
        return self._slot.is_renewing

    @property
    def not_persisted(self) -> bool:
        """Whether the token in use is in memory only, though the store should keep it."""
        return self._vault.unsaved is not None

    # -- lifetime ----------------------------------------------------------------------------

    async def start(self, *, watch: bool = True, ahead: bool = True) -> None:
        """Take up what the store holds, then look after it; without `watch` only the first.

        Without `ahead` another process renews ahead of need what both find in the store.
        """
        try:
            await self._renewer.look()
        except StoreError as error:
            self._observe(StoreTrouble(self.name, str(error)))
        if not watch:
            return
        store = follow(self._vault.changes, self._renewer.look, self._report, self._clock)
        source = follow(self._source.changes, self._force, self._report, self._clock)
        self._vigil = [
            spawn(store, name=f"watch the store of {self.name}"),
            spawn(source, name=f"watch the source of {self.name}"),
        ]
        if self._settings.background and (ahead or not self._source.persistent):
            looking = look_ahead(self._changed, self.renew_behind, self._attention, self._clock)
            self._vigil.append(spawn(looking, name=f"renew {self.name} ahead"))

    async def close(self, grace: float = 0.0) -> None:
        """End all that runs; a renewal under way is given `grace` seconds to be stored.

        A token that is still good goes on being given to who asks. Whoever was cancelled in here
        may call it again: then all has ended.
        """
        told, self._told = self._told, True
        if not told:
            await cancelled(*self._vigil)
        elif self._vigil:
            await asyncio.wait(self._vigil)  # a second word would break into their clean-up
        await self._flight.close(grace, self._vault.at_rest())
        await self._vault.close()

    def _attention(self) -> float | None:
        return self._slot.attention(self._clock.now())

    async def _force(self) -> None:
        self._renewer.source_changed()
        self._flight.force()

    def _report(self, error: Exception) -> None:
        what = str(error) if isinstance(error, StoreError) else f"fault: {type(error).__name__}"
        self._observe(StoreTrouble(self.name, f"changes may be noticed late ({what})"))
