"""The programs that judge what is in deploy/, and the folder itself."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tokenproxy.environment import variables

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"


def judged(program: str, *arguments: str | Path, **env: str) -> str:
    """What it says, on either output; it must be content."""
    done = subprocess.run(
        [_found(program), *map(str, arguments)],
        env={**variables(), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _found(program: str) -> str:
    """Its path; without one the test is skipped, or fails where CI runs it."""
    path = shutil.which(program, path=Path(sys.executable).parent) or shutil.which(program)
    if path is not None:
        return path
    if variables().get("CI") == "true":
        pytest.fail(f"no {program} is installed: run tests/install.sh as root", pytrace=False)
    pytest.skip(f"no {program} is installed")
