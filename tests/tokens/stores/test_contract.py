"""What every store promises (`tokenproxy.tokens.store`); a new kind joins by a line in `KINDS`."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.tokens.stores.rings import MemoryRing
from tokenproxy.secret import Secret
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens.codec import plain
from tokenproxy.tokens.sealing import Sealer
from tokenproxy.tokens.store import Conflict, Saved, StoreFactory, TokenStore
from tokenproxy.tokens.stores.file import FileStores
from tokenproxy.tokens.stores.keyring import KeyringStores
from tokenproxy.tokens.stores.memory import MemoryStores
from tokenproxy.tokens.stores.redis import RedisStores
from tokenproxy.tokens.token import Record, Setback, Token

Opening = Callable[[], StoreFactory]  # each call is one more process that shares the store

KEY = "shop-0123456789abcdef"
PATIENCE = 5.0  # seconds; what takes as long will never come
MOST_PROCESSES = 10


def _memory(folder: Path) -> Opening:
    stores = MemoryStores()
    return lambda: stores


def _file(folder: Path) -> Opening:
    return lambda: FileStores(folder / "tokens")


def _sealed(folder: Path) -> Opening:
    sealer = Sealer([bytes(32)], reads_plain=False)
    return lambda: FileStores(folder / "tokens", sealer.codec)


def _keyring(folder: Path) -> Opening:
    ring = MemoryRing()
    return lambda: KeyringStores(folder / "state", lambda: ring)


KINDS = {
    "memory": _memory,
    "file": _file,
    "sealed": _sealed,
    "keyring": _keyring,
}

TOKEN = Token(Secret("access-1"), issued_at=1_800_000_000.25, expires_at=1_800_000_300.5)
FULL = Record(
    generation=3,
    token=TOKEN,
    refresh=Secret("refresh-1"),
    seed="0a1b2c3d",
    renewed_at=1_800_000_000.5,
    setback=Setback(
        error="credential 'shop': it said “no”: \U0001f512\n",
        config="4e5f",
        failures=2,
        doubts=1,
        not_before=1_800_000_060.25,
        rescued_at=1_800_000_000.5,
        login_refused="no",
    ),
    dpop_key=Secret("-----BEGIN PRIVATE KEY-----\n"),
    spent=("4e5f6a7b", "6a7b8c9d"),
    others=(Setback("refused", "6a7b"),),
)


@asynccontextmanager
async def _redis(server: RedisServer, folder: Path) -> AsyncIterator[Opening]:
    """Processes that have their connection already: it stays, and was not left behind."""
    async with AsyncExitStack() as stack:
        processes = [
            RedisStores(server.url, f"{folder}:", plain, connections=1)
            for _ in range(MOST_PROCESSES)
        ]
        for stores in processes:
            stack.push_async_callback(stores.close)
            await stores.open("another-0").load()
        yield processes.pop


@pytest.fixture(params=[*KINDS, "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    """Its name; a Redis is started with the first test that needs it."""
    if request.param == "redis":
        request.getfixturevalue("redis_server")
    return str(request.param)


@pytest.fixture
async def opening(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Opening]:
    if kind == "redis":
        async with _redis(request.getfixturevalue("redis_server"), tmp_path) as opening:
            yield opening
    else:
        yield KINDS[kind](tmp_path)


@pytest.fixture
def store(opening: Opening) -> TokenStore:
    return opening().open(KEY)


@pytest.fixture
def other(opening: Opening) -> TokenStore:
    """The same record, as another process has it."""
    return opening().open(KEY)


async def _put(store: TokenStore, record: Record) -> None:
    stored = await store.load()
    assert await store.save(record, after=stored.generation, lease=None) == Saved()


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@asynccontextmanager
async def _nothing_left() -> AsyncIterator[None]:
    """What runs and what is open afterwards is what was before."""
    await asyncio.to_thread(int)  # the executor's first thread brings descriptors of its own
    tasks, descriptors = asyncio.all_tasks(), _descriptors()
    yield
    assert asyncio.all_tasks() == tasks
    async with asyncio.timeout(PATIENCE):
        while _descriptors() > descriptors:  # noqa: ASYNC110 - a thread that is ending closes them
            await asyncio.sleep(0.01)


# -- load, save, delete ----------------------------------------------------------------------


async def test_a_record_that_nobody_has_saved_is_empty(store: TokenStore) -> None:
    assert await store.load() == Record()


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(FULL, id="all fields"),
        pytest.param(Record(generation=1), id="no fields"),
        pytest.param(
            Record(generation=1, token=Token(Secret("a"), issued_at=0.0)), id="a life nobody knows"
        ),
        pytest.param(Record(generation=1, refresh=Secret("r")), id="refresh token only"),
        pytest.param(Record(generation=1, seed="0a1b2c3d"), id="seed only"),
        pytest.param(
            Record(generation=1, renewed_at=12.5, setback=Setback("no", "4e5f")),
            id="a failed renewal",
        ),
        pytest.param(Record(generation=2**70), id="a generation without end"),
        pytest.param(Record(generation=1, refresh=Secret("\ud800 \x00 é")), id="odd characters"),
        pytest.param(Record(generation=1, refresh=Secret("r" * 100_000)), id="a long token"),
    ],
)
async def test_what_is_saved_is_what_is_loaded(
    store: TokenStore, other: TokenStore, record: Record
) -> None:
    await _put(store, record)
    assert await store.load() == record
    assert await other.load() == record


async def test_the_last_save_wins(store: TokenStore, other: TokenStore) -> None:
    await _put(store, FULL)
    await _put(other, Record(generation=4, token=TOKEN))
    assert await store.load() == Record(generation=4, token=TOKEN)


@pytest.mark.parametrize("after", [0, 2, 4, 2**70])
async def test_a_save_after_another_generation_is_a_conflict_and_writes_nothing(
    store: TokenStore, other: TokenStore, after: int
) -> None:
    await _put(store, FULL)
    outcome = await other.save(Record(generation=after + 1), after=after, lease=None)
    assert outcome == Conflict(FULL)
    assert await store.load() == FULL


async def test_a_save_after_a_generation_that_was_never_there_is_a_conflict(
    store: TokenStore,
) -> None:
    assert await store.save(FULL, after=2, lease=None) == Conflict(Record())
    assert await store.load() == Record()


async def test_of_many_saves_after_one_generation_one_wins(opening: Opening) -> None:
    stores = [opening().open(KEY) for _ in range(8)]
    records = [Record(generation=1, seed=str(number)) for number in range(8)]
    outcomes = await asyncio.gather(
        *(
            store.save(record, after=0, lease=None)
            for store, record in zip(stores, records, strict=True)
        )
    )
    assert outcomes.count(Saved()) == 1
    winner = records[outcomes.index(Saved())]
    assert {outcome for outcome in outcomes if outcome != Saved()} == {Conflict(winner)}
    assert await stores[0].load() == winner


async def test_a_save_may_be_made_under_the_lock(store: TokenStore) -> None:
    async with store.lock() as lease:
        assert not lease.lost
        assert await store.save(FULL, after=0, lease=lease) == Saved()
        await store.delete(lease=lease)
    assert (await store.load()).generation == 4


async def test_what_was_deleted_leaves_a_tombstone_of_a_later_generation(
    store: TokenStore, other: TokenStore
) -> None:
    await _put(store, FULL)
    await other.delete(lease=None)
    assert await store.load() == Record(generation=4, seed=FULL.seed, spent=FULL.spent)


async def test_a_save_that_knows_nothing_of_a_deletion_is_a_conflict(
    store: TokenStore, other: TokenStore
) -> None:
    await _put(store, FULL)
    await other.delete(lease=None)
    tombstone = Record(generation=4, seed=FULL.seed, spent=FULL.spent)
    assert await store.save(Record(4, TOKEN), after=3, lease=None) == Conflict(tombstone)
    assert await store.save(Record(5, TOKEN), after=4, lease=None) == Saved()


async def test_deleting_what_is_not_there_leaves_a_tombstone_too(store: TokenStore) -> None:
    await store.delete(lease=None)
    assert await store.load() == Record(generation=1)


async def test_records_of_other_keys_are_other_records(opening: Opening) -> None:
    stores = opening()
    one, two = stores.open("one-0"), stores.open("two-0")
    await _put(one, FULL)
    assert await two.load() == Record()
    await two.delete(lease=None)
    assert await one.load() == FULL


# -- lock ------------------------------------------------------------------------------------


async def test_one_at_a_time_holds_the_lock(opening: Opening) -> None:
    inside, most, turns = 0, 0, 0

    async def _hold(store: TokenStore) -> None:
        nonlocal inside, most, turns
        async with store.lock():
            inside, turns = inside + 1, turns + 1
            most = max(most, inside)
            for _ in range(50):
                await asyncio.sleep(0)
            inside -= 1

    shared = opening().open(KEY)
    stores = [shared, shared, *(opening().open(KEY) for _ in range(3))]
    async with asyncio.timeout(PATIENCE), _nothing_left():
        await asyncio.gather(*map(_hold, stores))
    assert (most, turns) == (1, 5)


async def test_a_lock_is_held_until_its_holder_gives_it_back(
    store: TokenStore, other: TokenStore
) -> None:
    got_it = asyncio.Event()

    async def _wait_for_it() -> None:
        async with other.lock():
            got_it.set()

    async with store.lock():
        waiter = spawn(_wait_for_it(), name="waiter")
        await asyncio.wait({waiter}, timeout=0.1)
        assert not got_it.is_set()
    async with asyncio.timeout(PATIENCE):
        await waiter


async def test_the_locks_of_other_keys_are_other_locks(opening: Opening) -> None:
    stores = opening()
    async with asyncio.timeout(PATIENCE), stores.open("one-0").lock(), stores.open("two-0").lock():
        pass


async def test_a_holder_that_fails_gives_the_lock_back(
    store: TokenStore, other: TokenStore
) -> None:
    async with asyncio.timeout(PATIENCE), _nothing_left():
        with pytest.raises(ZeroDivisionError):
            async with store.lock():
                raise ZeroDivisionError
        async with other.lock():
            pass


async def test_a_holder_that_is_cancelled_gives_the_lock_back(
    store: TokenStore, other: TokenStore
) -> None:
    held = asyncio.Event()

    async def _hold() -> None:
        async with store.lock():
            held.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE), _nothing_left():
        holder = spawn(_hold(), name="holder")
        await held.wait()
        await cancelled(holder)
        async with other.lock():
            pass


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 30])
async def test_a_waiter_that_is_cancelled_locks_nobody_out(
    opening: Opening, store: TokenStore, turns: int
) -> None:
    """Cancelled at several points of its wait, and with another who waits behind it."""

    async def _wait_for_it(store: TokenStore) -> None:
        async with store.lock():
            pass

    async with asyncio.timeout(PATIENCE), _nothing_left():
        async with store.lock():
            leaver = spawn(_wait_for_it(opening().open(KEY)), name="leaver")
            stayer = spawn(_wait_for_it(opening().open(KEY)), name="stayer")
            for _ in range(turns):
                await asyncio.sleep(0.001)
            await cancelled(leaver)
            assert leaver.cancelled()
            assert not stayer.done()
        await stayer
        async with store.lock():
            pass


async def test_a_waiter_that_is_cancelled_as_the_lock_comes_free_locks_nobody_out(
    store: TokenStore, other: TokenStore
) -> None:
    async def _hold_for_ever() -> None:
        async with other.lock():
            await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE), _nothing_left():
        async with store.lock():
            waiter = spawn(_hold_for_ever(), name="waiter")
            await asyncio.sleep(0.001)
        await cancelled(waiter)
        async with store.lock():
            pass


# -- watch -----------------------------------------------------------------------------------


async def _until_generation(store: TokenStore, generation: int) -> Record:
    """The record, once `watch` has told of that generation or a later one."""
    async with asyncio.timeout(PATIENCE), aclosing(store.watch()) as changes:
        async for _ in changes:
            record = await store.load()
            if record.generation >= generation:
                return record
    raise AssertionError("a watch has ended by itself")


async def _begun(*tasks: asyncio.Task[Record]) -> None:
    """Far enough for a watch to stand; whatever stands later still misses nothing."""
    await asyncio.wait(tasks, timeout=0.1)
    assert not any(task.done() for task in tasks)


async def test_a_watch_tells_of_a_save_by_another(store: TokenStore, other: TokenStore) -> None:
    async with _nothing_left():
        told = spawn(_until_generation(store, 3), name="told")
        await _begun(told)
        await _put(other, FULL)
        assert await told == FULL


async def test_a_watch_tells_of_every_save(store: TokenStore, other: TokenStore) -> None:
    async with asyncio.timeout(PATIENCE), aclosing(store.watch()) as changes:
        following = changes.__aiter__()
        for generation in range(1, 4):
            next_one = spawn(_generation_after(following, store, generation), name="next")
            await asyncio.sleep(0)
            await _put(other, Record(generation))
            assert await next_one == generation


async def _generation_after(
    changes: AsyncIterator[None], store: TokenStore, generation: int
) -> int:
    while (found := (await store.load()).generation) < generation:
        await anext(changes)
    return found


async def test_a_watch_tells_of_a_deletion(store: TokenStore, other: TokenStore) -> None:
    await _put(store, FULL)
    told = spawn(_until_generation(store, 4), name="told")
    await _begun(told)
    await other.delete(lease=None)
    assert await told == Record(generation=4, seed=FULL.seed, spent=FULL.spent)


async def test_all_who_watch_are_told(opening: Opening, other: TokenStore) -> None:
    stores = opening()
    async with _nothing_left():
        all_told = [
            spawn(_until_generation(stores.open(KEY), 3), name=f"told {number}")
            for number in range(3)
        ]
        await _begun(*all_told)
        await _put(other, FULL)
        assert await asyncio.gather(*all_told) == [FULL] * 3


async def test_one_who_leaves_takes_the_watch_from_nobody(
    opening: Opening, other: TokenStore
) -> None:
    stores = opening()
    leaver = spawn(_until_generation(stores.open(KEY), 3), name="leaver")
    stayer = spawn(_until_generation(stores.open(KEY), 3), name="stayer")
    await _begun(leaver, stayer)
    await cancelled(leaver)
    await _put(other, FULL)
    assert await stayer == FULL


async def test_a_watch_may_begin_anew_after_all_have_left(
    store: TokenStore, other: TokenStore
) -> None:
    first = spawn(_until_generation(store, 3), name="first")
    await _begun(first)
    await cancelled(first)
    again = spawn(_until_generation(store, 3), name="again")
    await _begun(again)
    await _put(other, FULL)
    assert await again == FULL


async def test_a_watch_that_is_closed_leaves_nothing_running(store: TokenStore) -> None:
    async with asyncio.timeout(PATIENCE), _nothing_left():
        await _put(store, Record(1))
        changes = store.watch()
        following = spawn(_generation_after(changes, store, 2), name="following")
        await asyncio.wait({following}, timeout=0.1)
        await _put(store, Record(2))
        await following
        await changes.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


@pytest.mark.parametrize("turns", [0, 1, 5, 50])
async def test_a_watch_that_is_cancelled_leaves_nothing_running(
    store: TokenStore, turns: int
) -> None:
    async with asyncio.timeout(PATIENCE), _nothing_left():
        watching = spawn(_until_generation(store, 1), name="watching")
        for _ in range(turns):
            await asyncio.sleep(0.001)
        await cancelled(watching)
        with suppress(asyncio.CancelledError):
            await watching
