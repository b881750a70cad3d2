import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens import watching
from tokenproxy.tokens.watching import FolderWatch, file_changes

QUIET = 0.25  # seconds; longer than any change takes to be told


@pytest.fixture(autouse=True)
def _looks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_AGAIN", 0.02)


async def _told(changes: AsyncGenerator[None, None]) -> None:
    async with asyncio.timeout(5):
        await anext(changes)


class Listener:
    """Counts how often it is told."""

    def __init__(self, watch: FolderWatch) -> None:
        self.heard = asyncio.Queue[None]()
        self._task = spawn(self._listen(watch), name="listener")

    async def _listen(self, watch: FolderWatch) -> None:
        async with aclosing(watch.changes()) as changes:
            async for _ in changes:
                self.heard.put_nowait(None)

    async def hears(self) -> None:
        async with asyncio.timeout(5):
            await self.heard.get()

    async def forgets(self) -> None:
        """What is still to be told of the past."""
        await asyncio.sleep(QUIET)
        while not self.heard.empty():
            self.heard.get_nowait()

    async def leave(self) -> None:
        await cancelled(self._task)


async def test_a_watch_tells_when_it_stands_and_after_every_change(tmp_path: Path) -> None:
    async with aclosing(FolderWatch(lambda: [tmp_path]).changes()) as changes:
        await _told(changes)
        for name in ("one", "two"):
            (tmp_path / name).write_bytes(b"x")
            await _told(changes)
        (tmp_path / "two").rename(tmp_path / "three")
        await _told(changes)
        (tmp_path / "three").unlink()
        await _told(changes)


async def test_only_the_files_that_were_asked_for_count(tmp_path: Path) -> None:
    listener = Listener(FolderWatch(lambda: [tmp_path], suffix=".json"))
    await listener.hears()
    (tmp_path / "a.lock").write_bytes(b"x")
    (tmp_path / "a.json.new").write_bytes(b"x")
    await asyncio.sleep(QUIET)
    assert listener.heard.empty()
    (tmp_path / "a.json.new").rename(tmp_path / "a.json")
    await listener.hears()
    await listener.leave()


async def test_a_folder_that_appears_later_is_watched_then(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    listener = Listener(FolderWatch(lambda: [folder]))
    await asyncio.sleep(0.05)
    assert listener.heard.empty()
    folder.mkdir()
    await listener.hears()
    (folder / "file").write_bytes(b"x")
    await listener.hears()
    await listener.leave()


async def test_a_folder_that_was_replaced_is_watched_in_its_new_form(tmp_path: Path) -> None:
    folder, old = tmp_path / "folder", tmp_path / "old"
    folder.mkdir()
    listener = Listener(FolderWatch(lambda: [folder]))
    await listener.hears()
    folder.rename(old)
    folder.mkdir()
    (old / "file").write_bytes(b"x")  # inotify stays with what was renamed
    await listener.forgets()
    (folder / "file").write_bytes(b"x")
    await listener.hears()
    await listener.leave()


async def test_the_folders_are_asked_for_anew_after_a_change(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (tmp_path / "link").symlink_to(one)
    listener = Listener(FolderWatch(lambda: {tmp_path, (tmp_path / "link").resolve()}))
    await listener.hears()
    (one / "file").write_bytes(b"x")
    await listener.hears()
    (tmp_path / "fresh").symlink_to(two)
    (tmp_path / "fresh").rename(tmp_path / "link")
    await listener.forgets()
    (two / "file").write_bytes(b"x")
    await listener.hears()
    await listener.leave()


async def test_one_watch_serves_all_who_listen_and_tells_those_who_join(tmp_path: Path) -> None:
    watch = FolderWatch(lambda: [tmp_path])
    first = Listener(watch)
    await first.hears()
    second = Listener(watch)
    await second.hears()
    (tmp_path / "file").write_bytes(b"x")
    await asyncio.gather(first.hears(), second.hears())
    await first.leave()
    await second.forgets()
    (tmp_path / "file").write_bytes(b"y")
    await second.hears()
    await second.leave()


async def test_a_slow_listener_hears_of_many_changes_at_once(tmp_path: Path) -> None:
    watch = FolderWatch(lambda: [tmp_path])
    slow = watch.changes()
    listener = Listener(watch)
    await _told(slow)
    await listener.hears()
    for name in ("one", "two", "three"):
        (tmp_path / name).write_bytes(b"x")
        await listener.hears()
    await listener.forgets()
    await _told(slow)
    waiting = spawn(_told(slow), name="waiting")
    await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done()
    await cancelled(waiting)
    await slow.aclose()
    await listener.leave()


def _watchers() -> list[Path]:
    """The threads of notify, which watchfiles rests on; idle threads of pools do not count."""
    tasks = Path("/proc/self/task")
    return [task for task in tasks.iterdir() if "notify" in (task / "comm").read_text()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells")
async def test_the_last_one_out_leaves_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    await asyncio.to_thread(int)
    before = _descriptors()
    listener = Listener(FolderWatch(lambda: [tmp_path]))
    await listener.hears()
    assert _watchers()
    await listener.leave()
    async with asyncio.timeout(5):
        while _watchers() or _descriptors() > before:  # noqa: ASYNC110 - no thread tells its end
            await asyncio.sleep(0.01)


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def test_a_file_that_changes_is_told_and_not_what_is_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    told: asyncio.Queue[None] = asyncio.Queue()

    async def watch() -> None:
        async with aclosing(file_changes(path)) as changes:
            async for change in changes:
                told.put_nowait(change)

    watching_ = spawn(watch(), name="watch")
    try:
        await asyncio.sleep(0.05)
        path.with_name("beside").write_text("x")
        await asyncio.sleep(QUIET)
        assert told.empty()
        path.write_text("another")
        async with asyncio.timeout(5):
            await told.get()
    finally:
        await cancelled(watching_)
