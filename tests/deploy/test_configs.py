"""Every config in deploy/ is one that `tokenproxy check` takes, once its secrets are filled in."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.programs import DEPLOY
from tests.e2e.conftest import program_environment
from tokenproxy.units import parse_duration

CONFIGS = sorted(DEPLOY.rglob("tokenproxy.yaml"))
SECRET_FILE = re.compile(r"\$\{file:(/[^}]+)\}")
SECRETS = {
    "client-key": "a-key-of-sixteen-characters-or-more",
    "encryption-key": "c2l4dGVlbiBieXRlcyBhcmUgaGFsZiB3aGF0IGlzIG4=",
    "redis-url": "redis://:a-password@redis:6379/0",
}
ANY_SECRET = "what-a-secret-manager-makes"


def name(path: Path) -> str:
    return str(path.parent.relative_to(DEPLOY))


def checked(config: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    file = folder / "tokenproxy.yaml"
    file.write_text(config)
    return subprocess.run(
        [sys.executable, "-m", "tokenproxy", "check", "-c", file],
        env={**program_environment(folder), "SHOP_USER": "anna"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def with_secrets(config: str, folder: Path, secrets: dict[str, str]) -> str:
    """The config with its secrets' files in that folder, which are written there."""

    def moved(match: re.Match[str]) -> str:
        secret = Path(match[1]).name
        (folder / secret).write_text(secrets.get(secret, ANY_SECRET))
        return f"${{file:{folder / secret}}}"

    return SECRET_FILE.sub(moved, config)


def secret_files(config: Path) -> set[Path]:
    """The files that it reads secrets from."""
    return {Path(found) for found in SECRET_FILE.findall(config.read_text())}


def longest_shutdown(config: Path) -> float:
    """Seconds from SIGTERM to the end, at the most."""
    settings: dict[str, Any] = yaml.safe_load(config.read_text())
    return parse_duration(settings.get("shutdown_delay", 0)) + parse_duration(
        settings["shutdown_grace"]
    )


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_a_config_is_fine_and_has_nothing_to_be_warned_of(path: Path, tmp_path: Path) -> None:
    said = checked(with_secrets(path.read_text(), tmp_path, SECRETS), tmp_path)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("path", [path for path in CONFIGS if "kubernetes" in str(path)], ids=name)
def test_a_secret_that_was_left_empty_is_refused(path: Path, tmp_path: Path) -> None:
    empty = {secret.name: "" for secret in secret_files(path)}
    said = checked(with_secrets(path.read_text(), tmp_path, empty), tmp_path)
    assert said.returncode == 2
    assert said.stderr.count("error: ") == len(empty), said.stderr
