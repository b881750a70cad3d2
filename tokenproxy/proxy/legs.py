"""The two legs of `proxy.handler` as aiohttp speaks them: a request out, an answer back.

aiohttp is kept from all that it does by itself: no cookies, no redirects, no decompression, no
header of its own making, no other spelling of the target. Its own retry stays: an idempotent
request that met a closed connection is sent again (RFC 9110 9.2.2), and `Body` can be sent
twice only as long as it has been kept.
"""

import ssl
from collections.abc import Iterable, Sequence

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from tokenproxy.errors import UpstreamError, UpstreamFault
from tokenproxy.proxy.answers import Answer
from tokenproxy.proxy.body import Body
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.route import CompiledRoute

MAX_ANSWER_FIELD = 64 << 10  # cookies and CSP headers grow large; beyond this it is an attack
MAX_ANSWER_FIELDS = 512
SWITCHING_PROTOCOLS = 101
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


def open_session() -> aiohttp.ClientSession:
    """The one session towards all upstreams."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=AUTOMATIC,
        timeout=aiohttp.ClientTimeout(total=None),
        max_line_size=MAX_ANSWER_FIELD,
        max_field_size=MAX_ANSWER_FIELD,
        max_headers=MAX_ANSWER_FIELDS,
    )


async def send(
    session: aiohttp.ClientSession,
    route: CompiledRoute,
    *,
    tls: ssl.SSLContext | bool,
    method: str,
    target: bytes,
    headers: Sequence[Header],
    body: Body | None,
) -> aiohttp.ClientResponse:
    """Send a request and wait for the head of its answer; the body goes on by itself.

    Raises:
        UpstreamError: no head of an answer came, or none that is one.
    """
    timeouts = route.settings.timeouts
    try:
        response = await session.request(
            method,
            _url(route, target),
            headers=multidict(field for field in headers if field[0].lower() != b"expect"),
            data=body,
            allow_redirects=False,
            ssl=tls,
            timeout=aiohttp.ClientTimeout(
                connect=timeouts.connect, sock_read=timeouts.response_head
            ),
        )
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise translated(error) from error
    if response.status == SWITCHING_PROTOCOLS:
        response.close()
        raise UpstreamError("switched protocols unasked", UpstreamFault.PROTOCOL)
    _watch_for_idleness(response, timeouts.idle)
    return response


def _url(route: CompiledRoute, target: bytes) -> URL:
    """The target as it is: yarl neither reads nor changes a path that counts as encoded."""
    return URL.build(
        scheme=route.scheme,
        host=route.upstream_host,
        port=route.upstream_port,
        path=target.decode("ascii"),
        encoded=True,
    )


def _watch_for_idleness(response: aiohttp.ClientResponse, idle: float) -> None:
    """From the head on, only silence counts: a stream may go on for as long as it likes."""
    connection = response.connection
    if connection is not None and connection.protocol is not None:
        connection.protocol.read_timeout = idle
        connection.protocol.start_timeout()


def translated(error: Exception) -> UpstreamError:
    """What aiohttp raises, sorted by what our callers are told."""
    return UpstreamError(type(error).__name__, _fault(error))


def _fault(error: Exception) -> UpstreamFault:
    match error:
        case aiohttp.ClientSSLError():
            return UpstreamFault.TLS
        case aiohttp.ConnectionTimeoutError():
            return UpstreamFault.CONNECT_TIMEOUT
        case TimeoutError():
            return UpstreamFault.RESPONSE_TIMEOUT
        case aiohttp.ClientConnectorError() | aiohttp.InvalidURL():
            return UpstreamFault.UNREACHABLE
        case aiohttp.ClientConnectionError() | OSError():
            return UpstreamFault.BROKE_OFF
        case _:
            return UpstreamFault.PROTOCOL


def multidict(headers: Iterable[Header]) -> CIMultiDict[str]:
    """Fields as aiohttp takes them: in order, with repeats."""
    return CIMultiDict(
        (name.decode("ascii"), value.decode("utf-8", "surrogateescape")) for name, value in headers
    )


class CallerBody:
    """Reads a request's body; a caller that waits for a 100 is told to go on at the first read."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        expects = request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"
        self._expects = expects and request.version >= aiohttp.HttpVersion11

    async def read(self) -> bytes:
        """The next bytes; none at the end."""
        if self._expects:
            self._expects = False
            await self._request.writer.write(CONTINUE)
            self._request.writer.output_size = 0  # what counts as sent begins after a 1xx
        return await self._request.content.readany()

    def answered(self) -> None:
        """The final answer begins: a 100 after it would be part of its body."""
        self._expects = False


class Relayed(web.StreamResponse):
    """An answer with exactly the fields that it was given, and framing."""

    def __init__(self, status: int, reason: str, headers: Iterable[Header]) -> None:
        super().__init__(status=status, reason=reason, headers=multidict(headers))
        self._given = {name.lower() for name in self.headers}

    async def _prepare_headers(self) -> None:
        """Take away what aiohttp adds on its own account."""
        await super()._prepare_headers()
        for name in (hdrs.CONTENT_TYPE, hdrs.DATE, hdrs.SERVER):
            if name.lower() not in self._given:
                self.headers.pop(name, None)


def own_response(answer: Answer) -> web.Response:
    """An answer of our own."""
    response = web.Response(
        status=answer.status, headers=multidict(answer.headers), body=answer.body
    )
    if answer.close:
        response.force_close()
    return response
