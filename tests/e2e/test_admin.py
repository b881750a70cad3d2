"""`run` with its admin listener: what it prints, what it counts over its workers, its end."""

import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.shell import Shell
from tests.e2e.conftest import Program, ProxyFactory
from tests.e2e.test_failing_well import config, free_port, until
from tests.e2e.test_workers import only, workers
from tokenproxy.secret import Secret
from tokenproxy.testing import Api, Issuer, running

LOAD = 40


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running(Issuer(access_life=60)) as issuer:
        yield issuer


@pytest.fixture
def api(issuer: Issuer) -> Iterator[Api]:
    with running(Api(issuer)) as api:
        yield api


class Desk:
    """The admin listener of a program."""

    def __init__(self, program: Program, port: int, client: requests.Session) -> None:
        self.program = program
        self.url = f"http://127.0.0.1:{port}"
        self._client = client

    def get(self, path: str) -> requests.Response:
        return self._client.get(self.url + path, timeout=30)

    def post(self, path: str) -> requests.Response:
        return self._client.post(self.url + path, timeout=30)

    def sum(self, name: str, **labels: str) -> float:
        """Of all series that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def served(self) -> float:
        return self.sum("tokenproxy_requests_total", route="shop", status="200")

    def bearer(self, api: Api) -> str:
        """The label of the token that goes with a request."""
        self.load(1)
        [value] = api.requests[-1].values("Authorization")
        return Secret(value.removeprefix("Bearer ")).label

    def load(self, count: int = LOAD) -> None:
        """Requests on connections of their own, so that each worker gets some."""
        for _ in range(count):
            assert requests.get(f"{self.program.url}/items/", timeout=30).status_code == 200


@pytest.fixture(params=[1, 4], ids=["1 worker", "4 workers"])
def count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def desk_of(
    proxy: ProxyFactory, client: requests.Session, told: Mapping[str, Any], **more: Any
) -> Desk:
    port = free_port()
    return Desk(proxy({**told, "admin": f"127.0.0.1:{port}", **more}), port, client)


def test_figures_add_up_to_the_load_over_all_workers(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session, count: int
) -> None:
    desk = desk_of(proxy, client, config(issuer, api, workers=count))
    desk.load()

    assert desk.served() == LOAD
    assert desk.sum("tokenproxy_request_duration_seconds_count", route="shop") == LOAD
    assert desk.sum("tokenproxy_upstream_duration_seconds_count", route="shop") == LOAD
    assert desk.sum("tokenproxy_renewals_total", outcome="ok") == issuer.logins == 1
    assert desk.sum("tokenproxy_credential_state", state="fresh") == 1
    status = desk.get("/api/status").json()
    assert status["routes"]["shop"]["requests"] == LOAD
    assert [worker["index"] for worker in status["workers"]] == list(range(count))
    assert status["config"]["path"].endswith("tokenproxy.yaml")


def test_no_counter_goes_back_when_a_worker_is_killed_and_replaced(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session
) -> None:
    desk = desk_of(proxy, client, config(issuer, api, workers=4))
    desk.load()
    assert desk.served() == LOAD
    before = workers(desk.program)

    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(desk.get("/api/status").json()["workers"]) == 3)
    assert desk.served() == LOAD
    desk.load()
    until(lambda: workers(desk.program)[0] != before[0])
    with only(workers(desk.program)[0], list(workers(desk.program).values())):
        desk.load(1)  # by the one in its place

    assert desk.served() == 2 * LOAD + 1
    status = desk.get("/api/status").json()
    assert {worker["pid"] for worker in status["workers"]} == set(workers(desk.program).values())
    assert "worker_died" in {event["event"] for event in status["events"]}


def test_a_worker_that_does_not_answer_holds_nobody_up(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session
) -> None:
    desk = desk_of(proxy, client, config(issuer, api, workers=2))
    desk.load()
    assert desk.served() == LOAD
    stopped = workers(desk.program)[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        assert desk.served() == LOAD  # its last word counts
        assert desk.get("/readyz").status_code == 200
    finally:
        os.kill(stopped, signal.SIGCONT)


def test_a_renewal_on_the_page_reaches_all_workers(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session, count: int
) -> None:
    desk = desk_of(proxy, client, config(issuer, api, workers=count))
    desk.load(8)
    first = desk.get("/api/status").json()["credentials"]["shop"]

    said = desk.post("/api/credentials/shop/refresh")

    assert said.status_code == 200
    assert said.json()["token"] != first["token"]
    assert said.json()["renewed_by"] == "this process"
    pids = list(workers(desk.program).values()) or [desk.program.pid]
    for pid in pids:
        with only(pid, pids):
            until(lambda: desk.bearer(api) == said.json()["token"])
    assert desk.sum("tokenproxy_renewals_total", outcome="ok") == 2


def test_a_renewal_in_a_worker_is_told_as_its_own(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session
) -> None:
    told = config(issuer, api, workers=2)
    told["credentials"]["shop"]["refresh"]["background"] = False
    desk = desk_of(proxy, client, told)
    assert desk.get("/api/status").json()["credentials"]["shop"]["state"] == "empty"

    desk.load(4)

    until(lambda: desk.get("/api/status").json()["credentials"]["shop"]["state"] == "fresh")
    found = desk.get("/api/status").json()["credentials"]["shop"]
    assert re.fullmatch(r"worker [01]", found["renewed_by"])
    assert desk.sum("tokenproxy_renewals_total", outcome="ok") == issuer.logins == 1


def test_it_renews_ahead_of_need_with_no_traffic_and_once_for_all(
    proxy: ProxyFactory, client: requests.Session, count: int
) -> None:
    with running(Issuer(access_life=4)) as issuer, running(Api(issuer)) as api:
        desk = desk_of(proxy, client, config(issuer, api, workers=count))
        until(lambda: desk.sum("tokenproxy_renewals_total", outcome="ok") >= 2)
        renewals = desk.sum("tokenproxy_renewals_total", outcome="ok")
        assert renewals == issuer.logins + issuer.refreshes


def test_the_end_shows_at_once_and_health_says_so(
    proxy: ProxyFactory, client: requests.Session, count: int, tmp_path: Path
) -> None:
    told = {"routes": [{"upstream": "http://127.0.0.1:9"}], "workers": count}
    desk = desk_of(proxy, client, told, shutdown_delay="1m")  # a second signal ends it sooner
    health = Shell(tmp_path, {**told, "admin": desk.url.removeprefix("http://")})
    assert (health("health").code, health("health").out) == (0, "ready\n")

    os.kill(desk.program.pid, signal.SIGTERM)

    until(lambda: desk.get("/readyz").status_code == 503)
    assert desk.get("/readyz").json()["reasons"] == ["stopping"]
    said = health("health")
    assert (said.code, said.sentence) == (1, "not ready: stopping")


def test_all_listeners_are_printed_in_their_order(
    proxy: ProxyFactory, issuer: Issuer, api: Api, client: requests.Session, count: int
) -> None:
    desk = desk_of(proxy, client, config(issuer, api, workers=count))
    assert desk.program.terminate() == 0
    assert desk.program.printed == [f"admin on {desk.url}"]


def test_a_health_that_nobody_answers_is_one_sentence(
    issuer: Issuer, api: Api, tmp_path: Path
) -> None:
    said = Shell(tmp_path, config(issuer, api, admin=f"127.0.0.1:{free_port()}"))("health")
    assert said.code == 1
    assert said.sentence.endswith("is it running?")
