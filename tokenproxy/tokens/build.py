"""From a credential's settings to its source; from the store's settings to its store."""

from collections.abc import Mapping
from pathlib import Path

import aiohttp

from tokenproxy.clock import Clock
from tokenproxy.settings.command import Command
from tokenproxy.settings.file import File
from tokenproxy.settings.json_login import JsonLogin
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.static import Static
from tokenproxy.settings.stores import AnyStore, FileStore, MemoryStore
from tokenproxy.tokens.endpoint import Endpoint
from tokenproxy.tokens.source import Source
from tokenproxy.tokens.sources.command import CommandSource
from tokenproxy.tokens.sources.file import FileSource
from tokenproxy.tokens.sources.json_login import JsonLoginSource
from tokenproxy.tokens.sources.simplejwt import SimpleJwtSource
from tokenproxy.tokens.sources.static import StaticSource
from tokenproxy.tokens.store import StoreFactory
from tokenproxy.tokens.stores.file import FileStores
from tokenproxy.tokens.stores.memory import MemoryStores


def build_source(
    name: str,
    settings: AnyCredential,
    *,
    session: aiohttp.ClientSession,
    environment: Mapping[str, str],
    clock: Clock,
) -> Source:
    """The source of that kind; `session` is what it may ask servers with."""
    endpoint = Endpoint(name, session, settings.refresh.timeout, clock)
    match settings:
        case Static():
            return StaticSource(settings, clock)
        case File():
            return FileSource(name, settings, clock)
        case Command():
            return CommandSource(name, settings, environment, clock)
        case SimpleJwt():
            return SimpleJwtSource(name, settings, endpoint, clock)
        case JsonLogin():
            return JsonLoginSource(name, settings, endpoint)


def build_stores(settings: AnyStore, *, state_folder: Path) -> StoreFactory:
    """The configured store; `state_folder` is where files go unless the config says."""
    match settings:
        case MemoryStore():
            return MemoryStores()
        case FileStore():
            return FileStores(settings.path or state_folder)
