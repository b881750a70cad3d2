"""A double of the admin listener: its server and the page's own files, with a status of the test's.

with running(StatusDouble()) as double:
    double.say(credentials={"shop": credential(double.now, state="ageing")})
    double.posts      # the paths that were posted to, and `double.answers[path]` what they get
    double.lose()     # every page loses its stream, and is refused another
    double.find()     # until then
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import web

from tokenproxy.admin.answers import as_json, problem
from tokenproxy.admin.page_files import page_files
from tokenproxy.admin.server import AdminServer, Routes, streaming
from tokenproxy.clock import SystemClock

CLOCK = SystemClock()
STEPS = 60


def credential(now: float, **differently: Any) -> dict[str, Any]:
    """One that is fresh: a quarter of its five minutes is over."""
    return {
        "type": "simplejwt",
        "state": "fresh",
        "not_persisted": False,
        "issued_at": now - 75,
        "expires_at": now + 225,
        "renews_at": now + 165,
        "last_renewal": now - 75,
        "renewed_by": "this process",
        "renewals": 3,
        "last_error": None,
        "advice": None,
        "retry_at": None,
        "sign_in": None,
        "token": "1a2b3c4d",
        **differently,
    }


def without_token(now: float, **differently: Any) -> dict[str, Any]:
    """One that never had a token."""
    never = dict.fromkeys(
        ("issued_at", "expires_at", "renews_at", "last_renewal", "renewed_by", "token")
    )
    return credential(now, **{"state": "empty", "renewals": 0, **never, **differently})


def route(now: float, **differently: Any) -> dict[str, Any]:
    """One that was asked `step` times in each step of the last five minutes."""
    history = {
        "step": 5,
        "until": int(now),
        "requests": list(range(STEPS)),
        "errors": [0] * (STEPS - 1) + [2],
        "replays": [1] + [0] * (STEPS - 1),
        "p50_ms": [None] + [40.0] * (STEPS - 1),
        "p99_ms": [None] + [130.0] * (STEPS - 2) + [1500.0],
    }
    return {
        "path": "/shop",
        "host": None,
        "upstream": "https://api.shop.example/v2",
        "credential": "shop",
        "requests": 12034,
        "errors": 2,
        "replays": 1,
        "in_flight": 3,
        "history": history,
        **differently,
    }


def happening(at: float, text: str, **differently: Any) -> dict[str, Any]:
    return {
        "at": at,
        "level": "info",
        "event": "renewed",
        "credential": None,
        "route": None,
        "text": text,
        **differently,
    }


class StatusDouble:
    """Serves on a loopback port of its own inside `async with`; all else from any thread."""

    url: str  # with a slash at its end

    def __init__(self, now: float | None = None) -> None:
        self.now = CLOCK.now().wall if now is None else now
        self.posts: list[str] = []
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self._status: dict[str, Any] = {}
        self._streams: set[asyncio.Queue[bytes | None]] = set()
        self._is_lost = False
        self.say()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._admin = AdminServer(self._routes(), (), lambda _: None)
        self._server = await self._loop.create_server(self._admin, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._put(None)
        await self._admin.close(1)

    def say(self, **differently: Any) -> None:
        """This is how things stand now."""
        self._status = {
            "version": "0.1.0",
            "uptime": 8123.4,
            "now": self.now,
            "ready": True,
            "reasons": [],
            "warnings": [],
            "config": {
                "path": "/etc/tokenproxy.yaml",
                "loaded_at": self.now - 8123.4,
                "reloads": 2,
                "error": None,
            },
            "workers": [{"index": 0, "pid": 4711, "connections": 3}],
            "routes": {"shop": route(self.now)},
            "credentials": {"shop": credential(self.now)},
            "events": [happening(self.now - 75, "renewed in 0.2 s", credential="shop")],
            **differently,
        }
        self._call(lambda: self._put(self._event()))

    def lose(self) -> None:
        """End all streams, and answer 503 to who asks for one."""
        self._is_lost = True
        self._call(lambda: self._put(None))

    def find(self) -> None:
        """Answer again."""
        self._is_lost = False

    def _call(self, act: Callable[[], None]) -> None:
        if hasattr(self, "_loop"):
            self._loop.call_soon_threadsafe(act)

    def _put(self, event: bytes | None) -> None:
        for stream in self._streams:
            stream.put_nowait(event)

    def _event(self) -> bytes:
        return b"event: status\ndata: %b\n\n" % json.dumps(self._status).encode()

    def _routes(self) -> Routes:
        post = {"POST": self._post}
        return {
            **page_files(),
            "/api/events": {"GET": self._events},
            "/elsewhere": {"GET": self._elsewhere},
            "/api/credentials/*/refresh": post,
            "/api/credentials/*/sign-in": post,
        }

    async def _events(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        if self._is_lost:
            return problem(503, "overloaded", "Not now.")
        stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams.add(stream)
        response = web.StreamResponse(headers=streaming("text/event-stream"))
        try:
            await response.prepare(request)
            await response.write(self._event())
            while event := await stream.get():
                await response.write(event)
        finally:
            self._streams.discard(stream)
        return response

    async def _post(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        path = urlsplit(request.raw_path).path
        self.posts.append(path)
        status, body = self.answers[path]
        return as_json(body, status)

    async def _elsewhere(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        del request
        return as_json({"status": "this is the issuer"})
