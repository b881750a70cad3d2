import asyncio
import gzip
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import requests
from aiohttp import web

from tokenproxy.tasks import spawn
from tokenproxy.testing import Api, Issuer, ManualClock, faults, running
from tokenproxy.testing.serving import listening

LOGIN = {"username": "demo", "password": "demo-password"}


async def test_bodies_reach_a_handler_as_they_were_sent() -> None:
    sent = gzip.compress(b"hello")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application()
    app.router.add_post("/", handler)
    async with listening(app) as url, aiohttp.ClientSession() as client:
        headers = {"Content-Encoding": "gzip"}
        async with client.post(url, data=sent, headers=headers) as answer:
            assert await answer.read() == sent


def test_a_double_that_was_never_started_says_how_to_start_it() -> None:
    with pytest.raises(RuntimeError, match="this Issuer has no URL yet: enter it"):
        _ = Issuer().url


def test_a_double_shows_its_url_and_no_password() -> None:
    with running(Issuer(password="geheim")) as issuer:
        assert repr(issuer) == f"Issuer(url='{issuer.url}')"


async def test_two_doubles_never_share_a_port() -> None:
    async with Issuer() as one, Issuer() as other:
        assert one.url != other.url


async def test_a_double_that_comes_back_is_at_the_same_url_with_the_same_state() -> None:
    issuer = Issuer()
    async with issuer, aiohttp.ClientSession() as client:
        url = issuer.url
        async with client.post(f"{url}/api/token/", json=LOGIN) as answer:
            access = (await answer.json())["access"]
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.post(f"{url}/api/token/", json=LOGIN)
    async with issuer:
        assert issuer.url == url
        assert issuer.accepts(access).name == "ACCEPTED"
        assert issuer.logins == 1


async def test_shutting_down_waits_for_nobody() -> None:
    loop = asyncio.get_running_loop()
    clock = ManualClock()
    async with aiohttp.ClientSession() as client:
        async with Issuer(clock=clock) as issuer:
            issuer.fail_next(1, faults.Hang(3600))
            posted = spawn(client.post(f"{issuer.url}/api/token/", json=LOGIN), name="login")
            await clock.until_sleepers(1)
            began = loop.time()
        assert loop.time() - began < 2
        with pytest.raises(aiohttp.ClientConnectionError):
            await posted


def test_sync_code_uses_doubles_that_run_in_threads_of_their_own() -> None:
    with running(Issuer()) as issuer, running(Api(issuer)) as api:
        tokens = requests.post(f"{issuer.url}/api/token/", json=LOGIN, timeout=5).json()
        headers = {"Authorization": f"Bearer {tokens['access']}"}
        assert requests.get(f"{api.url}/items/", headers=headers, timeout=5).status_code == 200
        issuer.expire_now()
        assert requests.get(f"{api.url}/items/", headers=headers, timeout=5).status_code == 401
        issuer.fail_next(1, faults.SERVER_ERROR)
        assert requests.post(f"{issuer.url}/api/token/", json=LOGIN, timeout=5).status_code == 500
        assert [request.authorized for request in api.requests] == [True, False]
    assert [thread for thread in threading.enumerate() if "tokenproxy" in thread.name] == []


def test_the_body_of_the_with_runs_in_the_callers_thread_and_may_fail() -> None:
    issuer = Issuer()
    with pytest.raises(ZeroDivisionError), running(issuer):
        _ = 1 // 0
    with pytest.raises(requests.ConnectionError):
        requests.post(f"{issuer.url}/api/token/", json=LOGIN, timeout=5)


def test_what_keeps_a_double_from_starting_is_raised_to_the_caller() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="address already in use"), running(Issuer(port=port)):
            pytest.fail("it cannot have started")


def test_what_goes_wrong_at_the_end_is_raised_to_the_caller() -> None:
    @asynccontextmanager
    async def ending_badly() -> AsyncIterator[None]:
        yield
        raise LookupError("the end")

    with pytest.raises(LookupError, match="the end"), running(ending_badly()):
        pass


def test_a_double_can_go_down_and_come_back_with_its_state() -> None:
    with running(Issuer()) as issuer:
        url = f"{issuer.url}/api/token/"
        issuer.go_down()
        with pytest.raises(requests.ConnectionError):
            requests.post(url, json=LOGIN, timeout=5)
        issuer.come_back()
        issuer.come_back()
        assert requests.post(url, json=LOGIN, timeout=5).status_code == 200
        assert issuer.logins == 1


def test_a_double_that_does_not_run_cannot_go_down() -> None:
    with pytest.raises(RuntimeError, match="this Issuer does not run: enter it with running"):
        Issuer().go_down()
