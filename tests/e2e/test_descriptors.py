"""File descriptors run out: callers wait, the log says so in a few lines, and it passes."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
import yaml

from tests.e2e.conftest import PACKAGE_FOLDER, Program, program_environment
from tests.e2e.test_failing_well import until
from tokenproxy.testing import Api, Issuer, running

DESCRIPTORS = 64
CALLERS = 150
LIMITED = f'ulimit -n {DESCRIPTORS} && exec "$@"'
QUIET = {"debug", "info"}


@pytest.fixture(params=["uvloop", "asyncio"])
def loop_path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where modules are looked for, by a program that has that event loop."""
    folder = tmp_path / "modules"
    folder.mkdir()
    if request.param == "asyncio":
        (folder / "uvloop.py").write_text("raise ImportError\n")
    return os.pathsep.join([str(folder), str(PACKAGE_FOLDER)])


def limited(folder: Path, path: str, upstream: str, workers: int) -> Program:
    """The program, with no more descriptors than `DESCRIPTORS` in each process."""
    file = folder / "tokenproxy.yaml"
    told = {
        "listen": "127.0.0.1:0",
        "workers": workers,
        "credentials": {"c": {"type": "static", "token": "token-of-the-test"}},
        "routes": [{"upstream": upstream, "credential": "c"}],
    }
    file.write_text(yaml.safe_dump(told))
    command = [sys.executable, "-m", "tokenproxy", "run", "-c", str(file)]
    env = {**program_environment(folder), "PYTHONPATH": path}
    return Program(["-c", LIMITED, "sh", *command], folder, env, "/bin/sh")


def crowd(port: int, stack: ExitStack) -> Iterator[socket.socket]:
    """Callers who connect and ask, and stay."""
    for _ in range(CALLERS):
        caller = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        caller.sendall(b"GET /items/ HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port)
        yield caller


def faults(program: Program) -> list[str]:
    lines = [json.loads(line) for line in program.stderr_text().splitlines()]
    return [line["event"] for line in lines if line["level"] not in QUIET]


@pytest.mark.parametrize("workers", [1, 2])
def test_used_up_descriptors_crash_nothing_fill_no_log_and_are_got_over(
    loop_path: str, workers: int, tmp_path: Path, client: requests.Session
) -> None:
    with running(Issuer()) as issuer, running(Api(issuer)) as api, ExitStack() as stack:
        program = limited(tmp_path, loop_path, api.url, workers)
        stack.callback(program.terminate)
        port = int(program.url.rpartition(":")[2])

        with ExitStack() as callers:
            first, *_ = crowd(port, callers)
            assert first.recv(12) == b"HTTP/1.1 401"  # the API's: it does not know the token
            until(lambda: "descriptors_used_up" in faults(program))

        assert client.get(f"{program.url}/items/", timeout=20).status_code == 401
        assert program.terminate() == 0
        assert set(faults(program)) == {"descriptors_used_up"}
        assert len(faults(program)) <= 5 * workers
        assert "Traceback" not in program.stderr_text()
