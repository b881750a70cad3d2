"""`config.example.yaml` is what it says: every key, each with its default, and all of it loads."""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from tokenproxy.config.load import load_config
from tokenproxy.config.model import Config
from tokenproxy.config.process import TlsListener
from tokenproxy.settings.access import Cors, Requests
from tokenproxy.settings.callers import CallerTimeouts
from tokenproxy.settings.command import Command
from tokenproxy.settings.credential import Fields
from tokenproxy.settings.file import File
from tokenproxy.settings.headers import RequestHeaders, ResponseHeaders
from tokenproxy.settings.injection import (
    Basic,
    BasicInjection,
    CookieInjection,
    HeaderInjection,
    QueryInjection,
)
from tokenproxy.settings.json_login import JsonLogin, JsonRequest
from tokenproxy.settings.matchers import Matcher
from tokenproxy.settings.oauth2 import ClientAuth, OAuth2
from tokenproxy.settings.refresh import Refresh
from tokenproxy.settings.route import Replay, Route, RouteTimeouts
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.settings.static import Static
from tokenproxy.settings.stores import FileStore, KeyringStore, MemoryStore, RedisStore
from tokenproxy.settings.tls import ListenerTls, Tls

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
TEXT = EXAMPLE.read_text()
ENVIRONMENT = {
    "SHOP_USER": "anna",
    "SHOP_PASSWORD": "secret",
    "SHOP_TOKEN": "secret",
    "CLIENT_KEY": "a-key-of-sixteen-characters-or-more",
    "STORE_KEY": "c2l4dGVlbiBieXRlcyBhcmUgaGFsZiB3aGF0IGlzIG4=",
}
MARK = "#|"
MODELS: list[type[BaseModel]] = [
    Config,
    Route,
    Replay,
    RouteTimeouts,
    Requests,
    Cors,
    RequestHeaders,
    ResponseHeaders,
    CallerTimeouts,
    Tls,
    TlsListener,
    ListenerTls,
    Refresh,
    SimpleJwt,
    Static,
    File,
    Command,
    JsonLogin,
    JsonRequest,
    Fields,
    OAuth2,
    ClientAuth,
    FileStore,
    MemoryStore,
    KeyringStore,
    RedisStore,
    HeaderInjection,
    QueryInjection,
    CookieInjection,
    BasicInjection,
    Basic,
    Matcher,
]
WITHOUT_DEFAULT = {"username", "password", "base_url", "credential", "name", "path"}


def load(text: str, tmp_path: Path) -> Config:
    file = tmp_path / "tokenproxy.yaml"
    file.write_text(text)
    loaded = load_config(file, environment=ENVIRONMENT)
    assert loaded.warnings == ()
    return loaded.config


def alternatives() -> Iterator[tuple[str, str]]:
    """The key that each block replaces, and the block, as it would stand without its marks."""
    block: list[str] = []
    for line in [*TEXT.splitlines(), ""]:
        if not line.startswith(MARK):
            if block:
                yield from _split(block)
            block = []
            continue
        block.append(line.removeprefix(MARK)[1:])


def _split(block: list[str]) -> Iterator[tuple[str, str]]:
    """Neighbouring alternatives: each begins at the least indented level."""
    least = min(len(line) - len(line.lstrip()) for line in block)
    current: list[str] = []
    for line in block:
        starts = len(line) - len(line.lstrip()) == least
        if starts and current:
            yield current[0].split(":")[0].strip(), "\n".join(current)
            current = []
        current.append(line)
    yield current[0].split(":")[0].strip(), "\n".join(current)


ALTERNATIVES = list(alternatives())


def test_it_loads_as_it_is(tmp_path: Path) -> None:
    assert [route.name for route in load(TEXT, tmp_path).routes] == ["shop"]


@pytest.mark.parametrize(("key", "block"), ALTERNATIVES)
def test_each_alternative_loads_in_the_place_of_what_it_replaces(
    key: str, block: str, tmp_path: Path
) -> None:
    data: dict[str, Any] = yaml.safe_load(TEXT)
    value = yaml.safe_load(block)[key]
    if key == "shop":
        data["credentials"]["shop"] = value
    elif key in data:
        data[key] = value
    else:
        data["routes"][0][key] = value

    config = load(yaml.safe_dump(data), tmp_path)

    assert pickle.loads(pickle.dumps(config)) == config  # as workers are sent it


def test_the_alternatives_are_all_found() -> None:
    keys = [key for key, _ in ALTERNATIVES]
    assert keys.count("shop") == 12
    assert keys.count("inject") == 4
    assert keys.count("refresh_on") == 3
    assert keys.count("listen") == 3
    assert [keys.count(key) for key in ("allow", "deny", "cors", "client_key")] == [1, 1, 1, 1]
    assert keys.count("workers") == 1


@pytest.mark.parametrize("model", MODELS)
def test_no_key_is_missing(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        key = field.alias or name
        assert re.search(rf"(^|[\s{{,]){key}:", TEXT), key


def differences(shown: BaseModel, default: BaseModel, path: str = "") -> Iterator[str]:
    for name, field in type(shown).model_fields.items():
        if field.is_required() or name in WITHOUT_DEFAULT:
            continue
        value, usual = getattr(shown, name), getattr(default, name)
        if isinstance(value, BaseModel) and isinstance(usual, BaseModel):
            yield from differences(value, usual, f"{path}{name}.")
        elif value != usual:
            yield f"{path}{name}"


def test_each_value_that_is_shown_is_the_default(tmp_path: Path) -> None:
    config = load(TEXT, tmp_path)
    plain = Config.model_validate(
        {
            "credentials": {
                "shop": {
                    "type": "simplejwt",
                    "base_url": "https://shop.example",
                    "username": "anna",
                    "password": "secret",
                }
            },
            "routes": [{"upstream": "https://shop.example", "credential": "shop"}],
        }
    )
    assert list(differences(config.routes[0], plain.routes[0])) == []
    assert list(differences(config.credentials["shop"], plain.credentials["shop"])) == []
    assert [key for key in differences(config, plain) if key not in {"credentials", "routes"}] == []
