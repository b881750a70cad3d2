"""What a keeper knows is never lost to its store: kept in memory, told, and saved again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from tests.tokens.acting import FussyStore, LostLease
from tokenproxy.errors import StoreError
from tokenproxy.events import Event, NotPersisted, Persisted, StoreTrouble
from tokenproxy.secret import Secret
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.stores.memory import MemoryLease, MemoryStores
from tokenproxy.tokens.token import Record, Token
from tokenproxy.tokens.vault import (
    FIRST_SAVE_AGAIN,
    LAST_SAVE,
    LONGEST_SAVE_AGAIN,
    MOST_CONFLICTS,
    Vault,
)

FULL = NotPersisted("shop", "the store cannot save")
AGAIN = Persisted("shop")
HELD = MemoryLease()


def record(text: str = "mine", generation: int = 0) -> Record:
    return Record(generation, Token(Secret(text), 1.0), Secret(f"refresh of {text}"))


def text(record: Record | None) -> str | None:
    return None if record is None or record.token is None else record.token.access.reveal()


@dataclass
class Scene:
    """A vault, its store, and what it has told."""

    clock: ManualClock
    store: FussyStore
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vault = Vault("shop", self.store, clock=self.clock, observe=self.events.append)

    def stored(self) -> tuple[str | None, int]:
        return text(self.store.record), self.store.record.generation

    @property
    def unsaved(self) -> str | None:
        return text(self.vault.unsaved)

    async def fail_to_save(self, text: str = "mine") -> Record:
        self.store.failing = {"save"}
        return await self.vault.save(record(text), HELD)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """It leaves no task and no sleeper."""
    before = asyncio.all_tasks()
    acted = Scene(ManualClock(), FussyStore(MemoryStores()))
    try:
        yield acted
    finally:
        acted.store.gate.set()
        await acted.vault.close()
    await acted.clock.settle()
    assert asyncio.all_tasks() == before
    assert acted.clock.sleepers == 0


# -- loading ---------------------------------------------------------------------------------


async def test_a_vault_knows_nothing_before_it_has_read() -> None:
    async with scene() as at:
        assert (at.vault.known, at.vault.trouble, at.vault.unsaved) == (Record(), None, None)
        at.store.put(record("theirs", 4))

        loaded = await at.vault.load()

        assert loaded is at.vault.known
        assert (text(loaded), at.vault.trouble) == ("theirs", None)


async def test_a_store_that_cannot_be_read_is_told_and_what_is_known_stays() -> None:
    async with scene() as at:
        at.store.failing = {"load"}
        with pytest.raises(StoreError, match="cannot load"):
            await at.vault.load()
        assert at.vault.trouble == "the store cannot load"

        at.store.failing = set()
        await at.vault.save(record(), HELD)
        at.store.failing = {"load"}
        with pytest.raises(StoreError):
            await at.vault.load()
        assert text(at.vault.known) == "mine"


async def test_a_newer_record_of_others_is_taken_up() -> None:
    async with scene() as at:
        await at.vault.save(record(), HELD)
        at.store.put(record("theirs", 7))

        assert text(await at.vault.load()) == "theirs"
        assert text(await at.vault.save(record("next"), HELD)) == "next"
        assert at.stored() == ("next", 8)


async def test_a_record_that_was_edited_by_hand_is_taken_up_though_it_is_no_newer() -> None:
    async with scene() as at:
        await at.vault.save(record(), HELD)
        at.store.put(record("by hand", 1))

        assert text(await at.vault.load()) == "by hand"
        await at.clock.advance(LONGEST_SAVE_AGAIN)
        assert at.stored() == ("by hand", 1)


async def test_a_store_that_went_back_in_time_gets_our_record_again_as_a_newer_one() -> None:
    async with scene() as at:
        at.store.put(record("old", 4))
        await at.vault.load()
        await at.vault.save(record(), HELD)
        at.store.put(record("old", 4))

        assert text(await at.vault.load()) == "mine"
        assert at.unsaved == "mine"
        await at.clock.advance(FIRST_SAVE_AGAIN)

        assert at.stored() == ("mine", 6)
        assert at.vault.unsaved is None
        assert at.events == []


async def test_a_store_that_was_emptied_gets_our_record_again() -> None:
    async with scene() as at:
        await at.vault.save(record(), HELD)
        at.store.put(Record())

        await at.vault.load()
        await at.clock.advance(FIRST_SAVE_AGAIN)

        assert at.stored() == ("mine", 2)


# -- a store that fails, then works ----------------------------------------------------------


async def test_what_is_saved_is_the_next_generation() -> None:
    async with scene() as at:
        at.store.put(record("theirs", 4))
        await at.vault.load()

        saved = await at.vault.save(record(generation=1), HELD)

        assert saved.generation == 5
        assert at.stored() == ("mine", 5)
        assert at.events == []


async def test_a_record_that_cannot_be_saved_is_used_all_the_same_and_that_is_told() -> None:
    async with scene() as at:
        kept = await at.fail_to_save()

        assert (text(kept), kept.generation) == ("mine", 1)
        assert at.vault.known is at.vault.unsaved is kept
        assert at.stored() == (None, 0)
        assert at.events == [FULL]


async def test_a_store_that_works_again_has_the_record_soon_and_that_is_told_too() -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.failing = set()
        await at.clock.advance(FIRST_SAVE_AGAIN - 0.1)
        assert at.stored() == (None, 0)

        await at.clock.advance(0.1)

        assert at.stored() == ("mine", 2)
        assert at.vault.unsaved is None
        assert at.events == [FULL, AGAIN]
        assert at.clock.sleepers == 0


async def test_saving_is_tried_less_and_less_often_but_never_given_up_and_told_once() -> None:
    async with scene() as at:
        await at.fail_to_save()
        times: list[int] = []
        for second in range(1, 250):
            tries = at.store.tries
            await at.clock.advance(1)
            times += [second] * (at.store.tries - tries)

        assert times == [2, 6, 14, 30, 62, 122, 182, 242]
        assert LONGEST_SAVE_AGAIN == 60
        assert at.events == [FULL]


@pytest.mark.parametrize("failing", ["save", "load", "lock: fault", "load: fault", "save: fault"])
async def test_saving_again_goes_on_whatever_goes_wrong(failing: str) -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.failing = {failing}
        await at.clock.advance(100)
        assert at.unsaved == "mine"

        at.store.failing = set()
        await at.clock.advance(LONGEST_SAVE_AGAIN)

        assert at.stored() == ("mine", 2)
        assert at.events == [FULL, AGAIN]


async def test_a_fault_of_our_own_keeps_the_record_too_and_names_only_its_type() -> None:
    async with scene() as at:
        at.store.failing = {"save: fault"}

        kept = await at.vault.save(record(), HELD)

        assert text(kept) == "mine"
        why = "the store met a fault in tokenproxy itself (ZeroDivisionError)"
        assert at.events == [NotPersisted("shop", why)]


async def test_only_the_newest_of_several_unsaved_records_is_saved() -> None:
    async with scene() as at:
        await at.fail_to_save("first")
        await at.clock.advance(1)
        second = await at.fail_to_save("second")
        assert second.generation == 2

        at.store.failing = set()
        await at.clock.advance(1)

        assert at.stored() == ("second", 3)
        assert at.events == [FULL, AGAIN]


async def test_a_record_that_is_saved_meanwhile_leaves_nothing_to_save_again() -> None:
    async with scene() as at:
        await at.fail_to_save("first")
        at.store.failing = set()

        await at.vault.save(record("second"), HELD)
        tries = at.store.tries
        await at.clock.advance(LONGEST_SAVE_AGAIN)

        assert at.stored() == ("second", 2)
        assert at.store.tries == tries
        assert at.events == [FULL, AGAIN]


async def test_a_second_outage_is_told_again() -> None:
    async with scene() as at:
        for name in ("first", "second"):
            await at.fail_to_save(name)
            at.store.failing = set()
            await at.clock.advance(FIRST_SAVE_AGAIN)

        assert at.events == [FULL, AGAIN, FULL, AGAIN]


@pytest.mark.parametrize("by", ["loading", "saving again"])
async def test_a_newer_record_of_others_wins_over_one_that_is_unsaved(by: str) -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.put(record("theirs", 2))

        if by == "loading":
            assert text(await at.vault.load()) == "theirs"
        else:
            await at.clock.advance(FIRST_SAVE_AGAIN)

        assert text(at.vault.known) == "theirs"
        assert at.vault.unsaved is None
        assert at.stored() == ("theirs", 2)
        assert at.events == [FULL, AGAIN]


@pytest.mark.parametrize(
    ("ours", "theirs", "wins"),
    [(None, None, "theirs"), (2.0, 1.0, "mine"), (1.0, 2.0, "theirs"), (1.0, 1.0, "mine")],
)
async def test_of_two_that_are_as_new_the_later_renewal_wins_else_what_is_stored(
    ours: float | None, theirs: float | None, wins: str
) -> None:
    async with scene() as at:
        at.store.failing = {"save"}
        await at.vault.save(replace(record("mine"), renewed_at=ours), None)
        at.store.put(replace(record("theirs", 1), renewed_at=theirs))

        assert text(await at.vault.load()) == wins
        at.store.failing = set()
        await at.clock.advance(FIRST_SAVE_AGAIN)

        assert at.stored()[0] == wins


async def test_what_was_deleted_after_our_renewal_stays_deleted() -> None:
    async with scene() as at:
        at.store.failing = {"save"}
        await at.vault.save(replace(record("mine"), renewed_at=1.0), None)
        at.store.put(record("before", 0).tombstone(2.0))
        at.store.failing = set()
        await at.clock.advance(FIRST_SAVE_AGAIN)

        assert at.store.record == Record(1, renewed_at=2.0)
        assert at.vault.unsaved is None


# -- conflicts -------------------------------------------------------------------------------


@pytest.mark.parametrize("lease", [HELD, None], ids=["locked", "without a lock"])
@pytest.mark.parametrize("generation", [3, 5, 9])
async def test_somebody_who_keeps_no_lock_is_overwritten_by_a_newer_generation(
    generation: int, lease: MemoryLease | None
) -> None:
    async with scene() as at:
        at.store.put(record("before", 4))
        await at.vault.load()
        at.store.conflicts = [record("theirs", generation)]

        saved = await at.vault.save(record(), lease)

        assert at.stored() == ("mine", max(4, generation) + 1)
        assert saved == at.store.record
        assert at.events == []


async def test_a_store_that_others_change_all_the_time_is_told_and_tried_again() -> None:
    async with scene() as at:
        at.store.conflicts = [record("theirs", n) for n in range(10, 10 + MOST_CONFLICTS)]

        kept = await at.vault.save(record(), HELD)

        assert text(kept) == at.unsaved == "mine"
        assert at.store.tries == MOST_CONFLICTS
        assert at.events == [
            NotPersisted(
                "shop",
                "the record of credential 'shop' is being changed by somebody who does not lock "
                "it: make sure that nothing but tokenproxy writes to the store",
            )
        ]
        await at.clock.advance(FIRST_SAVE_AGAIN)
        assert at.stored() == ("mine", kept.generation + 1)
        assert kept.generation == 10 + MOST_CONFLICTS


async def test_whoever_took_the_lock_from_us_has_the_later_answer() -> None:
    async with scene() as at:
        at.store.conflicts = [record("theirs", 1)]

        used = await at.vault.save(record(), LostLease())

        assert text(used) == text(at.vault.known) == "theirs"
        assert at.stored() == ("theirs", 1)
        assert at.vault.unsaved is None
        assert at.events == []


async def test_a_lost_lease_gives_nothing_up_where_nobody_has_saved_since() -> None:
    async with scene() as at:
        at.store.put(record("before", 4))
        await at.vault.load()
        at.store.conflicts = [record("older", 3)]

        assert text(await at.vault.save(record(), LostLease())) == "mine"
        assert at.stored() == ("mine", 5)


# -- the lock --------------------------------------------------------------------------------


async def test_the_lock_keeps_others_out() -> None:
    async with scene() as at:
        rival = Vault("shop", at.store, clock=at.clock, observe=at.events.append)

        async def waits() -> None:
            async with rival.locked():
                pass

        async with at.vault.locked() as lease:
            assert lease is not None
            assert not lease.lost
            waiting = spawn(waits(), name="rival")
            await at.clock.settle()
            assert not waiting.done()
        await waiting


async def test_a_lock_that_cannot_be_had_is_told_where_the_store_can_do_without() -> None:
    async with scene() as at:
        at.store.failing = {"lock", "unlock"}

        async with at.vault.locked() as lease:
            assert lease is None
            await at.vault.save(record(), lease)

        assert at.stored() == ("mine", 1)
        assert at.events == [StoreTrouble("shop", "the store cannot lock")]


async def test_a_store_that_needs_its_lock_lets_nothing_go_on_without() -> None:
    async with scene() as at:
        at.store.needs_lock = True
        at.store.failing = {"lock"}

        with pytest.raises(StoreError, match="cannot lock"):
            async with at.vault.locked():
                pytest.fail("it went on")

        assert at.events == []


async def test_what_was_done_under_the_lock_stands_where_it_cannot_be_given_back() -> None:
    async with scene() as at:
        at.store.failing = {"unlock"}

        async with at.vault.locked() as lease:
            await at.vault.save(record(), lease)

        assert at.stored() == ("mine", 1)
        assert at.events == [StoreTrouble("shop", "the store cannot unlock")]


async def test_an_error_under_the_lock_is_not_hidden_by_one_of_giving_it_back() -> None:
    async with scene() as at:
        at.store.failing = {"unlock"}

        with pytest.raises(KeyError):
            async with at.vault.locked():
                raise KeyError

        assert at.events == [StoreTrouble("shop", "the store cannot unlock")]


async def test_a_record_waits_for_the_lock_of_another_process() -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.failing = set()

        async with at.store._cell.lock:
            await at.clock.advance(10)
            assert at.stored() == (None, 0)
        await at.clock.settle()

        assert at.stored() == ("mine", 2)


# -- at rest, and closing --------------------------------------------------------------------


async def test_what_is_saved_by_others_while_we_wait_for_their_lock_is_not_saved_again() -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.failing = set()

        async with at.store._cell.lock:
            await at.clock.advance(FIRST_SAVE_AGAIN)
            at.store.put(record("theirs", 2))
            await at.vault.load()
        await at.clock.advance(LONGEST_SAVE_AGAIN)

        assert at.stored() == ("theirs", 2)
        assert at.store.tries == 1
        assert at.events == [FULL, AGAIN]


async def test_at_rest_no_save_begins() -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.failing = set()

        async with at.vault.at_rest():
            await at.clock.advance(10)
            assert at.stored() == (None, 0)
        await at.clock.settle()

        assert at.stored() == ("mine", 2)


async def test_a_load_waits_for_the_save_that_began_before_it() -> None:
    async with scene() as at:
        at.store.gate.clear()
        saving = spawn(at.vault.save(record(), HELD), name="save")
        await at.clock.settle()
        loading = spawn(at.vault.load(), name="load")
        await at.clock.settle()
        assert not loading.done()

        at.store.gate.set()

        assert await loading == await saving
        assert text(await loading) == "mine"


async def test_closing_with_nothing_unsaved_touches_no_store_and_takes_no_time() -> None:
    async with scene() as at:
        await at.vault.save(record(), HELD)
        at.store.failing = {"load", "save", "lock"}

        await at.vault.close()
        await at.vault.close()

        assert at.store.tries == 1
        assert at.events == []


async def test_closing_saves_what_is_unsaved_without_waiting_for_its_turn() -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.failing = set()

        await at.vault.close()

        assert at.stored() == ("mine", 2)
        assert at.events == [FULL, AGAIN]


async def test_closing_tries_once_and_gives_up_on_a_store_that_still_fails() -> None:
    async with scene() as at:
        await at.fail_to_save()

        await at.vault.close()

        assert at.store.tries == 2
        assert at.unsaved == "mine"
        assert at.events == [FULL]
        at.vault.unsaved = None


async def test_closing_does_not_wait_long_for_the_lock_of_another_process() -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.failing = set()

        async with at.store._cell.lock:
            closing = spawn(at.vault.close(), name="close")
            await at.clock.advance(LAST_SAVE - 0.1)
            assert not closing.done()
            await at.clock.advance(0.1)
            assert closing.done()

        assert at.stored() == (None, 0)
        at.vault.unsaved = None


@pytest.mark.parametrize("begun_by", ["the timer", "closing"])
async def test_closing_cuts_no_save_off_in_the_middle(begun_by: str) -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.failing = set()
        at.store.gate.clear()
        if begun_by == "the timer":
            await at.clock.advance(FIRST_SAVE_AGAIN)

        closing = spawn(at.vault.close(), name="close")
        await at.clock.advance(LAST_SAVE * 2)
        assert not closing.done()
        at.store.gate.set()
        await closing

        assert at.stored() == ("mine", 2)
        assert at.vault.unsaved is None


async def test_whoever_is_cancelled_while_closing_leaves_no_lock_behind() -> None:
    async with scene() as at:
        await at.fail_to_save()
        at.store.failing = set()
        async with at.store._cell.lock:
            closing = spawn(at.vault.close(), name="close")
            await at.clock.settle()
            await cancelled(closing)

        await at.clock.settle()
        async with at.vault.locked() as lease:
            assert lease is not None


async def test_changes_are_those_of_the_store() -> None:
    async with scene() as at:
        changes = at.vault.changes()
        heard = spawn(anext(changes), name="listen")
        await at.clock.settle()
        assert not heard.done()

        at.store.put(record("theirs", 1))

        await heard
        await changes.aclose()
        assert at.store.watches == 1
