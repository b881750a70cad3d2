"""What cannot be served is told before anything is promised."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError
from tokenproxy.runtime import World
from tokenproxy.server.listeners import bind
from tokenproxy.server.serve import serve
from tokenproxy.server.supervisor import supervise
from tokenproxy.tasks import cancelled, spawn


async def test_a_config_that_cannot_be_put_together_listens_nowhere(tmp_path: Path) -> None:
    key = {"type": "oauth2", "grant": "jwt_bearer", "token_url": "https://a.example", "key": "none"}
    taken = bind(f"unix:{tmp_path / 'socket'}")
    config = Config.model_validate(
        {"listen": f"unix:{tmp_path / 'socket'}", "credentials": {"shop": key}}
    )
    announced: list[str] = []

    with pytest.raises(ConfigError, match=r"^credentials\.shop\.key: is no private key"):
        await serve(config, World(variables={}), announced.append, asyncio.Event())

    assert announced == []
    taken.close()


TOKENS = 2


@pytest.mark.parametrize("work", [serve, supervise])
async def test_a_store_that_hangs_is_asked_for_all_tokens_at_once_and_ends_with_a_start(
    nothing_left_behind: None, work: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("redis")
    asked, all_asked, here = list[bytes](), asyncio.Event(), tmp_path / "redis"

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1))
        if len(asked) == TOKENS:
            all_asked.set()
        await reader.read()
        asked.pop()
        writer.close()

    credential = {"type": "simplejwt", "base_url": "https://a.example", "username": "u"}
    told = {
        "listen": f"unix:{tmp_path / 's'}",
        "admin": f"unix:{tmp_path / 'a'}",
        "workers": 2,
        "store": {"type": "redis", "url": f"unix://{here}"},
        "credentials": {f"c{at}": {**credential, "password": "p"} for at in range(TOKENS)},
    }
    stopping, announced = asyncio.Event(), list[str]()
    world = World(variables={}, state_folder=tmp_path)
    async with await asyncio.start_unix_server(hang, here), asyncio.timeout(20):
        task = spawn(work(Config.model_validate(told), world, announced.append, stopping), name="w")
        try:
            await all_asked.wait()
            assert not task.done()
            stopping.set()
            await task
        finally:
            await cancelled(task)
    assert announced == []
