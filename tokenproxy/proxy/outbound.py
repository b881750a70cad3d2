"""The leg towards the upstream, on aiohttp's client.

aiohttp is kept from what it does by itself: no cookies, no redirects, no decompression, no
header of its own making, no other spelling of the target.
"""

import ssl

import aiohttp
from yarl import URL

from tokenproxy.proxy.route import CompiledRoute
from tokenproxy.proxy.transport import (
    Connection,
    Connector,
    Message,
    Sending,
    VerbatimRequest,
    translated,
)

MAX_FIELD = 64 << 10  # cookies and CSP headers grow large; beyond this it is an attack
MAX_FIELDS = 512
READ_BUFFER = 64 << 10  # bytes of an answer; at twice as many the upstream has to wait


class Upstream:
    """One route's upstream, as `send` needs it; `tls` is what aiohttp takes for `ssl`."""

    __slots__ = ("idle", "response_head", "timeout", "tls", "url")

    def __init__(self, route: CompiledRoute, *, tls: ssl.SSLContext | bool) -> None:
        timeouts = route.settings.timeouts
        # Only where to connect: what is asked for stands in the head.
        self.url = URL.build(
            scheme=route.scheme, host=route.upstream_host, port=route.upstream_port, path="/"
        )
        self.tls = tls
        self.timeout = aiohttp.ClientTimeout(connect=timeouts.connect)
        self.response_head = timeouts.response_head
        self.idle = timeouts.idle


def open_session() -> aiohttp.ClientSession:
    """The one session towards all upstreams."""
    return aiohttp.ClientSession(
        connector=Connector(limit=0, limit_per_host=0),
        request_class=VerbatimRequest,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=READ_BUFFER,
        timeout=aiohttp.ClientTimeout(total=None),
        max_line_size=MAX_FIELD,
        max_field_size=MAX_FIELD,
        max_headers=MAX_FIELDS,
    )


async def send(
    session: aiohttp.ClientSession, upstream: Upstream, message: Message
) -> aiohttp.ClientResponse:
    """Send a request and wait for the head of its answer; the body goes on by itself.

    Raises:
        UpstreamError: no head of an answer came, or none that is one.
    """
    try:
        response = await session.request(
            message.method,
            upstream.url,
            allow_redirects=False,
            ssl=upstream.tls,
            timeout=upstream.timeout,
            middlewares=(Sending(message, upstream.idle, upstream.response_head),),
        )
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise translated(error) from error
    if response.connection is not None and isinstance(response.connection.protocol, Connection):
        # From the head on, only silence counts: a stream may go on for as long as it likes.
        response.connection.protocol.read_timeout = upstream.idle
        response.connection.protocol.start_timeout()
    return response


async def beginning(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """What has to be read of an answer's body to have more than `limit` bytes, and if it is all."""
    begun = bytearray()
    try:
        while len(begun) <= limit:
            piece = await response.content.readany()
            if not piece:
                return bytes(begun), response.content.exception() is None
            begun += piece
    except (aiohttp.ClientError, OSError):
        pass  # met again, and answered, by whoever passes the rest on
    return bytes(begun), False
