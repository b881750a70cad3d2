"""The lock in Redis: leases that are renewed, lost, overtaken, or left behind by the dead.

`tokenproxy.tokens.redis.lease` has the table that the middle part goes through.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.redis_server import RedisServer
from tests.tokens.stores.conftest import Making
from tests.tokens.stores.relay import Relay
from tokenproxy.clock import SystemClock
from tokenproxy.errors import StoreError
from tokenproxy.secret import Secret
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.store import Conflict, Lease, Saved, TokenStore
from tokenproxy.tokens.token import Record

ROOT = Path(__file__).parents[3]
KEY = "shop-0123456789abcdef"
PATIENCE = 20.0  # seconds; what takes as long will never come
TTL = 60.0  # seconds; no test takes as long, so a lease lapses only where a test has it lapse
OURS = Record(1, refresh=Secret("ours"))
THEIRS = Record(1, refresh=Secret("theirs"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(making: Making, redis_server: RedisServer, clock: ManualClock) -> TokenStore:
    """One whose leases are renewed when a test moves the clock."""
    return making(redis_server.url, lease=TTL, clock=clock).open(KEY)


@pytest.fixture
def other(making: Making, redis_server: RedisServer) -> TokenStore:
    return making(redis_server.url, lease=TTL).open(KEY)


class _Lock:
    """The lock as Redis has it."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self._server = server
        self._record = f"{prefix}{{{KEY}}}"
        self._lock = f"{self._record}:lock"

    @property
    def owner(self) -> bytes | None:
        owner: bytes | None = self._server.ask("GET", self._lock)
        return owner

    @property
    def left(self) -> int:
        """Milliseconds until it lapses."""
        return int(self._server.ask("PTTL", self._lock))

    def shorten(self) -> None:
        self._server.ask("PEXPIRE", self._lock, 30_000)

    def lapse(self) -> None:
        self._server.ask("DEL", self._lock)

    def forget(self) -> None:
        """As a Redis does that keeps nothing on disk and is started anew."""
        self._server.ask("DEL", self._lock, self._record)


@pytest.fixture
def lock(redis_server: RedisServer, prefix: str) -> _Lock:
    return _Lock(redis_server, prefix)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.005)


# -- renewals --------------------------------------------------------------------------------


async def test_a_lease_is_taken_for_its_time_and_given_back(store: TokenStore, lock: _Lock) -> None:
    async with store.lock() as lease:
        assert lock.owner is not None
        assert 0 < lock.left <= TTL * 1000
        assert not lease.lost
    assert lock.owner is None


async def test_a_lease_is_renewed_for_as_long_as_it_is_held(
    store: TokenStore, lock: _Lock, clock: ManualClock
) -> None:
    async with store.lock() as lease:
        for _ in range(6):
            lock.shorten()
            await clock.until_sleepers(1)
            await clock.advance(TTL / 3)
            await _until(lambda: lock.left > 30_000)
            await clock.until_sleepers(1)
            assert not lease.lost
        assert await store.save(OURS, after=0, lease=lease) == Saved()
    assert clock.sleepers == 0


async def test_a_failed_renewal_is_tried_again_soon(
    making: Making, own_redis: RedisServer, prefix: str, clock: ManualClock
) -> None:
    lock = _Lock(own_redis, prefix)
    async with making(own_redis.url, lease=TTL, clock=clock).open(KEY).lock() as lease:
        own_redis.kill()
        for seconds in (TTL / 3, TTL / 10, TTL / 10):
            await clock.until_sleepers(1)
            await clock.advance(seconds)
        await clock.until_sleepers(1)
        assert not lease.lost
        own_redis.start()
        lock.shorten()
        await clock.advance(TTL / 10)
        await _until(lambda: lock.left > 30_000)
        await clock.until_sleepers(1)
        await clock.advance(TTL / 3 - 1)
        assert not lease.lost


async def test_a_lease_that_cannot_be_renewed_is_lost_when_its_time_has_passed(
    making: Making, own_redis: RedisServer, clock: ManualClock
) -> None:
    async with making(own_redis.url, lease=TTL, clock=clock).open(KEY).lock() as lease:
        own_redis.kill()
        clock.jump(steady=TTL - 0.5, wall=TTL - 0.5)
        assert not lease.lost
        clock.jump(steady=0.5, wall=0.5)
        assert lease.lost


async def test_a_machine_that_was_suspended_has_lost_its_lease(
    store: TokenStore, clock: ManualClock
) -> None:
    async with store.lock() as lease:
        clock.jump(wall=TTL)
        assert lease.lost


async def test_fences_grow(store: TokenStore, other: TokenStore) -> None:
    fences = []
    for each in (store, other, store, other):
        async with each.lock() as lease:
            fences.append(lease.fence)
    assert fences == [1, 2, 3, 4]


def test_nothing_is_renewed_without_the_lock(store: TokenStore) -> None:
    assert not store.renews_without_lock


# -- leases that lapsed, and were overtaken or not -------------------------------------------


@pytest.fixture
async def lapsed(store: TokenStore, lock: _Lock) -> AsyncIterator[Lease]:
    """Ours, whose holder was held up for too long, and does not know it yet."""
    async with store.lock() as lease:
        lock.lapse()
        yield lease


@pytest.mark.usefixtures("lapsed")
async def test_a_lapsed_lease_that_nobody_has_taken_is_taken_up_again(
    lock: _Lock, clock: ManualClock
) -> None:
    await clock.until_sleepers(1)
    await clock.advance(TTL / 3)
    await _until(lambda: lock.owner is not None)


async def test_a_save_under_a_lapsed_lease_that_nobody_has_taken_is_made(
    store: TokenStore, lapsed: Lease
) -> None:
    assert await store.save(OURS, after=0, lease=lapsed) == Saved()
    assert not lapsed.lost


async def test_a_lease_that_another_has_taken_is_lost_at_its_next_renewal(
    other: TokenStore, lock: _Lock, lapsed: Lease, clock: ManualClock
) -> None:
    async with other.lock():
        theirs = lock.owner
        await clock.until_sleepers(1)
        await clock.advance(TTL / 3)
        await _until(lambda: lapsed.lost)
        assert lock.owner == theirs
    assert clock.sleepers == 0


async def test_a_save_under_a_lease_that_another_has_taken_is_refused(
    store: TokenStore, other: TokenStore, lapsed: Lease
) -> None:
    async with other.lock() as theirs:
        assert await store.save(OURS, after=0, lease=lapsed) == Conflict(Record())
        assert lapsed.lost
        assert await store.load() == Record()
        assert await other.save(THEIRS, after=0, lease=theirs) == Saved()
        assert not theirs.lost
    assert await store.load() == THEIRS


async def test_a_save_under_a_lease_that_another_has_taken_and_given_back_is_refused(
    store: TokenStore, other: TokenStore, lapsed: Lease
) -> None:
    async with other.lock():
        pass
    assert await store.save(OURS, after=0, lease=lapsed) == Conflict(Record())
    assert lapsed.lost


async def test_whoever_was_overtaken_learns_what_has_been_saved_since(
    store: TokenStore, other: TokenStore, lapsed: Lease
) -> None:
    async with other.lock() as theirs:
        await other.save(THEIRS, after=0, lease=theirs)
    assert await store.save(OURS, after=0, lease=lapsed) == Conflict(THEIRS)
    assert lapsed.lost
    later = Record(2, refresh=Secret("ours again"))
    assert await store.save(later, after=1, lease=lapsed) == Conflict(THEIRS)


async def test_a_lease_of_which_redis_knows_nothing_is_lost(
    store: TokenStore, lock: _Lock, clock: ManualClock
) -> None:
    async with store.lock() as lease:
        lock.forget()
        await clock.until_sleepers(1)
        await clock.advance(TTL / 3)
        await _until(lambda: lease.lost)
    assert lock.owner is None


async def test_a_save_under_a_lease_of_which_redis_knows_nothing_is_refused(
    store: TokenStore, lock: _Lock
) -> None:
    async with store.lock() as lease:
        lock.forget()
        assert await store.save(OURS, after=0, lease=lease) == Conflict(Record())
        assert lease.lost


async def test_a_number_that_a_failover_gave_twice_makes_no_lease_of_another(
    store: TokenStore, other: TokenStore, lock: _Lock
) -> None:
    async with store.lock() as ours:
        lock.forget()
        async with other.lock() as theirs:
            assert ours.fence == theirs.fence
            assert await store.save(OURS, after=0, lease=ours) == Conflict(Record())
            assert await other.save(THEIRS, after=0, lease=theirs) == Saved()


async def test_whoever_was_overtaken_does_not_give_back_the_lock_of_another(
    store: TokenStore, other: TokenStore, lock: _Lock
) -> None:
    async with store.lock():
        lock.lapse()
        holding = other.lock()
        await holding.__aenter__()
    assert lock.owner is not None
    await holding.__aexit__(None, None, None)
    assert lock.owner is None


async def test_a_deletion_needs_no_lease_that_lasts(
    store: TokenStore, other: TokenStore, lapsed: Lease
) -> None:
    async with other.lock():
        await store.delete(lease=lapsed)
    assert await store.load() == Record(1)


# -- the dead, the cancelled, and the lost answers -------------------------------------------

HOLDER = """
import asyncio, sys
from tokenproxy.tokens.codec import plain
from tokenproxy.tokens.stores.redis import RedisStores

async def hold():
    url, prefix, key = sys.argv[1:]
    async with RedisStores(url, prefix, plain, lease=0.5).open(key).lock():
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


@contextmanager
def _holder(server: RedisServer, prefix: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the lock, for half a second longer than it lives."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.url, prefix, KEY],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


async def test_a_holder_that_is_killed_blocks_nobody_past_its_lease(
    other: TokenStore, redis_server: RedisServer, prefix: str, lock: _Lock
) -> None:
    with _holder(redis_server, prefix) as holder:
        theirs = lock.owner
        assert theirs is not None
        holder.kill()
        async with asyncio.timeout(PATIENCE), other.lock() as lease:
            assert lease.fence == 2
            assert lock.owner != theirs


@asynccontextmanager
async def _held_back(
    making: Making, redis_server: RedisServer
) -> AsyncIterator[tuple[Relay, "asyncio.Task[None]"]]:
    """Somebody who has been granted the lock, and waits to hear of it."""
    async with Relay(redis_server.port) as relay:
        store = making(relay.url, lease=TTL).open(KEY)
        async with store.lock():  # the script is known now
            pass
        relay.hold_answers_to(b"EVALSHA")
        task = spawn(_hold(store), name="hold")
        await relay.held.wait()
        yield relay, task
        await cancelled(task)


async def _hold(store: TokenStore) -> None:
    async with store.lock():
        await asyncio.Event().wait()


async def test_a_waiter_that_is_cancelled_as_it_is_granted_leaves_no_lock(
    making: Making, redis_server: RedisServer, lock: _Lock
) -> None:
    async with asyncio.timeout(PATIENCE), _held_back(making, redis_server) as (relay, task):
        assert lock.owner is not None
        for _ in range(3):  # as a timeout and a shutdown may come together
            task.cancel()
            await asyncio.sleep(0)
        relay.go_on()
        await asyncio.wait({task})
        assert task.cancelled()
        assert lock.owner is None


async def test_a_grant_whose_answer_is_lost_is_a_grant(
    making: Making, redis_server: RedisServer, lock: _Lock
) -> None:
    async with Relay(redis_server.port) as relay:
        store = making(relay.url, lease=TTL).open(KEY)
        async with store.lock():
            pass
        relay.lose_answers_to(b"EVALSHA")
        async with asyncio.timeout(PATIENCE), store.lock() as lease:
            assert relay.lost == 1
            assert lease.fence == 2
            assert await store.save(OURS, after=0, lease=lease) == Saved()
        assert lock.owner is None


async def test_a_redis_that_goes_while_the_lock_is_waited_for_is_told(
    making: Making, own_redis: RedisServer
) -> None:
    one, two = (making(own_redis.url, lease=TTL, clock=_Hasty()).open(KEY) for _ in range(2))

    async def wait_for_it() -> None:
        async with two.lock():
            raise AssertionError("it was granted")

    async with one.lock():
        waiter = spawn(wait_for_it(), name="waiter")
        await asyncio.wait({waiter}, timeout=0.1)
        own_redis.kill()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(StoreError, match="cannot be reached"):
                await waiter


class _Hasty(SystemClock):
    """Pauses are short."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 20)


async def test_a_lock_that_cannot_be_given_back_hides_nothing_of_what_was_done_under_it(
    making: Making, own_redis: RedisServer
) -> None:
    store = making(own_redis.url, lease=TTL).open(KEY)
    async with store.lock() as lease:
        assert await store.save(OURS, after=0, lease=lease) == Saved()
        own_redis.kill()


async def test_a_lock_that_cannot_be_given_back_hides_no_failure(
    making: Making, own_redis: RedisServer
) -> None:
    async def fail() -> None:
        async with making(own_redis.url, lease=TTL).open(KEY).lock():
            own_redis.kill()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
