"""`curl -N` on a stream of events, by which tokens come and go."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest
import requests

from tests.e2e.conftest import ProxyFactory
from tests.e2e.test_failing_well import config
from tokenproxy.testing import Api, Issuer, running


@contextmanager
def curl(url: str, *options: str) -> Iterator[IO[str]]:
    """What `curl -N` prints, as it prints it; it must end well."""
    command = ["curl", "--no-buffer", "--silent", "--show-error", "--fail", "--max-time", "30"]
    with subprocess.Popen(
        [*command, *options, url], stdout=subprocess.PIPE, text=True, env={}
    ) as process:
        assert process.stdout is not None
        yield process.stdout
        assert process.wait() == 0


def event(printed: IO[str]) -> str:
    line = printed.readline()
    assert printed.readline() == "\n"
    return line.removesuffix("\n")


@pytest.mark.parametrize("options", [(), ("--http1.0",)], ids=["1.1", "1.0"])
def test_a_stream_asked_for_with_an_expired_token_comes_whole(
    proxy: ProxyFactory, client: requests.Session, options: tuple[str, ...]
) -> None:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api))
        assert client.get(f"{program.url}/items/", timeout=30).status_code == 200
        issuer.expire_now()

        with curl(f"{program.url}/stream?n=5&interval=0.02", *options) as printed:
            assert [event(printed) for _ in range(5)] == [f"data: {n}" for n in range(5)]
            assert printed.read() == ""
        assert issuer.refreshes == 1


def test_a_stream_goes_on_through_renewals(proxy: ProxyFactory, client: requests.Session) -> None:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        program = proxy(config(issuer, api))
        with curl(f"{program.url}/stream?n=40&interval=0.05") as printed:
            for number in range(3):
                assert event(printed) == f"data: {number}"
                issuer.expire_now()
                assert client.get(f"{program.url}/items/", timeout=30).status_code == 200
                assert issuer.refreshes == number + 1
            rest = [event(printed) for _ in range(37)]
            assert rest == [f"data: {number}" for number in range(3, 40)]
            assert printed.read() == ""
