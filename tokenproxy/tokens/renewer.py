"""One renewal from lock to lock: look again, ask the source, store what it gave, take it up.

Within the store's lock the record is read again before the source is asked: another process
may have renewed meanwhile. What the source gives is stored before it is used.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tokenproxy.clock import Clock, Moment
from tokenproxy.errors import SourceRefused, SourceUnavailable, StoreError
from tokenproxy.events import (
    Event,
    LoginRequired,
    Observe,
    RenewalFailed,
    StoreTrouble,
    TokenRenewed,
    TokenTakenUp,
)
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tasks import Bell, cancelled, spawn
from tokenproxy.tokens.flight import setback
from tokenproxy.tokens.renewal import Refusals, Renewal
from tokenproxy.tokens.slot import Refused, Slot
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.store import Lease
from tokenproxy.tokens.token import Granted, Record, Setback, Token, Unusable
from tokenproxy.tokens.vault import Vault

RESCUE_SPACING = 300.0  # contract 3.3.6
STORE_PAUSES = (0.1, 0.3, 0.9)  # seconds between tries to reach a store that cannot be reached
ASKING_SPACING = 1.0  # a source whose tokens are dead on arrival is asked once a second


class Renewer:
    """Brings tokens from the source and the store into the slot; `changed` rings then.

    `config` gives the label of the credential's settings: what went wrong with others says
    nothing about these.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        vault: Vault,
        slot: Slot,
        settings: Refresh,
        *,
        clock: Clock,
        random: Random,
        observe: Observe,
        changed: Bell,
        config: Callable[[], str],
    ) -> None:
        self._name = name
        self._config = config
        self._source = source
        self._vault = vault
        self._slot = slot
        self._settings = settings
        self._clock = clock
        self._random = random
        self._observe = observe
        self._changed = changed
        self._refusals = Refusals()
        self._has_changed = False  # the source, since it was asked last
        self._rooted = False
        self._replaced: Record | None = None  # what stands where our first token is to go
        self._has_lock = False
        self._last_asked: Moment | None = None
        self._known_setback: Setback | None = None
        self._rescued_at = 0.0

    async def look(self) -> None:
        """Take up what the store holds, if it is newer than what we have. Raises StoreError."""
        self._find(self._ours(await self._vault.load()))

    async def renew(self, *, forced: bool) -> Event | None:
        """Put a good token into the slot; `forced` asks even where there is one.

        Gives what there is to announce: the slot has been told already.

        Raises:
            SourceUnavailable: the store did not let us ask.
        """
        await self._keep_apart()
        for pause in STORE_PAUSES:
            try:
                return await self._renew(forced=forced)
            except StoreError:  # nothing has been asked yet; a Redis that restarts is soon back
                await self._clock.sleep(pause)
        try:
            return await self._renew(forced=forced)
        except StoreError as error:
            raise SourceUnavailable(f"credential '{self._name}': {error}") from error

    async def _renew(self, *, forced: bool) -> Event | None:
        """Renew within the lock, unless a token turns up while others have it.

        A thousand replicas that are due together would else take the lock one after the other,
        only to see that nothing is left to do. Raises StoreError.
        """
        if forced:
            return await self._renew_locked(forced=True)
        self._has_lock = False
        work = spawn(self._renew_locked(forced=False), name=f"renew {self._name} in the lock")
        try:
            while not work.done():
                change = self._changed.next_ring
                if not self._has_lock and not self._is_called_for():
                    return None
                waiting: set[asyncio.Future[Any]] = {work, change}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return work.result()
        finally:
            await cancelled(work)
            work.cancelled() or work.exception()  # has been seen

    async def _renew_locked(self, *, forced: bool) -> Event | None:
        """Look again, then ask. Raises StoreError where the store does not let us ask."""
        began = self._clock.now()
        async with self._vault.locked() as lease:
            self._has_lock = True
            record = await self._newest()
            self._find(record)
            if forced:
                self._forgive()
            if forced or self._is_called_for():
                return await self._ask(record, lease, began)
        return None

    def source_changed(self) -> None:
        """What it has refused it may grant now."""
        self._has_changed = True

    def _forgive(self) -> None:
        """Let a refused login be tried again, unless only a person asks, and that too soon."""
        if self._has_changed or not self._is_just_refused:
            self._refusals.forget()
        self._has_changed = False

    @property
    def _is_just_refused(self) -> bool:
        since = self._clock.now().since(self._refusals.login_at)
        return self._refusals.login is not None and since < self._settings.min_interval

    @property
    def refused_lately(self) -> str | None:
        """The sentence of a login that was refused less than `min_interval` ago, if it was all."""
        return self._refusals.login if self._slot.is_refused and self._is_just_refused else None

    def _is_called_for(self) -> bool:
        """Whether there is still something to ask for, and it may be asked for.

        Another process may have got a token meanwhile, or may have been told to wait.
        """
        now = self._clock.now()
        return self._slot.fresh(now) is None and self._slot.may_try(now)

    async def adopt(self, granted: Granted) -> None:
        """Keep what a person has signed in for. Raises StoreError."""
        began = self._clock.now()
        async with self._vault.locked() as lease:
            record = self._ours(await self._vault.load())
            await self._store(_Course(record), granted, lease, began, carries_on=False)
        self._slot.recover()

    async def forget(self) -> Record:
        """Leave a tombstone in the record's place, and give what was there. Raises StoreError."""
        async with self._vault.locked() as lease:
            record = self._ours(await self._vault.load())
            at = self._clock.now().wall
            self._find(await self._vault.save(record.tombstone(at), lease))
        return record

    async def _keep_apart(self) -> None:
        if self._last_asked is not None:
            left = ASKING_SPACING - self._clock.now().since(self._last_asked)
            if left > 0:
                await self._clock.sleep(left)

    # -- the store ---------------------------------------------------------------------------

    async def _newest(self) -> Record:
        """What the store holds; where it cannot be read, what we know, or as much as to log in.

        Raises:
            StoreError: it may hold a refresh token that has replaced the one that we would send,
                which must not be sent again (contract 3.3.4), or what a person has signed in for.
        """
        try:
            return self._ours(await self._vault.load())
        except StoreError as error:
            known = self._ours(self._vault.known)
            if self._vault.unsaved is None:
                known = replace(known, refresh=None)  # it may have been replaced
                if self._source.attempts(known) != (Attempt.LOGIN,):
                    raise
            self._observe(StoreTrouble(self._name, str(error)))
            return known

    def _ours(self, record: Record) -> Record:
        """The record as it is for these settings."""
        return self._planted(record.under(self._config()))

    def _planted(self, record: Record) -> Record:
        """The record, begun anew where the config holds another first token.

        Only until ours has been seen in the store: a process with a later config may put its
        own in place then, and whoever would put ours back would send what has been replaced.
        Where a record was lost, ours may have been replaced too, and nobody can tell.

        What was there is replaced by a success alone: a first token that is refused may be a
        mistake, and whoever takes it back goes on with what there was. One that an answer has
        replaced is not sent again by whoever still has it: its issuer may take that for theft.
        """
        self._replaced = None
        seed = self._source.seed
        if seed is None or self._rooted:
            return record
        if record.seed == seed.token.label:
            self._rooted = True
            return record
        self._replaced = record
        setback = record.setback
        is_refused = setback is not None and setback.seed_refused == seed.token.label
        spent = record.replaced_seeds if seed.is_refresh_token else ()
        is_spent = record.lost or is_refused or seed.token.label in spent
        return Record(
            record.generation,
            refresh=seed.token if seed.is_refresh_token and not is_spent else None,
            seed=seed.token.label,
            spent=spent,
            setback=setback,
            others=record.others,
        )

    def _find(self, record: Record) -> None:
        """Take up what somebody else may have put into the store."""
        before = self._slot.held
        news = self._slot.take_up(record, self._clock.now())
        if news:
            self._refusals.forget()
        if record.setback is not None:
            self._learn(record, record.setback)
        held = self._slot.held
        if news and held is not None and (before is None or before.generation != held.generation):
            self._observe(TokenTakenUp(self._name, held.token.access.label))
        self._admit_helplessness(record)
        if news:
            self._changed.ring()

    def _admit_helplessness(self, record: Record) -> None:
        """Where only a person can help, that is so before anybody has asked."""
        if self._slot.is_renewing or isinstance(self._slot.need(self._clock.now()), Refused):
            return  # more has been said about it, or will be
        if not self._source.attempts(record) and self._slot.usable(self._clock.now()) is None:
            why = self._slot.refused(self._source.helpless).why
            self._observe(LoginRequired(self._name, why))

    def _learn(self, record: Record, setback: Setback) -> None:
        """What another process met with, or we did before a restart, is not tried again."""
        if setback == self._known_setback:
            return
        self._known_setback = setback
        self._slot.learn(setback, self._clock.now())
        self._changed.ring()
        self._rescued_at = max(self._rescued_at, setback.rescued_at)
        self._refusals.login = setback.login_refused
        self._refusals.means = setback.means_refused
        login_is_all = self._source.attempts(record) == (Attempt.LOGIN,)
        if setback.login_refused is not None and login_is_all:
            why = self._slot.refused(setback.login_refused).why
            self._observe(LoginRequired(self._name, why))

    # -- the source --------------------------------------------------------------------------

    async def _ask(self, record: Record, lease: Lease | None, began: Moment) -> Event | None:
        """One renewal; what it brings is stored, and so is what went wrong."""
        self._last_asked = self._clock.now()
        course = _Course(record)
        renewal = Renewal(
            self._source,
            retries=0 if self._slot.failures else self._settings.retries,
            patience=self._settings.wait,
            refusals=self._refusals,
            may_rescue=self._may_rescue,
            forget=lambda refusal: self._forget(course, refusal, lease),
            clock=self._clock,
            random=self._random,
        )
        try:
            granted = await renewal.run(record)
            carries_on = renewal.attempt is Attempt.RENEW
            await self._store(course, granted, lease, began, carries_on=carries_on)
        except (SourceUnavailable, SourceRefused) as error:
            return await self._fail(course, error, lease, began)
        self._slot.renewed()
        return None

    async def _forget(self, course: "_Course", refusal: SourceRefused, lease: Lease | None) -> None:
        """A refresh token that was refused is never sent again, by us or by another process."""
        if course.record.refresh is not None and not refusal.of_the_client:
            token = None if self._is_rejected(course.record) else course.record.token
            course.record = replace(course.record, refresh=None, token=token)
            await self._save_setback(course, self._with(course.record, str(refusal)), lease)

    def _is_rejected(self, record: Record) -> bool:
        """Whether the API does not take the token of a record."""
        return self._slot.is_rejected and record.token is not None

    async def _fail(
        self,
        course: "_Course",
        error: SourceUnavailable | SourceRefused,
        lease: Lease | None,
        began: Moment,
    ) -> Event:
        """Tell the slot, and then all who share the record."""
        now = self._clock.now()
        record = course.record
        if isinstance(error, Unusable) and error.refresh is not None:
            record = replace(record, refresh=error.refresh)
            self._slot.take_up(record, now)
        elif isinstance(error, SourceRefused) and self._is_rejected(record):
            course.record = replace(record, token=None)  # and no other one will follow
            await self._save_setback(course, self._with(course.record, str(error)), lease)
            record = course.record
        event = setback(self._name, self._slot, error, now, now.steady - began.steady)
        pause = event.retry_in if isinstance(event, RenewalFailed) else 0.0
        failed = self._with(record, str(error), not_before=now.wall + pause if pause else 0.0)
        self._known_setback = failed.setback
        if failed != record:
            await self._save_setback(course, failed, lease)
        return event

    async def _save_setback(self, course: "_Course", failed: Record, lease: Lease | None) -> None:
        """Tell all who share the record; what ours was to replace stays in its place."""
        if self._replaced is None or course.is_stored:
            course.record = await self._vault.note(failed, lease)
        else:
            kept = replace(self._replaced, setback=failed.setback, others=failed.others)
            saved = await self._vault.note(replace(kept, lost=False), lease)
            course.record = replace(failed, generation=saved.generation)
        self._slot.take_up(course.record, self._clock.now())

    def _with(self, record: Record, error: str, *, not_before: float = 0.0) -> Record:
        return replace(
            record,
            setback=Setback(
                error=error,
                config=self._config(),
                failures=self._slot.failures,
                doubts=self._slot.doubts,
                not_before=not_before,
                pause=max(0.0, not_before - self._clock.now().wall),
                means_refused=self._refusals.means,
                rescued_at=self._rescued_at,
                login_refused=self._refusals.login,
                seed_refused=self._refused_seed(record),
            ),
        )

    def _refused_seed(self, record: Record) -> str | None:
        """The label of our first refresh token, where it is what has been refused."""
        seed = self._source.seed
        is_spent = seed is not None and seed.is_refresh_token and record.refresh is None
        return record.seed if is_spent and self._replaced is not None else None

    async def _store(
        self,
        course: "_Course",
        granted: Granted,
        lease: Lease | None,
        began: Moment,
        *,
        carries_on: bool,
    ) -> None:
        """What a renewal leaves out stays as it was (RFC 6749 6); a login begins anew."""
        record = course.record
        before = record if carries_on else Record()
        new = replace(
            record,
            token=granted.token,
            refresh=granted.refresh or before.refresh,
            dpop_key=granted.dpop_key or before.dpop_key,
            renewed_at=self._clock.now().wall,
            setback=None,
            others=(),
        )
        course.record = await self._vault.save(new, lease)
        course.is_stored = True
        self._rooted = True
        self._refusals.forget()
        self._slot.take_up(course.record, self._clock.now())
        self._changed.ring()
        self._check_alive(granted.token)
        if record.token is None or record.token.access != granted.token.access:
            self._announce(granted.token, began)

    def _check_alive(self, token: Token) -> None:
        if token.expires_at is None or token.expires_at > self._clock.now().wall:
            return
        message = f"credential '{self._name}': the token that came has already expired"
        if self._source.renewable:
            raise SourceUnavailable(message)
        raise SourceRefused(f"{message}; put a new one in its place")

    def _announce(self, token: Token, began: Moment) -> None:
        now = self._clock.now()
        life = None if token.expires_at is None else token.expires_at - now.wall
        seconds = now.steady - began.steady
        self._observe(TokenRenewed(self._name, token.access.label, seconds, life))

    def _may_rescue(self) -> bool:
        """Whether to log in though nothing was refused: contract 3.3.6, once in five minutes."""
        now = self._clock.now()
        if not self._slot.failures or self._slot.usable(now) is not None:
            return False
        if abs(now.wall - self._rescued_at) < RESCUE_SPACING:
            return False
        self._rescued_at = now.wall
        return True


@dataclass(slots=True)
class _Course:
    """What is left of the record while a renewal goes on."""

    record: Record
    is_stored: bool = False  # what was granted has been
