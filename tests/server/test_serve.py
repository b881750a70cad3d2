"""What cannot be served is told before anything is promised."""

import asyncio
from pathlib import Path

import pytest

from tokenproxy.config.model import Config
from tokenproxy.errors import ConfigError
from tokenproxy.runtime import World
from tokenproxy.server.listeners import bind
from tokenproxy.server.serve import serve


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
