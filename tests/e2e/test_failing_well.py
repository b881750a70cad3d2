"""What a user meets when something is wrong: a sentence, a status, and recovery by itself."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import ProxyFactory, program_environment
from tokenproxy.clock import SystemClock
from tokenproxy.testing import Api, Issuer, faults, running

CLOCK = SystemClock()
PATIENCE = 20.0


def until(fact: Callable[[], bool]) -> None:
    """Look again and again, until it is so."""
    end = CLOCK.now().steady + PATIENCE
    while not fact():
        assert CLOCK.now().steady < end, "it never came to be so"
        time.sleep(0.01)


def config(issuer: Issuer | str, api: Api | str, **more: Any) -> dict[str, Any]:
    issuer_url = issuer if isinstance(issuer, str) else issuer.url
    return {
        "credentials": {
            "shop": {
                "type": "simplejwt",
                "base_url": issuer_url,
                "username": "demo",
                "password": "demo-password",
                "refresh": {"min_interval": 0},
            }
        },
        "routes": [{"upstream": api if isinstance(api, str) else api.url, "credential": "shop"}],
        **more,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_an_issuer_that_is_down_at_start_is_waited_for_without_sending_anything_bare(
    proxy: ProxyFactory, client: requests.Session
) -> None:
    issuer = Issuer()
    with running(issuer):
        pass  # it has a URL now, and nobody listens there
    with running(Api(issuer)) as api:
        program = proxy(config(issuer, api))

        answer = client.get(f"{program.url}/items/")

        assert answer.status_code == 503
        assert answer.json()["code"] == "token_unavailable"
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert api.requests == []

        with running(issuer):
            until(lambda: client.get(f"{program.url}/items/").status_code == 200)


def test_an_upstream_that_is_down_is_a_502(proxy: ProxyFactory, client: requests.Session) -> None:
    with running(Issuer()) as issuer:
        program = proxy(config(issuer, f"http://127.0.0.1:{free_port()}"))

        answer = client.get(f"{program.url}/items/")

    assert answer.status_code == 502
    assert answer.json()["code"] == "upstream_unreachable"
    assert "destination_unavailable" in answer.headers["Proxy-Status"]


def test_a_store_that_cannot_be_written_is_served_from_memory_and_told(
    proxy: ProxyFactory, client: requests.Session, tmp_path: Path
) -> None:
    (tmp_path / "in the way").write_text("a file, where a folder should be")
    store = {"type": "file", "path": str(tmp_path / "in the way" / "store")}
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api, store=store))

        assert client.get(f"{program.url}/items/").status_code == 200

        issuer.expire_now()
        assert client.get(f"{program.url}/items/").status_code == 200
    assert '"not_persisted"' in program.stderr_text()
    assert "Traceback" not in program.stderr_text()


def test_a_proxy_killed_during_a_renewal_goes_on_with_the_stored_token(
    proxy: ProxyFactory, client: requests.Session
) -> None:
    with running(Issuer(access_life=3)) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api))
        assert client.get(f"{program.url}/items/").status_code == 200
        issuer.fail_next(1, faults.Hang(60))
        until(lambda: issuer.refreshes == 1)

        program.kill()
        issuer.recover()
        program.restart()

        assert client.get(f"{program.url}/items/").status_code == 200
        until(lambda: issuer.refreshes >= 2)
        assert (issuer.logins, issuer.refused_refreshes) == (1, 0)


def test_a_restart_asks_the_issuer_for_nothing(
    proxy: ProxyFactory, client: requests.Session
) -> None:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api))
        assert client.get(f"{program.url}/items/").status_code == 200

        program.restart()

        assert client.get(f"{program.url}/items/").status_code == 200
        assert (issuer.logins, issuer.refreshes) == (1, 0)


def check(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "tokenproxy.yaml"
    file.write_text(text)
    command = [sys.executable, "-m", "tokenproxy", "check"]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env=program_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


BROKEN = """\
listn: 127.0.0.1:8080
credentials:
  shop:
    type: simplejwt
    base_url: https://shop.example
    username: anna
    password: ${NOT_SET_ANYWHERE}
routes:
  - path: /shop
    upstram: https://shop.example
    credential: shpo
  - path: shop
    upstream: http://shop.example
    credential: shop
"""


def test_every_mistake_of_a_config_is_told_with_its_line_in_one_go(tmp_path: Path) -> None:
    done = check(BROKEN, tmp_path)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for part in (
        "tokenproxy.yaml:1: listn: is not a known key (did you mean 'listen'?)",
        "tokenproxy.yaml:7: credentials.shop.password:",
        "NOT_SET_ANYWHERE",
        "tokenproxy.yaml:10: routes.0.upstram: is not a known key (did you mean 'upstream'?)",
        "tokenproxy.yaml:11: routes.0.credential:",
        "tokenproxy.yaml:12: routes.1.path: must start with '/'",
    ):
        assert part in done.stderr


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_config_that_is_not_there_is_one_sentence(tmp_path: Path, verb: str) -> None:
    command = [sys.executable, "-m", "tokenproxy", verb]

    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=program_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert "tokenproxy.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.soak
@pytest.mark.timeout(120)
@pytest.mark.parametrize("can_login", [True, False], ids=["with a login", "without"])
def test_an_issuer_that_hangs_then_fails_costs_eight_calls_and_no_refresh_token(
    proxy: ProxyFactory, can_login: bool
) -> None:
    """Ten seconds each: 200 requests meanwhile, and then all is as before, with nobody's help."""
    issuer = Issuer(access_life=60)
    with running(issuer), running(Api(issuer)) as api:
        first = requests.post(
            f"{issuer.url}/api/token/",
            json={"username": "demo", "password": "demo-password"},
            timeout=10,
        ).json()
        told = config(issuer, api)
        shop = told["credentials"]["shop"]
        shop["refresh_token"] = first["refresh"]
        if not can_login:
            del shop["username"], shop["password"]
        issuer.fail_next(1000, faults.Hang(60))
        calls = len(issuer.calls)
        program = proxy(told)

        with ThreadPoolExecutor(50) as pool:
            url = f"{program.url}/items/"
            asking = [pool.submit(requests.get, url, timeout=60) for _ in range(200)]
            time.sleep(10)
            issuer.recover()
            issuer.fail_next(1000, faults.SERVER_ERROR)
            time.sleep(10)
            issuer.recover()
            statuses = {asked.result().status_code for asked in asking}
        assert len(issuer.calls) - calls <= 8
        assert statuses == {503}

        until(lambda: requests.get(url, timeout=60).status_code == 200)
        assert issuer.refused_refreshes == 0
        assert {request.authorized for request in api.requests} == {True}
