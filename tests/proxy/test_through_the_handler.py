"""Requests through the whole proxy: what an API, an upstream of bytes, and a caller see."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tokenproxy.config.model import Config
from tokenproxy.events import Event, RequestServed
from tokenproxy.runtime import World
from tokenproxy.server.serve import serve
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import Api, ErrorInBody, Forbidden, Issuer, faults


class Stage:
    """An issuer, an API, and a proxy with the routes of a test."""

    def __init__(self, stack: AsyncExitStack, issuer: Issuer, api: Api, folder: Path) -> None:
        self._stack = stack
        self.issuer = issuer
        self.api = api
        self._folder = folder
        self.events: list[Event] = []
        self.client: aiohttp.ClientSession

    @property
    def served(self) -> list[RequestServed]:
        return [event for event in self.events if isinstance(event, RequestServed)]

    async def proxy(self, *, upstream: str | None = None, **route: Any) -> str:
        """The URL of a proxy with one route."""
        credential = {
            "type": "simplejwt",
            "base_url": self.issuer.url,
            "username": self.issuer.username,
            "password": self.issuer.password,
            "refresh": route.pop("refresh", {"min_interval": 0}),
        }
        config = Config.model_validate(
            {
                "listen": "127.0.0.1:0",
                "admin": None,
                "store": {"type": "file", "path": str(self._folder / "store")},
                "credentials": {"shop": credential},
                "routes": [{"upstream": upstream or self.api.url, "credential": "shop", **route}],
            }
        )
        lines: asyncio.Queue[str] = asyncio.Queue()
        world = replace(World(), observe=self.events.append)
        serving = spawn(serve(config, world, lines.put_nowait, asyncio.Event()), name="proxy")
        self._stack.push_async_callback(cancelled, serving)
        return (await lines.get()).removeprefix("listening on ")

    async def upstream(self, answer: bytes, seen: list[bytes], *, close: bool = True) -> str:
        """The URL of a server that answers each head with these bytes, and notes the head."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if close:
                writer.close()
            else:
                self._stack.callback(writer.close)

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        self._stack.callback(server.close)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(Issuer())
        api = await stack.enter_async_context(Api(issuer))
        stage = Stage(stack, issuer, api, tmp_path)
        stage.client = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        yield stage


async def raw(url: str, request: bytes) -> bytes:
    """All that a connection gives for these bytes."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.replace(b"HOST", f"{host}:{port}".encode()))
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@pytest.mark.parametrize(
    "target", ["/a%7eb", "/a%2fb?x=%2f", "/c?", "//evil/", "/;a=b|c", "/?a=1&a=2", "/%F0%9F%94%92"]
)
async def test_the_target_goes_on_byte_for_byte(stage: Stage, target: str) -> None:
    seen: list[bytes] = []
    url = await stage.proxy(upstream=await stage.upstream(OK, seen))

    await raw(url, f"GET {target} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n".encode())

    assert seen[0].split(b"\r\n")[0] == f"GET {target} HTTP/1.1".encode()


async def test_a_head_gains_a_host_a_via_and_one_credential_and_nothing_else(stage: Stage) -> None:
    seen: list[bytes] = []
    upstream = await stage.upstream(OK, seen)
    url = await stage.proxy(upstream=upstream)

    await raw(
        url,
        b"GET / HTTP/1.1\r\nHost: HOST\r\nX-Two: b\r\nauthorization: Bearer theirs\r\nX-Two: a\r\n"
        b"Connection: close, Authorization\r\nX-Tokenproxy-Key: k\r\nTE: gzip\r\n\r\n",
    )

    lines = seen[0].split(b"\r\n")
    assert lines[1:5] == [
        b"Host: " + upstream.removeprefix("http://").encode(),
        b"X-Two: b",
        b"X-Two: a",
        b"Via: 1.1 tokenproxy",
    ]
    assert lines[5].startswith(b"Authorization: Bearer ey")
    assert lines[6:] == [b"", b""]


async def test_an_answer_goes_on_as_it_came(stage: Stage) -> None:
    answer = (
        b"HTTP/1.1 203 Sort Of\r\nSet-Cookie: a=1\r\nX-Odd: \xc3\xa9\r\nSet-Cookie: b=2\r\n"
        b"Connection: X-Hop\r\nX-Hop: 1\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 3\r\n\r\n\x1f\x8b\x00"
    )
    url = await stage.proxy(upstream=await stage.upstream(answer, []))

    got = await raw(url, b"GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n")

    assert got == (
        b"HTTP/1.1 203 Sort Of\r\nSet-Cookie: a=1\r\nX-Odd: \xc3\xa9\r\nSet-Cookie: b=2\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n\r\n\x1f\x8b\x00"
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_an_answer_that_breaks_off_is_not_ended_as_if_complete(
    stage: Stage, answer: bytes
) -> None:
    url = await stage.proxy(upstream=await stage.upstream(answer, []))

    async with stage.client.get(url) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "upstream_unreachable"),
        (b"SMTP ready\r\n\r\n", "upstream_protocol_error"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
            "upstream_protocol_error",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "upstream_protocol_error",
        ),
    ],
)
async def test_an_upstream_that_does_not_answer_well_is_a_502(
    stage: Stage, answer: bytes, code: str
) -> None:
    seen: list[bytes] = []
    url = await stage.proxy(upstream=await stage.upstream(answer, seen))

    async with stage.client.post(url, data=b"x") as response:
        assert (response.status, (await response.json())["code"]) == (502, code)

    assert len(seen) == 1


async def test_an_upstream_that_hangs_is_a_504(stage: Stage) -> None:
    url = await stage.proxy(
        upstream=await stage.upstream(b"", [], close=False), timeouts={"response_head": "50ms"}
    )

    async with stage.client.get(url) as response:
        assert response.status == 504
        assert (await response.json())["code"] == "upstream_timeout"


@pytest.mark.parametrize("size", [0, 1, 1 << 10, 900 << 10])
async def test_a_rejected_upload_is_replayed_with_the_same_bytes(stage: Stage, size: int) -> None:
    url = await stage.proxy(replay={"memory": "1KiB", "max_body": "4MiB"})
    async with stage.client.get(f"{url}/items/") as response:
        assert response.status == 200
    stage.issuer.expire_now()
    content = os.urandom(size)

    async with stage.client.post(f"{url}/hash", data=content) as response:
        assert (await response.json())["sha256"] == hashlib.sha256(content).hexdigest()

    assert [request.authorized for request in stage.api.requests] == [True, False, True]
    assert stage.issuer.refreshes == 1


async def test_a_body_that_is_too_large_to_keep_gets_the_401_and_the_next_one_passes(
    stage: Stage,
) -> None:
    url = await stage.proxy(replay={"memory": "1KiB", "max_body": "4KiB"})
    async with stage.client.get(f"{url}/items/") as response:
        assert response.status == 200
    stage.issuer.expire_now()

    async with stage.client.post(f"{url}/hash", data=b"x" * 5000) as response:
        assert response.status == 401
    async with stage.client.post(f"{url}/hash", data=b"x" * 5000) as response:
        assert response.status == 200

    assert stage.issuer.refreshes == 1


async def test_an_early_rejection_of_a_slow_upload_is_replayed_from_the_beginning(
    stage: Stage,
) -> None:
    stage.api.rejects_early = True
    url = await stage.proxy()
    async with stage.client.get(f"{url}/items/") as response:
        assert response.status == 200
    stage.issuer.expire_now()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"first,"
        while stage.issuer.refreshes == 0:  # noqa: ASYNC110 - it happens in another server
            await asyncio.sleep(0.01)
        yield b"rest"

    async with stage.client.post(f"{url}/hash", data=slowly()) as response:
        assert (await response.json())["sha256"] == hashlib.sha256(b"first,rest").hexdigest()


async def test_an_api_that_rejects_everything_is_renewed_once_and_each_401_goes_on(
    stage: Stage,
) -> None:
    url = await stage.proxy(refresh={"min_interval": "1h"})
    async with stage.client.get(f"{url}/items/") as response:
        assert response.status == 200
    stage.api.rejects_all = True

    for _ in range(20):
        async with stage.client.get(f"{url}/items/") as response:
            assert response.status == 401

    assert stage.issuer.refreshes == 0
    assert len(stage.api.requests) == 21


async def test_a_failed_renewal_passes_the_first_answer_on(stage: Stage) -> None:
    url = await stage.proxy(refresh={"min_interval": 0, "retries": 0})
    async with stage.client.get(f"{url}/items/") as response:
        assert response.status == 200
    stage.issuer.expire_now()
    stage.issuer.fail_next(99, faults.SERVER_ERROR)

    async with stage.client.get(f"{url}/items/") as response:
        assert response.status == 401
        assert (await response.json())["code"] == "token_not_valid"
    async with stage.client.get(f"{url}/items/") as response:
        assert response.status == 503

    assert len(stage.api.requests) == 2


@pytest.mark.parametrize(
    ("rejection", "told"),
    [
        (Forbidden(), {"status": 403, "body_contains": "token_not_valid"}),
        (ErrorInBody(40001), {"status": 200, "json": {"errcode": [40001, 42001]}}),
    ],
)
async def test_a_matcher_tells_a_rejection(
    stage: Stage, rejection: Any, told: dict[str, Any]
) -> None:
    async with Api(stage.issuer, rejection=rejection) as api:
        url = await stage.proxy(upstream=api.url, refresh_on=[told])
        for _ in range(2):
            async with stage.client.get(f"{url}/items/") as response:
                assert (response.status, b"teapot" in await response.read()) == (200, True)
            stage.issuer.expire_now()

        assert [request.authorized for request in api.requests] == [True, False, True]


async def test_events_of_a_stream_arrive_as_they_are_sent(stage: Stage) -> None:
    url = await stage.proxy()

    async with stage.client.get(f"{url}/stream?n=1000&interval=0.05") as response:
        first = await response.content.readuntil(b"\n\n")

    assert first.startswith(b"data:") or b"data:" in first


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, "host_not_allowed"),
        ({"Origin": "https://evil.example"}, "origin_not_allowed"),
        ({"Sec-Fetch-Site": "cross-site"}, "origin_not_allowed"),
    ],
)
async def test_a_web_page_gets_nowhere(stage: Stage, headers: dict[str, str], code: str) -> None:
    url = await stage.proxy()

    async with stage.client.get(f"{url}/items/", headers=headers) as response:
        assert (await response.json())["code"] == code

    assert stage.api.requests == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: HOST\r\nAuthorization : Bearer SECRET\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: HOST\r\nX: " + b"SECRET" * 9000 + b"\r\n\r\n", b"431"),
        (b"SECRET / HTTP/1.1\r\nHost: HOST\r\n\r\n", b"501"),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: HOST\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
    ],
)
async def test_what_is_refused_is_answered_in_our_own_words(
    stage: Stage, request_: bytes, status: bytes
) -> None:
    url = await stage.proxy()

    answer = await raw(url, request_)

    assert answer.split(b" ")[1] == status
    assert b"application/problem+json" in answer
    assert b"SECRET" not in answer


async def test_a_caller_who_leaves_lets_go_of_the_upstream(stage: Stage) -> None:
    url = await stage.proxy()
    async with stage.client.get(f"{url}/stream?n=100000&interval=0.01") as response:
        await response.content.readany()
        response.close()

    async with asyncio.timeout(5):
        while not stage.served:  # noqa: ASYNC110 - an event comes from another connection
            await asyncio.sleep(0.01)
