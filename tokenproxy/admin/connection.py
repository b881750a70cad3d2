"""One connection of the admin listener, on aiohttp's, within bounds that aiohttp does not set.

| it is ended                                   | after                          |
|-----------------------------------------------|--------------------------------|
| by a head that does not come whole            | `timeouts.request_head`        |
| while nothing is asked on it                  | `timeouts.keep_alive`          |
| by a reader who takes nothing of an answer    | `UNREAD`                       |
| since there are as many as there may be       | at once, with 503 `overloaded` |

What cannot be read is answered in our own words, and nowhere logged.
"""

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, cast

from aiohttp import web

from tokenproxy.admin.answers import in_bytes, problem

if TYPE_CHECKING:
    from tokenproxy.admin.server import AdminServer

UNREAD = 15.0  # seconds in which a reader takes some of what waits for it
SEND_BUFFER = 1 << 16  # the kernel's: a reader who takes nothing shows when it is full
LATER = 5.0  # seconds after which one who found no room may ask again

SILENT = logging.getLogger("tokenproxy.admin")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False  # what aiohttp tells of a request may quote it
SILENT.setLevel(logging.CRITICAL)


class Connection(web.RequestHandler):
    """One of `owner`'s, which tells it when a request is `asked` and `answered`."""

    __slots__ = ("_head", "_is_asked", "_owner", "_unread")

    def __init__(self, owner: "AdminServer", server: web.Server) -> None:
        loop, keep_alive = asyncio.get_running_loop(), owner.timeouts.keep_alive
        super().__init__(
            server, loop=loop, access_log=SILENT, logger=SILENT, keepalive_timeout=keep_alive
        )
        self._owner = owner
        self._is_asked = False
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many."""
        super().connection_made(transport)
        ours = cast("asyncio.Transport", transport)
        if self._owner.is_full:
            ours.write(OVERLOADED)
            self.force_close()
            return
        ours.set_write_buffer_limits(high=0)
        ours.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        self._await_no_head()
        self._await_no_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a head has come, or all of it."""
        if not self._is_asked and self._head is None:
            self._await_head()
        super().data_received(data)

    def _await_head(self) -> None:
        after = self._owner.timeouts.request_head
        self._head = asyncio.get_running_loop().call_later(after, self.force_close)

    def _await_no_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def asked(self) -> None:
        """A head has come whole."""
        self._await_no_head()
        self._is_asked = True

    def answered(self) -> None:
        """Another may come."""
        self._is_asked = False

    def pause_writing(self) -> None:
        """The reader does not take the answer as fast as it comes."""
        super().pause_writing()
        if self.transport is not None:
            loop = asyncio.get_running_loop()
            self._unread = loop.call_later(UNREAD, self.transport.abort)

    def _await_no_reader(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def resume_writing(self) -> None:
        """It has taken all of it."""
        self._await_no_reader()
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what cannot be read."""
        del exc, message
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if status >= 500:  # noqa: PLR2004 - HTTP's
            response = problem(status, "internal_error", "The proxy has failed on this request.")
        else:
            response = problem(status, "bad_request", "The request is not well-formed HTTP.")
        response.force_close()
        return response


OVERLOADED = in_bytes(
    problem(
        503,
        "overloaded",
        "The admin listener has as many connections as it may have.",
        retry_after=LATER,
    )
)
