"""Puts a `Reply` on the wire, or nothing."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from tokenproxy.testing.answers import Reply, Silence


async def send(
    request: web.Request, reply: Reply | Silence, sleep: Callable[[float], Awaitable[None]]
) -> web.StreamResponse:
    """Answer `request`; what is to be cut short, or never said, ends with the connection."""
    if isinstance(reply, Silence):
        _hang_up(request)
        return web.Response()
    response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
    await response.prepare(request)
    for chunk in reply.chunks:
        if reply.pace:
            await sleep(reply.pace)
        await response.write(chunk)
    if reply.whole:
        await response.write_eof()
    else:
        _hang_up(request)
    return response


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:  # the caller may have been faster
        request.transport.close()
