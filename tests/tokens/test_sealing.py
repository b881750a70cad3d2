import asyncio
import base64
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokens.acting import NoJitter, ScriptedSource
from tokenproxy.errors import StoreError
from tokenproxy.events import Event, NotPersisted, Persisted, StoreTrouble
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.settings.stores import FileStore as FileSettings
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.build import build_stores
from tokenproxy.tokens.codec import SEALED, Codec, Unreadable, encode, plain
from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.sealing import Sealer
from tokenproxy.tokens.store import Conflict, Saved
from tokenproxy.tokens.stores.file import FileStores
from tokenproxy.tokens.token import LOST, SENDABLE, Record, Token

KEY, OTHER, THIRD = (bytes([first]) + bytes(range(31)) for first in b"abc")
NAME, NEIGHBOUR = "shop-0123456789abcdef", "shop-fedcba9876543210"
FULL = Record(
    7,
    Token(Secret("access-marker"), 1.0, 2.5),
    Secret("refresh-marker"),
    "0a1b2c3d",
    1.0,
    dpop_key=Secret("-----BEGIN PRIVATE KEY-----\n"),
)
SECRETS = ("access-marker", "refresh-marker", "PRIVATE KEY", KEY.decode(), OTHER.decode())

sendable = st.text(st.sampled_from(sorted(SENDABLE)), min_size=1).map(Secret)
times = st.floats(0, 1e11)
texts = st.none() | st.text(min_size=1)
records = st.builds(
    Record,
    generation=st.integers(1),
    token=st.none() | st.builds(Token, sendable, times, st.none() | times),
    refresh=st.none() | st.text(min_size=1).map(Secret),
    seed=texts,
    renewed_at=st.none() | times,
)
keys = st.binary(min_size=32, max_size=32)
names = st.text(st.sampled_from("abc-_0"), min_size=1)


def codec(*keys: bytes, name: str = NAME, reads_plain: bool = True) -> Codec:
    return Sealer(list(keys), reads_plain=reads_plain).codec(name)


def sealed(record: Record = FULL, key: bytes = KEY, name: str = NAME) -> bytes:
    return codec(key, name=name).encode(record)


def _form(content: bytes) -> tuple[bytes, bytes]:
    """What stands before the base64, and the bytes in it."""
    head, _, text = content.strip().removesuffix(b".").rpartition(b":")
    return head + b":", base64.b64decode(text)


# -- sealing and opening ---------------------------------------------------------------------


@given(records, keys, names)
def test_a_record_comes_back_as_it_was(record: Record, key: bytes, name: str) -> None:
    assert codec(key, name=name).decode(sealed(record, key, name)) == record


def test_a_sealed_record_is_a_line_of_text_that_says_what_it_is() -> None:
    content = sealed()
    head, payload = _form(content)
    assert head == b"tokenproxy-sealed:1:4c66e52f:"
    assert content.isascii()
    assert content.endswith(b".\n")
    assert content.count(b"\n") == 1
    assert len(payload) == 12 + len(encode(FULL)) + 16


def test_nothing_in_a_sealed_record_can_be_read() -> None:
    content = sealed() + _form(sealed())[1]
    assert not any(secret.encode() in content for secret in SECRETS)


def test_no_two_seals_are_alike() -> None:
    nonces = {_form(sealed())[1][:12] for _ in range(100)}
    assert len(nonces) == 100


@pytest.mark.parametrize("around", [b"%b", b"%b\n\n", b"\n%b", b"  %b\r\n"])
def test_space_that_an_editor_leaves_round_it_is_no_matter(around: bytes) -> None:
    assert codec(KEY).decode(around % sealed().strip()) == FULL


# -- more keys than one ----------------------------------------------------------------------


@pytest.mark.parametrize("ours", [(KEY,), (KEY, OTHER), (OTHER, KEY), (OTHER, THIRD, KEY)])
def test_every_key_opens_and_the_first_one_seals(ours: tuple[bytes, ...]) -> None:
    mine = codec(*ours)
    assert mine.decode(sealed(key=KEY)) == FULL
    again = mine.encode(FULL)
    assert codec(ours[0]).decode(again) == FULL
    for other in {KEY, OTHER, THIRD} - {ours[0]}:
        with pytest.raises(StoreError):
            codec(other).decode(again)


def test_of_two_keys_with_the_same_id_each_opens_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenproxy.tokens.sealing._key_id", lambda key: b"0a1b2c3d")
    assert codec(OTHER, KEY).decode(sealed(key=KEY)) == FULL
    assert codec(OTHER, KEY).decode(sealed(key=OTHER)) == FULL


# -- what does not open ----------------------------------------------------------------------


@given(records, keys, keys)
def test_another_key_opens_nothing(record: Record, key: bytes, other: bytes) -> None:
    if key != other:
        with pytest.raises(StoreError, match="is sealed with another encryption_key"):
            codec(other).decode(sealed(record, key))


@given(records, names, names)
def test_a_record_that_was_moved_to_another_credential_does_not_open(
    record: Record, name: str, other: str
) -> None:
    if name != other:
        with pytest.raises(StoreError, match="altered, or moved here from another credential"):
            codec(KEY, name=other).decode(sealed(record, name=name))


def test_no_byte_of_a_sealed_record_can_be_altered() -> None:
    whole = sealed().strip()
    for place in range(len(whole)):
        for flip in (0x01, 0x20, 0x80):
            altered = bytearray(whole)
            altered[place] ^= flip
            with pytest.raises((StoreError, Unreadable)):
                codec(KEY).decode(bytes(altered))


def test_no_byte_of_what_was_sealed_can_be_altered_unnoticed() -> None:
    head, payload = _form(sealed())
    for place in range(len(payload)):
        altered = bytearray(payload)
        altered[place] ^= 1
        with pytest.raises(StoreError, match="it was altered"):
            codec(KEY).decode(head + base64.b64encode(altered) + b".")


def test_a_head_cannot_be_given_to_another_seal() -> None:
    """Both keys are ours, so that only the head is wrong."""
    head, _ = _form(sealed(key=OTHER))
    _, payload = _form(sealed(key=KEY))
    with pytest.raises(StoreError, match="it was altered"):
        codec(KEY, OTHER).decode(head + base64.b64encode(payload) + b".")


def test_a_head_is_sealed_with_what_it_stands_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is the right one here, by whatever name."""
    content = sealed()
    monkeypatch.setattr("tokenproxy.tokens.sealing._key_id", lambda key: b"0a1b2c3d")
    with pytest.raises(StoreError, match="it was altered"):
        codec(KEY).decode(content.replace(b":4c66e52f:", b":0a1b2c3d:"))


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_record_that_was_cut_off_is_unreadable(cut: int) -> None:
    with pytest.raises(Unreadable):
        codec(KEY).decode(sealed().strip()[:-cut])


HEAD = b"tokenproxy-sealed:1:4c66e52f:"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"tokenproxy",
        SEALED,
        SEALED + b"1",
        SEALED + b"1:",
        SEALED + b"one:4c66e52f:AAAA.",
        SEALED + b"1:4C66E52F:AAAA.",
        SEALED + b"1:4c66e52:AAAA.",
        HEAD,
        HEAD + b".",
        HEAD + b"AAAA.",
        HEAD + b"=.",
        HEAD + b"A" * 37 + b".",
        HEAD + b"A" * 36 + b"=.",
        HEAD + b"A" * 27 * 4 + b"AB==.",
        HEAD + b"A" * 40 + b"\n" + b"A" * 40 + b".",
        HEAD + b"A-_A" * 20 + b".",
        HEAD + b"A" * 40 + b". and more",
        HEAD + base64.b64encode(bytes(27)) + b".",
        b"x" + HEAD + base64.b64encode(bytes(60)) + b".",
    ],
)
@pytest.mark.parametrize("reads_plain", [True, False])
def test_what_is_no_record_is_unreadable(content: bytes, reads_plain: bool) -> None:
    with pytest.raises(Unreadable):
        codec(KEY, reads_plain=reads_plain).decode(content)


def test_the_shortest_payload_that_might_be_one_is_opened_and_is_none() -> None:
    with pytest.raises(StoreError, match="it was altered"):
        codec(KEY).decode(HEAD + base64.b64encode(bytes(28)) + b".")


@pytest.mark.parametrize("version", [b"0", b"2", b"11", b"999"])
def test_a_record_that_a_later_version_has_sealed_is_left_to_it(version: bytes) -> None:
    with pytest.raises(StoreError, match="sealed by a later version of tokenproxy: run that"):
        codec(KEY).decode(SEALED + version + b":who knows what")


@given(st.binary() | st.text().map(str.encode))
def test_no_content_raises_anything_else(content: bytes) -> None:
    for written in (content, HEAD + content, HEAD + base64.b64encode(content) + b"."):
        with pytest.raises((StoreError, Unreadable)):
            codec(KEY).decode(written)


# -- what nothing has sealed -----------------------------------------------------------------


def test_a_plain_record_is_read_where_that_is_allowed_and_sealed_by_the_next_save() -> None:
    mine = codec(KEY, reads_plain=True)
    assert mine.decode(encode(FULL)) == FULL
    assert mine.encode(FULL).startswith(SEALED)


def test_a_plain_record_is_refused_elsewhere() -> None:
    with pytest.raises(StoreError, match=f"'{NAME}' is not sealed, though there is an encryption"):
        codec(KEY, reads_plain=False).decode(encode(FULL))


@pytest.mark.parametrize("content", [sealed(), sealed()[:-20], SEALED, b"\n" + sealed()])
def test_without_a_key_a_sealed_record_is_no_corrupt_one(content: bytes) -> None:
    with pytest.raises(StoreError, match=r"is sealed, and the config's 'store' has no encryption"):
        plain(NAME).decode(content)


# -- what is told ----------------------------------------------------------------------------


def _raised(work: Callable[[], object]) -> BaseException:
    with pytest.raises((StoreError, Unreadable)) as caught:
        work()
    return caught.value


@pytest.mark.parametrize(
    ("ours", "content"),
    [
        (codec(OTHER), sealed()),
        (codec(KEY), sealed(name=NEIGHBOUR)),
        (codec(KEY), sealed().strip()[:-5]),
        (codec(KEY), SEALED + b"2:x"),
        (codec(KEY, reads_plain=False), encode(FULL)),
        (codec(KEY, reads_plain=False), encode(FULL)[:-5]),
        (plain(NAME), sealed()),
    ],
)
def test_no_error_tells_a_key_or_a_token(ours: Codec, content: bytes) -> None:
    error = _raised(lambda: ours.decode(content))
    told = repr(error) + "".join(traceback.format_exception(error))
    assert not any(secret in told for secret in SECRETS)
    assert not any(base64.b64encode(key).decode() in told for key in (KEY, OTHER))
    assert "\n" not in str(error)


def test_no_repr_tells_a_key() -> None:
    sealer = Sealer([KEY], reads_plain=True)
    told = repr(sealer) + repr(vars(sealer)) + repr(vars(sealer.codec(NAME)))
    assert KEY.decode() not in told
    assert repr(KEY) not in told


# -- in a store ------------------------------------------------------------------------------

WITHOUT_OUR_KEY = {
    "another key": Sealer([OTHER], reads_plain=True).codec,
    "no key": plain,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
async def path(folder: Path) -> Path:
    """A file that holds a sealed record."""
    store = FileStores(folder, Sealer([KEY], reads_plain=False).codec).open(NAME)
    assert await store.save(replace(FULL, generation=1), after=0, lease=None) == Saved()
    return folder / f"{NAME}.json"


def _names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


async def test_a_file_holds_no_token_that_can_be_read(path: Path) -> None:
    assert path.read_bytes().startswith(SEALED)


@pytest.mark.parametrize("after", [0, 1, 7])
@pytest.mark.parametrize("codec_for", WITHOUT_OUR_KEY.values(), ids=WITHOUT_OUR_KEY)
async def test_a_file_that_does_not_open_is_left_as_it_is(
    path: Path, folder: Path, codec_for: Callable[[str], Codec], after: int
) -> None:
    before = path.read_bytes(), path.stat().st_ino
    store = FileStores(folder, codec_for).open(NAME)
    with pytest.raises(StoreError, match="put the key that it was sealed with"):
        await store.load()
    with pytest.raises(StoreError, match="put the key that it was sealed with"):
        await store.save(replace(FULL, generation=after + 1), after=after, lease=None)
    with pytest.raises(StoreError, match="put the key that it was sealed with"):
        await store.delete(lease=None)
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert _names(folder) == {path.name}


async def test_a_file_that_was_moved_to_another_credential_is_left_as_it_is(
    path: Path, folder: Path
) -> None:
    moved = path.rename(folder / f"{NEIGHBOUR}.json")
    store = FileStores(folder, Sealer([KEY], reads_plain=True).codec).open(NEIGHBOUR)
    with pytest.raises(StoreError, match="moved here from another credential"):
        await store.save(FULL, after=0, lease=None)
    assert _names(folder) == {moved.name}


async def test_a_sealed_file_that_was_cut_off_is_set_aside(path: Path, folder: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    store = FileStores(folder, Sealer([KEY], reads_plain=True).codec).open(NAME)
    assert await store.load() == LOST
    assert await store.save(FULL, after=0, lease=None) == Saved()
    assert await store.load() == FULL
    assert len(list(folder.glob("*.corrupt-*"))) == 1


async def test_a_file_from_before_there_was_a_key_is_sealed_by_the_next_save(folder: Path) -> None:
    first = replace(FULL, generation=1)
    assert await FileStores(folder).open(NAME).save(first, after=0, lease=None) == Saved()
    store = FileStores(folder, Sealer([KEY], reads_plain=True).codec).open(NAME)
    assert await store.load() == first
    assert await store.save(FULL, after=1, lease=None) == Saved()
    assert (folder / f"{NAME}.json").read_bytes().startswith(SEALED)
    assert await store.load() == FULL


async def test_keys_are_exchanged_one_after_the_other_and_nobody_signs_in_again(
    path: Path, folder: Path
) -> None:
    both = FileStores(folder, Sealer([OTHER, KEY], reads_plain=False).codec).open(NAME)
    assert (await both.load()).refresh == FULL.refresh
    assert await both.save(FULL, after=1, lease=None) == Saved()
    new = FileStores(folder, Sealer([OTHER], reads_plain=False).codec).open(NAME)
    assert await new.load() == FULL


async def test_a_conflict_is_one_for_sealed_records_too(path: Path, folder: Path) -> None:
    store = FileStores(folder, Sealer([KEY], reads_plain=False).codec).open(NAME)
    outcome = await store.save(FULL, after=6, lease=None)
    assert outcome == Conflict(replace(FULL, generation=1))


async def test_a_key_in_the_config_seals_what_its_store_holds(tmp_path: Path) -> None:
    key = base64.b64encode(KEY).decode()
    settings = FileSettings.model_validate({"type": "file", "encryption_key": key})
    store = build_stores(settings, state_folder=tmp_path / "state").open(NAME)
    assert await store.save(FULL, after=0, lease=None) == Saved()
    content = (tmp_path / "state" / f"{NAME}.json").read_bytes()
    assert codec(KEY).decode(content) == FULL


# -- in use ----------------------------------------------------------------------------------


class _Scene:
    """A keeper on a folder, with all that it has told."""

    def __init__(self, folder: Path, codec_for: Callable[[str], Codec]) -> None:
        self.clock = ManualClock()
        self.source = ScriptedSource(self.clock)
        self.events: list[Event] = []
        self.keeper = Keeper(
            "shop",
            self.source,
            FileStores(folder, codec_for).open(NAME),
            Refresh.model_validate({"background": False, "jitter": 0}),
            clock=self.clock,
            random=NoJitter(),
            observe=self.events.append,
        )

    def told(self, kind: type[StoreTrouble | NotPersisted]) -> list[str]:
        return [event.error for event in self.events if isinstance(event, kind)]

    async def until(self, done: Callable[[], bool]) -> None:
        """Let threads work and time pass until it is so."""
        async with asyncio.timeout(5):
            while not done():
                await asyncio.sleep(0.005)
                await self.clock.advance(0.5)


@pytest.mark.parametrize("codec_for", WITHOUT_OUR_KEY.values(), ids=WITHOUT_OUR_KEY)
async def test_a_credential_whose_record_does_not_open_is_served_from_memory_and_says_why(
    path: Path, folder: Path, codec_for: Callable[[str], Codec]
) -> None:
    before = path.read_bytes(), path.stat().st_ino
    scene = _Scene(folder, codec_for)
    await scene.keeper.start()
    assert "put the key that it was sealed with" in scene.told(StoreTrouble)[0]

    assert (await scene.keeper.get()).token.access == Secret("access-1")
    assert scene.keeper.not_persisted
    (why,) = scene.told(NotPersisted)
    assert "put the key that it was sealed with" in why

    tries = len(scene.events)
    await scene.clock.advance(200)  # saved again and again, and renewed
    assert (await scene.keeper.get()).token.access == Secret("access-2")
    assert len(scene.told(NotPersisted)) == 1
    assert len(scene.events) > tries
    await scene.keeper.close()
    assert scene.keeper.not_persisted
    assert (path.read_bytes(), path.stat().st_ino) == before
    assert _names(folder) == {path.name, f"{NAME}.lock"}


@pytest.mark.parametrize("codec_for", WITHOUT_OUR_KEY.values(), ids=WITHOUT_OUR_KEY)
async def test_a_record_that_somebody_seals_while_it_is_in_use_is_not_overwritten(
    folder: Path, codec_for: Callable[[str], Codec]
) -> None:
    """The vault knows which generation it has stored, and might take that for leave to write."""
    scene = _Scene(folder, codec_for)
    await scene.keeper.start()
    await scene.keeper.get()
    assert not scene.keeper.not_persisted

    path = folder / f"{NAME}.json"
    path.write_bytes(sealed(replace(FULL, generation=1)))
    before = path.read_bytes()
    await scene.clock.advance(200)
    assert (await scene.keeper.get()).token.access == Secret("access-2")
    assert "put the key that it was sealed with" in scene.told(NotPersisted)[0]
    await scene.keeper.close()
    assert path.read_bytes() == before


async def test_what_is_in_memory_is_saved_as_soon_as_the_record_opens(
    path: Path, folder: Path
) -> None:
    """Here the record that another key has sealed was removed."""
    scene = _Scene(folder, Sealer([OTHER], reads_plain=True).codec)
    await scene.keeper.start()
    await scene.keeper.get()
    path.unlink()
    await scene.until(lambda: Persisted("shop") in scene.events)
    assert not scene.keeper.not_persisted
    await scene.keeper.close()
    record = codec(OTHER).decode(path.read_bytes())
    assert record.token is not None
    assert record.token.access == Secret("access-1")
