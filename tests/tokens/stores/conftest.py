"""One Redis for all tests of a pytest process, and one of its own for a test that ends it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.redis_server import RedisServer
from tokenproxy.tokens.codec import CodecFor, plain
from tokenproxy.tokens.stores.redis import RedisStores


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class Making(Protocol):
    def __call__(self, url: str, codec_for: CodecFor = plain, **settings: Any) -> RedisStores:
        """Stores under the test's own prefix, closed when it ends."""


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"{tmp_path}:"


@pytest.fixture
async def making(prefix: str) -> AsyncIterator[Making]:
    async with AsyncExitStack() as stack:

        def make(url: str, codec_for: CodecFor = plain, **settings: Any) -> RedisStores:
            stores = RedisStores(url, prefix, codec_for, **settings)
            stack.push_async_callback(stores.close)
            return stores

        yield make
