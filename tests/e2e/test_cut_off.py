"""A second SIGTERM ends what still streams, and nobody takes it for whole."""

import os
import signal
import socket

import pytest

from tests.e2e.conftest import ProxyFactory
from tests.e2e.test_failing_well import config, until
from tokenproxy.testing import Api, Issuer, running


def is_refused(host: str, port: int) -> bool:
    with socket.socket() as another:
        return another.connect_ex((host, port)) != 0


def test_a_second_sigterm_resets_a_stream_that_would_end_with_its_connection(
    proxy: ProxyFactory,
) -> None:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api))
        host, port = program.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as caller:
            caller.sendall(b"GET /stream?n=10000&interval=0.01 HTTP/1.0\r\n\r\n")
            assert caller.recv(100).startswith(b"HTTP/1.0 200")

            os.kill(program.pid, signal.SIGTERM)
            until(lambda: is_refused(host, int(port)))
            assert program.terminate() == 0

            with caller.makefile("rb") as answer, pytest.raises(ConnectionResetError):
                answer.read()
    assert '"incomplete": true' in program.stderr_text()
