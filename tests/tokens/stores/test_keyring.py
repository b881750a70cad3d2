"""What only the keyring store promises: of back ends, prompts, files beside it, and refusals."""

import asyncio
import json
import os
import stat
import subprocess
import sys
import textwrap
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import SecretService, fail, kwallet, libsecret, macOS, null
from keyring.backends.chainer import ChainerBackend
from keyring.backends.Windows import WinVaultKeyring
from keyring.errors import InitError, KeyringLocked, NoKeyringError, PasswordSetError

from tests.tokens.acting import NoJitter, ScriptedSource
from tests.tokens.stores.rings import MemoryRing, lookalike
from tokenproxy.errors import StoreError
from tokenproxy.events import Event, NotPersisted, Persisted, StoreTrouble
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.settings.stores import KeyringStore as KeyringSettings
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.build import build_stores
from tokenproxy.tokens.codec import SEALED, encode
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.store import Conflict, Saved
from tokenproxy.tokens.stores import keyring as keyring_store
from tokenproxy.tokens.stores.file import FileStores
from tokenproxy.tokens.stores.keyring import SERVICE, KeyringStore, KeyringStores
from tokenproxy.tokens.token import LOST, Record, Token

ROOT = Path(__file__).parents[3]
KEY = "shop-0123456789abcdef"
ENTRY = (SERVICE, KEY)
OLD = Record(1, Token(Secret("access-1"), 1.0, 2.0), Secret("refresh-1"))
NEW = Record(2, Token(Secret("access-2"), 2.0, 3.0), Secret("refresh-2"))
PATIENCE = 5.0


@pytest.fixture
def ring() -> Iterator[MemoryRing]:
    ring = MemoryRing()
    yield ring
    ring.gate.set()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def folder(state: Path) -> Path:
    return state / "keyring"


@pytest.fixture
def stores(state: Path, ring: MemoryRing) -> KeyringStores:
    return KeyringStores(state, lambda: ring)


@pytest.fixture
def store(stores: KeyringStores) -> KeyringStore:
    return stores.open(KEY)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring_store, "LONGEST_CALL", 0.1)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# -- in the keyring --------------------------------------------------------------------------


async def test_a_record_is_an_entry_of_its_key_as_a_person_may_read_it(
    store: KeyringStore, ring: MemoryRing
) -> None:
    await store.save(OLD, after=0, lease=None)
    assert list(ring.entries) == [("tokenproxy", KEY)]
    assert json.loads(ring.entries[ENTRY])["refresh_token"] == "refresh-1"


async def test_no_token_is_in_the_files_beside_it(store: KeyringStore, folder: Path) -> None:
    async with store.lock() as lease:
        await store.save(OLD, after=0, lease=lease)
    assert {path.name for path in folder.iterdir()} == {f"{KEY}.lock", f"{KEY}.changed"}
    assert not any(path.read_bytes().strip() for path in folder.iterdir())


async def test_it_is_the_keyring_that_the_library_has_chosen(state: Path, ring: MemoryRing) -> None:
    before = keyring.core._keyring_backend
    keyring.set_keyring(ring)
    try:
        settings = KeyringSettings.model_validate({"type": "keyring"})
        stores = build_stores(settings, state_folder=state)
        assert await stores.open(KEY).save(OLD, after=0, lease=None) == Saved()
    finally:
        keyring.core._keyring_backend = before
    assert list(ring.entries) == [ENTRY]
    await stores.close()


CORRUPT = {
    "empty": "",
    "cut off": encode(OLD).decode()[:-20],
    "a password": "correct horse",
    "another JSON": "[]",
    "odd characters": "\ud800",
}


@pytest.mark.parametrize("text", CORRUPT.values(), ids=CORRUPT)
async def test_a_corrupt_entry_is_empty_and_is_set_aside_by_the_next_save(
    store: KeyringStore, ring: MemoryRing, text: str
) -> None:
    ring.entries[ENTRY] = text
    assert await store.load() == LOST
    assert ring.entries == {ENTRY: text}
    assert await store.save(NEW, after=0, lease=None) == Saved()
    assert await store.load() == NEW
    del ring.entries[ENTRY]
    ((_, aside),) = ring.entries
    assert aside.startswith(f"{KEY}.corrupt-")
    assert list(ring.entries.values()) == [text]


async def test_a_corrupt_entry_is_set_aside_by_a_deletion_too(
    store: KeyringStore, ring: MemoryRing
) -> None:
    ring.entries[ENTRY] = "{"
    await store.delete(lease=None)
    assert await store.load() == Record(1)
    assert "{" in ring.entries.values()


async def test_a_conflict_leaves_a_corrupt_entry_where_it_is(
    store: KeyringStore, ring: MemoryRing
) -> None:
    ring.entries[ENTRY] = "{"
    assert await store.save(NEW, after=1, lease=None) == Conflict(LOST)
    assert ring.entries == {ENTRY: "{"}


async def test_a_corrupt_entry_that_cannot_be_set_aside_is_not_overwritten(
    store: KeyringStore, ring: MemoryRing
) -> None:
    ring.entries[ENTRY] = "{"
    ring.failing["set"] = PasswordSetError("no")
    with pytest.raises(StoreError, match="cannot be written"):
        await store.save(NEW, after=0, lease=None)
    assert ring.calls.count("set") == 1
    assert ring.entries == {ENTRY: "{"}


async def test_a_sealed_entry_is_left_as_it_is(store: KeyringStore, ring: MemoryRing) -> None:
    sealed = f"{SEALED.decode()}1:0a1b2c3d:AAAA."
    ring.entries[ENTRY] = sealed
    with pytest.raises(StoreError, match="is sealed"):
        await store.save(NEW, after=0, lease=None)
    with pytest.raises(StoreError, match="is sealed"):
        await store.delete(lease=None)
    assert ring.entries == {ENTRY: sealed}


async def test_an_entry_that_is_not_kept_is_a_store_error(
    store: KeyringStore, ring: MemoryRing
) -> None:
    """KWallet tells its caller, and keyring tells nobody."""
    await store.save(OLD, after=0, lease=None)
    ring.forgetful = True
    with pytest.raises(StoreError, match="did not keep what was written"):
        await store.save(NEW, after=1, lease=None)
    assert await store.load() == OLD


# -- what is refused -------------------------------------------------------------------------

PLAINTEXT = lookalike("keyrings.alt.file.PlaintextKeyring", priority=0.5)
WEAK: dict[str, tuple[KeyringBackend, str]] = {
    "none": (fail.Keyring(), "^no keyring was found: start one"),  # type: ignore[no-untyped-call]
    "null": (
        null.Keyring(),  # type: ignore[no-untyped-call]
        r"^the keyring is switched off \(keyring.backends.null.Keyring\): choose another",
    ),
    "plain text": (
        PLAINTEXT,
        r"^the keyring keyrings.alt.file.PlaintextKeyring does not protect what it keeps: choose",
    ),
    "plain text of high priority": (
        lookalike("keyrings.alt.file.PlaintextKeyring", priority=9),
        "does not protect what it keeps",
    ),
    "another of keyrings.alt": (
        lookalike("keyrings.alt.Windows.RegistryKeyring", priority=9),
        "does not protect what it keeps",
    ),
    "one derived from it": (
        lookalike("my.own.Ring", type(PLAINTEXT), priority=9),
        "^the keyring my.own.Ring does not protect what it keeps",
    ),
    "plain text by its name": (
        lookalike("my.own.PlainTextRing", priority=9),
        "does not protect what it keeps",
    ),
    "not recommended": (lookalike("my.own.Ring", priority=0.9), "does not protect what it keeps"),
}


@pytest.mark.parametrize(("weak", "sentence"), WEAK.values(), ids=WEAK)
async def test_a_keyring_that_does_not_protect_its_secrets_is_refused(
    state: Path, weak: KeyringBackend, sentence: str
) -> None:
    store = KeyringStores(state, lambda: weak).open(KEY)
    with pytest.raises(StoreError, match=sentence) as caught:
        await store.load()
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=sentence):
        await store.save(OLD, after=0, lease=None)
    with pytest.raises(StoreError, match=sentence):
        await store.delete(lease=None)
    assert getattr(weak, "calls", []) == []


@pytest.mark.parametrize(
    "kind",
    [
        SecretService.Keyring,
        libsecret.Keyring,
        kwallet.DBusKeyring,
        macOS.Keyring,
        WinVaultKeyring,
        MemoryRing,
    ],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_the_keyrings_of_operating_systems_are_not(kind: type[KeyringBackend]) -> None:
    ring = lookalike(f"{kind.__module__}.{kind.__name__}", kind)
    assert keyring_store.protecting(ring) is ring


def _chain(monkeypatch: pytest.MonkeyPatch, *links: KeyringBackend) -> KeyringBackend:
    monkeypatch.setattr(ChainerBackend, "backends", links)
    return ChainerBackend()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("links", [[], [PLAINTEXT], [null.Keyring(), PLAINTEXT]])  # type: ignore[no-untyped-call]
async def test_a_chain_of_keyrings_that_do_not_protect_is_refused(
    state: Path, monkeypatch: pytest.MonkeyPatch, links: list[KeyringBackend]
) -> None:
    chain = _chain(monkeypatch, *links)
    store = KeyringStores(state, lambda: chain).open(KEY)
    with pytest.raises(StoreError, match="choose another"):
        await store.save(OLD, after=0, lease=None)


async def test_of_a_chain_only_one_that_protects_is_used(
    state: Path, ring: MemoryRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain would write to the next one where the first refuses, and ask all of them."""
    last = MemoryRing()
    chain = _chain(monkeypatch, PLAINTEXT, ring, last)
    store = KeyringStores(state, lambda: chain).open(KEY)
    assert await store.save(OLD, after=0, lease=None) == Saved()
    assert await store.load() == OLD
    assert list(ring.entries) == [ENTRY]
    ring.failing["set"] = NotImplementedError()
    with pytest.raises(StoreError, match="cannot be written"):
        await store.save(NEW, after=1, lease=None)
    assert last.calls == []


# -- what fails ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (KeyringLocked("access-1"), "^the keyring is locked: unlock it$"),
        (NoKeyringError("access-1"), "^no keyring was found: start one"),
        (InitError("access-1"), r"^the keyring cannot be \w+ \(InitError\): see that it runs"),
        (PasswordSetError("access-1"), r"cannot be \w+ \(PasswordSetError\)"),
        (ConnectionRefusedError("access-1"), r"cannot be \w+ \(ConnectionRefusedError\)"),
        (RuntimeError("access-1"), r"cannot be \w+ \(RuntimeError\)"),
        (StopIteration("access-1"), r"cannot be \w+ \(StopIteration\)"),
    ],
)
@pytest.mark.parametrize("call", ["get", "set"])
async def test_what_a_keyring_raises_is_a_store_error_in_our_own_words(
    store: KeyringStore, ring: MemoryRing, call: str, error: Exception, sentence: str
) -> None:
    ring.failing[call] = error
    with pytest.raises(StoreError, match=sentence) as caught:
        await store.save(OLD, after=0, lease=None)
    assert "access-1" not in str(caught.value)
    ring.failing.clear()
    assert await store.save(OLD, after=0, lease=None) == Saved()


@pytest.mark.parametrize("name", ["no.such.module.Ring", "keyring.backends.Nothing", "json.JSON"])
async def test_a_keyring_that_the_environment_misnames_is_a_store_error(
    state: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", name)
    with pytest.raises(StoreError, match=r"cannot be read \(\w+Error\)"):
        await KeyringStores(state).open(KEY).load()


@pytest.fixture
def no_dbus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/nowhere")


async def test_where_there_is_no_dbus_the_secret_service_is_a_store_error(
    no_dbus: None, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.SecretService.Keyring")
    store = KeyringStores(state).open(KEY)
    with pytest.raises(StoreError, match=r"cannot be read \(\w+\): see that it runs and can be re"):
        await store.load()
    with pytest.raises(StoreError, match=r"cannot be read \(\w+\): see that it runs and can be re"):
        await store.save(OLD, after=0, lease=None)


async def test_a_dbus_that_has_gone_since_is_a_store_error(no_dbus: None, state: Path) -> None:
    """It is an OSError too, and not the folder's."""
    gone = lookalike("keyring.backends.SecretService.Keyring", SecretService.Keyring)
    with pytest.raises(StoreError, match=r"cannot be read \(FileNotFoundError\)"):
        await KeyringStores(state, lambda: gone).open(KEY).load()


async def test_no_error_tells_a_token(store: KeyringStore, ring: MemoryRing) -> None:
    await store.save(OLD, after=0, lease=None)
    ring.forgetful = True
    with pytest.raises(StoreError) as caught:
        await store.save(NEW, after=1, lease=None)
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(store))
    assert not any(secret in told for secret in ("access-1", "access-2", "refresh-1", "refresh-2"))


# -- prompts ---------------------------------------------------------------------------------


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await is_so():  # noqa: ASYNC110 - a thread or process tells
            await asyncio.sleep(0.001)


async def _at_work(ring: MemoryRing) -> None:
    async def _called() -> bool:
        return ring.calls != []

    await _until(_called)


async def test_a_call_that_blocks_does_not_block_the_loop(
    store: KeyringStore, ring: MemoryRing
) -> None:
    ring.gate.clear()
    loading = spawn(store.load(), name="loading")
    await _at_work(ring)
    turns = 0
    until = time.perf_counter() + 0.05
    while time.perf_counter() < until:
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 10
    assert not loading.done()
    ring.gate.set()
    assert await loading == Record()


@pytest.mark.usefixtures("impatient")
async def test_a_prompt_that_nobody_answers_is_a_store_error_and_then_none_waits_for_it(
    stores: KeyringStores, store: KeyringStore, ring: MemoryRing
) -> None:
    tasks = asyncio.all_tasks()
    ring.gate.clear()
    sentence = r"^the keyring has not answered in 0\.1 seconds: see whether it asks to be unlocked$"
    with pytest.raises(StoreError, match=sentence):
        await store.load()
    began = time.perf_counter()
    for one in (store, stores.open("bank-0")):
        with pytest.raises(StoreError, match=sentence):
            await one.load()
        with pytest.raises(StoreError, match=sentence):
            await one.save(OLD, after=0, lease=None)
    assert time.perf_counter() - began < 0.1
    assert ring.calls == ["get"]
    assert asyncio.all_tasks() == tasks

    ring.gate.set()
    await _until(lambda: _works(store))
    assert await store.save(OLD, after=0, lease=None) == Saved()


async def _works(store: KeyringStore) -> bool:
    try:
        await store.load()
    except StoreError:
        return False
    return True


@pytest.mark.usefixtures("impatient")
async def test_nothing_is_saved_while_a_save_that_was_given_up_goes_on(
    state: Path, store: KeyringStore, ring: MemoryRing
) -> None:
    """By another process, whose own calls would not block."""
    other_ring = MemoryRing()
    other_ring.entries = ring.entries
    other = KeyringStores(state, lambda: other_ring).open(KEY)
    ring.gate.clear()
    with pytest.raises(StoreError, match="has not answered"):
        await store.save(OLD, after=0, lease=None)
    with pytest.raises(StoreError, match="another process is in the middle of a save"):
        await other.save(NEW, after=0, lease=None)
    assert ring.entries == {}

    ring.gate.set()

    async def _is_saved() -> bool:
        return await other.load() == OLD

    await _until(_is_saved)
    assert await other.save(NEW, after=0, lease=None) == Conflict(OLD)
    assert await other.save(NEW, after=1, lease=None) == Saved()


async def test_a_caller_who_is_cancelled_waits_for_the_write_that_it_began(
    store: KeyringStore, ring: MemoryRing
) -> None:
    """Else the lock would be given back under it."""
    ring.gate.clear()
    saving = spawn(store.save(OLD, after=0, lease=None), name="saving")
    await _at_work(ring)
    saving.cancel()
    await asyncio.wait({saving}, timeout=0.05)
    assert not saving.done()
    ring.gate.set()
    await asyncio.wait({saving})
    assert saving.cancelled()
    assert await store.load() == OLD


async def test_a_caller_who_is_cancelled_does_not_wait_for_what_it_reads(
    store: KeyringStore, ring: MemoryRing
) -> None:
    ring.gate.clear()
    loading = spawn(store.load(), name="loading")
    await _at_work(ring)
    async with asyncio.timeout(PATIENCE):
        await cancelled(loading)


def test_a_prompt_that_nobody_answers_does_not_keep_the_process(tmp_path: Path) -> None:
    said = _run(
        """
        keyring_store.LONGEST_CALL = 0.1

        async def main():
            try:
                await store.load()
            except StoreError as error:
                print(json.dumps(str(error)))

        asyncio.run(main())
        """,
        tmp_path,
        "StuckRing",
    )
    assert "has not answered" in said


# -- files beside it -------------------------------------------------------------------------


@pytest.fixture(params=[0o000, 0o022, 0o177, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


async def test_files_are_0600_and_folders_0700_whatever_the_umask(
    umask: int, store: KeyringStore, folder: Path
) -> None:
    async with store.lock() as lease:
        await store.save(OLD, after=0, lease=lease)
    assert {_mode(path) for path in folder.iterdir()} == {0o600}
    assert {_mode(folder), _mode(folder.parent)} == {0o700}


@pytest.mark.parametrize("mode", [0o770, 0o777], ids=oct)
async def test_a_folder_that_others_can_write_is_refused(
    store: KeyringStore, ring: MemoryRing, folder: Path, mode: int
) -> None:
    await store.save(OLD, after=0, lease=None)
    folder.chmod(mode)
    sentence = f"^{folder} can be written by others: .* or name another folder in XDG_STATE_HOME$"
    with pytest.raises(StoreError, match=sentence):
        await store.save(NEW, after=1, lease=None)
    with pytest.raises(StoreError, match=sentence):
        async with store.lock():
            pytest.fail("a lock that anybody can remove")
    assert await store.load() == OLD


async def test_a_folder_that_cannot_be_made_is_a_store_error(
    tmp_path: Path, ring: MemoryRing
) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = KeyringStores(tmp_path / "file", lambda: ring).open(KEY)
    sentence = r"cannot be written \([\w ]+\): mend the folder, or name another in XDG_STATE_HOME$"
    with pytest.raises(StoreError, match=sentence):
        await store.save(OLD, after=0, lease=None)
    assert ring.entries == {}
    assert await store.load() == Record()


@pytest.mark.parametrize("there", [True, False])
async def test_a_symlink_in_the_place_of_the_signal_is_not_followed_and_stops_no_save(
    store: KeyringStore, folder: Path, tmp_path: Path, there: bool
) -> None:
    victim = tmp_path / "victim"
    if there:
        victim.write_bytes(b"precious")
    folder.mkdir(parents=True, mode=0o700)
    (folder / f"{KEY}.changed").symlink_to(victim)
    assert await store.save(OLD, after=0, lease=None) == Saved()
    assert victim.exists() == there
    assert not there or victim.read_bytes() == b"precious"


async def test_locks_that_are_taken_and_records_that_are_read_are_no_changes(
    store: KeyringStore,
) -> None:
    await store.save(OLD, after=0, lease=None)
    async with aclosing(store.watch()) as changes:
        await anext(changes)
        await asyncio.sleep(0.25)  # what was still to be told has been
        told = spawn(_next(changes), name="told")
        await asyncio.sleep(0)
        async with store.lock():
            await store.load()
        await asyncio.wait({told}, timeout=0.25)
        assert not told.done()
        await store.save(NEW, after=1, lease=None)
        async with asyncio.timeout(PATIENCE):
            await told


async def _next(changes: Any) -> None:
    await anext(changes)


async def test_a_file_store_in_the_same_folder_is_not_held_up(
    state: Path, store: KeyringStore, ring: MemoryRing
) -> None:
    file_stores = FileStores(state)
    ring.gate.clear()
    saving = spawn(store.save(OLD, after=0, lease=None), name="saving")
    await _at_work(ring)
    async with asyncio.timeout(PATIENCE):
        assert await file_stores.open(KEY).save(NEW, after=0, lease=None) == Saved()
    ring.gate.set()
    assert await saving == Saved()


# -- other processes -------------------------------------------------------------------------

PRELUDE = """
import asyncio, json, sys
from pathlib import Path
from tokenproxy.errors import StoreError
from tokenproxy.tokens.store import Saved
from tokenproxy.tokens.stores import keyring as keyring_store
from tokenproxy.tokens.token import Record

store = keyring_store.KeyringStores(Path(sys.argv[1]) / "state").open("shop-0123456789abcdef")
"""
COUNTING = """
async def count():
    counted = 0
    while counted < 10:
        stored = await store.load()
        record = Record(stored.generation + 1)
        if await store.save(record, after=stored.generation, lease=None) == Saved():
            counted += 1

asyncio.run(count())
"""


def _environment(folder: Path, kind: str) -> dict[str, str]:
    return os.environ | {  # noqa: TID251 - what a child needs to run
        "PYTHON_KEYRING_BACKEND": f"tests.tokens.stores.rings.{kind}",
        "KEYRING_PROPERTY_PLACE": str(folder / "entries"),
    }


def _run(script: str, folder: Path, kind: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(folder)],
        cwd=ROOT,
        env=_environment(folder, kind),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout or "null")


async def test_three_processes_that_count_lose_nothing_and_are_heard(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", PRELUDE + COUNTING, str(tmp_path)]
    environment = _environment(tmp_path, "FileRing")
    stores = KeyringStores(tmp_path / "state", MemoryRing)
    async with aclosing(stores.open(KEY).watch()) as changes:
        await anext(changes)
        told = spawn(_next(changes), name="told")
        counting = [
            await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, env=environment)
            for _ in range(3)
        ]
        async with asyncio.timeout(20):
            assert [await process.wait() for process in counting] == [0] * 3
            await told
    (entry,) = json.loads((tmp_path / "entries").read_text()).values()
    assert json.loads(entry)["generation"] == 30


# -- in use ----------------------------------------------------------------------------------


async def test_while_the_keyring_is_locked_tokens_are_served_from_memory_and_saved_when_it_opens(
    store: KeyringStore, ring: MemoryRing
) -> None:
    clock, events = ManualClock(), list[Event]()
    keeper = Keeper(
        "shop",
        ScriptedSource(clock),
        store,
        Refresh.model_validate({"background": False, "jitter": 0}),
        clock=clock,
        random=NoJitter(),
        observe=events.append,
    )
    ring.failing = {"get": KeyringLocked("no"), "set": KeyringLocked("no")}
    await keeper.start()
    assert (await keeper.get()).token.access == Secret("access-1")
    assert StoreTrouble("shop", "the keyring is locked: unlock it") in events
    assert NotPersisted("shop", "the keyring is locked: unlock it") in events
    assert keeper.not_persisted

    ring.failing.clear()
    async with asyncio.timeout(PATIENCE):
        while Persisted("shop") not in events:
            await asyncio.sleep(0.005)
            await clock.advance(0.5)
    assert "access-1" in ring.entries[ENTRY]
    await keeper.close()
