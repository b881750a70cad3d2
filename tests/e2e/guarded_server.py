"""A small server in a thread that wants an issuer's token, for tools with a protocol of their own.

It speaks HTTP/1.1 as a real one does: chunked bodies are read, and a caller that waits for a 100
is told of a bad token before it sends anything.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from tokenproxy.testing.ledger import Verdict


class Judge(Protocol):
    """What the server knows of its issuer."""

    def accepts(self, access_token: str) -> Verdict:
        """What to think of a token."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; `body` as it was sent, without its chunks."""

    method: str
    path: str
    query: str
    headers: dict[str, str]  # by lower-case names
    body: bytes


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Guarded:
    """The running server; `seen` is each request as `METHOD /path STATUS`, in their order.

    `before` is called with the method and path of each request, before its token is looked at.
    """

    url: str
    seen: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    before: Callable[[str, str], None] = lambda method, path: None
    says_continue: bool = True  # False: it lets who waits for a 100 wait


@contextmanager
def guarded(judge: Judge, answer: Callable[[Asked], Told]) -> Iterator[Guarded]:
    """Answers a request whose token is good, on a loopback port, in here."""
    with _Server(judge, answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.site
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, judge: Judge, answer: Callable[[Asked], Told]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.judge = judge
        self.answer = answer
        self.site = Guarded(f"http://127.0.0.1:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    _let_in: bool | None = None  # None until the request's token has been looked at

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing: `seen` tells."""

    def handle_expect_100(self) -> bool:
        if not self.server.site.says_continue:
            return True
        self._let_in = self._is_let_in()
        return super().handle_expect_100() if self._let_in else self._turned_away()

    def do_GET(self) -> None:
        let_in, self._let_in = self._let_in, None
        if let_in is None:
            let_in = self._is_let_in()
        body = self._body()
        if not let_in:
            self._turned_away()
            return
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, path, query, headers, body)
        self.server.site.asked.append(asked)
        self._send(self.server.answer(asked))

    do_POST = do_GET  # noqa: N815 - the names that http.server calls
    do_HEAD = do_GET  # noqa: N815

    def _is_let_in(self) -> bool:
        self.server.site.before(self.command, self.path)
        values = self.headers.get_all("Authorization", [])
        if len(values) != 1 or not values[0].startswith("Bearer "):
            return False
        token = values[0].removeprefix("Bearer ")
        return self.server.judge.accepts(token) is Verdict.ACCEPTED

    def _turned_away(self) -> bool:
        realm = ("WWW-Authenticate", 'Bearer realm="here"')
        self.close_connection = True
        self._send(Told(401, [realm, ("Connection", "close")], b"no\n"))
        return False

    def _send(self, told: Told) -> None:
        self.server.site.seen.append(f"{self.command} {self.path} {told.status}")
        self.send_response(told.status)
        for name, value in told.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(told.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(told.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = bytearray()
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)
