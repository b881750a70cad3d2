"""What has happened to its files and addresses meanwhile ends no reloading, and no service."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.e2e.conftest import ProxyFactory, program_environment
from tests.e2e.test_failing_well import free_port, until
from tests.e2e.test_reload import UNAUTHORIZED, WORKERS, reload, reloads, rewrite
from tests.e2e.test_workers import told
from tokenproxy.testing import Api, Issuer, running


@pytest.fixture
def api() -> Iterator[Api]:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        yield api


def marked(settings: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """The same, told by what it adds to requests."""
    routes = [{**settings["routes"][0], "headers": {"set": {"X-Config": mark}}}]
    return {**settings, "routes": routes}


def mark_of(api: Api, listen: str) -> list[str]:
    """Of the config that a request is served by."""
    requests.get(f"http://{listen}/items/", timeout=10)
    return api.requests[-1].values("X-Config")


def asked(path: Path, target: str) -> int:
    """The status of an answer on a unix socket."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(str(path))
        peer.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return int(peer.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("place", [("listen", "/items/", 401), ("admin", "/healthz", 200)])
def test_a_unix_socket_whose_file_was_removed_is_bound_anew(
    proxy: ProxyFactory, api: Api, tmp_path: Path, place: tuple[str, str, int], workers: int
) -> None:
    key, target, status = place
    path, listen = tmp_path / "socket", f"127.0.0.1:{free_port()}"
    settings = {"workers": workers, "listen": listen, "routes": [{"upstream": api.url}]}
    settings[key] = [listen, f"unix:{path}"] if key == "listen" else f"unix:{path}"
    settings.setdefault("admin", None)
    program = proxy(settings)
    path.unlink()

    for mark in ("2", "3"):

        def is_in_force(mark: str = mark) -> bool:  # not of a crew that is about to leave
            return mark_of(api, listen) == [mark]

        reload(program, marked(settings, mark))
        until(is_in_force)
        assert asked(path, target) == status

    assert (told(program, "reload_failed"), told(program, "internal_error")) == ([], [])
    assert program.terminate() == 0
    assert not path.exists()


def test_a_name_that_can_be_no_hosts_is_told_and_the_next_change_is_taken_up(
    proxy: ProxyFactory, api: Api
) -> None:
    settings = {"listen": f"127.0.0.1:{free_port()}", "routes": [{"upstream": api.url}]}
    program = proxy(settings)
    beyond = {"allow_remote": ["listen"], "client_key": "a-key-of-sixteen-letters"}

    rewrite(program, {**settings, "listen": "a..b:0", **beyond})
    until(lambda: bool(told(program, "reload_failed")))

    [failed] = told(program, "reload_failed")
    assert "cannot listen on a..b:0 (that is no host's name" in failed["error"]
    reload(program, marked(settings, "2"))
    assert reloads(program) == 1


# -- files that are no files ---------------------------------------------------------------------


def test_a_config_that_has_become_a_pipe_is_told_and_holds_up_nothing(
    proxy: ProxyFactory, api: Api
) -> None:
    settings = {"listen": f"127.0.0.1:{free_port()}", "routes": [{"upstream": api.url}]}
    program = proxy(settings)
    file = program.folder / "tokenproxy.yaml"
    file.unlink()
    os.mkfifo(file)

    os.kill(program.pid, signal.SIGHUP)
    until(lambda: bool(told(program, "reload_failed")))

    assert "no regular file" in told(program, "reload_failed")[0]["error"]
    reload(program, marked(settings, "2"))
    assert program.terminate() == 0


def test_a_certificate_that_has_become_a_pipe_is_told_and_holds_up_nothing(
    proxy: ProxyFactory, api: Api, tmp_path: Path
) -> None:
    trustme = pytest.importorskip("trustme")
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    program = proxy({"routes": [{"upstream": api.url, "tls": {"ca": str(ca)}}]})
    ca.unlink()
    os.mkfifo(ca)

    until(lambda: bool(told(program, "reload_failed")))

    assert (
        f"{ca} cannot be read (it is no regular file)" in told(program, "reload_failed")[0]["error"]
    )
    assert requests.get(f"{program.url}/items/", timeout=10).status_code == UNAUTHORIZED
    assert program.terminate() == 0


def test_a_pipe_is_read_at_the_start_and_never_again(api: Api, tmp_path: Path) -> None:
    """As a shell passes it: `-c <(…)`."""
    reading, writing = os.pipe()
    settings = {"listen": "127.0.0.1:0", "admin": None, "routes": [{"upstream": api.url}]}
    os.write(writing, yaml.safe_dump(settings).encode())
    os.close(writing)
    with subprocess.Popen(
        [sys.executable, "-m", "tokenproxy", "run", "-c", f"/dev/fd/{reading}"],
        env=program_environment(tmp_path),
        pass_fds=[reading],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(reading)
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
            process.send_signal(signal.SIGHUP)
            assert process.stderr is not None
            while "reload_failed" not in (line := process.stderr.readline()):
                assert line
            assert "no regular file" in line
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
