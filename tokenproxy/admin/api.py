"""What is answered: health, readiness, status and its stream, renewals and sign-ins."""

import asyncio
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

from aiohttp import web

from tokenproxy.admin.answers import answer, as_json, dumped, problem, unknown_credential
from tokenproxy.admin.metrics import Gathered, exposed
from tokenproxy.admin.page_files import page_files
from tokenproxy.admin.parts import Parts
from tokenproxy.admin.server import Routes, streaming
from tokenproxy.admin.sign_in_api import SignInApi
from tokenproxy.admin.status import CHANGES_BY_ITSELF, credential, status
from tokenproxy.errors import SourceRefused, SourceUnavailable, StoreError
from tokenproxy.tasks import Bell, done_within

APART = 0.5  # seconds between two events of a stream, at least
SILENT_FOR = 5.0  # seconds; a stream says something after that, changed or not
MOST_STREAMS = 32  # each asks all workers twice a second; one more ends the oldest
OPENAPI = "openapi.json"


class Api:
    """The answers; `end` ends the streams, which would go on for ever."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sign_in = SignInApi(parts)
        self._streams: list[asyncio.Transport] = []  # oldest first
        self._ended = False
        self._end = Bell()
        self._openapi = (files("tokenproxy.admin") / OPENAPI).read_bytes()

    @property
    def routes(self) -> Routes:
        """Who answers for which path."""
        return {
            "/healthz": {"GET": self.health},
            "/readyz": {"GET": self.ready},
            "/metrics": {"GET": self.metrics},
            "/api/status": {"GET": self.status},
            "/api/events": {"GET": self.events},
            "/api/openapi.json": {"GET": self.openapi},
            "/api/credentials/*/refresh": {"POST": self.refresh},
            **self._sign_in.routes,
            **page_files(),
        }

    def end(self) -> None:
        """End the streams."""
        self._ended = True
        self._end.ring()

    async def health(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        """The process serves: it has just done so."""
        del request
        return as_json({"status": "ok"})

    async def ready(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        """Whether work may be sent here."""
        name = request.query.get("credential")
        if name is not None and name not in self._parts.served.keepers:
            return unknown_credential()
        found = self._parts.readiness(name)
        content = {"ready": found.ready, "reasons": found.reasons, "warnings": found.warnings}
        return as_json(content, 200 if found.ready else 503)

    async def metrics(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        """All that is counted, for Prometheus."""
        parts = self._parts
        gathered = Gathered(
            version=parts.version,
            figures=await parts.figures(),
            routes=[route.name for route in parts.served.routes],
            statuses={name: parts.status(name) for name in parts.served.keepers},
            config=parts.config,
        )
        return answer(*exposed(gathered, ",".join(request.headers.getall("Accept", []))))

    async def status(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        """All there is to tell."""
        del request
        return as_json(status(self._parts, await self._parts.count()))

    async def openapi(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        """What all this looks like, for programs."""
        del request
        return answer(self._openapi, "application/json")

    async def refresh(self, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """Renew now; whoever waits for that token gets the new one."""
        del request
        keeper = self._parts.served.keepers.get(name)
        if keeper is None:
            return unknown_credential()
        try:
            await keeper.refresh()
        except SourceRefused:
            detail = f"The issuer refuses credential '{name}': its state tells more."
            return problem(502, "login_required", detail)
        except (SourceUnavailable, StoreError) as error:
            retry_after = error.retry_after if isinstance(error, SourceUnavailable) else None
            detail = f"Credential '{name}' could not be renewed: its state tells more."
            return problem(503, "token_unavailable", detail, retry_after=retry_after or 1.0)
        return as_json(credential(name, self._parts, await self._parts.count()))

    # -- the stream --------------------------------------------------------------------------

    async def events(self, request: web.BaseRequest, _: str) -> web.StreamResponse:
        """The status, now and whenever it changes (server-sent events)."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the caller has gone")
        while len(self._streams) >= MOST_STREAMS:
            self._end_oldest()
        response = web.StreamResponse(headers=streaming("text/event-stream"))
        self._streams.append(transport)
        try:
            await response.prepare(request)
            if request.method != "HEAD":
                async for told in self._changes():
                    await response.write(b"event: status\ndata: %b\n\n" % dumped(told).encode())
        finally:
            if transport in self._streams:
                self._streams.remove(transport)
        return response

    def _end_oldest(self) -> None:
        """Make room: a page that is still open connects again by itself."""
        self._streams.pop(
            0
        ).abort()  # its reader may take nothing, so that no end would come through

    async def _changes(self) -> AsyncIterator[dict[str, Any]]:
        clock = self._parts.clock
        last: dict[str, Any] = {}
        told = clock.now()
        while not self._ended:
            found = status(self._parts, await self._parts.count())
            now = clock.now()
            if _lasting(found) != _lasting(last) or now.steady - told.steady >= SILENT_FOR:
                yield found
                last, told = found, now
            await done_within(self._end.next_ring, APART, clock.sleep)


def _lasting(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key not in CHANGES_BY_ITSELF}
