"""A double of an API that wants an issuer's token: a real server that notes all it got.

| request              | answer                                                                    |
|----------------------|---------------------------------------------------------------------------|
| GET /items/          | 200, a small JSON list                                                    |
| POST /items/ {…}     | 201, the new item: each POST that arrives makes one more                  |
| * /echo              | 200, the body as it was sent, with its type and coding                    |
| POST, PUT /hash      | 200 {sha256, length}; the body is read and not kept                       |
| GET /bytes?n=&       | 200, the first n bytes of `pseudo_random`                                 |
| GET /stream?n=&interval= | 200, n server-sent events, `interval` seconds before each             |
| * /status/NNN        | that status                                                               |
| what `answer` names  | that answer instead                                                       |
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from json import dumps, loads
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Handler

from tokenproxy.clock import Clock
from tokenproxy.testing.ledger import Verdict
from tokenproxy.testing.places import InHeader, Place, Rejection, Unauthorized, refusal, token_in
from tokenproxy.testing.serving import Served

BLOCK = 1 << 16
EMPTY = hashlib.sha256().hexdigest()
NO_BODY = frozenset({204, 205, 304})  # RFC 9110 6.4.1, 15.3.6
_SEED = hashlib.shake_256(b"tokenproxy").digest(BLOCK)


class Judge(Protocol):
    """What an API knows of its issuer."""

    clock: Clock

    def accepts(self, access_token: str) -> Verdict:
        """What to think of a token."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came. `whole` says that its body was read to its end.

    `target` and `headers` are as sent, in their order; the body's hash is of the bytes that
    crossed the wire, not inflated.
    """

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body_sha256: str
    body_length: int
    whole: bool
    authorized: bool

    def values(self, name: str) -> list[str]:
        """All values of the header `name`, in their order."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]


@dataclass(frozen=True, slots=True)
class Canned:
    """An answer that a test has made up."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def pseudo_random(n: int) -> Iterator[bytes]:
    """`n` bytes in blocks, always the same and no two blocks alike."""
    for number in range(0, n, BLOCK):
        block = number.to_bytes(8) + _SEED[8:]
        yield block[: min(BLOCK, n - number)]


class Api(Served):
    """An API that takes the tokens of `issuer`, on a loopback port inside `async with`.

    A request is in `requests` before its answer begins. With `rejects_early` a rejection does
    not wait for the body; with `rejects_all` every token is turned down, however good.
    """

    def __init__(
        self,
        issuer: Judge,
        *,
        wanted: Place = InHeader(),  # noqa: B008 - frozen
        rejection: Rejection = Unauthorized(),  # noqa: B008 - frozen
        port: int = 0,
    ) -> None:
        super().__init__(port=port)
        self.rejects_all = False
        self.rejects_early = False
        self.requests: list[Received] = []
        self.items: list[dict[str, object]] = [{"id": 1, "name": "teapot"}]
        self._canned: dict[tuple[str, str], Canned] = {}
        self._issuer = issuer
        self._wanted = wanted
        self._rejection = rejection

    def answer(
        self,
        method: str,
        path: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        body: bytes | None = None,
    ) -> None:
        """Answer requests with a good token for `path` so from now on: with `body`, else JSON."""
        head = {} if body is not None else {"Content-Type": "application/json"}
        data = dumps(json).encode() if body is None else body
        self._canned[method, path] = Canned(status, {**head, **(headers or {})}, data)

    def application(self) -> web.Application:
        """The endpoints, behind the check of the token."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/items/", self._list_items)
        app.router.add_post("/items/", self._add_item)
        app.router.add_route("*", "/echo", self._echo)
        app.router.add_post("/hash", self._hash)
        app.router.add_put("/hash", self._hash)
        app.router.add_get("/bytes", self._bytes)
        app.router.add_get("/stream", self._stream)
        app.router.add_route("*", r"/status/{code:[2-5]\d\d}", self._status)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        token = token_in(self._wanted, request.raw_headers, request.raw_path)
        verdict = None if token is None else self._verdict(token)
        authorized = verdict is Verdict.ACCEPTED
        canned = self._canned.get((request.method, request.path))
        if canned is not None and authorized:
            await self._read(request)
            return web.Response(status=canned.status, headers=canned.headers, body=canned.body)
        if (
            canned is None and request.match_info.http_exception is not None
        ):  # no such path or method
            await self._read(request, authorized=authorized)
        elif not authorized:
            return await self._reject(request, verdict)
        return await handler(request)

    def _verdict(self, token: str) -> Verdict:
        return Verdict.EXPIRED if self.rejects_all else self._issuer.accepts(token)

    async def _reject(self, request: web.Request, verdict: Verdict | None) -> web.Response:
        if self.rejects_early:
            whole = not request.body_exists
            self.requests.append(_received(request, EMPTY, 0, whole=whole, authorized=False))
        else:
            await self._read(request, authorized=False)
        no = refusal(self._rejection, self._wanted, verdict)
        return web.json_response(no.fields, status=no.status, headers=no.headers)

    async def _read(
        self,
        request: web.Request,
        keep: Callable[[bytes], object] = len,
        *,
        authorized: bool = True,
    ) -> Received:
        """Give the body to `keep` as it comes; noted at its end, also where that never comes."""
        digest, length, whole = hashlib.sha256(), 0, False
        try:
            async for chunk in request.content.iter_any():
                digest.update(chunk)
                length += len(chunk)
                keep(chunk)
            whole = True
        finally:
            received = _received(
                request, digest.hexdigest(), length, whole=whole, authorized=authorized
            )
            self.requests.append(received)
        return received

    async def _list_items(self, request: web.Request) -> web.Response:
        await self._read(request)
        return web.json_response(self.items)

    async def _add_item(self, request: web.Request) -> web.Response:
        body = bytearray()
        await self._read(request, body.extend)
        try:
            fields = loads(body)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            return web.json_response({"detail": "JSON parse error"}, status=400)
        item = {**fields, "id": len(self.items) + 1}
        self.items.append(item)
        return web.json_response(item, status=201)

    async def _echo(self, request: web.Request) -> web.Response:
        body = bytearray()
        await self._read(request, body.extend)
        kept = ("Content-Type", "Content-Encoding")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        return web.Response(body=bytes(body), headers=headers)

    async def _hash(self, request: web.Request) -> web.Response:
        got = await self._read(request)
        return web.json_response({"sha256": got.body_sha256, "length": got.body_length})

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        await self._read(request)
        n = int(_number(request, "n", default=1024))
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.content_length = n
        await response.prepare(request)
        for block in pseudo_random(n):
            await response.write(block)
        return response

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        await self._read(request)
        n, interval = _number(request, "n", default=5), _number(request, "interval", default=0)
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for number in range(int(n)):
            await self._issuer.clock.sleep(interval)
            await response.write(b"data: %d\n\n" % number)
        return response

    async def _status(self, request: web.Request) -> web.Response:
        await self._read(request)
        code = int(request.match_info["code"])
        if code in NO_BODY:
            return web.Response(status=code)
        return web.json_response({"status": code}, status=code)


def _received(
    request: web.Request, sha256: str, length: int, *, whole: bool, authorized: bool
) -> Received:
    head = (request.method, request.raw_path, tuple(request.raw_headers))
    return Received(*head, sha256, length, whole, authorized)


def _number(request: web.Request, name: str, *, default: float) -> float:
    try:
        number = float(request.query.get(name, default))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise web.HTTPBadRequest(text=f"{name} must be a number, zero or more")
    return number
