"""Keeps one credential's token: one renewal for all who wait, however many they are.

A renewal is a task of its own. Those who wait for it only watch it, so one who leaves cancels
nobody else; its outcome settles in the slot by the task's done callback, which runs before any
waiter wakes, and also for a task that was cancelled before its first step.

Within the store's lock the record is read again before the issuer is asked: another process
may have renewed meanwhile. What the issuer gives is stored before it is used.
"""

import asyncio
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from tokenproxy.clock import Clock, Moment
from tokenproxy.errors import SourceError, SourceRefused, SourceUnavailable, StoreError
from tokenproxy.events import (
    LoginRequired,
    Observe,
    RenewalFailed,
    StoreTrouble,
    TokenRejected,
    TokenRenewed,
    TokenTakenUp,
)
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tasks import cancelled, done_within, spawn
from tokenproxy.tokens.renewal import Renewal
from tokenproxy.tokens.slot import (
    Fetch,
    Held,
    Join,
    Refused,
    Rejection,
    Slot,
    State,
    Use,
    Wait,
)
from tokenproxy.tokens.source import Source
from tokenproxy.tokens.store import Lease, TokenStore
from tokenproxy.tokens.token import Granted, Record
from tokenproxy.tokens.vault import Vault

LONGEST_NAP = 30.0  # a clock that was set, or a machine that slept, is noticed within this time
RESCUE_SPACING = 300.0  # contract 3.3.6
RENEWAL_SPACING = 1.0  # a source whose tokens are dead on arrival is asked once a second


class How(Enum):
    """How a renewal came by its token."""

    FOUND = "in the store: another process had renewed it"
    GRANTED = "from the source: a new one"
    SAME = "from the source: the one that we had"


@dataclass(frozen=True, slots=True)
class Renewed:
    """There is a token, and it has been stored."""

    record: Record
    how: How


Outcome = Renewed | SourceUnavailable | SourceRefused


class Keeper:
    """The token of one credential, for one process.

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
    ) -> None:
        self.name = name
        self._source = source
        self._settings = settings
        self._clock = clock
        self._random = random
        self._observe = observe
        self._slot = Slot(settings, random, renewable=source.renewable)
        self._vault = Vault(name, store, clock=clock, observe=observe)
        self._renewal: asyncio.Task[Outcome] | None = None
        self._forced = False
        self._login_refusal: SourceRefused | None = None
        self._last_began: Moment | None = None
        self._last_rescue: Moment | None = None
        self._stirred = asyncio.Event()
        self._helpers: list[asyncio.Task[None]] = []

    # -- asked by requests -------------------------------------------------------------------

    def peek(self) -> Held | None:
        """A token that may be sent now, if there is one; renewed behind the caller when due."""
        match self._slot.need(self._clock.now()):
            case Use(held, renew):
                if renew:
                    self._begin()
                return held
            case Join() | Fetch() | Wait() | Refused():
                return None

    async def get(self) -> Held:
        """A token that may be sent, waited for `refresh.wait` seconds at most.

        Raises:
            SourceUnavailable: there is none, and may be later.
            SourceRefused: there is none until a person acts.
        """
        deadline = self._clock.now().after(self._settings.wait)
        while True:
            match self._slot.need(self._clock.now()):
                case Use(held, renew):
                    if renew:
                        self._begin()
                    return held
                case Refused(refusal):
                    raise SourceRefused(str(refusal))
                case Wait(error, seconds):
                    raise SourceUnavailable(str(error), retry_after=seconds)
                case Join() | Fetch():
                    self._begin()
                    await self._wait(deadline)

    def rejected(self, generation: int) -> Rejection:
        """The API did not take the token of `generation`, and only that one."""
        rejection = self._slot.rejected(generation, self._clock.now())
        if rejection is Rejection.RENEW and self._slot.held is not None:
            self._observe(TokenRejected(self.name, self._slot.held.token.access.label))
            self._stirred.set()
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
                self._begin()
            case Use() | Join() | Wait() | Refused():
                pass

    @property
    def state(self) -> State:
        """The state as contract 4 names it."""
        return self._slot.state(self._clock.now())

    @property
    def not_persisted(self) -> bool:
        """Whether the token in use is in memory only, though the store should keep it."""
        return self._vault.unsaved is not None

    # -- lifetime ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up what the store holds, then look after it."""
        await self._look()
        self._helpers = [
            spawn(self._watch_store(), name=f"watch the store of {self.name}"),
            spawn(self._watch_source(), name=f"watch the source of {self.name}"),
        ]
        if self._settings.background:
            self._helpers.append(spawn(self._look_ahead(), name=f"renew {self.name} ahead"))

    async def close(self, grace: float = 0.0) -> None:
        """End all that runs; a renewal under way is given `grace` seconds to be stored."""
        await cancelled(*self._helpers)
        if self._renewal is not None:
            await done_within(self._renewal, grace, self._clock.sleep)
        await cancelled(self._renewal)
        await self._vault.close()

    # -- the renewal -------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start a renewal, unless one is under way."""
        if self._renewal is None:
            self._slot.begin()
            self._renewal = spawn(self._renew(), name=f"renew {self.name}")
            self._renewal.add_done_callback(self._settle)

    async def _wait(self, deadline: Moment) -> None:
        """Wait for the renewal that is under way, without ever cancelling it."""
        renewal, left = self._renewal, self._clock.now().until(deadline)
        if renewal is None:
            return
        if left <= 0 or not await done_within(renewal, left, self._clock.sleep):
            raise SourceUnavailable(
                f"no token for credential '{self.name}' came in time; it is still being fetched",
                retry_after=1.0,
            )

    async def _renew(self) -> Outcome:
        await self._keep_apart()
        forced, self._forced = self._forced, False
        began = self._last_began = self._clock.now()
        try:
            outcome = await self._renew_locked(forced=forced)
        except (SourceUnavailable, SourceRefused) as error:
            return error
        if outcome.how is How.GRANTED:
            self._announce(outcome.record, began)
        return outcome

    async def _keep_apart(self) -> None:
        if self._last_began is not None:
            left = RENEWAL_SPACING - self._clock.now().since(self._last_began)
            if left > 0:
                await self._clock.sleep(left)

    async def _renew_locked(self, *, forced: bool) -> Renewed:
        async with AsyncExitStack() as held_while_renewing:
            lease = await self._vault.lock(held_while_renewing)
            record = self._planted(await self._vault.newest())
            self._slot.take_up(record, self._clock.now())
            if not forced and self._slot.is_fresh(self._clock.now()):
                return Renewed(record, How.FOUND)
            return await self._ask(record, lease)

    async def _ask(self, record: Record, lease: Lease | None) -> Renewed:
        renewal = Renewal(
            self._source,
            retries=self._settings.retries if not self._slot.failures else 0,
            patience=self._settings.wait,
            login_refusal=self._login_refusal,
            may_rescue=self._may_rescue,
            clock=self._clock,
            random=self._random,
        )
        try:
            granted = await renewal.run(record)
        except (SourceUnavailable, SourceRefused) as error:
            if renewal.renew_refused:
                await self._forget_refused(record, error, lease)
            raise
        finally:
            self._login_refusal = renewal.login_refusal
        return await self._store(record, granted, lease)

    async def _store(self, record: Record, granted: Granted, lease: Lease | None) -> Renewed:
        now = self._clock.now().wall
        self._check_alive(granted.token.expires_at, now)
        same = record.token is not None and record.token.access == granted.token.access
        if same and granted.refresh in {None, record.refresh}:
            return Renewed(record, How.SAME)
        new = replace(
            record,
            token=granted.token,
            refresh=granted.refresh or record.refresh,
            renewed_at=now,
            error=None,
        )
        return Renewed(await self._vault.save(new, lease), How.GRANTED)

    async def _forget_refused(
        self, record: Record, error: SourceError, lease: Lease | None
    ) -> None:
        """A refresh token that was refused is never sent again, by us or by another process."""
        if record.refresh is not None:
            left = await self._vault.save(replace(record, refresh=None, error=str(error)), lease)
            self._slot.take_up(left, self._clock.now())

    def _check_alive(self, expires_at: float | None, now: float) -> None:
        if expires_at is None or expires_at > now:
            return
        message = f"credential '{self.name}': the token that came has already expired"
        if self._source.renewable:
            raise SourceUnavailable(message)
        raise SourceRefused(f"{message}; put a new one in its place")

    def _may_rescue(self) -> bool:
        """Whether to log in though nothing was refused: contract 3.3.6, once in five minutes."""
        now = self._clock.now()
        if not self._slot.failures or self._slot.usable(now) is not None:
            return False
        if self._last_rescue is not None and now.since(self._last_rescue) < RESCUE_SPACING:
            return False
        self._last_rescue = now
        return True

    def _planted(self, record: Record) -> Record:
        """The record, begun anew where the config holds another first refresh token."""
        seed = self._source.seed
        if seed is None or record.seed == seed.label:
            return record
        return Record(record.generation, refresh=seed, seed=seed.label)

    def _settle(self, task: asyncio.Task[Outcome]) -> None:
        """Take the outcome into the slot; the first to run once the renewal has ended."""
        self._renewal = None
        self._stirred.set()
        if task.cancelled():
            self._slot.abandon()
            return
        fault = task.exception()
        self._take(task.result() if fault is None else self._as_failure(fault))
        if self._forced:
            self._begin()

    def _take(self, outcome: Outcome) -> None:
        now = self._clock.now()
        match outcome:
            case Renewed(record, how):
                self._slot.renewed(record, now, same=how is How.SAME)
                if how is How.FOUND and record.token is not None:
                    self._observe(TokenTakenUp(self.name, record.token.access.label))
            case SourceUnavailable() as error:
                self._report(error, self._slot.failed(error, now))
            case SourceRefused() as error:
                self._slot.refused(error)
                self._observe(LoginRequired(self.name, str(error)))

    def _as_failure(self, fault: BaseException) -> SourceUnavailable:
        """A fault of our own must not leave anybody waiting for ever."""
        kind = type(fault).__name__
        return SourceUnavailable(
            f"credential '{self.name}': the renewal met a fault in tokenproxy itself ({kind})"
        )

    def _report(self, error: SourceUnavailable, next_try: float | SourceRefused) -> None:
        match next_try:
            case SourceRefused() as refusal:
                self._observe(LoginRequired(self.name, str(refusal)))
            case float() as seconds:
                self._observe(RenewalFailed(self.name, str(error), seconds))

    def _announce(self, record: Record, began: Moment) -> None:
        token = record.token
        if token is None:
            return
        now = self._clock.now()
        life = None if token.expires_at is None else token.expires_at - now.wall
        seconds = now.steady - began.steady
        self._observe(TokenRenewed(self.name, token.access.label, seconds, life))

    # -- in the background -------------------------------------------------------------------

    async def _look_ahead(self) -> None:
        while True:
            self._stirred.clear()
            self.renew_behind()
            seconds = self._slot.attention(self._clock.now())
            nap = LONGEST_NAP if seconds is None else min(max(seconds, 0.0), LONGEST_NAP)
            stirred = spawn(self._stirred.wait(), name=f"{self.name} stirs")
            try:
                await done_within(stirred, nap, self._clock.sleep)
            finally:
                await cancelled(stirred)

    async def _watch_store(self) -> None:
        async with aclosing(self._vault.changes()) as changes:
            async for _ in changes:
                await self._look()

    async def _watch_source(self) -> None:
        async with aclosing(self._source.changes()) as changes:
            async for _ in changes:
                self._forced = True
                self._begin()

    async def _look(self) -> None:
        """Take up what the store holds, if it is newer than what we have."""
        try:
            record = self._planted(await self._vault.load())
        except StoreError as error:
            self._observe(StoreTrouble(self.name, str(error)))
            return
        if not self._slot.take_up(record, self._clock.now()):
            return
        self._login_refusal = None  # the store has changed: a login may work again
        if record.token is not None:
            self._observe(TokenTakenUp(self.name, record.token.access.label))
        self._stirred.set()
