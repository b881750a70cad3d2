"""The admin listener says what its OpenAPI says, whatever it is asked."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests import secrecy
from tokenproxy import admin
from tokenproxy.config.model import Config
from tokenproxy.runtime import World
from tokenproxy.server.serve import serve

CHECKS = [
    status_code_conformance,  # a fault of our own (500) is described nowhere
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
REFUSED = {"type": "command", "argv": ["/no/such/program"], "refresh": {"background": False}}
SIGNED_IN = {
    "type": "oauth2",
    "grant": "authorization_code",
    "token_url": "http://127.0.0.1:9/token",
    "authorization_url": "http://127.0.0.1:9/authorize",
    "client_id": "c",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A proxy in a thread of its own: what asks it here is synchronous."""
    folder = tmp_path_factory.mktemp("admin")
    config = {
        "listen": f"unix:{folder / 's'}",
        "admin": "127.0.0.1:0",
        "store": {"type": "memory"},
        "credentials": {
            "good": {"type": "static", "token": "a-token-that-is-good"},
            "bad": REFUSED,
            "shop": SIGNED_IN,  # the name in the document's examples
        },
        "routes": [
            {"path": f"/{name}", "upstream": "http://127.0.0.1:9", "credential": name}
            for name in ("good", "bad", "shop")
        ],
    }
    with _serving(Config.model_validate(config), folder) as found:
        yield found


class _serving:  # noqa: N801 - a context manager
    def __init__(self, config: Config, folder: Path) -> None:
        self._world = World(variables={}, state_folder=folder)
        self._config = config
        self._lines: list[str] = []
        self._announced = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        await serve(self._config, self._world, self._announce, self._stopping)

    def _announce(self, line: str) -> None:
        self._lines.append(line)
        if line.startswith("admin on "):
            self._announced.set()

    def __enter__(self) -> str:
        self._thread.start()
        assert self._announced.wait(30)
        return self._lines[-1].removeprefix("admin on ")

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)


DESCRIBED = Path(admin.__file__).parent / "openapi.json"
schema = schemathesis.openapi.from_path(DESCRIBED).exclude(path="/api/events")  # it has no end


@schema.parametrize()
@settings(max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_answer_is_one_that_is_described(case: Any, url: str) -> None:
    response = case.call_and_validate(base_url=url, checks=CHECKS, timeout=30)
    assert [secret for secret in secrecy.held() if secret in response.text] == []


def test_what_is_described_is_what_is_served(url: str) -> None:
    served = requests.get(f"{url}/api/openapi.json", timeout=30)
    assert served.json() == json.loads(DESCRIBED.read_text())
