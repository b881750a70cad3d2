"""aiohttp's server with answers and logs of our own: its own repeat what the caller sent."""

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.web_protocol import RequestHandler

from tokenproxy.events import InternalError, Observe, RequestServed
from tokenproxy.proxy.answers import ErrorCode, answer
from tokenproxy.proxy.legs import own_response

MAX_LINE = 16 << 10  # a request line or a header field; beyond it 431
MAX_FIELDS = 128
KEEP_ALIVE = 75.0
LINGER = 5.0  # seconds in which a body that nobody wanted is read away

SILENT = logging.getLogger("tokenproxy.silent")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
SILENT.disabled = True

DETAILS = {
    ErrorCode.HEAD_TOO_LARGE: "The request's head is too large.",
    ErrorCode.NOT_IMPLEMENTED: "The request's method is not known.",
    ErrorCode.BAD_REQUEST: "The request is not well-formed HTTP.",
    ErrorCode.INTERNAL_ERROR: "The proxy has failed on this request; its log tells more.",
}


class Protocol(RequestHandler):
    """One connection of a caller."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused, and close: where the next request begins is unknown."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun and cannot be taken back")
        code = _code(status, exc)
        manager = self._manager
        if isinstance(manager, Server):
            manager.announce(code, exc)
        return own_response(answer(code, detail=DETAILS[code], close=True))


class Server(web.Server):
    """Makes a `Protocol` for each connection."""

    def __init__(self, handler: Any, observe: Observe) -> None:
        self._observe = observe
        super().__init__(handler, handler_cancellation=True)

    def announce(self, code: ErrorCode, error: BaseException | None) -> None:
        """Tell of a request that never got as far as a route."""
        if code is ErrorCode.INTERNAL_ERROR:
            self._observe(InternalError("", type(error).__name__))
        self._observe(
            RequestServed(
                route="",
                method="",
                path="",
                status=code.status,
                seconds=0.0,
                bytes_in=0,
                bytes_out=0,
                replayed=False,
                code=code.value,
            )
        )

    def __call__(self) -> Protocol:
        """A protocol for a new connection."""
        return Protocol(
            self,
            loop=self._loop,
            keepalive_timeout=KEEP_ALIVE,
            logger=SILENT,
            access_log=SILENT,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_FIELDS,
            lingering_time=LINGER,
            auto_decompress=False,
        )


def _code(status: int, error: BaseException | None) -> ErrorCode:
    match error:
        case LineTooLong():
            return ErrorCode.HEAD_TOO_LARGE
        case BadHttpMethod():
            return ErrorCode.NOT_IMPLEMENTED
        case _:
            is_ours = status >= ErrorCode.INTERNAL_ERROR.status
            return ErrorCode.INTERNAL_ERROR if is_ours else ErrorCode.BAD_REQUEST
