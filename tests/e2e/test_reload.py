"""Another config is taken up while it serves: nobody's request fails, and no login is lost."""

import os
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from tests.e2e.callers import Callers
from tests.e2e.conftest import Program, ProxyFactory
from tests.e2e.test_failing_well import config, free_port, until
from tests.e2e.test_workers import told
from tokenproxy.testing import Api, Issuer, running

UNAUTHORIZED = 401
WORKERS = [pytest.param(1, id="one process"), pytest.param(2, id="two workers")]
LOAD = [
    pytest.param((1, 4, 0.5), id="one process"),
    pytest.param((2, 4, 0.5), id="two workers"),
    pytest.param((1, 20, 1.0), id="one process, long", marks=pytest.mark.soak),
    pytest.param((2, 20, 1.0), id="two workers, long", marks=pytest.mark.soak),
]


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running(Issuer(access_life=600)) as issuer:
        yield issuer


@pytest.fixture
def api(issuer: Issuer) -> Iterator[Api]:
    with running(Api(issuer)) as api:
        yield api


def rewrite(program: Program, settings: dict[str, Any]) -> None:
    """As an editor does: a new file takes the place of the old one."""
    file = program.folder / "tokenproxy.yaml"
    fresh = file.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({"admin": None, "log": {"level": "debug"}, **settings}))
    fresh.replace(file)


def reloads(program: Program) -> int:
    return len(told(program, "reloaded"))


def reload(program: Program, settings: dict[str, Any]) -> None:
    """Have it take that up, and wait until it has."""
    before = reloads(program)
    rewrite(program, settings)
    until(lambda: reloads(program) > before)


# -- under load ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", LOAD)
def test_no_request_fails_and_no_connection_ends_while_it_is_reloaded(
    proxy: ProxyFactory, issuer: Issuer, api: Api, form: tuple[int, int, float]
) -> None:
    workers, times, every = form
    port = free_port()
    settings = config(issuer, api, workers=workers, listen=f"127.0.0.1:{port}")
    program = proxy(settings)
    pause = threading.Event()
    with Callers(program.url, 8) as callers:
        for at in range(times):
            pause.wait(every)
            route = {**settings["routes"][0], "headers": {"set": {"X-Time": str(at)}}}
            reload(program, {**settings, "routes": [route]})
        until(lambda: api.requests[-1].values("X-Time") == [str(times - 1)])
    assert callers.failures == []
    assert min(callers.answered) > 0
    assert callers.connections == [1] * 8
    assert issuer.logins == 1
    assert program.terminate() == 0
    assert len(told(program, "stopping")) == 1


@pytest.mark.parametrize("workers", WORKERS)
def test_a_store_in_memory_keeps_its_tokens(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session, workers: int
) -> None:
    store = {"type": "memory"} if workers == 1 else {"type": "file"}
    settings = config(issuer, api, workers=workers, listen=f"127.0.0.1:{free_port()}", store=store)
    program = proxy(settings)
    assert client.get(f"{program.url}/items/").status_code == 200

    other = {"type": "static", "token": "quite-another"}
    credentials = {**settings["credentials"], "other": other}
    reload(program, {**settings, "credentials": credentials})

    assert client.get(f"{program.url}/items/").status_code == 200
    assert issuer.logins == 1


def test_a_changed_credential_logs_in_anew(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session
) -> None:
    settings = config(issuer, api, store={"type": "memory"}, listen=f"127.0.0.1:{free_port()}")
    program = proxy(settings)
    assert client.get(f"{program.url}/items/").status_code == 200

    with running(Issuer(access_life=600)) as second, running(Api(second)) as its_api:
        reload(program, {**settings, **config(second, its_api)})
        assert client.get(f"{program.url}/items/").status_code == 200

    assert (issuer.logins, second.logins) == (1, 1)


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_a_bad_file_changes_nothing_and_says_so(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session, workers: int
) -> None:
    settings = config(issuer, api, workers=workers, listen=f"127.0.0.1:{free_port()}")
    program = proxy(settings)

    rewrite(program, {**settings, "rotues": [], "shutdown_grace": "soon"})
    until(lambda: bool(told(program, "reload_failed")))

    assert client.get(f"{program.url}/items/").status_code == 200
    [failed] = told(program, "reload_failed")
    assert failed["path"].endswith("tokenproxy.yaml")
    assert "rotues: is not a known key (did you mean 'routes'?)" in failed["error"]
    assert "shutdown_grace: " in failed["error"]
    rewrite(program, settings)
    until(lambda: bool(told(program, "reload_unneeded")))


def test_an_address_that_cannot_be_had_changes_nothing(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session
) -> None:
    settings = config(issuer, api, listen=f"127.0.0.1:{free_port()}")
    program = proxy(settings)
    taken = urlsplit(api.url).netloc

    rewrite(program, {**settings, "listen": [settings["listen"], taken], "routes": []})
    until(lambda: bool(told(program, "reload_failed")))

    assert "another program listens there" in told(program, "reload_failed")[0]["error"]
    assert client.get(f"{program.url}/items/").status_code == 200


def test_sighup_with_nothing_changed_does_nothing(
    proxy: ProxyFactory, issuer: Issuer, api: Api
) -> None:
    program = proxy(config(issuer, api))
    os.kill(program.pid, signal.SIGHUP)
    until(lambda: bool(told(program, "reload_unneeded")))
    assert reloads(program) == 0


# -- what is taken up ----------------------------------------------------------------------------


def test_a_file_that_the_config_names_is_taken_up(
    proxy: ProxyFactory, api: Api, client: requests.Session, tmp_path: Path
) -> None:
    """As Kubernetes does it: the folder behind a symlink is another one."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(f"the-token-{name}\n")
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "token").symlink_to("..data/token")
    static = {"type": "static", "token": f"${{file:{tmp_path}/token}}"}
    route = {"upstream": api.url, "credential": "shop"}
    program = proxy({"credentials": {"shop": static}, "routes": [route]})
    client.get(f"{program.url}/items/")

    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").replace(tmp_path / "..data")
    until(lambda: reloads(program) == 1)

    client.get(f"{program.url}/items/")
    sent = [request.values("Authorization") for request in api.requests]
    assert sent == [["Bearer the-token-one"], ["Bearer the-token-two"]]


@pytest.mark.parametrize("workers", WORKERS)
def test_a_listener_that_moves_is_served_where_it_is_now_and_no_more_where_it_was(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session, workers: int
) -> None:
    ports = [free_port(), free_port()]
    settings = config(issuer, api, workers=workers, listen=f"127.0.0.1:{ports[0]}")
    program = proxy(settings)
    assert client.get(f"{program.url}/items/").status_code == 200

    reload(program, {**settings, "listen": f"127.0.0.1:{ports[1]}"})

    moved = f"http://127.0.0.1:{ports[1]}/items/"
    assert requests.get(moved, timeout=10).status_code == 200

    def is_refused() -> bool:
        try:
            requests.get(f"{program.url}/items/", timeout=10)
        except requests.ConnectionError:
            return True
        return False

    until(is_refused)
    assert program.terminate() == 0


def test_the_number_of_workers_is_taken_up(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session
) -> None:
    settings = config(issuer, api, workers=2, listen=f"127.0.0.1:{free_port()}")
    program = proxy(settings)
    reload(program, {**settings, "workers": 3})
    assert len(told(program, "worker_started")) == 5
    assert client.get(f"{program.url}/items/").status_code == 200
    assert program.terminate() == 0
    assert told(program, "worker_died") == []


def test_the_log_is_taken_up_at_once_and_a_change_to_workers_told_to_need_a_restart(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session
) -> None:
    settings = config(issuer, api, listen=f"127.0.0.1:{free_port()}")
    program = proxy(settings)
    reload(program, {**settings, "workers": 2})
    assert told(program, "reloaded")[0]["needs_restart"] == "workers"

    rewrite(program, {**settings, "log": {"level": "error"}})
    port = free_port()
    rewrite(program, {**settings, "log": {"level": "error"}, "listen": f"127.0.0.1:{port}"})
    until(lambda: _answers(f"http://127.0.0.1:{port}/items/"))
    assert told(program, "request") == []


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


def test_a_certificate_that_is_renewed_is_shown_to_new_connections(
    proxy: ProxyFactory, api: Api, tmp_path: Path
) -> None:
    trustme = pytest.importorskip("trustme")
    ca, file = trustme.CA(), tmp_path / "cert.pem"
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certify(ca, file)
    listener = {"address": "127.0.0.1:0", "tls": {"cert": str(file)}}
    program = proxy({"listen": [listener], "routes": [{"upstream": api.url}]})
    with requests.Session() as kept:
        kept.verify = str(tmp_path / "ca.pem")
        kept.trust_env = False
        assert kept.get(f"{program.url}/items/").status_code == UNAUTHORIZED  # by the API
        before = shown(program.url)

        certify(ca, file)
        until(lambda: reloads(program) == 1)

        assert shown(program.url) != before
        assert kept.get(f"{program.url}/items/").status_code == UNAUTHORIZED


def certify(ca: Any, file: Path) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(b"")
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(fresh))
    fresh.replace(file)


def shown(url: str) -> str:
    place = urlsplit(url)
    return ssl.get_server_certificate((place.hostname or "", place.port or 0))


# -- what the admin listener tells ---------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_admin_tells_of_the_config_in_force_and_moves_with_it(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session, workers: int
) -> None:
    admins = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    settings = config(issuer, api, workers=workers, listen=f"127.0.0.1:{free_port()}")
    program = proxy({**settings, "admin": admins[0]})
    credentials = {**settings["credentials"], "other": {"type": "static", "token": "a-token"}}

    reload(program, {**settings, "admin": admins[0], "credentials": credentials})
    told_of = client.get(f"http://{admins[0]}/api/status").json()
    assert set(told_of["credentials"]) == {"shop", "other"}
    assert told_of["config"]["reloads"] == 1
    assert told_of["config"]["error"] is None

    rewrite(program, {**settings, "admin": admins[0], "routes": 1})
    until(lambda: bool(told(program, "reload_failed")))
    assert "routes" in client.get(f"http://{admins[0]}/api/status").json()["config"]["error"]
    ready = client.get(f"http://{admins[0]}/readyz")
    assert (ready.status_code, ready.json()["warnings"]) == (200, ["config: reload_failed"])
    assert 'reloads_total{outcome="failed"} 1' in client.get(f"http://{admins[0]}/metrics").text

    reload(program, {**settings, "admin": admins[1]})
    assert client.get(f"http://{admins[1]}/api/status").json()["config"]["reloads"] == 2
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{admins[0]}/healthz", timeout=10)


@pytest.mark.parametrize("workers", WORKERS)
def test_who_has_a_connection_to_admin_where_it_was_has_it_no_more(
    proxy: ProxyFactory, issuer: Issuer, api: Api, workers: int
) -> None:
    admins = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    settings = config(issuer, api, workers=workers, listen=f"127.0.0.1:{free_port()}")
    program = proxy({**settings, "admin": admins[0]})
    until(lambda: _answers(f"http://{admins[0]}/healthz"))
    connection = HTTPConnection(admins[0], timeout=10)
    with closing(connection):
        assert _asked(connection, "/healthz") == 200
        kept = connection.sock

        reload(program, {**settings, "admin": admins[0], "max_connections": 77})
        assert _asked(connection, "/healthz") == 200
        assert connection.sock is kept

        reload(program, {**settings, "admin": admins[1]})
        assert kept.recv(1) == b""
    assert _answers(f"http://{admins[1]}/healthz")


def _asked(connection: HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


@pytest.mark.parametrize("workers", WORKERS)
def test_admin_stays_until_a_restart_where_the_config_has_none_any_more(
    proxy: ProxyFactory, issuer: Issuer, api: Api, workers: int
) -> None:
    admin = f"127.0.0.1:{free_port()}"
    settings = config(issuer, api, workers=workers, listen=f"127.0.0.1:{free_port()}")
    program = proxy({**settings, "admin": admin})

    reload(program, {**settings, "admin": None})
    assert told(program, "reloaded")[0]["needs_restart"] == "admin"
    assert _answers(f"http://{admin}/healthz")

    reload(program, {**settings, "admin": admin, "max_connections": 77})
    assert "needs_restart" not in told(program, "reloaded")[1]
    assert _answers(f"http://{admin}/healthz")
