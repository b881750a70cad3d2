"""SIGTERM: what is in flight ends well, and so does the program."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256

import pytest
import requests

from tests.e2e.callers import Callers
from tests.e2e.conftest import ProxyFactory
from tests.e2e.test_cut_off import is_refused
from tests.e2e.test_failing_well import config, free_port, until
from tests.e2e.test_workers import told
from tests.redis_server import RedisServer
from tokenproxy.testing import Api, Issuer, running

CALLERS = 8


def test_requests_in_flight_end_and_new_ones_are_refused(
    proxy: ProxyFactory, client: requests.Session
) -> None:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api))
        url = f"{program.url}/stream?n=10&interval=0.1"
        with ThreadPoolExecutor(CALLERS) as pool:
            streams = [pool.submit(requests.get, url, timeout=30) for _ in range(CALLERS)]
            until(lambda: len(api.requests) == CALLERS)

            code = program.terminate()

            answers = [stream.result() for stream in streams]

    assert code == 0
    assert {answer.text.count("data:") for answer in answers} == {10}
    with pytest.raises(requests.ConnectionError):
        client.get(url, timeout=5)


def test_a_stream_that_outlives_the_grace_is_broken_off_and_not_ended(
    proxy: ProxyFactory,
) -> None:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api, shutdown_grace="200ms"))
        url = f"{program.url}/stream?n=1000&interval=0.05"
        with requests.get(url, timeout=30, stream=True) as response:
            pieces = response.iter_content(None)
            next(pieces)

            assert program.terminate() == 0

            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(pieces)


@pytest.mark.parametrize("signals", [1, 2])
def test_a_redis_that_hangs_holds_up_no_end(
    proxy: ProxyFactory, client: requests.Session, signals: int
) -> None:
    with (
        RedisServer() as redis,
        running(Issuer(access_life=60)) as issuer,
        running(Api(issuer)) as api,
    ):
        told = config(issuer, api, shutdown_grace="1s" if signals == 1 else "60s")
        program = proxy({**told, "store": {"type": "redis", "url": redis.url}})
        assert client.get(f"{program.url}/items/").status_code == 200
        redis.freeze()
        issuer.expire_now()
        with suppress(requests.RequestException):
            client.get(f"{program.url}/items/", timeout=0.5)  # begins a renewal that goes nowhere
        for _ in range(signals - 1):
            os.kill(program.pid, signal.SIGINT)  # two of the same kind may arrive as one
        code = program.terminate()  # fails where that takes long, as each call in turn would
        redis.thaw()
    assert code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_lost_that_was_asked_before_it_ended(proxy: ProxyFactory, workers: int) -> None:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api, workers=workers))
        slow = f"{program.url}/stream?n=5&interval=0.1"
        with Callers(program.url, CALLERS) as callers, ThreadPoolExecutor(CALLERS) as pool:
            until(lambda: min(callers.answered) > 0)
            streams = [pool.submit(requests.get, slow, timeout=30) for _ in range(CALLERS)]
            until(lambda: sum("stream" in request.target for request in api.requests) == CALLERS)
            callers.until_refused()

            assert program.terminate() == 0

            answers = [stream.result() for stream in streams]
    assert callers.failures == []
    assert {answer.text.count("data:") for answer in answers} == {5}
    assert told(program, "stopping") != []
    assert told(program, "worker_died") == []


@contextmanager
def streams(url: str, events: int) -> Iterator[list["Future[requests.Response]"]]:
    """As many as there are callers, of so many events each."""
    with ThreadPoolExecutor(CALLERS) as pool:
        target = f"{url}/stream?n={events}&interval=0.1"
        yield [pool.submit(requests.get, target, timeout=30) for _ in range(CALLERS)]


@contextmanager
def half_sent(authority: str, body: bytes) -> Iterator[http.client.HTTPConnection]:
    """An upload whose second half has yet to come."""
    connection = http.client.HTTPConnection(authority, timeout=30)
    connection.putrequest("POST", "/hash")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[: len(body) // 2])
    yield connection
    connection.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_under_load_it_serves_through_the_delay_and_then_ends_all_that_was_begun(
    proxy: ProxyFactory, client: requests.Session, workers: int
) -> None:
    body = os.urandom(1_000_000)
    admin = free_port()
    readyz = f"http://127.0.0.1:{admin}/readyz"
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        more = {"admin": f"127.0.0.1:{admin}", "shutdown_delay": "1s"}
        program = proxy(config(issuer, api, workers=workers, **more))
        authority = program.url.removeprefix("http://")
        host, port = authority.split(":")
        with (
            Callers(program.url, CALLERS) as callers,
            streams(program.url, events=20) as asked,
            half_sent(authority, body) as upload,
        ):
            until(lambda: min(callers.answered) > 0)
            until(lambda: sum("stream" in request.target for request in api.requests) == CALLERS)
            callers.until_refused()
            os.kill(program.pid, signal.SIGTERM)

            until(lambda: client.get(readyz, timeout=30).status_code == 503)
            assert requests.get(f"{program.url}/items/", timeout=30).status_code == 200
            until(lambda: is_refused(host, int(port)))
            upload.send(body[len(body) // 2 :])  # that was in flight all the time, for certain
            assert sha256(body).hexdigest() in upload.getresponse().read().decode()

            answers = [stream.result() for stream in asked]
    assert program.terminate() == 0
    assert callers.failures == []
    assert {(answer.status_code, answer.text.count("data:")) for answer in answers} == {(200, 20)}
    assert told(program, "worker_died") == []


def test_who_waits_in_the_queue_when_it_ends_is_answered(proxy: ProxyFactory) -> None:
    """The process stands still while they come, so that nobody has taken them."""
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api))
        port = int(program.url.rpartition(":")[2])
        request = f"GET /items/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        os.kill(program.pid, signal.SIGSTOP)
        with ExitStack() as stack:
            callers = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
                for _ in range(CALLERS)
            ]
            for caller in callers:
                caller.sendall(request)
            os.kill(program.pid, signal.SIGTERM)
            os.kill(program.pid, signal.SIGCONT)
            answers = [caller.makefile("rb").read() for caller in callers]
        assert program.terminate() == 0
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * CALLERS
