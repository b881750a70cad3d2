"""What has happened to its files and addresses meanwhile ends no reloading, and no service."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import ProxyFactory
from tests.e2e.test_failing_well import free_port, until
from tests.e2e.test_reload import WORKERS, reload, reloads, rewrite
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
        reload(program, marked(settings, mark))
        requests.get(f"http://{listen}/items/", timeout=10)
        assert api.requests[-1].values("X-Config") == [mark]
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
