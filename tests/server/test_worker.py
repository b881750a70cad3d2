"""What a worker does as it is ordered."""

import socket
from io import StringIO
from typing import Any

import pytest

from tokenproxy.config.model import Config
from tokenproxy.config.process import Log
from tokenproxy.errors import ConfigError
from tokenproxy.server.channel import Brief, Changed, Channel, Failed, NewConfig
from tokenproxy.server.log import EventLog
from tokenproxy.server.worker import Orders
from tokenproxy.tasks import cancelled, spawn


@pytest.mark.parametrize(
    ("meets", "told"),
    [
        (None, [Changed()]),
        (ConfigError("a sentence"), [Failed("a sentence"), Changed()]),
        (OSError(24, "Too many"), [Failed("a fault of the program: OSError"), Changed()]),
    ],
    ids=["nothing", "an error", "a fault"],
)
async def test_the_supervisor_hears_of_each_config_whatever_came_of_it(
    nothing_left_behind: None, meets: Exception | None, told: list[Any]
) -> None:
    async def change(config: Config) -> None:
        if meets is not None:
            raise meets

    ours, theirs = [await Channel.over(end) for end in socket.socketpair()]
    config = Config.model_validate({"routes": [{"upstream": "https://a.example"}]})
    orders = Orders(
        Brief(config, 1, (), 0, 0, 0), theirs, EventLog(Log(), StringIO()), lambda: None
    )
    work = [spawn(orders.obey(), name="obey"), spawn(orders.changes(change), name="changes")]
    try:
        ours.send(NewConfig(config))
        assert [await ours.receive() for _ in told] == told
        assert orders.stopping.is_set() == (meets is not None)
    finally:
        await cancelled(*work)
        await ours.close()
        await theirs.close()
