"""From a credential's settings to its source; from the store's settings to its store."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from tokenproxy.clock import Clock
from tokenproxy.errors import ConfigError
from tokenproxy.settings.command import Command
from tokenproxy.settings.credential import NetworkCredential
from tokenproxy.settings.file import File
from tokenproxy.settings.json_login import JsonLogin
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.settings.sources import AnyCredential
from tokenproxy.settings.static import Static
from tokenproxy.settings.stores import (
    AnyStore,
    EncryptionKeys,
    FileStore,
    KeyringStore,
    MemoryStore,
    RedisStore,
    key_bytes,
)
from tokenproxy.settings.upstream import egress_url
from tokenproxy.tokens.codec import CodecFor, plain
from tokenproxy.tokens.egress import proxy_for
from tokenproxy.tokens.endpoint import Endpoint
from tokenproxy.tokens.oauth2.client import TokenClient
from tokenproxy.tokens.source import Source
from tokenproxy.tokens.sources.command import CommandSource
from tokenproxy.tokens.sources.file import FileSource
from tokenproxy.tokens.sources.json_login import JsonLoginSource
from tokenproxy.tokens.sources.oauth2 import OAuth2Source
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
    variables: Mapping[str, str],
    clock: Clock,
) -> Source:
    """The source of that kind.

    `session` is what it may ask servers with, `environment` what its commands get, and
    `variables` is our own, which may name a proxy on the way out.
    """
    egress = settings.egress_proxy if isinstance(settings, NetworkCredential) else None
    proxies = proxy_for(egress_url(egress), variables)
    endpoint = Endpoint(name, session, settings.refresh.timeout, clock, proxies)
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
        case OAuth2():
            client = TokenClient(name, settings, endpoint, clock)
            with extra("crypto", "key"):
                return OAuth2Source(name, settings, client, clock)


def build_stores(settings: AnyStore, *, state_folder: Path) -> StoreFactory:
    """The configured store; `state_folder` is where files go unless the config says.

    Raises:
        ConfigError: it needs a package that is not installed.
    """
    match settings:
        case MemoryStore():
            return MemoryStores()
        case FileStore():
            codec_for = _codecs(settings.encryption_key, reads_plain=True)
            return FileStores(settings.path or state_folder, codec_for)
        case KeyringStore():
            with extra("keyring", "store: {type: keyring}"):
                from tokenproxy.tokens.stores.keyring import KeyringStores  # noqa: PLC0415
            return KeyringStores(state_folder)
        case RedisStore():
            with extra("redis", "store: {type: redis}"):
                from tokenproxy.tokens.stores.redis import RedisStores  # noqa: PLC0415
            codec_for = _codecs(settings.encryption_key, reads_plain=False)
            return RedisStores(settings.url.get_secret_value(), settings.prefix, codec_for)


def _codecs(keys: EncryptionKeys, *, reads_plain: bool) -> CodecFor:
    """Sealing codecs where there are keys.

    A folder of one's own may still hold records from before there was a key; what stands
    unsealed in a Redis may be anybody's.
    """
    if keys is None:
        return plain
    with extra("crypto", "encryption_key"):
        from tokenproxy.tokens.sealing import Sealer  # noqa: PLC0415
    return Sealer([key_bytes(key) for key in keys], reads_plain=reads_plain).codec


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Imports of an optional package; ConfigError where it is not there."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"'{what}' needs a package that is not installed: run pip install 'tokenproxy[{name}]'"
        ) from error
