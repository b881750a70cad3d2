"""What only the file store promises: of modes, symlinks, corruption, kills, and other processes."""

import asyncio
import errno
import json
import os
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

import pytest

from tokenproxy.errors import StoreError
from tokenproxy.secret import Secret
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens.codec import encode
from tokenproxy.tokens.store import Conflict, Saved
from tokenproxy.tokens.stores import file as file_store
from tokenproxy.tokens.stores.file import FileStore, FileStores
from tokenproxy.tokens.token import LOST, Record, Token

ROOT = Path(__file__).parents[3]
KEY = "shop-0123456789abcdef"
OLD = Record(1, Token(Secret("access-1"), 1.0, 2.0), Secret("refresh-1"))
NEW = Record(2, Token(Secret("access-2"), 2.0, 3.0), Secret("refresh-2"))
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def store(folder: Path) -> FileStore:
    return FileStores(folder).open(KEY)


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / f"{KEY}.json"


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def _run(script: str, *arguments: object) -> Any:
    """Run Python with `folder`, `key` and our modules at hand; what it prints is JSON."""
    ended = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout or "null")


PRELUDE = """
import asyncio, json, os, sys
from pathlib import Path
from tokenproxy.errors import StoreError
from tokenproxy.secret import Secret
from tokenproxy.tokens.store import Conflict, Saved
from tokenproxy.tokens.stores.file import FileStores
from tokenproxy.tokens.token import Record, Token

folder, key = Path(sys.argv[1]), sys.argv[2]
OLD = Record(1, Token(Secret("access-1"), 1.0, 2.0), Secret("refresh-1"))
NEW = Record(2, Token(Secret("access-2"), 2.0, 3.0), Secret("refresh-2"))
store = FileStores(folder).open(key)
"""


# -- modes -----------------------------------------------------------------------------------


@pytest.fixture(params=[0o000, 0o022, 0o177, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


async def test_files_are_0600_and_folders_0700_whatever_the_umask(
    umask: int, tmp_path: Path
) -> None:
    folder = tmp_path / "state" / "tokenproxy" / "tokens"
    store = FileStores(folder).open(KEY)
    async with store.lock() as lease:
        await store.save(OLD, after=0, lease=lease)
    assert {entry.name: _mode(entry) for entry in folder.iterdir()} == {
        f"{KEY}.json": 0o600,
        f"{KEY}.lock": 0o600,
    }
    assert {_mode(each) for each in (folder, folder.parent, folder.parent.parent)} == {0o700}


async def test_files_and_folders_are_nobody_elses_from_the_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[int]] = {}
    real_open, real_mkdir = os.open, os.mkdir

    def _open(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        descriptor = real_open(path, flags, *rest, **more)
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        seen.setdefault(Path(path).name, set()).add(mode)
        return descriptor

    def _mkdir(path: Any, *rest: Any, **more: Any) -> None:
        real_mkdir(path, *rest, **more)
        seen.setdefault(Path(path).name, set()).add(_mode(Path(path)))

    monkeypatch.setattr(os, "open", _open)
    monkeypatch.setattr(os, "mkdir", _mkdir)
    before = os.umask(0)
    try:
        store = FileStores(folder / "inner").open(KEY)
        async with store.lock() as lease:
            await store.save(OLD, after=0, lease=lease)
    finally:
        os.umask(before)
    assert seen == {
        "tokens": {0o700},
        "inner": {0o700},
        f"{KEY}.lock": {0o600},
        f"{KEY}.new": {0o600},
    }


async def test_a_file_that_others_could_read_is_theirs_no_longer_after_a_save(
    store: FileStore, path: Path
) -> None:
    await store.save(OLD, after=0, lease=None)
    path.chmod(0o644)
    await store.save(NEW, after=1, lease=None)
    assert _mode(path) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777], ids=oct)
async def test_a_folder_that_others_can_write_is_refused(
    store: FileStore, folder: Path, mode: int
) -> None:
    await store.save(OLD, after=0, lease=None)
    folder.chmod(mode)
    with pytest.raises(StoreError, match=rf"{folder} can be written by others: run 'chmod go-w"):
        await store.load()
    with pytest.raises(StoreError, match="can be written by others"):
        await store.save(NEW, after=1, lease=None)
    with pytest.raises(StoreError, match="can be written by others"):
        await store.delete(lease=None)
    with pytest.raises(StoreError, match="can be written by others"):
        async with store.lock():
            pytest.fail("a lock that anybody can remove")
    folder.chmod(0o755)
    assert await store.load() == OLD


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o666], ids=oct)
async def test_a_file_that_others_can_write_is_refused_and_stays(
    store: FileStore, path: Path, mode: int
) -> None:
    await store.save(OLD, after=0, lease=None)
    path.chmod(mode)
    with pytest.raises(StoreError, match=rf"{path} can be written by others: run 'chmod go-w"):
        await store.load()
    with pytest.raises(StoreError, match="can be written by others"):
        await store.save(NEW, after=1, lease=None)
    path.chmod(0o600)
    assert await store.load() == OLD


@needs_root
async def test_what_belongs_to_another_user_is_refused(
    store: FileStore, folder: Path, path: Path
) -> None:
    await store.save(OLD, after=0, lease=None)
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(StoreError, match=f"{path} belongs to another user: name a folder"):
        await store.load()
    os.chown(path, 0, 0)
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(StoreError, match=f"{folder} belongs to another user"):
        await store.load()
    with pytest.raises(StoreError, match=f"{folder} belongs to another user"):
        await store.save(NEW, after=1, lease=None)


# -- what stands in a file's place -----------------------------------------------------------


async def test_a_symlink_in_the_place_of_the_file_is_not_followed(
    store: FileStore, folder: Path, path: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(encode(OLD))
    folder.mkdir(mode=0o700)
    path.symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic link"):
        await store.load()
    with pytest.raises(StoreError, match="symbolic link"):
        await store.save(NEW, after=1, lease=None)
    with pytest.raises(StoreError, match="symbolic link"):
        await store.delete(lease=None)
    assert path.is_symlink()
    assert victim.read_bytes() == encode(OLD)


@pytest.mark.parametrize("there", [True, False])
async def test_a_symlink_in_the_place_of_the_new_file_is_not_followed(
    store: FileStore, folder: Path, tmp_path: Path, there: bool
) -> None:
    victim = tmp_path / "victim"
    if there:
        victim.write_bytes(b"precious")
    folder.mkdir(mode=0o700)
    (folder / f"{KEY}.new").symlink_to(victim)
    assert await store.save(OLD, after=0, lease=None) == Saved()
    assert await store.load() == OLD
    assert victim.exists() == there
    assert not there or victim.read_bytes() == b"precious"
    assert _names(folder) == {f"{KEY}.json"}


@pytest.mark.parametrize("there", [True, False])
async def test_a_symlink_in_the_place_of_the_lock_is_not_followed(
    store: FileStore, folder: Path, tmp_path: Path, there: bool
) -> None:
    victim = tmp_path / "victim"
    if there:
        victim.write_bytes(b"precious")
        victim.chmod(0o640)
    folder.mkdir(mode=0o700)
    (folder / f"{KEY}.lock").symlink_to(victim)
    with pytest.raises(StoreError, match=r"cannot be locked \(a symbolic link"):
        async with store.lock():
            pytest.fail("a lock in somebody else's file")
    assert victim.exists() == there
    assert not there or (victim.read_bytes(), _mode(victim)) == (b"precious", 0o640)


async def test_a_fifo_in_the_place_of_the_file_holds_nobody_up(
    store: FileStore, folder: Path, path: Path
) -> None:
    folder.mkdir(mode=0o700)
    os.mkfifo(path, 0o600)
    async with asyncio.timeout(5):
        with pytest.raises(StoreError, match=f"{path} is not a file: move it away"):
            await store.load()
        with pytest.raises(StoreError, match="is not a file"):
            await store.save(OLD, after=0, lease=None)


async def test_a_folder_in_the_place_of_the_file_is_refused_and_nothing_stays_open(
    store: FileStore, path: Path
) -> None:
    path.mkdir(parents=True, mode=0o700)
    path.parent.chmod(0o700)
    await asyncio.to_thread(int)
    before = sorted(os.listdir("/dev/fd"))
    with pytest.raises(StoreError, match="is not a file"):
        await store.load()
    assert sorted(os.listdir("/dev/fd")) == before


# -- corruption ------------------------------------------------------------------------------

WHOLE = encode(OLD)
CORRUPT = {
    "empty": b"",
    "cut off": WHOLE[:-20],
    "binary": bytes(range(256)),
    "another JSON": b"[]",
    "no fields": b"{}",
    "nested without end": b"[" * 200_000,
    "a version that never was": WHOLE.replace(b'"version": 1', b'"version": 0'),
    "a generation of another type": WHOLE.replace(b'"generation": 1', b'"generation": "1"'),
    "a token of another type": WHOLE.replace(b'"access-1"', b'["access-1"]'),
    "a time that is none": WHOLE.replace(b'"issued_at": 1.0', b'"issued_at": 1e999'),
    "a time without end": WHOLE.replace(b'"issued_at": 1.0', b'"issued_at": ' + b"9" * 400),
    "5 MiB": b" " * (5 << 20) + WHOLE,
}


@pytest.mark.parametrize("content", CORRUPT.values(), ids=CORRUPT)
async def test_a_corrupt_file_is_empty_and_is_set_aside_by_the_next_save(
    store: FileStore, folder: Path, path: Path, content: bytes
) -> None:
    folder.mkdir(mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)
    assert await store.load() == LOST
    assert path.read_bytes() == content
    assert await store.save(NEW, after=0, lease=None) == Saved()
    assert await store.load() == NEW
    (aside,) = folder.glob(f"{KEY}.corrupt-*")
    assert aside.read_bytes() == content
    assert _mode(aside) == 0o600


async def test_a_corrupt_file_is_set_aside_by_a_deletion_too(
    store: FileStore, folder: Path, path: Path
) -> None:
    folder.mkdir(mode=0o700)
    path.write_bytes(b"{")
    await store.delete(lease=None)
    assert await store.load() == Record(1)
    assert [aside.read_bytes() for aside in folder.glob("*.corrupt-*")] == [b"{"]


async def test_a_conflict_leaves_a_corrupt_file_where_it_is(
    store: FileStore, folder: Path, path: Path
) -> None:
    folder.mkdir(mode=0o700)
    path.write_bytes(b"{")
    assert await store.save(NEW, after=1, lease=None) == Conflict(LOST)
    assert _names(folder) == {path.name}


async def test_a_record_that_was_edited_by_hand_is_taken_up(store: FileStore, path: Path) -> None:
    await store.save(OLD, after=0, lease=None)
    path.write_bytes(path.read_bytes().replace(b"access-1", b"access-9"))
    token = (await store.load()).token
    assert token is not None
    assert token.access == Secret("access-9")


async def test_a_store_that_was_removed_is_empty_and_made_anew(
    store: FileStore, folder: Path, path: Path
) -> None:
    await store.save(OLD, after=0, lease=None)
    path.unlink()
    folder.rmdir()
    assert await store.load() == Record()
    assert await store.save(NEW, after=0, lease=None) == Saved()
    assert await store.load() == NEW


# -- what cannot be written ------------------------------------------------------------------


@pytest.mark.parametrize("place", ["a-file/tokens", "a-file", "loose-link"])
async def test_a_folder_that_cannot_be_made_is_a_store_error_that_says_what_to_do(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "a-file").write_bytes(b"")
    (tmp_path / "loose-link").symlink_to(tmp_path / "nowhere" / "at all")
    folder = tmp_path / place
    store = FileStores(folder).open(KEY)
    sentence = rf"^the store in {folder} cannot be \w+ \([\w ]+\): mend the folder, or name another"
    with pytest.raises(StoreError, match=sentence):
        await store.save(OLD, after=0, lease=None)
    with pytest.raises(StoreError, match=sentence):
        async with store.lock():
            pytest.fail("a lock in a folder that is none")


async def test_where_no_folder_can_be_made_a_watch_waits_without_a_word() -> None:
    store = FileStores(Path("/proc/nowhere/tokens")).open(KEY)
    with pytest.raises(StoreError):
        await store.save(OLD, after=0, lease=None)
    async with aclosing(store.watch()) as changes:
        waiting = spawn(_next(changes), name="waiting")
        await asyncio.wait({waiting}, timeout=0.1)
        assert not waiting.done()
        await cancelled(waiting)


async def _next(changes: Any) -> None:
    await anext(changes)


def test_a_folder_without_permission_is_a_store_error(folder: Path) -> None:
    """In a process that is not root, since nothing is forbidden to root."""
    said = _run(
        """
        import tempfile

        async def tried(work):
            try:
                return repr(await work())
            except StoreError as error:
                return str(error)

        async def locked():
            async with store.lock():
                return "locked"

        async def try_all():
            save = lambda: store.save(NEW, after=1, lease=None)
            return [await tried(work) for work in (store.load, save, locked)]

        asyncio.run(locked())  # what is still to be imported is imported as root
        place = tempfile.TemporaryDirectory()
        if os.geteuid() == 0:
            os.chown(place.name, 65534, 65534)
            os.setgid(65534)
            os.setuid(65534)
        folder = Path(place.name) / "tokens"
        store = FileStores(folder).open(key)
        asyncio.run(store.save(OLD, after=0, lease=None))
        os.chmod(folder, 0o500)
        readable = asyncio.run(try_all())
        os.chmod(folder, 0o000)
        closed = asyncio.run(try_all())
        os.chmod(folder, 0o700)
        names, record = os.listdir(folder), asyncio.run(store.load())
        place.cleanup()
        print(json.dumps([readable, closed, names, record == OLD]))
        """,
        folder,
        KEY,
    )
    readable, closed, names, whole = said
    assert readable[0].startswith("Record(generation=1")
    assert "cannot be written (Permission denied)" in readable[1]
    assert "cannot be locked (Permission denied)" in readable[2]
    assert "cannot be read (Permission denied)" in closed[0]
    assert "cannot be written (Permission denied)" in closed[1]
    assert "(Permission denied)" in closed[2]
    assert (names, whole) == ([f"{KEY}.json"], True)


def test_a_full_disk_leaves_the_old_file_whole_and_no_litter(folder: Path) -> None:
    """A limit on the size of files fails a write where a full disk would."""
    said = _run(
        """
        import resource

        asyncio.run(store.save(OLD, after=0, lease=None))
        full = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, full[1]))
        try:
            asyncio.run(store.save(NEW, after=1, lease=None))
        except StoreError as error:
            said = str(error)
        names = os.listdir(folder)
        after_failure = asyncio.run(store.load())
        resource.setrlimit(resource.RLIMIT_FSIZE, full)
        again = asyncio.run(store.save(NEW, after=1, lease=None))
        print(json.dumps([said, names, after_failure == OLD, again == Saved()]))
        """,
        folder,
        KEY,
    )
    sentence, names, whole, saved_later = said
    assert "cannot be written (File too large)" in sentence
    assert names == [f"{KEY}.json"]
    assert whole
    assert saved_later


@pytest.mark.parametrize("step", ["fsync", "rename"])
async def test_a_write_that_fails_late_leaves_the_old_file_whole_and_no_litter(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await store.save(OLD, after=0, lease=None)

    def _fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, step, _fails)
        with pytest.raises(StoreError, match=r"cannot be written \(Input/output error\)"):
            await store.save(NEW, after=1, lease=None)
    assert await store.load() == OLD
    assert _names(folder) == {f"{KEY}.json"}


# -- kills -----------------------------------------------------------------------------------

KILLED_AT_EVERY_STEP = """
import signal
STEPS = ("mkdir", "open", "fchmod", "fdopen", "fsync", "rename", "unlink", "close")

def die_before(step):
    left = step

    def counted(real):
        def act(*arguments, **more):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)
        return act

    class Torn:
        def __init__(self, file): self.file = file
        def __enter__(self): return self
        def __exit__(self, *error): self.file.close()
        def __getattr__(self, name): return getattr(self.file, name)
        def write(self, content):  # in two writes, with a step between them
            os.write(self.file.fileno(), content[:40])
            half_written()
            self.file.write(content[40:])

    half_written = counted(lambda: None)
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    fdopen = os.fdopen
    os.fdopen = lambda *arguments: Torn(fdopen(*arguments))

def killed_before(step):
    child = os.fork()
    if child == 0:
        die_before(step)
        store._save(NEW, after)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

async def load():
    return await store.load()

after, outcomes = int(sys.argv[3]), []
base = folder
for step in range(1, 100):
    folder = base / str(step)
    store = FileStores(folder).open(key)
    if after:
        store._save(OLD, 0)
    killed = killed_before(step)
    found = store._load()
    whole = {Record(): 0, OLD: 1, NEW: 2}[found]
    store._save(Record(7), found.generation)
    names = sorted(os.listdir(folder))
    outcomes.append([whole, store._load() == Record(7), names])
    if not killed:
        break
print(json.dumps(outcomes))
"""


@pytest.mark.parametrize("after", [0, 1], ids=["the first save", "a later save"])
def test_a_kill_at_any_step_of_a_save_leaves_the_old_record_or_the_new_one(
    folder: Path, after: int
) -> None:
    folder.mkdir(mode=0o700)
    outcomes = _run(KILLED_AT_EVERY_STEP, folder, KEY, after)
    generations = [generation for generation, _, _ in outcomes]
    assert generations == sorted(generations), "no way back"
    assert set(generations) == {after, 2}
    assert len(outcomes) > 8, "too few steps to be all of them"
    assert all(mended for _, mended, _ in outcomes), "what a kill leaves is no obstacle"
    assert all(names == [f"{KEY}.json"] for _, _, names in outcomes)


async def test_a_new_file_is_synced_before_its_name_is_and_the_folder_after(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill cannot show, since it takes no power from the disk."""
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def _fsync(descriptor: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        real_fsync(descriptor)

    def _rename(source: Path, target: Path) -> None:
        steps.append(f"rename {source.name} {target.name}")
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", _fsync)
    monkeypatch.setattr(os, "rename", _rename)
    await store.save(OLD, after=0, lease=None)
    assert steps == [f"fsync {KEY}.new", f"rename {KEY}.new {KEY}.json", "fsync tokens"]


# -- other processes -------------------------------------------------------------------------

COUNTING = """
async def count():
    counted = 0
    while counted < 20:
        stored = await store.load()
        record = Record(stored.generation + 1)
        match await store.save(record, after=stored.generation, lease=None):
            case Saved():
                counted += 1
            case Conflict():
                await asyncio.sleep(0)
    tally = folder / "tally"
    for _ in range(20):
        async with store.lock():
            found = int(tally.read_text()) if tally.exists() else 0
            await asyncio.sleep(0)
            tally.write_text(str(found + 1))

asyncio.run(count())
"""


async def test_four_processes_that_count_lose_nothing(store: FileStore, folder: Path) -> None:
    """By comparing and setting without the lock, and then by the lock alone."""
    arguments = [sys.executable, "-c", PRELUDE + COUNTING, folder, KEY]
    counting = [
        await asyncio.create_subprocess_exec(*map(str, arguments), cwd=ROOT) for _ in range(4)
    ]
    async with asyncio.timeout(20):
        assert [await process.wait() for process in counting] == [0] * 4
    assert await store.load() == Record(80)
    assert (folder / "tally").read_text() == "80"


class Partner:
    """Another process on the same store, which does as it is told."""

    SCRIPT = """
    async def main():
        async with store.lock():
            print("held", flush=True)
            sys.stdin.readline()
        for line in sys.stdin:
            stored = await store.load()
            await store.save(Record(stored.generation + 1), after=stored.generation, lease=None)

    asyncio.run(main())
    """

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(self.SCRIPT), folder, KEY],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def wait_until_it_holds_the_lock(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"held\n"

    def go_on(self) -> None:
        """Give the lock back, the first time; save, every other time."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def partner(folder: Path) -> Iterator[Partner]:
    partner = Partner(folder)
    partner.wait_until_it_holds_the_lock()
    yield partner
    partner.end()


async def _locked(store: FileStore) -> None:
    async with store.lock():
        pass


async def test_a_lock_that_another_process_holds_is_waited_for(
    store: FileStore, partner: Partner
) -> None:
    waiter = spawn(_locked(store), name="waiter")
    await asyncio.wait({waiter}, timeout=0.1)
    assert not waiter.done()
    partner.go_on()
    async with asyncio.timeout(5):
        await waiter


async def test_a_holder_that_is_killed_blocks_nobody(store: FileStore, partner: Partner) -> None:
    waiter = spawn(_locked(store), name="waiter")
    await asyncio.wait({waiter}, timeout=0.05)
    assert not waiter.done()
    partner.end()
    async with asyncio.timeout(5):
        await waiter


class Following:
    """Someone who watches, and looks only when told."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._seen: asyncio.Queue[int] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        self._task = spawn(self._follow(), name="following")
        await self._seen.get()  # the watch stands
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancelled(self._task)

    async def _follow(self) -> None:
        async with aclosing(self._store.watch()) as changes:
            async for _ in changes:
                self._seen.put_nowait((await self._store.load()).generation)

    async def sees(self, generation: int) -> None:
        async with asyncio.timeout(5):
            while await self._seen.get() != generation:
                pass

    async def hears_nothing(self) -> None:
        """For longer than any change takes to be told."""
        await asyncio.sleep(0.25)
        assert self._seen.empty()

    async def hears_no_more(self) -> None:
        """What was still to be told has been."""
        await asyncio.sleep(0.25)
        while not self._seen.empty():
            self._seen.get_nowait()


async def test_a_save_by_another_process_is_told_within_a_second(
    store: FileStore, partner: Partner
) -> None:
    partner.go_on()
    async with Following(store) as follower:
        for generation in (1, 2):
            saved_at = time.perf_counter()
            partner.go_on()
            await follower.sees(generation)
            assert time.perf_counter() - saved_at < 1


async def test_locks_that_are_taken_are_no_changes(store: FileStore) -> None:
    async with Following(store) as follower:
        for _ in range(5):
            await _locked(store)
        await follower.hears_nothing()
        await store.save(OLD, after=0, lease=None)
        await follower.sees(1)


async def test_a_watch_goes_on_when_the_folder_is_removed_and_made_anew(
    store: FileStore, folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenproxy.tokens.watching.LOOK_AGAIN", 0.02)
    await store.save(OLD, after=0, lease=None)
    async with Following(store) as follower:
        path.unlink()
        folder.rmdir()
        await follower.sees(0)
        await store.save(OLD, after=0, lease=None)
        await follower.sees(1)
        await follower.hears_no_more()
        await store.save(NEW, after=1, lease=None)
        await follower.sees(2)


async def test_a_save_that_another_process_never_ends_is_given_up(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "LONGEST_SAVE", 0.1)
    with store._alone(), pytest.raises(StoreError, match="in the middle of a save"):
        await FileStores(folder).open(KEY).save(OLD, after=0, lease=None)
    assert await store.save(OLD, after=0, lease=None) == Saved()


def test_a_process_that_was_forked_in_the_middle_of_it_all_keeps_nobody_out(folder: Path) -> None:
    said = _run(
        """
        async def main():
            async with store.lock():
                with store._alone():
                    child = os.fork()
                    if child == 0:
                        os.read(wait, 1)
                        os._exit(0)
            async with asyncio.timeout(5), FileStores(folder).open(key).lock():
                print(json.dumps(await store.save(OLD, after=0, lease=None) == Saved()))
            os.write(go_on, b"x")
            os.waitpid(child, 0)

        wait, go_on = os.pipe()
        asyncio.run(main())
        """,
        folder,
        KEY,
    )
    assert said is True


async def test_where_the_folder_cannot_be_locked_saves_are_made_all_the_same(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS wants a descriptor that can be written to, which a folder's cannot."""

    def _flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", _flock)
    assert await store.save(OLD, after=0, lease=None) == Saved()
    assert await store.load() == OLD


async def test_where_there_is_no_flock_no_other_kind_of_lock_is_made_up(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", _flock)
    with pytest.raises(StoreError, match=r"cannot be locked \(Function not implemented\)"):
        await _locked(store)


async def test_a_caller_who_is_cancelled_waits_for_the_write_that_it_began(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the lock would be given back under it."""
    writing = asyncio.Event()
    real_write, loop = store._write, asyncio.get_running_loop()

    def _slow_write(content: bytes) -> None:
        loop.call_soon_threadsafe(writing.set)
        time.sleep(0.1)
        real_write(content)

    monkeypatch.setattr(store, "_write", _slow_write)
    saving = spawn(store.save(OLD, after=0, lease=None), name="saving")
    await writing.wait()
    await cancelled(saving)
    assert saving.cancelled()
    assert await store.load() == OLD


async def test_a_caller_who_is_cancelled_leaves_no_failure_behind(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    saving = spawn(store.save(OLD, after=0, lease=None), name="saving")
    await asyncio.sleep(0)
    await cancelled(saving)
    assert saving.cancelled()
    del saving
    await asyncio.sleep(0)
    assert complaints == []
