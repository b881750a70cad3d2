"""Tokens in the operating system's keyring; locks and changes are told by files beside it.

A keyring has no lock, tells of no change, and may block for minutes while it asks a person to
unlock it. The locks are a `PrivateFolder`'s; after each save a file in there is written, which
others watch. A call that takes too long is given up, as `tokenproxy.tokens.calls` has it; a save
that was given up goes on, and holds the folder's lock until it ends, so that no other save comes
between.

Back ends that keep secrets unprotected are refused.
"""

import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import keyring
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.backends.chainer import ChainerBackend
from keyring.errors import KeyringLocked, NoKeyringError

from tokenproxy.errors import StoreError
from tokenproxy.tokens.calls import Calls, TooLong
from tokenproxy.tokens.codec import Codec, Unreadable, plain
from tokenproxy.tokens.filelocks import PrivateFolder
from tokenproxy.tokens.store import Conflict, Lease, Saved
from tokenproxy.tokens.token import LOST, Record
from tokenproxy.tokens.watching import FolderWatch

T = TypeVar("T")

SERVICE = "tokenproxy"
LONGEST_CALL = 10.0  # seconds; time to answer a prompt, and no more than a shutdown may take
RECOMMENDED = 1  # the least priority of back ends that the keyring library recommends
SIGNAL = ".changed"
TOUCH = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
ANOTHER = "choose another one in keyringrc.cfg, or another type of 'store' in the config"
NO_KEYRING = (
    "no keyring was found: start one (such as gnome-keyring or KWallet) and then tokenproxy "
    "again, or choose another type of 'store' in the config"
)


class KeyringStores:
    """Contract 1, `store: {type: keyring}`; `back_end` gives the keyring library's choice."""

    def __init__(
        self, state_folder: Path, back_end: Callable[[], KeyringBackend] = keyring.get_keyring
    ) -> None:
        # A folder of its own: a file store may lock the one above it for its saves.
        folder = state_folder / "keyring"
        self._folder = PrivateFolder(folder, named_in="XDG_STATE_HOME")
        self._watch = FolderWatch(lambda: [folder], suffix=SIGNAL)
        self._ring = Ring(back_end)
        self._calls = Calls()

    def open(self, key: str) -> "KeyringStore":
        """The record of that key."""
        return KeyringStore(self._folder, key, self._watch, self._ring, self._calls)

    def hurry(self) -> None:
        """Nothing here waits for another machine."""

    async def close(self) -> None:
        """A call that was given up is left to end by itself."""


class KeyringStore:
    """One record: the entry of its key in the keyring."""

    renews_without_lock = True

    def __init__(
        self, folder: PrivateFolder, key: str, watch: FolderWatch, ring: "Ring", calls: "Calls"
    ) -> None:
        self._folder = folder
        self._key = key
        self._codec: Codec = plain(key)
        self._watch = watch
        self._ring = ring
        self._calls = calls

    async def load(self) -> Record:
        """The record as it stands; `LOST` where the entry is corrupt."""
        return await self._call(lambda: self._look()[0])

    async def save(self, record: Record, *, after: int, lease: Lease | None) -> Saved | Conflict:
        """Write and read back; a corrupt entry is set aside first."""
        del lease
        return await self._call(lambda: self._save(record, after), writes=True)

    async def delete(self, *, lease: Lease | None) -> None:
        """Leave a tombstone in the entry's place."""
        del lease
        await self._call(self._bury, writes=True)

    def lock(self) -> AbstractAsyncContextManager[Lease]:
        """The lock that all processes share, waited for as long as it takes."""
        return self._folder.lock(f"{self._key}.lock")

    async def watch(self) -> AsyncGenerator[None, None]:
        """Yields when a record has been saved, and once when it begins to watch."""
        with contextlib.suppress(StoreError):
            await self._folder.in_thread(self._folder.make, "made")
        async with contextlib.aclosing(self._watch.changes()) as changes:
            async for _ in changes:
                yield

    async def _call(self, work: Callable[[], T], *, writes: bool = False) -> T:
        try:
            return await self._calls.run(work, LONGEST_CALL, writes=writes)
        except TooLong as error:
            raise StoreError(
                f"the keyring has not answered in {LONGEST_CALL:g} seconds: see whether it asks "
                "to be unlocked"
            ) from error
        except OSError as error:
            raise self._folder.error("written", error) from error

    # -- what blocks -------------------------------------------------------------------------

    def _look(self) -> tuple[Record, str | None]:
        """The record, and what stands in its place that is none."""
        text = self._ring.read(self._key)
        if text is None:
            return Record(), None
        try:
            return self._codec.decode(text.encode("utf-8", "surrogatepass")), None
        except Unreadable:
            return LOST, text

    def _save(self, record: Record, after: int) -> Saved | Conflict:
        with self._alone():
            stored, corrupt = self._look()
            if stored.generation != after:
                return Conflict(stored)
            self._replace(record, corrupt)
            return Saved()

    def _bury(self) -> None:
        with self._alone():
            stored, corrupt = self._look()
            self._replace(stored.tombstone(), corrupt)

    def _replace(self, record: Record, corrupt: str | None) -> None:
        if corrupt is not None:
            self._ring.write(f"{self._key}.corrupt-{time.time_ns()}", corrupt)
        self._ring.write(self._key, self._codec.encode(record).decode().rstrip())
        with contextlib.suppress(OSError):  # it is saved; others notice when they renew
            self._touch_signal()

    def _alone(self) -> AbstractContextManager[int]:
        """While nobody else saves; waited for half the time that a save may take in all."""
        return self._folder.alone(LONGEST_CALL / 2)

    def _touch_signal(self) -> None:
        descriptor = os.open(self._folder.path / f"{self._key}{SIGNAL}", TOUCH, 0o600)
        try:
            os.fchmod(descriptor, 0o600)  # a umask may have taken what the owner needs
            os.write(descriptor, b"\n")
        finally:
            os.close(descriptor)


# -- the keyring library -----------------------------------------------------------------------


class Ring:
    """Entries of ours in a keyring that protects them. Blocks; raises StoreError."""

    def __init__(self, back_end: Callable[[], KeyringBackend]) -> None:
        self._back_end = back_end
        self._ring: KeyringBackend | None = None

    def read(self, user: str) -> str | None:
        """The text of an entry, if there is one."""
        with _translated("read"):
            return self._protecting().get_password(SERVICE, user)

    def write(self, user: str, text: str) -> None:
        """Put a text into an entry, and make sure that it is there: KWallet fails in silence."""
        with _translated("written"):
            ring = self._protecting()
            ring.set_password(SERVICE, user, text)
            if ring.get_password(SERVICE, user) != text:
                raise StoreError("the keyring did not keep what was written: see what ails it")

    def _protecting(self) -> KeyringBackend:
        if self._ring is None:
            self._ring = protecting(self._back_end())
        return self._ring


def protecting(ring: KeyringBackend) -> KeyringBackend:
    """`ring`, or of a chain the first one that keeps secrets and protects them.

    The chain itself would also ask those behind it, and write to them where it fails.

    Raises:
        StoreError: there is none.
    """
    links = ring.backends if isinstance(ring, ChainerBackend) else [ring]
    faults = {link: _fault(link) for link in links}
    for link, fault in faults.items():
        if fault is None:
            return link
    raise StoreError(next(iter(faults.values()), NO_KEYRING))


def _fault(ring: KeyringBackend) -> str | None:
    """Why nothing secret may be put there."""
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(ring).__mro__]
    if isinstance(ring, fail.Keyring):
        return NO_KEYRING
    if isinstance(ring, null.Keyring):
        return f"the keyring is switched off ({kinds[0]}): {ANOTHER}"
    weak = any(kind.startswith("keyrings.alt.") or "plaintext" in kind.lower() for kind in kinds)
    if weak or ring.priority < RECOMMENDED:
        return f"the keyring {kinds[0]} does not protect what it keeps: {ANOTHER}"
    return None


@contextmanager
def _translated(done: str) -> Iterator[None]:
    """Whatever a back end raises, as a StoreError without the back end's words."""
    try:
        yield
    except StoreError:
        raise
    except KeyringLocked as error:
        raise StoreError("the keyring is locked: unlock it") from error
    except NoKeyringError as error:
        raise StoreError(NO_KEYRING) from error
    except Exception as error:
        raise StoreError(
            f"the keyring cannot be {done} ({type(error).__name__}): see that it runs and can be "
            "reached (on Linux by D-Bus), or choose another type of 'store' in the config"
        ) from error
