"""Sends the requests of a step to the proxy, and tells what came."""

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from tokenproxy.testing.scenarios.script import Request

PATIENCE = 30.0  # seconds for an answer


@dataclass(frozen=True, slots=True)
class Got:
    """One answer; without a `status` none came, and `trouble` says why."""

    status: int | None
    headers: Mapping[str, str]
    body: bytes
    trouble: str | None = None

    @property
    def text(self) -> str:
        """The body, as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """The body as JSON, or as text where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return self.text


def ask(url: str, request: Request, times: int) -> list[Got]:
    """Send it so many times at once; in a thread: a loop may be running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, _all(url, request, times)).result()


async def _all(url: str, request: Request, times: int) -> list[Got]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    connector = aiohttp.TCPConnector(limit=0)
    cookies = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, cookie_jar=cookies
    ) as client:
        return await asyncio.gather(*[_one(client, url, request) for _ in range(times)])


async def _one(client: aiohttp.ClientSession, url: str, request: Request) -> Got:
    try:
        async with client.request(
            request.method,
            URL(url + request.path, encoded=True),
            headers=request.headers,
            allow_redirects=False,
            **_body(request),
        ) as answer:
            return Got(answer.status, answer.headers, await answer.read())
    except ValueError as error:  # fields that say what cannot be, as a Content-Length of 'x'
        return Got(None, {}, b"", f"cannot be sent: {error}")
    except (aiohttp.ClientError, TimeoutError) as error:
        return Got(None, {}, b"", type(error).__name__)


def _body(request: Request) -> dict[str, Any]:
    if "json_" in request.model_fields_set:
        return {"json": request.json_}
    return {} if request.body is None else {"data": request.body.encode()}
