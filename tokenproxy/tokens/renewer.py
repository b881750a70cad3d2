"""One renewal from lock to lock: look again, ask the source, store what it gave, take it up.

Within the store's lock the record is read again before the source is asked: another process
may have renewed meanwhile. What the source gives is stored before it is used.
"""

from dataclasses import replace
from random import Random

from tokenproxy.clock import Clock, Moment
from tokenproxy.errors import SourceError, SourceRefused, SourceUnavailable, StoreError
from tokenproxy.events import Observe, StoreTrouble, TokenRenewed, TokenTakenUp
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tasks import Bell
from tokenproxy.tokens.renewal import Refusals, Renewal
from tokenproxy.tokens.slot import Slot
from tokenproxy.tokens.source import Source
from tokenproxy.tokens.store import Lease
from tokenproxy.tokens.token import Granted, Record, Token
from tokenproxy.tokens.vault import Vault

RESCUE_SPACING = 300.0  # contract 3.3.6
ASKING_SPACING = 1.0  # a source whose tokens are dead on arrival is asked once a second


class Renewer:
    """Brings tokens from the source and the store into the slot; `changed` rings then."""

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
    ) -> None:
        self._name = name
        self._source = source
        self._vault = vault
        self._slot = slot
        self._settings = settings
        self._clock = clock
        self._random = random
        self._observe = observe
        self._changed = changed
        self._refusals = Refusals()
        self._rooted = False
        self._last_asked: Moment | None = None
        self._last_rescue: Moment | None = None

    async def look(self) -> None:
        """Take up what the store holds, if it is newer than what we have."""
        try:
            self._find(self._planted(await self._vault.load()))
        except StoreError as error:
            self._observe(StoreTrouble(self._name, str(error)))

    async def renew(self, *, forced: bool) -> None:
        """Put a good token into the slot; `forced` asks even where there is one.

        Raises:
            SourceUnavailable: none could be had.
            SourceRefused: none can be had until a person acts.
        """
        await self._keep_apart()
        began = self._clock.now()
        try:
            async with self._vault.locked() as lease:
                record = await self._newest()
                self._find(record)
                if forced or self._slot.fresh(self._clock.now()) is None:
                    await self._ask(record, lease, began)
        except StoreError as error:
            raise SourceUnavailable(f"credential '{self._name}': {error}") from error

    async def _keep_apart(self) -> None:
        if self._last_asked is not None:
            left = ASKING_SPACING - self._clock.now().since(self._last_asked)
            if left > 0:
                await self._clock.sleep(left)

    # -- the store ---------------------------------------------------------------------------

    async def _newest(self) -> Record:
        """What the store holds; what we know, where it cannot be read.

        Raises:
            StoreError: it has never been read, and may hold the refresh token that has replaced
                the config's: that one must not be sent again (contract 3.3.4).
        """
        try:
            return self._planted(await self._vault.load())
        except StoreError as error:
            if self._source.seed is not None and not self._vault.was_read:
                raise
            self._observe(StoreTrouble(self._name, str(error)))
            return self._planted(self._vault.known)

    def _planted(self, record: Record) -> Record:
        """The record, begun anew where the config holds another first refresh token.

        Only until ours has been seen in the store: a process with a later config may put its
        own in place then, and whoever would put ours back would send what has been replaced.
        """
        seed = self._source.seed
        if seed is None or self._rooted:
            return record
        if record.seed == seed.token.label:
            self._rooted = True
            return record
        refresh = seed.token if seed.is_refresh_token else None
        return Record(record.generation, refresh=refresh, seed=seed.token.label)

    def _find(self, record: Record) -> None:
        """Take up what somebody else may have put into the store."""
        before = self._slot.held
        if not self._slot.take_up(record, self._clock.now()):
            return
        self._slot.recover()  # the store has changed: what failed or was refused may work now
        self._refusals.forget()
        held = self._slot.held
        if held is not None and (before is None or before.generation != held.generation):
            self._observe(TokenTakenUp(self._name, held.token.access.label))
        self._changed.ring()

    # -- the source --------------------------------------------------------------------------

    async def _ask(self, record: Record, lease: Lease | None, began: Moment) -> None:
        self._last_asked = self._clock.now()
        renewal = Renewal(
            self._source,
            retries=0 if self._slot.failures else self._settings.retries,
            patience=self._settings.wait,
            refusals=self._refusals,
            may_rescue=self._may_rescue,
            clock=self._clock,
            random=self._random,
        )
        try:
            granted = await renewal.run(record)
        except (SourceUnavailable, SourceRefused) as error:
            if renewal.renew_refused:
                await self._forget(record, error, lease)
            raise
        if renewal.renew_refused:
            record = replace(record, refresh=None)
        await self._store(record, granted, lease, began)

    async def _forget(self, record: Record, error: SourceError, lease: Lease | None) -> None:
        """A refresh token that was refused is never sent again, by us or by another process."""
        if record.refresh is not None:
            left = await self._vault.save(replace(record, refresh=None, error=str(error)), lease)
            self._slot.take_up(left, self._clock.now())

    async def _store(
        self, record: Record, granted: Granted, lease: Lease | None, began: Moment
    ) -> None:
        new = replace(
            record,
            token=granted.token,
            refresh=granted.refresh or record.refresh,
            renewed_at=self._clock.now().wall,
            error=None,
        )
        stored = await self._vault.save(new, lease)
        self._rooted = True
        self._refusals.forget()
        self._slot.take_up(stored, self._clock.now())
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
        if self._last_rescue is not None and now.since(self._last_rescue) < RESCUE_SPACING:
            return False
        self._last_rescue = now
        return True
