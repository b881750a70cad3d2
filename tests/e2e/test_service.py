"""What a service manager asks for: sd_notify, and sockets that it opens (socket activation)."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.e2e.conftest import program_environment
from tokenproxy.testing import Api, Issuer, running

# As systemd does: the sockets from 3 on, and the number of the process that they are for.
PASS = """
import os, sys
number, arguments = int(sys.argv[1]), sys.argv[2:]
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.dup2(number, 3)
os.set_inheritable(3, True)
os.execv(sys.executable, [sys.executable, "-m", "tokenproxy", *arguments])
"""
WRONG = 1


class Manager:
    """The end of a notify socket that is a service manager's."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(30)
        self._socket.bind(name.replace("@", "\0", 1))

    def told(self) -> dict[str, str]:
        """The next message."""
        lines = self._socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def until(self, line: str) -> dict[str, str]:
        name, value = line.split("=")
        while (told := self.told()).get(name) != value:
            pass
        return told

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def api() -> Iterator[Api]:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        yield api


def written(folder: Path, settings: Mapping[str, Any]) -> Path:
    file = folder / "tokenproxy.yaml"
    file.write_text(yaml.safe_dump({"admin": None, "store": {"type": "memory"}, **settings}))
    return file


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    with process:
        try:
            yield process
        finally:
            process.kill()


# -- sd_notify -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("is_abstract", [False, True], ids=["a file", "abstract"])
def test_a_service_manager_is_told_how_it_goes(
    tmp_path: Path, api: Api, workers: int, is_abstract: bool
) -> None:
    if is_abstract and sys.platform != "linux":
        pytest.skip("only Linux has abstract sockets")
    name = f"@{tmp_path}" if is_abstract else str(tmp_path / "n")
    settings: dict[str, Any] = {"listen": "127.0.0.1:0", "workers": workers}
    settings["routes"] = [{"upstream": api.url}]
    file = written(tmp_path, settings)
    environment = {**program_environment(tmp_path), "NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"}
    with ExitStack() as stack:
        manager = Manager(name)
        stack.callback(manager.close)
        command = [sys.executable, "-m", "tokenproxy", "run", "-c", str(file)]
        process = stack.enter_context(
            ended(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        )
        assert manager.until("READY=1")["STATUS"] == "Serving"
        manager.until("WATCHDOG=1")

        file.write_text("admin: null\nroutes: 1")
        os.kill(process.pid, signal.SIGHUP)
        assert int(manager.until("RELOADING=1")["MONOTONIC_USEC"]) > 0
        status = manager.until("READY=1")["STATUS"]
        assert status.startswith("Serving by an earlier config: ")
        assert "routes: " in status

        process.terminate()
        manager.until("STOPPING=1")
        assert process.wait(30) == 0


# -- socket activation ---------------------------------------------------------------------------


def activated(folder: Path, listener: socket.socket, settings: Mapping[str, Any]) -> Any:
    file = written(folder, settings)
    number = listener.fileno()
    command = [sys.executable, "-c", PASS, str(number), "run", "-c", str(file)]
    return ended(
        subprocess.Popen(
            command,
            env=program_environment(folder),
            pass_fds=[number],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_socket_that_is_passed_is_served_and_goes_on_queueing_after_the_end(
    tmp_path: Path, api: Api, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        settings = {"listen": address, "workers": workers, "routes": [{"upstream": api.url}]}
        with activated(tmp_path, listener, settings) as process:
            assert process.stdout.readline() == f"listening on http://{address}\n"
            assert requests.get(f"http://{address}/items/", timeout=30).status_code == 401
            process.terminate()
            assert process.wait(30) == 0
        socket.create_connection(listener.getsockname(), 10).close()


def test_the_file_of_a_unix_socket_that_is_passed_stays(tmp_path: Path, api: Api) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        settings = {"listen": f"unix:{path}", "routes": [{"upstream": api.url}]}
        with activated(tmp_path, listener, settings) as process:
            assert process.stdout.readline() == f"listening on unix:{path}\n"
            process.terminate()
            assert process.wait(30) == 0
        assert path.is_socket()


def test_a_socket_that_no_address_names_is_an_error(tmp_path: Path, api: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = {"listen": "127.0.0.1:0", "routes": [{"upstream": api.url}]}
        with activated(tmp_path, listener, settings) as process:
            _, told = process.communicate(timeout=30)
    assert process.returncode == WRONG
    assert told.startswith("error: the service manager passed a socket on 127.0.0.1:")
    assert "which the config does not name" in told


@pytest.mark.parametrize("workers", [1, 2])
def test_a_socket_that_is_passed_cannot_be_left_out_by_a_reload(
    tmp_path: Path, api: Api, workers: int
) -> None:
    """Callers would wait there for ever: the service manager goes on listening."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        settings = {"listen": address, "workers": workers, "routes": [{"upstream": api.url}]}
        with activated(tmp_path, listener, settings) as process:
            assert process.stdout.readline() == f"listening on http://{address}\n"
            written(tmp_path, {**settings, "listen": "127.0.0.1:0"})
            while "reload_failed" not in (line := process.stderr.readline()):
                assert line
            assert f"passed a socket on {address}, which the config does not name" in line
            assert requests.get(f"http://{address}/items/", timeout=30).status_code == 401
            process.terminate()
            assert process.wait(30) == 0
