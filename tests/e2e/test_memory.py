"""Bodies stream: memory does not grow with their size."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ProxyFactory
from tests.e2e.test_failing_well import config
from tokenproxy.testing import Api, Issuer, running

MIB = 1 << 20
GROWTH = 32 * MIB
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def peak_memory(pid: int) -> int:
    """The most that the process ever held, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM in /proc")


def curl(*arguments: str, body: Path | None = None) -> str:
    command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "300", *arguments]
    with body.open("rb") if body else open("/dev/null", "rb") as stdin:  # noqa: PTH123 - no file
        done = subprocess.run(command, stdin=stdin, capture_output=True, check=True, env={})
    return done.stdout.decode()


@LINUX
@pytest.mark.timeout(400)
def test_a_gibibyte_goes_up_and_down_in_little_memory(proxy: ProxyFactory, tmp_path: Path) -> None:
    size = 1024 * MIB
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(size)  # a hole: it takes no room
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api))
        curl(f"{program.url}/bytes?n=1000000", "--output", "/dev/null")
        before = peak_memory(program.pid)

        curl(f"{program.url}/bytes?n={size}", "--output", "/dev/null")
        answer = curl("--upload-file", "-", f"{program.url}/hash", body=zeros)

        grown = peak_memory(program.pid) - before
    assert f'"length": {size}' in answer
    assert grown < GROWTH
