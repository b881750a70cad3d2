"""Hearing of changes in Redis: over one connection, after an outage, and at what cost."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from typing import Any

import pytest

from tests.redis_server import RedisServer
from tests.tokens.stores.conftest import Making
from tokenproxy.clock import SystemClock
from tokenproxy.errors import StoreError
from tokenproxy.secret import Secret
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.tokens.redis import changes as changes_module
from tokenproxy.tokens.store import TokenStore
from tokenproxy.tokens.stores.redis import RedisStores
from tokenproxy.tokens.token import Record

KEY = "shop-0123456789abcdef"
PATIENCE = 20.0  # seconds; what takes as long will never come


class _Hasty(SystemClock):
    """Pauses are short."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 20)


@pytest.fixture
def stores(making: Making, own_redis: RedisServer) -> RedisStores:
    return making(own_redis.url, clock=_Hasty())


@asynccontextmanager
async def _watching(store: TokenStore) -> AsyncIterator[AsyncGenerator[None, None]]:
    """A watch that stands."""
    async with asyncio.timeout(PATIENCE), aclosing(store.watch()) as changes:
        await anext(changes)
        yield changes


def _listeners(server: RedisServer) -> int:
    return len(server.ask("CLIENT", "LIST", "TYPE", "PUBSUB").splitlines())


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.005)


async def _is_quiet(changes: AsyncGenerator[None, None]) -> bool:
    """Whether nothing is told for a moment; the watch is over then."""
    told = spawn(_next(changes), name="told")
    await asyncio.wait({told}, timeout=0.1)
    is_quiet = not told.done()
    await cancelled(told)
    return is_quiet


async def _next(changes: AsyncGenerator[None, None]) -> None:
    await anext(changes)


async def test_a_watch_tells_once_that_it_stands(stores: RedisStores) -> None:
    async with _watching(stores.open(KEY)) as changes:
        assert await _is_quiet(changes)


async def test_a_watch_that_joins_another_stands_at_once(stores: RedisStores) -> None:
    async with _watching(stores.open(KEY)), _watching(stores.open(KEY)) as changes:
        assert await _is_quiet(changes)


async def test_a_watch_tells_nothing_of_other_records(stores: RedisStores) -> None:
    async with _watching(stores.open(KEY)) as changes:
        await stores.open("other-0").save(Record(1), after=0, lease=None)
        assert await _is_quiet(changes)


async def test_a_lock_that_comes_and_goes_is_no_change(stores: RedisStores) -> None:
    store = stores.open(KEY)
    async with _watching(store) as changes:
        async with store.lock():
            pass
        assert await _is_quiet(changes)


async def test_a_conflict_is_no_change(stores: RedisStores) -> None:
    store = stores.open(KEY)
    async with _watching(store) as changes:
        await store.save(Record(8), after=7, lease=None)
        assert await _is_quiet(changes)


async def test_many_watches_are_one_connection(stores: RedisStores, own_redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(_watching(stores.open(f"shop-{number}")))
            for number in range(100)
        ]
        assert _listeners(own_redis) == 1
        await asyncio.gather(
            *(
                stores.open(f"shop-{number}").save(Record(1), after=0, lease=None)
                for number in range(100)
            )
        )
        await asyncio.gather(*map(_next, watches))
        assert _listeners(own_redis) == 1
    await _until(lambda: _listeners(own_redis) == 0)


async def test_many_calls_share_a_few_connections(making: Making, own_redis: RedisServer) -> None:
    stores = making(own_redis.url, connections=3)
    await asyncio.gather(*(stores.open(f"shop-{number}").load() for number in range(200)))
    assert len(own_redis.ask("CLIENT", "LIST").splitlines()) <= 4  # with the one that asks


async def test_an_outage_is_followed_by_a_look_at_every_record(
    stores: RedisStores, own_redis: RedisServer
) -> None:
    async with _watching(stores.open("one-0")) as one, _watching(stores.open("two-0")) as two:
        own_redis.kill()
        own_redis.start()
        await asyncio.gather(_next(one), _next(two))


async def test_what_was_saved_during_an_outage_is_found_after_it(
    stores: RedisStores, own_redis: RedisServer, making: Making
) -> None:
    store = stores.open(KEY)
    async with _watching(store) as changes:
        own_redis.kill()
        own_redis.start()
        await making(own_redis.url).open(KEY).save(Record(1), after=0, lease=None)
        while await store.load() != Record(1):
            await anext(changes)


async def test_a_watch_goes_on_after_an_outage(stores: RedisStores, own_redis: RedisServer) -> None:
    store = stores.open(KEY)
    async with _watching(store) as changes:
        for generation in range(1, 4):
            own_redis.restart()
            await anext(changes)
            await store.save(Record(generation), after=generation - 1, lease=None)
            await anext(changes)


async def test_a_watch_may_begin_before_there_is_a_redis(
    stores: RedisStores, own_redis: RedisServer
) -> None:
    own_redis.kill()
    watching = spawn(_next(stores.open(KEY).watch()), name="watching")
    await asyncio.wait({watching}, timeout=0.1)
    assert not watching.done()
    own_redis.start()
    async with asyncio.timeout(PATIENCE):
        await watching


async def test_a_connection_that_is_silent_is_asked_for_a_sign_of_life_and_no_more(
    stores: RedisStores, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "QUIET", 0.02)
    with closing(own_redis.client()) as client:

        def calls() -> Counter[str]:
            told: dict[str, Any] = client.info("commandstats")
            return Counter({name: figures["calls"] for name, figures in told.items()})

        async with _watching(stores.open(KEY)) as changes:
            before = calls()
            await _until(lambda: (calls() - before)["cmdstat_ping"] >= 3)
            assert set(calls() - before) == {"cmdstat_ping", "cmdstat_info"}
            assert await _is_quiet(changes)


async def test_a_connection_that_gives_no_sign_of_life_is_made_anew(
    stores: RedisStores, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_module, "QUIET", 0.02)
    monkeypatch.setattr(changes_module, "ANSWER_TIMEOUT", 0.2)
    async with _watching(stores.open(KEY)) as changes:
        own_redis.freeze()
        await _until(lambda: not stores._changes._stands)
        own_redis.thaw()
        await anext(changes)


async def test_a_redis_that_lets_nobody_listen_is_told(
    making: Making, own_redis: RedisServer, prefix: str
) -> None:
    own_redis.ask(
        "ACL", "SETUSER", "deaf", "on", ">s3cr3t", f"~{prefix}*", "+@all", "resetchannels"
    )
    store = making(f"redis://deaf:s3cr3t@127.0.0.1:{own_redis.port}").open(KEY)
    for _ in range(2):
        async with asyncio.timeout(PATIENCE), aclosing(store.watch()) as changes:
            with pytest.raises(StoreError, match="does not let this user do what is needed"):
                await anext(changes)


async def test_stores_that_are_closed_leave_no_connection_and_no_task(
    making: Making, own_redis: RedisServer
) -> None:
    tasks = asyncio.all_tasks()
    stores = making(own_redis.url)
    watching = spawn(_next_but_one(stores.open(KEY)), name="watching")
    await asyncio.gather(*(stores.open(f"shop-{number}").load() for number in range(5)))
    await _until(lambda: _listeners(own_redis) == 1)
    await stores.close()
    await _until(lambda: len(own_redis.ask("CLIENT", "LIST").splitlines()) == 1)
    await cancelled(watching)
    assert asyncio.all_tasks() == tasks


async def _next_but_one(store: TokenStore) -> None:
    async with aclosing(store.watch()) as changes:
        await anext(changes)
        await anext(changes)


async def test_what_is_told_names_a_record_and_tells_nothing_of_it(
    stores: RedisStores, own_redis: RedisServer, prefix: str
) -> None:
    with closing(own_redis.client()) as client:
        listening = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        listening.psubscribe("*")
        listening.get_message(timeout=PATIENCE)
        await stores.open(KEY).save(Record(1, refresh=Secret("s3cr3t")), after=0, lease=None)
        told = listening.get_message(timeout=PATIENCE)
        listening.close()
    assert told is not None
    assert (told["channel"], told["data"]) == (f"{prefix}changes".encode(), KEY.encode())
