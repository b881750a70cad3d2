"""A WebSocket client that knows nothing of tokens, at a server that wants one, by the program."""

import http
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.e2e.conftest import Program, ProxyFactory
from tests.e2e.test_failing_well import config, until
from tokenproxy.testing import Issuer, running
from tokenproxy.testing.ledger import Verdict

MIB = 1 << 20


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@contextmanager
def echo_server(issuer: Issuer) -> Iterator[tuple[str, list[int]]]:
    """Its URL, and the statuses that it answered handshakes with."""
    statuses: list[int] = []

    def demands_token(connection: ServerConnection, request: Request) -> Response | None:
        values = request.headers.get_all("Authorization")
        tokens = [value.removeprefix("Bearer ") for value in values]
        good = [issuer.accepts(token) for token in tokens] == [Verdict.ACCEPTED]
        statuses.append(101 if good else 401)
        return None if good else connection.respond(http.HTTPStatus.UNAUTHORIZED, "no")

    with serve(echo, "127.0.0.1", 0, process_request=demands_token, max_size=8 * MIB) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}", statuses
        finally:
            server.shutdown()
            thread.join()


def client(program: Program) -> ClientConnection:
    url = program.url.replace("http://", "ws://")
    return connect(url, proxy=None, max_size=8 * MIB, open_timeout=30)


def test_an_expired_token_is_renewed_by_the_handshake_and_ends_no_open_one(
    proxy: ProxyFactory,
) -> None:
    with running(Issuer()) as issuer, echo_server(issuer) as (url, statuses):
        program = proxy(config(issuer, url))
        with client(program) as first:
            issuer.expire_now()
            with client(program) as second:
                for connection in (first, second):
                    for message in ("hello", b"", b"\xa5" * 4 * MIB):
                        connection.send(message)
                        assert connection.recv(timeout=30) == message
        assert statuses == [101, 401, 101]
        assert issuer.refreshes == 1


def test_sigterm_breaks_off_what_goes_on_past_the_grace(proxy: ProxyFactory) -> None:
    with running(Issuer()) as issuer, echo_server(issuer) as (url, _):
        program = proxy(config(issuer, url, shutdown_grace="200ms"))
        with client(program) as connection:
            connection.send("hello")
            assert connection.recv(timeout=30) == "hello"
            assert program.terminate() == 0
            with pytest.raises(ConnectionClosed):
                connection.recv(timeout=30)
    assert '"status": 101' in program.stderr_text()


def test_a_tunnel_that_ends_well_is_logged_with_its_bytes(proxy: ProxyFactory) -> None:
    with running(Issuer()) as issuer, echo_server(issuer) as (url, _):
        program = proxy(config(issuer, url))
        with client(program) as connection:
            connection.send("x" * 1000)
            connection.recv(timeout=30)
        until(lambda: '"status": 101' in program.stderr_text())
    [line] = [line for line in program.stderr_text().splitlines() if '"status": 101' in line]
    assert '"incomplete"' not in line
    assert '"bytes_in": 0' not in line
