"""The main job on one machine: an issuer, an API, and the proxy before it, all real servers."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tokenproxy.config.model import Config
from tokenproxy.errors import ListenError
from tokenproxy.events import Observe
from tokenproxy.runtime import World
from tokenproxy.server.listeners import bind
from tokenproxy.server.serve import serve
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing.api import Api
from tokenproxy.testing.issuer import Issuer

ACCESS_LIFE = 5.0
USUAL_ADDRESS, ANY_ADDRESS = "127.0.0.1:8080", "127.0.0.1:0"


@dataclass(frozen=True, slots=True)
class Demo:
    """What runs: `url` is the proxy's, without a slash at its end."""

    issuer: Issuer
    api: Api
    url: str


@asynccontextmanager
async def running_demo(observe: Observe) -> AsyncIterator[Demo]:
    """Start all three; the proxy listens on port 8080, or on a free one where that is taken.

    Access tokens live five seconds and refresh tokens rotate: one that is used twice ends the
    session, so that a single renewal too many would show.
    """
    async with (
        Issuer(access_life=ACCESS_LIFE, reuse_kills_session=True) as issuer,
        Api(issuer) as api,
    ):
        with tempfile.TemporaryDirectory(prefix="tokenproxy-demo-") as folder:
            config = _config(issuer, api, Path(folder) / "store")
            async with _proxy(config, observe) as url:
                yield Demo(issuer, api, url)


@asynccontextmanager
async def _proxy(config: Config, observe: Observe) -> AsyncIterator[str]:
    world = replace(World(), observe=observe)
    announced: asyncio.Queue[str] = asyncio.Queue()
    stopping = asyncio.Event()
    serving = spawn(serve(config, world, announced.put_nowait, stopping), name="proxy")
    ready = spawn(announced.get(), name="listening")
    try:
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        yield (await ready).removeprefix("listening on ")
        stopping.set()
        await serving
    finally:
        await cancelled(ready, serving)


def _config(issuer: Issuer, api: Api, store: Path) -> Config:
    return Config.model_validate(
        {
            "listen": _free_address(),
            "admin": None,
            "store": {"type": "file", "path": str(store)},
            "credentials": {
                "shop": {
                    "type": "simplejwt",
                    "base_url": issuer.url,
                    "username": issuer.username,
                    "password": issuer.password,
                    "refresh": {"min_interval": "1s"},
                }
            },
            "routes": [{"upstream": api.url, "credential": "shop"}],
        }
    )


def _free_address() -> str:
    try:
        bind(USUAL_ADDRESS).close()
    except ListenError:
        return ANY_ADDRESS
    return USUAL_ADDRESS
