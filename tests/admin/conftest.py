"""A proxy that is asked on its admin listener."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import secrecy
from tests.conftest import Proxy, Serving
from tests.wire import Upstream
from tokenproxy.testing import OAuth2Issuer

HERE = "127.0.0.1:0"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer of the admin listener."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Desk:
    """The admin listener of a proxy; nothing that it says may hold a secret."""

    def __init__(self, proxy: Proxy, session: aiohttp.ClientSession) -> None:
        assert proxy.admin is not None
        self.proxy = proxy
        self.session = session
        self.url = "http://localhost" if proxy.admin.startswith("unix:") else proxy.admin

    @property
    def authority(self) -> str:
        return self.url.removeprefix("http://")

    async def ask(self, method: str, target: str, **headers: str) -> Said:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + target, headers=told) as response:
            said = Said(response.status, response.headers.copy(), await response.read())
        check_secrecy(said.body)
        return said

    async def get(self, target: str, **headers: str) -> Said:
        return await self.ask("GET", target, **headers)

    async def post(self, target: str, **headers: str) -> Said:
        return await self.ask("POST", target, **headers)

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one series."""
        families = text_string_to_metric_families((await self.get("/metrics")).body.decode())
        samples = [sample for family in families for sample in family.samples]
        [value] = [each.value for each in samples if (each.name, each.labels) == (name, labels)]
        return value

    async def credential(self, name: str = "shop") -> dict[str, Any]:
        found: dict[str, Any] = (await self.get("/api/status")).json["credentials"][name]
        return found


def check_secrecy(body: bytes) -> None:
    assert [secret for secret in secrecy.held() if secret.encode() in body] == []


Open = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def opened(serving: Serving, upstream: Upstream) -> AsyncIterator[Open]:
    """Starts a proxy before `upstream` with an admin listener; a credential is `shop`."""
    sessions: list[aiohttp.ClientSession] = []

    async def start(
        credential: dict[str, Any] | None = None, *, faults: int = 0, **config: Any
    ) -> Desk:
        route: dict[str, Any] = {"name": "shop", "upstream": upstream.url}
        told: dict[str, Any] = {"admin": HERE, "routes": [route], **config}
        if credential is not None:
            route["credential"] = "shop"
            told["credentials"] = {"shop": credential}
        proxy = await serving(told, faults=faults)
        address = str(told["admin"])
        unix = address.removeprefix("unix:") if address.startswith("unix:") else None
        connector = None if unix is None else aiohttp.UnixConnector(unix)
        sessions.append(aiohttp.ClientSession(connector=connector, auto_decompress=False))
        return Desk(proxy, sessions[-1])

    yield start
    for session in sessions:
        await session.close()


@pytest.fixture
async def oauth(nothing_left_behind: None) -> AsyncIterator[OAuth2Issuer]:
    """An issuer that a person signs in at; its devices poll each second."""
    async with OAuth2Issuer(client_secret=None) as issuer:
        issuer.interval = 1
        yield issuer
