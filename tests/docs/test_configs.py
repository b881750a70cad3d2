"""Every config in docs and README is one that the program takes."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import Fence, all_fences
from tokenproxy.config.load import load_config
from tokenproxy.config.model import Config
from tokenproxy.settings.route import Route

VARIABLE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)(?::-[^}]*)?\}")
SECRET_FILE = re.compile(r"\$\{file:([^}]+)\}")
KEY = "c2l4dGVlbiBieXRlcyBhcmUgaGFsZiB3aGF0IGlzIG4="  # 32 bytes: it is good for every secret
ROUTE: dict[str, Any] = {"name": "shop", "upstream": "https://shop.example"}
STATIC = {"type": "static", "token": "a-token"}
FOREIGN = {"apiVersion", "steps"}  # of manifests, and of scenario files


def documents(fence: Fence) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(fence.text) if isinstance(each, dict)]


def is_ours(fence: Fence) -> bool:
    return not any(FOREIGN & set(map(str, each)) for each in documents(fence))


CONFIGS = [fence for fence in all_fences("yaml") if is_ours(fence)]


def whole(part: dict[str, Any]) -> dict[str, Any]:
    """A config around what a page shows a part of."""
    if part.keys() <= Route.model_fields.keys() and not part.keys() <= Config.model_fields.keys():
        part = {"routes": [{**ROUTE, "credential": "shop", **part}]}
    credentials = part.get("credentials", {})
    routes = part.get("routes") or [
        {**ROUTE, "name": name, "path": f"/{name}", "credential": name} for name in credentials
    ]
    asked = {route["credential"] for route in routes if route.get("credential")}
    return {
        **part,
        "credentials": {**dict.fromkeys(asked, STATIC), **credentials},
        "routes": routes,
    }


def environment(text: str) -> dict[str, str]:
    """The variables that a config asks for."""
    names = VARIABLE.findall(text)
    return {name: ROUTE["upstream"] if name.endswith("_URL") else KEY for name in names}


def stand_in(name: str, folder: Path) -> str:
    """What reads a secret of that name from a file in the folder, which is written there."""
    secret = folder / name
    secret.write_text("redis://127.0.0.1:6379/0" if name == "redis-url" else KEY)
    return f"${{file:{secret}}}"


@pytest.mark.parametrize("fence", CONFIGS, ids=str)
def test_a_config_loads_and_has_nothing_to_be_warned_of(fence: Fence, tmp_path: Path) -> None:
    text = SECRET_FILE.sub(lambda found: stand_in(Path(found[1]).name, tmp_path), fence.text)
    file = tmp_path / "tokenproxy.yaml"
    for part in yaml.safe_load_all(text):
        complete = whole(part)
        file.write_text(text if complete == part else yaml.safe_dump(complete))

        loaded = load_config(file, environment=environment(text))

        assert loaded.warnings == ()
