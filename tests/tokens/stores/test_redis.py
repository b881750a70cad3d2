"""What only the Redis store promises of its records, and of a Redis that is gone or says no."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import TypeAdapter

from tests.redis_server import RedisServer, SentinelServer, free_port
from tests.tokens.stores.conftest import Making
from tests.tokens.stores.relay import Relay
from tokenproxy.clock import SystemClock
from tokenproxy.errors import StoreError
from tokenproxy.secret import Secret
from tokenproxy.settings.stores import AnyStore
from tokenproxy.tokens.build import build_stores
from tokenproxy.tokens.codec import PlainCodec, encode
from tokenproxy.tokens.store import Conflict, Saved, TokenStore
from tokenproxy.tokens.stores.redis import RedisStores
from tokenproxy.tokens.token import Record, Token

KEY = "shop-0123456789abcdef"
PATIENCE = 20.0  # seconds; what takes as long will never come
OLD = Record(1, Token(Secret("access-1"), 1.0, 2.0), Secret("refresh-1"))
NEW = Record(2, Token(Secret("access-2"), 2.0, 3.0), Secret("refresh-2"))
GARBAGE = b'{"version": 1, "genera'


@pytest.fixture(params=["socket", "tcp"])
def url(request: pytest.FixtureRequest, redis_server: RedisServer) -> str:
    return redis_server.url if request.param == "socket" else redis_server.tcp_url


@pytest.fixture
def store(making: Making, redis_server: RedisServer) -> TokenStore:
    return making(redis_server.url).open(KEY)


@pytest.fixture
def name(prefix: str) -> str:
    return f"{prefix}{{{KEY}}}"


def _names(server: RedisServer, prefix: str) -> set[str]:
    return {name.decode() for name in server.ask("KEYS", f"{prefix}*")}


async def _faults(store: TokenStore) -> list[StoreError]:
    """What each call fails with; all of them must."""
    faults = []
    for act in (store.load, lambda: store.save(NEW, after=0, lease=None), _locking(store)):
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(StoreError) as caught:
                await act()
        faults.append(caught.value)
    return faults


def _locking(store: TokenStore) -> Callable[[], Awaitable[None]]:
    async def lock() -> None:
        async with store.lock():
            raise AssertionError("it was granted")

    return lock


# -- records ---------------------------------------------------------------------------------


async def test_a_record_may_be_read_over_tcp_and_over_a_socket(making: Making, url: str) -> None:
    store = making(url).open(KEY)
    assert await store.save(OLD, after=0, lease=None) == Saved()
    assert await store.load() == OLD


async def test_a_record_is_one_hash_of_the_prefix_that_never_expires(
    store: TokenStore, redis_server: RedisServer, prefix: str, name: str
) -> None:
    await store.save(OLD, after=0, lease=None)
    assert _names(redis_server, prefix) == {name}
    assert redis_server.ask("HGET", name, "record") == encode(OLD)
    assert redis_server.ask("PTTL", name) == -1


async def test_what_was_saved_outlives_a_crash(making: Making, own_redis: RedisServer) -> None:
    store = making(own_redis.url).open(KEY)
    await store.save(OLD, after=0, lease=None)
    own_redis.kill()
    own_redis.start()
    assert await store.load() == OLD


async def test_a_script_that_the_server_has_forgotten_is_sent_again(
    store: TokenStore, redis_server: RedisServer
) -> None:
    await store.save(OLD, after=0, lease=None)
    redis_server.ask("SCRIPT", "FLUSH")
    async with store.lock() as lease:
        redis_server.ask("SCRIPT", "FLUSH")
        assert await store.save(NEW, after=1, lease=lease) == Saved()
        redis_server.ask("SCRIPT", "FLUSH")
    assert await store.load() == NEW


async def test_a_save_whose_answer_is_lost_is_made_once(
    making: Making, redis_server: RedisServer
) -> None:
    async with Relay(redis_server.port) as relay:
        store = making(relay.url).open(KEY)
        await store.save(OLD, after=0, lease=None)
        relay.lose_answers_to(b"EVALSHA")
        assert await store.save(NEW, after=1, lease=None) == Saved()
        assert relay.lost == 1
        assert await store.load() == NEW


async def test_a_connection_that_died_unnoticed_costs_nobody_anything(
    making: Making, redis_server: RedisServer
) -> None:
    async with Relay(redis_server.port) as relay:
        store = making(relay.url).open(KEY)
        await store.save(OLD, after=0, lease=None)
        relay.cut()
        assert await store.load() == OLD


class _Meddling(PlainCodec):
    """Changes the record behind the back of whoever reads it."""

    def __init__(self, server: RedisServer, name: str) -> None:
        self._server = server
        self._name = name

    def decode(self, content: bytes) -> Record:
        self._server.ask("HSET", self._name, "record", content + b"0")
        return Record()


async def test_deletions_and_saves_that_meet_leave_a_later_generation(
    making: Making, redis_server: RedisServer
) -> None:
    stores = [making(redis_server.url).open(KEY) for _ in range(4)]
    await stores[0].save(OLD, after=0, lease=None)
    saving = stores[0].save(NEW, after=1, lease=None)
    await asyncio.gather(saving, *(store.delete(lease=None) for store in stores))
    left = await stores[0].load()
    assert left == Record(left.generation)
    assert left.generation > 1


@pytest.mark.parametrize(
    "act",
    [lambda store: store.save(OLD, after=0, lease=None), lambda store: store.delete(lease=None)],
    ids=["save", "delete"],
)
async def test_a_record_that_never_rests_is_told(
    making: Making,
    redis_server: RedisServer,
    name: str,
    act: Callable[[TokenStore], Awaitable[object]],
) -> None:
    redis_server.ask("HSET", name, "record", "0")
    store = making(redis_server.url, lambda key: _Meddling(redis_server, name)).open(KEY)
    with pytest.raises(StoreError, match="changes faster than it can be saved"):
        await act(store)


# -- what cannot be read ---------------------------------------------------------------------


@pytest.fixture
async def corrupt(store: TokenStore, redis_server: RedisServer, name: str) -> None:
    await store.save(OLD, after=0, lease=None)
    redis_server.ask("HSET", name, "record", GARBAGE)


@pytest.mark.usefixtures("corrupt")
async def test_a_corrupt_record_is_set_aside_by_a_save_and_not_overwritten(
    store: TokenStore, redis_server: RedisServer, prefix: str, name: str
) -> None:
    assert (await store.load()).generation == 0
    assert await store.save(NEW, after=0, lease=None) == Saved()
    assert await store.load() == NEW
    (aside,) = _names(redis_server, prefix) - {name}
    assert aside.startswith(f"{name}:corrupt-")
    assert redis_server.ask("GET", aside) == GARBAGE
    assert redis_server.ask("PTTL", aside) == -1


@pytest.mark.usefixtures("corrupt")
async def test_a_corrupt_record_is_left_alone_by_those_who_only_read(
    store: TokenStore, redis_server: RedisServer, prefix: str, name: str
) -> None:
    await store.load()
    outcome = await store.save(NEW, after=1, lease=None)
    assert isinstance(outcome, Conflict)
    assert _names(redis_server, prefix) == {name}
    assert redis_server.ask("HGET", name, "record") == GARBAGE


@pytest.mark.usefixtures("corrupt")
async def test_a_corrupt_record_is_set_aside_by_a_deletion_too(
    store: TokenStore, redis_server: RedisServer, prefix: str, name: str
) -> None:
    await store.delete(lease=None)
    assert await store.load() == Record(1)
    assert len(_names(redis_server, prefix) - {name}) == 1


class _Closed(PlainCodec):
    """As a sealed record is to somebody without its key."""

    def decode(self, content: bytes) -> Record:
        raise StoreError(f"sealed with another key: {len(content)} bytes")


def _closed(key: str) -> _Closed:
    return _Closed()


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.load(),
        lambda store: store.save(NEW, after=0, lease=None),
        lambda store: store.save(NEW, after=1, lease=None),
        lambda store: store.delete(lease=None),
    ],
    ids=["load", "save as if there were none", "save after it", "delete"],
)
async def test_a_record_that_another_key_has_sealed_is_told_and_left_alone(
    making: Making,
    redis_server: RedisServer,
    name: str,
    act: Callable[[TokenStore], Awaitable[object]],
) -> None:
    await making(redis_server.url).open(KEY).save(OLD, after=0, lease=None)
    with pytest.raises(StoreError, match="sealed with another key"):
        await act(making(redis_server.url, _closed).open(KEY))
    assert redis_server.ask("HGETALL", name) == {b"record": encode(OLD)}


async def test_what_somebody_else_keeps_under_that_name_is_left_alone(
    store: TokenStore, redis_server: RedisServer, name: str
) -> None:
    redis_server.ask("SET", name, "theirs")
    for fault in await _faults(store):
        assert "holds something else under this name" in str(fault)
    with pytest.raises(StoreError, match="holds something else under this name"):
        await store.delete(lease=None)
    assert redis_server.ask("GET", name) == b"theirs"


# -- a Redis that is gone, hangs or says no --------------------------------------------------


@pytest.mark.parametrize("way", ["url", "tcp_url"])
async def test_a_redis_that_is_gone_is_told_at_once_and_needed_again_at_once(
    making: Making, own_redis: RedisServer, way: str
) -> None:
    store = making(getattr(own_redis, way)).open(KEY)
    await store.save(OLD, after=0, lease=None)
    own_redis.kill()
    for fault in await _faults(store):
        assert "cannot be reached" in str(fault)
        assert "start it" in str(fault)
    own_redis.start()
    assert await store.load() == OLD


async def test_a_redis_that_hangs_is_told_and_not_waited_for(
    making: Making, own_redis: RedisServer
) -> None:
    store = making(f"{own_redis.url}?socket_timeout=0.1").open(KEY)
    await store.save(OLD, after=0, lease=None)
    own_redis.freeze()
    for fault in await _faults(store):
        assert "does not answer in time" in str(fault)
    own_redis.thaw()
    assert await store.load() == OLD


@asynccontextmanager
async def _answering(answer: bytes) -> AsyncIterator[str]:
    """The URL of something that says that to everybody."""

    async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(answer_all, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$many\r\n",
        b"*-7\r\n",
        b":12\r\n",
        b"*1\r\n$1\r\na\r\n",
    ],
)
async def test_what_is_no_redis_is_told(making: Making, answer: bytes) -> None:
    async with _answering(answer) as url:
        with pytest.raises(StoreError, match=r"^the Redis at redis://127\.0\.0\.1:\d+ "):
            await making(url).open(KEY).load()


@contextmanager
def _user(server: RedisServer, *rules: str) -> Iterator[str]:
    """The URL of a user with the password `s3cr3t` and those rights."""
    server.ask("ACL", "SETUSER", "anna", "reset", "on", ">s3cr3t", *rules)
    yield f"redis://anna:s3cr3t@127.0.0.1:{server.port}/0"
    server.ask("ACL", "DELUSER", "anna")


RIGHTS = ("+@read", "+@write", "+@scripting", "+@pubsub", "+@connection")


async def test_the_rights_that_the_errors_name_are_enough(
    making: Making, redis_server: RedisServer, prefix: str
) -> None:
    with _user(redis_server, *RIGHTS, f"~{prefix}*", f"&{prefix}*") as url:
        store = making(url).open(KEY)
        async with store.lock() as lease:
            await store.save(OLD, after=0, lease=lease)
        async with asyncio.timeout(PATIENCE), aclosing(store.watch()) as changes:
            await anext(changes)
        await store.delete(lease=None)
        assert await store.load() == Record(2)


@pytest.mark.parametrize("missing", ["+@read", "+@write", "+@scripting", "+@pubsub", "keys"])
async def test_a_right_that_is_missing_is_told(
    making: Making, redis_server: RedisServer, prefix: str, missing: str
) -> None:
    rules = [*(right for right in RIGHTS if right != missing), f"&{prefix}*"]
    rules += [] if missing == "keys" else [f"~{prefix}*"]
    with _user(redis_server, *rules) as url:
        store = making(url).open(KEY)
        with pytest.raises(StoreError, match="does not let this user do what is needed: allow it"):
            await store.save(OLD, after=0, lease=None)
    assert redis_server.ask("KEYS", f"{prefix}*") == []


async def test_a_password_is_never_in_what_is_told(
    making: Making, redis_server: RedisServer, own_redis: RedisServer
) -> None:
    with _user(redis_server, *RIGHTS) as url:
        wrong = url.replace("s3cr3t", "s3cr3t-but-wrong")
        gone = url.replace(str(redis_server.port), str(own_redis.port))
        own_redis.kill()
        for secret_url in (url, wrong, gone):
            for fault in await _faults(making(secret_url).open(KEY)):
                assert "s3cr3t" not in "".join(traceback.format_exception(fault))
                assert "s3cr3t" not in repr(fault)


async def test_a_password_that_is_wrong_is_told(making: Making, redis_server: RedisServer) -> None:
    with _user(redis_server, *RIGHTS) as url:
        store = making(url.replace("s3cr3t", "wrong")).open(KEY)
        with pytest.raises(StoreError, match="does not take the user and password: mend them"):
            await store.load()


async def test_a_password_that_is_missing_is_told(making: Making, own_redis: RedisServer) -> None:
    own_redis.ask("CONFIG", "SET", "requirepass", "s3cr3t")
    with pytest.raises(StoreError, match="does not take the user and password: mend them"):
        await making(own_redis.url).open(KEY).load()


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), "is a replica: name the primary"),
        (("CONFIG", "SET", "maxmemory", "1"), "has no memory left"),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), "has lost its replicas"),
    ],
)
async def test_a_redis_that_takes_no_writes_is_told_and_keeps_what_it_has(
    making: Making, own_redis: RedisServer, setting: tuple[str, ...], what: str
) -> None:
    store = making(own_redis.url).open(KEY)
    await store.save(OLD, after=0, lease=None)
    own_redis.ask(*setting)
    with pytest.raises(StoreError, match=what):
        await store.save(NEW, after=1, lease=None)
    assert await store.load() == OLD


# -- TLS -------------------------------------------------------------------------------------


@pytest.fixture
def tls_redis(tmp_path: Path) -> Iterator[tuple[RedisServer, int]]:
    """One that speaks TLS on a second port, with a certificate by `ca.pem` of its folder."""
    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other-ca.pem")
    pem = str(tmp_path / "server.pem")
    arguments = ("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-cert-file", pem)
    with RedisServer(*arguments, "--tls-key-file", pem) as server:
        yield server, port


async def test_tls_is_spoken_with_whom_the_named_authority_vouches_for(
    making: Making, tls_redis: tuple[RedisServer, int], tmp_path: Path
) -> None:
    host = f"rediss://localhost:{tls_redis[1]}"
    store = making(f"{host}?ssl_ca_certs={tmp_path}/ca.pem").open(KEY)
    assert await store.save(OLD, after=0, lease=None) == Saved()
    with pytest.raises(StoreError, match=r"cannot be reached \(.*certificate"):
        await making(f"{host}?ssl_ca_certs={tmp_path}/other-ca.pem").open(KEY).load()
    with pytest.raises(StoreError, match=r"cannot be reached \(No such file"):
        await making(f"{host}?ssl_ca_certs={tmp_path}/none.pem").open(KEY).load()


# -- sentinels -------------------------------------------------------------------------------


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.02)


@pytest.fixture
def sentinel(own_redis: RedisServer) -> Iterator[SentinelServer]:
    with SentinelServer(own_redis) as server:
        yield server


async def test_sentinels_name_the_primary(making: Making, sentinel: SentinelServer) -> None:
    store = making(sentinel.url).open(KEY)
    assert await store.save(OLD, after=0, lease=None) == Saved()
    assert await making(sentinel.url).open(KEY).load() == OLD


async def test_the_next_sentinel_is_asked_where_one_is_gone(
    making: Making, sentinel: SentinelServer
) -> None:
    url = sentinel.url.replace("127.0.0.1", f"127.0.0.1:{free_port()},127.0.0.1")
    assert await making(url).open(KEY).save(OLD, after=0, lease=None) == Saved()


async def test_a_primary_that_no_sentinel_knows_is_told(
    making: Making, sentinel: SentinelServer
) -> None:
    with pytest.raises(StoreError, match="is named by none of these sentinels"):
        await making(sentinel.url.replace("main", "other")).open(KEY).load()


async def test_sentinels_that_are_gone_are_told(making: Making) -> None:
    with pytest.raises(StoreError, match="is named by none of these sentinels"):
        await making(f"sentinel://anna:s3cr3t@127.0.0.1:{free_port()}/main").open(KEY).load()


class _Hasty(SystemClock):
    """Pauses are short."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 20)


def _knows(sentinel: SentinelServer, replica: RedisServer) -> bool:
    told = sentinel.ask("SENTINEL", "REPLICAS", "main")
    return str(replica.port) in str(told) and "'ok'" in str(told)


async def test_a_failover_is_followed_and_noticed_by_those_who_watch(
    making: Making, own_redis: RedisServer, name: str
) -> None:
    with RedisServer("--replicaof", "127.0.0.1", str(own_redis.port)) as replica:
        await _until(lambda: own_redis.ask("INFO", "REPLICATION")["connected_slaves"] == 1)
        with SentinelServer(own_redis) as sentinel:
            store = making(sentinel.url, clock=_Hasty()).open(KEY)
            await store.save(OLD, after=0, lease=None)
            async with asyncio.timeout(PATIENCE), aclosing(store.watch()) as changes:
                await anext(changes)
                await _until(lambda: _knows(sentinel, replica))
                await _until(lambda: replica.ask("HEXISTS", name, "record") == 1)
                own_redis.kill()
                await anext(changes)
            assert await store.load() == OLD
            assert await store.save(NEW, after=1, lease=None) == Saved()
            assert replica.ask("HGET", name, "record") == encode(NEW)


# -- build -----------------------------------------------------------------------------------


async def test_the_config_builds_it(redis_server: RedisServer, prefix: str, tmp_path: Path) -> None:
    settings: Any = {"type": "redis", "url": redis_server.url, "prefix": prefix}
    config: TypeAdapter[AnyStore] = TypeAdapter(AnyStore)
    stores = build_stores(config.validate_python(settings), state_folder=tmp_path)
    assert isinstance(stores, RedisStores)
    assert await stores.open(KEY).save(OLD, after=0, lease=None) == Saved()
    await stores.close()
    assert redis_server.ask("KEYS", f"{prefix}*") == [f"{prefix}{{{KEY}}}".encode()]
    assert list(tmp_path.iterdir()) == []
