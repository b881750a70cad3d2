from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import TypeAdapter

from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.stores import AnyStore
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.build import build_source, build_stores
from tokenproxy.tokens.endpoint import open_session
from tokenproxy.tokens.source import Attempt, Source
from tokenproxy.tokens.sources.command import CommandSource
from tokenproxy.tokens.sources.file import FileSource
from tokenproxy.tokens.sources.json_login import JsonLoginSource
from tokenproxy.tokens.sources.simplejwt import SimpleJwtSource
from tokenproxy.tokens.sources.static import StaticSource
from tokenproxy.tokens.store import Saved
from tokenproxy.tokens.stores.memory import MemoryStores
from tokenproxy.tokens.token import Record

CREDENTIALS: TypeAdapter[AnyCredential] = TypeAdapter(AnyCredential)
STORES: TypeAdapter[AnyStore] = TypeAdapter(AnyStore)
LOGIN = {"base_url": "https://shop.example", "username": "demo", "password": "p"}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(tls=True) as session:
        yield session


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"type": "static", "token": "t"}, StaticSource),
        ({"type": "file", "path": "/t"}, FileSource),
        ({"type": "command", "argv": ["true"]}, CommandSource),
        ({"type": "simplejwt", **LOGIN}, SimpleJwtSource),
        ({"type": "json", "login": {"url": "https://shop.example"}}, JsonLoginSource),
    ],
)
async def test_each_type_of_credential_has_its_source(
    session: aiohttp.ClientSession, settings: dict[str, Any], kind: type[Source]
) -> None:
    source = build_source(
        "shop",
        CREDENTIALS.validate_python(settings),
        session=session,
        environment={},
        variables={},
        clock=ManualClock(),
    )
    assert type(source) is kind


async def test_a_command_runs_in_the_environment_that_is_given(
    session: aiohttp.ClientSession,
) -> None:
    settings = {"type": "command", "argv": ["sh", "-c", "echo $MARK"]}
    source = build_source(
        "shop",
        CREDENTIALS.validate_python(settings),
        session=session,
        variables={},
        environment={"PATH": "/bin:/usr/bin", "MARK": "from-outside"},
        clock=ManualClock(),
    )
    granted = await source.fetch(Attempt.LOGIN, Record())
    assert granted.token.access.reveal() == "from-outside"


async def _saves_in(settings: dict[str, Any], tmp_path: Path) -> list[str]:
    stores = build_stores(STORES.validate_python(settings), state_folder=tmp_path / "state")
    assert await stores.open("shop-0").save(Record(1), after=0, lease=None) == Saved()
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json"))


async def test_files_go_to_the_state_folder_unless_the_config_names_another(
    tmp_path: Path,
) -> None:
    assert await _saves_in({"type": "file"}, tmp_path) == ["state/shop-0.json"]


async def test_files_go_where_the_config_says(tmp_path: Path) -> None:
    settings = {"type": "file", "path": tmp_path / "named"}
    assert await _saves_in(settings, tmp_path) == ["named/shop-0.json"]


async def test_a_memory_store_writes_nothing(tmp_path: Path) -> None:
    assert await _saves_in({"type": "memory"}, tmp_path) == []
    assert type(
        build_stores(STORES.validate_python({"type": "memory"}), state_folder=tmp_path)
    ) is (MemoryStores)
