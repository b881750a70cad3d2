"""The JSON Schema of a config takes what the loader takes, and knows no other key."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.config.test_example import ALTERNATIVES, ENVIRONMENT, TEXT
from tests.e2e.conftest import program_environment
from tokenproxy.config.descriptions import KEYS, MODELS
from tokenproxy.config.load import load_config
from tokenproxy.config.schema import json_schema
from tokenproxy.config.yamlfile import read_yaml
from tokenproxy.errors import ConfigError

DEPLOY = Path(__file__).parents[2] / "deploy"
DEPLOYED = sorted(DEPLOY.rglob("tokenproxy.yaml"))
ROUTES = "routes: [{upstream: https://a.example}]\n"
OAUTH = "credentials: {c: {type: oauth2, issuer: https://i.example, client_id: i, grant: "


@cache
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def wrong(data: Any) -> list[str]:
    return [error.json_path for error in validator().iter_errors(data)]


def loads(text: str, folder: Path) -> bool:
    file = folder / "tokenproxy.yaml"
    file.write_text(text)
    try:
        load_config(file, environment={**ENVIRONMENT, "X": "5", "YES": "true"})
    except ConfigError:
        return False
    return True


def test_the_example_is_right() -> None:
    assert wrong(read_yaml(TEXT).data) == []


@pytest.mark.parametrize(("key", "block"), ALTERNATIVES)
def test_each_alternative_of_the_example_is_right(key: str, block: str) -> None:
    data = read_yaml(TEXT).data
    value = yaml.safe_load(block)[key]
    if key == "shop":
        data["credentials"]["shop"] = value
    elif key in data:
        data[key] = value
    else:
        data["routes"][0][key] = value
    assert wrong(data) == []


@pytest.mark.parametrize("file", DEPLOYED, ids=lambda file: str(file.relative_to(DEPLOY)))
def test_what_is_deployed_is_right(file: Path) -> None:
    assert wrong(read_yaml(file.read_text()).data) == []


@pytest.mark.parametrize(
    "text",
    [
        "shutdown_grace: 1.5h",
        'shutdown_grace: " 5 m"',
        "shutdown_grace: ${X}",
        "shutdown_grace: 7",
        "max_connections: ${X}",
        'max_connections: "7"',
        "workers: ${X}",
        "workers: auto",
        "store: {path: /tmp/x}",
        "store: {type: '${NONE:-memory}'}",
        "store: {type: redis, url: 'redis://x', encryption_key: '${STORE_KEY}'}",
        "listen: unix:/run/x.sock",
        "listen: ['127.0.0.1:1', 'unix:/x?mode=0660']",
        "log: {level: '${NONE:-debug}'}",
        "allow_remote: [admin]\nadmin: 0.0.0.0:1",
        "credentials: {c: {type: static, token: '${X}', refresh: {background: '${YES}'}}}",
        "credentials: {c: {type: json, login: {url: 'https://a.example', body: [1, {a: b}]}}}",
        OAUTH + "device_code, scope: [a, b], resource: 'https://r.example'}}",
        OAUTH + "device_code, refresh_token: null}}",
        "timeouts: {keep_alive: 250ms}",
        "{}",
    ],
)
def test_what_loads_is_right(tmp_path: Path, text: str) -> None:
    whole = text.removesuffix("{}") + "\n" + ROUTES
    assert loads(whole, tmp_path)
    assert wrong(read_yaml(whole).data) == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("wrokers: 3", "$"),
        ("workers: many", "$.workers"),
        ("shutdown_grace: 5 parsecs", "$.shutdown_grace"),
        ("shutdown_grace: -1", "$.shutdown_grace"),
        ("max_connections: 0", "$.max_connections"),
        ("log: {level: loud}", "$.log.level"),
        ("log: {levle: info}", "$.log"),
        ("store: {type: memory, path: /x}", "$.store"),
        ("store: {type: postgres}", "$.store.type"),
        ("credentials: {BIG: {type: static, token: t}}", "$.credentials"),
        ("credentials: {c: {type: statik, token: t}}", "$.credentials.c.type"),
        ("credentials: {c: {type: static}}", "$.credentials.c"),
        ("credentials: {c: {type: static, token: t, path: p}}", "$.credentials.c"),
        (OAUTH + "implicit}}", "$.credentials.c.grant"),
        (OAUTH + "device_code, username: anna}}", "$.credentials.c.username"),
        ("credentials: {c: {type: simplejwt, refresh: {retries: 99}}}", "$.credentials.c.refresh"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(tmp_path: Path, text: str, where: str) -> None:
    whole = f"{text}\n{ROUTES}"
    assert not loads(whole, tmp_path)
    assert [path for path in wrong(read_yaml(whole).data) if path.startswith(where)] != []


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, definition in {"Config": schema, **schema["$defs"]}.items():
        for key, value in definition.get("properties", {}).items():
            yield f"{name}.{key}", value


def test_each_key_is_described_and_nothing_else_is() -> None:
    schema = json_schema()
    found = dict(properties(schema))
    assert [name for name, value in found.items() if not value.get("description")] == []
    assert {"Config", *schema["$defs"]} - MODELS.keys() == {
        "JsonValue",
        "duration",
        "reference",
        "size",
    }
    names = {name.partition(".")[2] for name in found} | found.keys()
    assert KEYS.keys() - names == set()


def test_the_verb_prints_it_also_where_no_extra_is_installed(tmp_path: Path) -> None:
    hidden = "import sys; sys.modules.update(dict.fromkeys(['cryptography', 'keyring', 'redis']))"
    program = f"{hidden}; sys.argv = ['tokenproxy', 'schema']; import tokenproxy.cli as c; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=program_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )
    assert yaml.safe_load(done.stdout) == json_schema()
    assert done.stderr == ""
