import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.file import File
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import ManualClock
from tokenproxy.tokens import watching
from tokenproxy.tokens.source import Attempt
from tokenproxy.tokens.sources.file import FileSource
from tokenproxy.tokens.token import Granted, Record, Token

NOW = 1_800_000_000.0
QUIET = 0.25  # seconds; longer than any change takes to be told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


def _source(path: Path, **keys: object) -> FileSource:
    settings = File.model_validate({"type": "file", "path": path, **keys})
    return FileSource("shop", settings, ManualClock(wall=NOW))


async def _fetched(source: FileSource) -> Granted:
    return await source.fetch(Attempt.LOGIN, Record())


def _jwt(**claims: object) -> str:
    parts = ({"alg": "none"}, claims)
    return (
        ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in parts
        )
        + "."
    )


@pytest.mark.parametrize(
    "content",
    [
        b"tok|en",
        b"tok|en\n",
        b"tok|en\r\n",
        b"  tok|en \n\n",
        b"\xef\xbb\xbftok|en\r\n",
    ],
)
async def test_a_text_file_is_the_token_without_what_editors_add(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    assert await _fetched(_source(path)) == Granted(Token(Secret("tok|en"), NOW, None))


@pytest.mark.parametrize(
    ("keys", "content"),
    [
        ({}, b'{"access_token": "tok"}'),
        ({}, b'\xef\xbb\xbf{"access_token": "tok", "more": 1}\r\n'),
        ({"field": "data.accessToken"}, b'{"data": {"accessToken": "tok"}}'),
    ],
)
async def test_a_json_file_holds_the_token_in_a_field(
    path: Path, keys: dict[str, Any], content: bytes
) -> None:
    path.write_bytes(content)
    granted = await _fetched(_source(path, format="json", **keys))
    assert granted.token.access == Secret("tok")


async def test_a_jwt_lives_until_its_exp_however_old_it_is(path: Path) -> None:
    path.write_text(_jwt(iat=NOW - 500, exp=NOW + 60))
    assert (await _fetched(_source(path))).token.expires_at == NOW + 60


async def test_a_token_that_names_no_life_has_the_configured_one(path: Path) -> None:
    path.write_text("opaque")
    source = _source(path, refresh={"default_ttl": "5m"})
    assert (await _fetched(source)).token.expires_at == NOW + 300


@pytest.mark.parametrize(
    ("keys", "content", "what"),
    [
        ({}, b"", "holds no token that a request can carry"),
        ({}, b"\n", "holds no token that a request can carry"),
        ({}, b"two tokens", "holds no token that a request can carry"),
        ({}, b"token-1\ntoken-2\n", "holds no token that a request can carry"),
        ({}, "Ümlaut".encode(), "holds no token that a request can carry"),
        ({}, b"token\x00", "holds no token that a request can carry"),
        ({}, "token".encode("utf-16"), "is not text"),
        ({}, b"x" * ((1 << 20) + 1), "is too large to hold a token"),
        ({"format": "json"}, b"{", "is not json"),
        ({"format": "json"}, b"", "is not json"),
        ({"format": "json"}, b"[" * 200_000, "is not json"),
        ({"format": "json"}, b"\xff\xfe", "is not json"),
        ({"format": "json"}, b'["tok"]', "has no field 'access_token': check 'field'"),
        ({"format": "json"}, b'{"access_token": 5}', "holds no token that a request can carry"),
        ({"format": "json", "field": "a.b"}, b'{"a": "b"}', "has no field 'a.b': check 'field'"),
    ],
)
async def test_what_is_no_token_is_told_in_a_sentence(
    path: Path, keys: dict[str, Any], content: bytes, what: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(SourceUnavailable, match=rf"^credential 'shop': {path} {what}") as caught:
        await _fetched(_source(path, **keys))
    assert not caught.value.retriable


@pytest.mark.parametrize("content", [b"SECRET MARKER", b'{"access_token": "SECRET MARKER"}'])
async def test_no_error_shows_what_the_file_holds(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for kind in ("text", "json"):
        with pytest.raises(SourceUnavailable) as caught:
            await _fetched(_source(path, format=kind))
        assert "MARKER" not in str(caught.value)


async def test_a_missing_file_is_told_as_such(path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=r"cannot be read \(No such file or directory\)"):
        await _fetched(_source(path))


async def test_a_folder_is_no_file_and_nothing_stays_open(path: Path) -> None:
    path.mkdir()
    await asyncio.to_thread(int)
    before = sorted(os.listdir("/dev/fd"))
    with pytest.raises(SourceUnavailable, match=r"cannot be read \(Is a directory\)"):
        await _fetched(_source(path))
    assert sorted(os.listdir("/dev/fd")) == before


async def test_a_path_through_a_file_cannot_be_read(path: Path) -> None:
    path.write_text("token")
    with pytest.raises(SourceUnavailable, match=r"cannot be read \(Not a directory\)"):
        await _fetched(_source(path / "token"))


@contextmanager
def _without_privileges() -> Iterator[None]:
    """Nothing is forbidden to root: for a moment, be nobody."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


async def test_a_file_that_may_not_be_read_is_told_as_such(path: Path) -> None:
    path.write_text("token")
    path.chmod(0)
    with (
        _without_privileges(),
        pytest.raises(SourceUnavailable, match=r"cannot be read \(Permission denied\)"),
    ):
        await _fetched(_source(path))


@pytest.mark.parametrize("writer", [False, True])
async def test_a_fifo_in_which_nothing_is_holds_nobody_up(path: Path, writer: bool) -> None:
    os.mkfifo(path)
    held_open = [os.open(path, os.O_RDWR)] if writer else []
    async with asyncio.timeout(5):
        with pytest.raises(SourceUnavailable, match="holds no token"):
            await _fetched(_source(path))
    for descriptor in held_open:
        os.close(descriptor)


async def test_the_file_is_all_there_is_to_ask(path: Path) -> None:
    source = _source(path)
    assert source.attempts(Record()) == (Attempt.LOGIN,)
    assert source.renewable
    assert not source.persistent


# -- changes ---------------------------------------------------------------------------------


class Watcher:
    """What a keeper does: reads the file when it is told to."""

    def __init__(self, source: FileSource) -> None:
        self.read = asyncio.Queue[str]()
        self._source = source
        self.task = spawn(self._watch(), name="watcher")

    async def _watch(self) -> None:
        async with aclosing(self._source.changes()) as changes:
            async for _ in changes:
                self.read.put_nowait(await self._token())

    async def _token(self) -> str:
        try:
            return (await _fetched(self._source)).token.access.reveal()
        except SourceUnavailable as error:
            return str(error)

    async def sees(self, token: str) -> None:
        async with asyncio.timeout(5):
            while await self.read.get() != token:
                pass

    async def sees_nothing(self) -> None:
        await asyncio.sleep(QUIET)
        assert self.read.empty()


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Path], Watcher]]:
    monkeypatch.setattr(watching, "LOOK_AGAIN", 0.02)
    watchers: list[Watcher] = []

    def _begin(path: Path) -> Watcher:
        watchers.append(Watcher(_source(path)))
        return watchers[-1]

    yield _begin
    await cancelled(*(watcher.task for watcher in watchers))


async def test_a_file_that_is_rewritten_is_noticed(
    path: Path, watch: Callable[[Path], Watcher]
) -> None:
    path.write_text("one")
    watcher = watch(path)
    await watcher.sees_nothing()
    path.write_text("two")
    await watcher.sees("two")


async def test_a_file_that_is_replaced_is_noticed(
    path: Path, watch: Callable[[Path], Watcher]
) -> None:
    path.write_text("one")
    watcher = watch(path)
    await watcher.sees_nothing()
    fresh = path.with_name("fresh")
    fresh.write_text("two")
    fresh.rename(path)
    await watcher.sees("two")


async def test_a_token_that_kubernetes_swaps_is_noticed(
    tmp_path: Path, watch: Callable[[Path], Watcher]
) -> None:
    """token -> ..data/token, ..data -> ..1; then ..2 is made and ..data renamed over."""

    def _project(version: int) -> None:
        folder = tmp_path / f"..{version}"
        folder.mkdir()
        (folder / "token").write_text(f"token-{version}")
        (tmp_path / "..data_tmp").symlink_to(folder.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    _project(1)
    (tmp_path / "token").symlink_to("..data/token")
    watcher = watch(tmp_path / "token")
    await watcher.sees_nothing()
    for version in (2, 3):
        _project(version)
        await watcher.sees(f"token-{version}")
        old = tmp_path / f"..{version - 1}"
        (old / "token").unlink()
        old.rmdir()


@pytest.mark.parametrize("indirect", [False, True])
async def test_a_folder_that_is_swapped_by_its_symlink_is_noticed(
    tmp_path: Path, watch: Callable[[Path], Watcher], indirect: bool
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(name)
    (tmp_path / "current").symlink_to("one")
    path = tmp_path / "current" / "token"
    if indirect:
        (tmp_path / "far").mkdir()
        (tmp_path / "far" / "link").symlink_to("../current/token")
        path = tmp_path / "far" / "link"
    watcher = watch(path)
    await watcher.sees_nothing()
    (tmp_path / "fresh").symlink_to("two")
    (tmp_path / "fresh").rename(tmp_path / "current")
    await watcher.sees("two")


async def test_symlinks_that_lead_in_a_circle_are_no_file_and_hold_nobody_up(
    path: Path, watch: Callable[[Path], Watcher]
) -> None:
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)
    watcher = watch(path)
    await watcher.sees_nothing()
    path.unlink()
    path.write_text("one")
    await watcher.sees("one")


async def test_a_file_behind_a_symlink_to_another_folder_is_watched_there(
    tmp_path: Path, path: Path, watch: Callable[[Path], Watcher]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "real").write_text("one")
    path.symlink_to(elsewhere / "real")
    watcher = watch(path)
    await watcher.sees_nothing()
    (elsewhere / "real").write_text("two")
    await watcher.sees("two")


async def test_a_file_whose_folder_comes_later_is_noticed(
    tmp_path: Path, watch: Callable[[Path], Watcher]
) -> None:
    folder = tmp_path / "later"
    watcher = watch(folder / "token")
    await watcher.sees_nothing()
    folder.mkdir()
    (folder / "token").write_text("one")
    await watcher.sees("one")


async def test_what_happens_beside_the_file_is_no_change(
    path: Path, watch: Callable[[Path], Watcher]
) -> None:
    path.write_text("one")
    watcher = watch(path)
    await asyncio.sleep(0.05)
    path.with_name("other").write_text("x")
    path.read_text()
    await watcher.sees_nothing()


async def test_a_file_that_goes_is_no_change_and_one_that_comes_back_is(
    path: Path, watch: Callable[[Path], Watcher]
) -> None:
    path.write_text("one")
    watcher = watch(path)
    await asyncio.sleep(0.05)
    path.unlink()
    await watcher.sees_nothing()
    path.write_text("one")
    await watcher.sees("one")
