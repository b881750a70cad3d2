"""`workers: N`: processes that share the listeners, and a supervisor that replaces the dead."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.e2e.conftest import Program, ProxyFactory, program_environment
from tests.e2e.test_failing_well import config, until
from tokenproxy.clock import SystemClock
from tokenproxy.testing import Api, Issuer, running

CLOCK = SystemClock()
WORKERS = 4
FAILED, WRONG_USAGE = 1, 2


def told(program: Program, name: str) -> list[dict[str, Any]]:
    """The lines of that name in its log; all lines of it are whole."""
    text = program.stderr_text()
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [line for line in lines if line["event"] == name]


def workers(program: Program) -> dict[int, int]:
    """The process of each worker that is, or is the last to have been, at its place."""
    return {line["worker"]: line["pid"] for line in told(program, "worker_started")}


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def only(pid: int, pids: list[int]) -> Iterator[None]:
    """None of the others takes anything in here."""
    others = [other for other in pids if other != pid]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


def started(config: Path, *, stdout: int, stderr: int, **env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tokenproxy", "run", "-c", str(config)],
        env={**program_environment(config.parent), **env},
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


def get(program: Program, path: str = "/items/") -> requests.Response:
    """One request on a connection of its own."""
    return requests.get(program.url + path, timeout=30)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running(Issuer(access_life=60)) as issuer:
        yield issuer


@pytest.fixture
def api(issuer: Issuer) -> Iterator[Api]:
    with running(Api(issuer)) as api:
        yield api


# -- serving -----------------------------------------------------------------------------------


def test_each_of_them_serves_by_the_time_that_it_is_said(
    proxy: ProxyFactory, issuer: Issuer, api: Api
) -> None:
    program = proxy(config(issuer, api, workers=WORKERS))

    pids = workers(program)

    assert sorted(pids) == list(range(WORKERS))
    for pid in pids.values():
        with only(pid, list(pids.values())):
            assert get(program).status_code == 200
    assert program.terminate() == 0
    assert not any(is_there(pid) for pid in pids.values())
    assert told(program, "worker_died") == []


def test_no_secret_is_on_a_command_line(proxy: ProxyFactory, issuer: Issuer, api: Api) -> None:
    program = proxy(config(issuer, api, workers=2))

    listed = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", ",".join(map(str, workers(program).values()))],
        capture_output=True,
        check=True,
        text=True,
    ).stdout

    assert listed.count("tokenproxy.server.worker") == 2
    assert "demo-password" not in listed


# -- deaths ------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_replaced_and_the_others_go_on(
    proxy: ProxyFactory, issuer: Issuer, api: Api
) -> None:
    program = proxy(config(issuer, api, workers=2))
    assert get(program).status_code == 200  # whoever logged in has stored it
    before = workers(program)

    os.kill(before[0], signal.SIGKILL)
    until(lambda: not is_there(before[0]))

    assert get(program).status_code == 200
    until(lambda: workers(program)[0] != before[0])
    with only(workers(program)[0], list(workers(program).values())):
        assert get(program).status_code == 200
    [died] = told(program, "worker_died")
    assert (died["worker"], died["signal"]) == (0, "SIGKILL")
    assert workers(program)[1] == before[1]
    assert issuer.logins == 1


def test_the_one_in_its_place_runs_the_config_that_was_loaded(
    proxy: ProxyFactory, issuer: Issuer, api: Api
) -> None:
    program = proxy(config(issuer, api, workers=2))
    (program.folder / "tokenproxy.yaml").write_text("all: wrong")
    first = workers(program)[0]

    os.kill(first, signal.SIGKILL)
    until(lambda: workers(program)[0] != first)

    with only(workers(program)[0], list(workers(program).values())):
        assert get(program).status_code == 200


def test_workers_end_with_a_supervisor_that_is_killed(
    proxy: ProxyFactory, issuer: Issuer, api: Api
) -> None:
    program = proxy(config(issuer, api, workers=2))
    pids = workers(program).values()
    with requests.get(f"{program.url}/stream?n=1000&interval=0.05", stream=True, timeout=30) as it:
        next(it.iter_content(None))

        program.kill()

        until(lambda: not any(is_there(pid) for pid in pids))
    host, port = program.url.removeprefix("http://").split(":")
    with socket.socket() as next_one:
        next_one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        next_one.bind((host, int(port)))
        next_one.listen()


@pytest.mark.skipif(sys.platform != "linux", reason="fills a pipe by way of /proc")
def test_a_worker_that_cannot_go_on_ends_with_its_supervisor_all_the_same(
    issuer: Issuer, api: Api, tmp_path: Path
) -> None:
    """Its log is a pipe that nobody reads: its event loop stands still at the next line."""
    file, (reading, writing) = tmp_path / "tokenproxy.yaml", os.pipe()
    shop = config(issuer, api, workers=2, listen="127.0.0.1:0", admin=None)
    file.write_text(yaml.safe_dump(shop))
    with started(file, stdout=subprocess.PIPE, stderr=writing) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        lines = [json.loads(line) for line in os.read(reading, 1 << 16).splitlines()]
        pids = [line["pid"] for line in lines if line["event"] == "worker_started"]
        assert len(pids) == 2
        fill(writing)
        with suppress(requests.RequestException):
            requests.get(f"{url}/items/", timeout=0.5)

        process.kill()

        until(lambda: not any(is_there(pid) for pid in pids))
    os.close(reading)
    os.close(writing)


def fill(pipe: int) -> None:
    """Without changing it for those who share it."""
    with open(f"/proc/self/fd/{pipe}", "wb", 0, opener=without_waiting) as full:
        while full.write(b"." * 4096):
            pass


def without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def test_a_unix_socket_is_removed_once_and_by_the_supervisor(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    program = proxy(config(issuer, api, workers=2, listen=["127.0.0.1:0", f"unix:{path}"]))
    first = workers(program)[0]

    os.kill(first, signal.SIGKILL)
    until(lambda: workers(program)[0] != first)

    assert path.is_socket()
    assert program.terminate() == 0
    assert not path.exists()


# -- the end -----------------------------------------------------------------------------------


def test_requests_in_flight_end_at_all_workers(
    proxy: ProxyFactory, issuer: Issuer, api: Api
) -> None:
    program = proxy(config(issuer, api, workers=2))
    pids = list(workers(program).values())
    with ThreadPoolExecutor(WORKERS) as pool:
        streams = []
        for number in range(WORKERS):
            with only(pids[number % 2], pids):
                streams.append(pool.submit(get, program, "/stream?n=10&interval=0.1"))
                until(lambda: len(api.requests) == len(streams))

        code = program.terminate()

        answers = [stream.result() for stream in streams]
    assert code == 0
    assert {answer.text.count("data:") for answer in answers} == {10}
    assert told(program, "worker_died") == []
    with pytest.raises(requests.ConnectionError):
        get(program)


def test_a_signal_that_reaches_the_workers_too_counts_once(
    proxy: ProxyFactory, issuer: Issuer, api: Api
) -> None:
    """As from a service manager; those of a terminal stay with its session."""
    program = proxy(config(issuer, api, workers=2))
    pids = list(workers(program).values())
    assert os.getsid(program.pid) not in {os.getsid(pid) for pid in pids}
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(get, program, "/stream?n=10&interval=0.1")
        until(lambda: len(api.requests) == 1)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)

        assert program.terminate() == 0

        assert stream.result().text.count("data:") == 10
    assert told(program, "worker_died") == []


def test_a_second_signal_ends_all_now(proxy: ProxyFactory, issuer: Issuer, api: Api) -> None:
    program = proxy(config(issuer, api, workers=2, shutdown_grace="600s"))
    pids = workers(program).values()
    url = f"{program.url}/stream?n=10000&interval=0.05"
    with requests.get(url, stream=True, timeout=30) as response:
        pieces = response.iter_content(None)
        next(pieces)
        os.kill(program.pid, signal.SIGINT)

        assert program.terminate() == 0

        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(pieces)
    assert not any(is_there(pid) for pid in pids)
    assert told(program, "worker_died") == []


# -- starts that fail --------------------------------------------------------------------------


def run(folder: Path, config: dict[str, Any], **env: str) -> tuple[int, str, str]:
    """The program with a config that it is not to serve: its exit code, and what it said."""
    file = folder / "tokenproxy.yaml"
    file.write_text(yaml.safe_dump({"listen": "127.0.0.1:0", "admin": None, **config}))
    with started(file, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **env) as process:
        try:
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    return process.returncode, out, err


def test_what_is_wrong_with_a_config_is_told_once(tmp_path: Path) -> None:
    routes = [
        {"path": f"/{name}", "upstream": "https://a.example", "tls": {"ca": f"/no/{name}.pem"}}
        for name in ("a", "b")
    ]

    code, out, err = run(tmp_path, {"workers": WORKERS, "routes": routes})

    assert (code, out) == (WRONG_USAGE, "")
    places = [line.split(": ")[2] for line in err.splitlines()]
    assert places == ["routes.0.tls.ca", "routes.1.tls.ca"]


def test_a_store_that_workers_do_not_share_is_a_mistake(tmp_path: Path) -> None:
    shop = config("https://a.example", "https://a.example", workers=2, store={"type": "memory"})

    code, out, err = run(tmp_path, shop)

    assert (code, out) == (WRONG_USAGE, "")
    assert "workers: cannot be more than 1 with 'store: {type: memory}'" in err


def test_workers_that_cannot_start_are_one_sentence_and_no_second_try(tmp_path: Path) -> None:
    count = tmp_path / "starts"
    dies = (
        "import os, sys\n"
        "if '-P' in sys.orig_argv:\n"
        f"    print(end='.', file=open({str(count)!r}, 'a'), flush=True)\n"
        "    os._exit(7)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(dies)
    paths = [str(tmp_path), program_environment(tmp_path)["PYTHONPATH"]]
    routes = [{"upstream": "https://a.example"}]

    told = {"workers": 2, "routes": routes}
    code, out, err = run(tmp_path, told, PYTHONPATH=os.pathsep.join(paths))

    assert (code, out) == (FAILED, "")
    [sentence] = err.splitlines()
    assert "does not come to serve (it ended with code 7)" in sentence
    assert len(count.read_text()) <= 2


# -- tokens ------------------------------------------------------------------------------------


def test_however_many_workers_there_is_one_login_and_no_reuse(proxy: ProxyFactory) -> None:
    seconds, life = 6.0, 2.0
    with (
        running(Issuer(access_life=life, reuse_kills_session=True)) as issuer,
        running(Api(issuer)) as api,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        began = CLOCK.now().steady  # the supervisor renews from its start on
        program = proxy(config(issuer, api, workers=WORKERS))
        end = CLOCK.now().steady + seconds

        def call() -> set[int]:
            seen = set()
            while CLOCK.now().steady < end:
                seen.add(get(program).status_code)
            return seen

        seen = [pool.submit(call) for _ in range(WORKERS)]
        assert set().union(*(one.result() for one in seen)) == {200}

        took = CLOCK.now().steady - began
        assert (issuer.logins, issuer.reused, issuer.refused_refreshes) == (1, 0, 0)
        # A token of whole seconds lives one to two, and is renewed in the last quarter of that.
        assert 1 <= issuer.refreshes <= took / ((life - 1) * 0.75) + 1
    assert {line["status"] for line in told(program, "request")} == {200}
