"""The recipes that are said to be tested: each gets the token that its program or file holds."""

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import DOCS, fences
from tests.e2e.conftest import program_environment

TOKEN = "a-token-that-the-stand-in-holds"
GIVEN = {
    "kind": "ExecCredential",
    "apiVersion": "client.authentication.k8s.io/v1beta1",
    "status": {"token": TOKEN, "expirationTimestamp": "2999-01-01T00:00:00Z"},
}
PRINTS = {"text": TOKEN, "exec_credential": json.dumps(GIVEN)}
CONFIGS = [yaml.safe_load(fence.text) for fence in fences(DOCS / "recipes" / "tested.md")
           if fence.word == "yaml"]  # fmt: skip
LOCAL = [
    (name, config)
    for config in CONFIGS
    for name, credential in config.get("credentials", {}).items()
    if credential["type"] in {"command", "file"}
]


def stood_in(credential: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same with its file in the folder; a command is there under its own name."""
    if credential["type"] == "file":
        (folder / "token").write_text(TOKEN + "\n")
        return {**credential, "path": str(folder / "token")}
    program = folder / credential["argv"][0]
    words = " ".join(credential["argv"][1:])
    printed = PRINTS[credential.get("format", "text")]
    program.write_text(f'#!/bin/sh\n[ "$*" = "{words}" ] && echo \'{printed}\'\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return credential


@pytest.mark.shows_secrets
@pytest.mark.parametrize(("name", "config"), LOCAL, ids=[
    re.sub(r"\W+", "-", str(config["credentials"][name].get("argv", "file")))
    for name, config in LOCAL
])  # fmt: skip
def test_a_local_recipe_gets_its_token(name: str, config: dict[str, Any], tmp_path: Path) -> None:
    credentials = {name: stood_in(config["credentials"][name], tmp_path)}
    routes = [{key: value for key, value in route.items() if key != "tls"}  # of a cluster elsewhere
              for route in config["routes"]]  # fmt: skip
    told = {"credentials": credentials, "routes": routes}
    (tmp_path / "tokenproxy.yaml").write_text(yaml.safe_dump(told))
    said = subprocess.run(
        [sys.executable, "-m", "tokenproxy", "token", name],
        cwd=tmp_path,
        env={**program_environment(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (said.stdout, said.stderr) == (f"{TOKEN}\n", "")


def test_there_are_recipes_of_each_kind() -> None:
    programs = {config["credentials"][name].get("argv", ["file"])[0] for name, config in LOCAL}
    assert programs == {"gcloud", "gh", "aws", "file"}
