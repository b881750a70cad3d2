"""Many processes on one rotating token, at a real issuer that revokes a family for any reuse."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from random import Random
from typing import Any

import pytest
import requests
from requests.exceptions import ChunkedEncodingError

from tests.e2e.conftest import Program, ProviderFactory, ProxyFactory
from tests.e2e.oidc import OidcProvider
from tests.redis_server import RedisServer
from tokenproxy.clock import SystemClock

CLOCK = SystemClock()
LIFE = 2
PROCESSES = 8
DURATIONS = [pytest.param((2, 2.5), id="short"), pytest.param((8, 60.0), marks=pytest.mark.soak)]
KILL_EVERY = 3.0
STORES = ["file", "redis"]


@pytest.fixture
def redis() -> Iterator[Callable[[], RedisServer]]:
    with ExitStack() as running:
        yield lambda: running.enter_context(RedisServer())


@pytest.fixture
def store(
    request: pytest.FixtureRequest, redis: Callable[[], RedisServer]
) -> tuple[dict[str, Any], RedisServer | None]:
    """A store's settings, and the Redis behind them."""
    if request.param == "file":
        return {"type": "file"}, None
    server = redis()
    return {"type": "redis", "url": server.url}, server


Store = tuple[dict[str, Any], RedisServer | None]


def config(provider: OidcProvider, store: dict[str, Any]) -> dict[str, Any]:
    client = provider.clients["basic"]
    return {
        "store": store,
        "credentials": {
            "shop": {
                "type": "oauth2",
                "grant": "password",
                "issuer": provider.url,
                "client_id": client.client_id,
                "client_auth": client.client_auth(),
                "username": "anna",
                "password": "correct horse",
            }
        },
        "routes": [{"path": "/shop", "upstream": provider.api_url, "credential": "shop"}],
    }


class Callers:
    """One caller for each proxy, who asks again and again; what they saw, and what went wrong."""

    def __init__(self, programs: list[Program]) -> None:
        self.programs = programs
        self.seen: Counter[int] = Counter()
        self.troubles: list[str] = []
        self._over = threading.Event()
        self._dying: set[int] = set()
        self._pool = ThreadPoolExecutor(len(programs))
        self._calling = [self._pool.submit(self._call, index) for index in range(len(programs))]

    def _call(self, index: int) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._over.is_set():
                try:
                    answer = session.get(f"{self.programs[index].url}/shop/items", timeout=30)
                except (requests.ConnectionError, ChunkedEncodingError) as error:
                    if index not in self._dying:
                        self.troubles.append(repr(error))
                    self._over.wait(0.05)
                else:
                    self.seen[answer.status_code] += 1
                    if answer.status_code != 200:
                        self.troubles.append(answer.text)

    def kill_and_restart(self, index: int) -> None:
        self._dying.add(index)
        self.programs[index].kill()
        self.programs[index].restart()
        self._over.wait(0.2)
        self._dying.discard(index)

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    def end(self) -> None:
        self._over.set()
        for calling in self._calling:
            calling.result()
        self._pool.shutdown()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("extent", DURATIONS)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_processes_share_one_rotating_token_without_a_reuse_or_an_error(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, store: Store, extent: tuple[int, float]
) -> None:
    number, seconds = extent
    provider = oidc_provider(access_life=LIFE)
    began = CLOCK.now().steady
    callers = Callers([proxy(config(provider, store[0])) for _ in range(number)])

    callers.wait(seconds)
    callers.end()
    seconds = CLOCK.now().steady - began

    assert callers.troubles == []
    assert callers.seen.total() > 10 * number
    assert provider.refused() == []
    assert provider.revoked_families() == []
    assert len(provider.token_calls("password")) == 1
    renewals = len(provider.token_calls("refresh_token"))
    assert seconds / LIFE - 2 <= renewals <= seconds / (LIFE / 4) + 2


@pytest.mark.soak
@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_processes_that_are_killed_cost_no_caller_of_another_an_error(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, store: Store
) -> None:
    """A rotation that dies with its process is lost: the login settles it, and nobody notices."""
    provider = oidc_provider(access_life=LIFE)
    callers = Callers([proxy(config(provider, store[0])) for _ in range(PROCESSES)])
    random = Random(7)

    end = CLOCK.now().steady + 60.0
    while CLOCK.now().steady < end:
        callers.wait(KILL_EVERY)
        callers.kill_and_restart(random.randrange(PROCESSES))
    callers.end()

    assert callers.troubles == []
    assert set(callers.seen) == {200}
    # What a kill loses is one rotation: one refusal, and one login.
    assert len(provider.refused()) <= len(provider.token_calls("password")) <= 3


@pytest.mark.soak
@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["redis"], indirect=True)
@pytest.mark.parametrize("away", [0.0, 5.0], ids=["at once", "after 5 s"])
def test_a_redis_that_restarts_costs_no_token(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, store: Store, away: float
) -> None:
    """While it is away longer than a token lives there is none: 503, and then all is as before."""
    settings, server = store
    assert server is not None
    provider = oidc_provider(access_life=LIFE)
    callers = Callers([proxy(config(provider, settings)) for _ in range(PROCESSES)])

    callers.wait(10)
    server.kill()
    callers.wait(away)
    server.start()
    callers.wait(10)
    late = len(callers.troubles)
    callers.wait(10)
    callers.end()

    assert set(callers.seen) <= ({200} if away < LIFE / 4 else {200, 503})
    assert len(callers.troubles) == late
    assert provider.refused() == []
    assert provider.revoked_families() == []
    assert len(provider.token_calls("password")) == 1
