"""What a row of the table of raw requests says."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.wire import Field

# A whole request of its own, which needs no Host: where it shows up as one, it was smuggled.
HIDDEN = b"GET /hidden HTTP/1.0\r\n\r\n"
HOST = b"Host: HOST"  # stands for the listener's address


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as the upstream gets it, but for Host, Via, the credential and its framing."""

    method: bytes = b"GET"
    target: bytes = b"/x"
    fields: tuple[Field, ...] = ()
    body: bytes = b""
    framing: str = "none"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a row's bytes: the answers to them, in their order, and what arrives.

    `closes`: nothing that follows them on the connection is read as a request. `waits`: they are
    no whole request, and the caller ends them.
    """

    answers: tuple[int, ...]
    closes: bool
    arrives: tuple[Sent, ...] = ()
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One row; `handler` is what the aiohttp handler makes of it, where its parser differs.

    That parser answers 400 to all that it refuses, and it refuses with it what came in one piece
    with it and has not been begun.
    """

    name: str
    raw: bytes
    outcome: Outcome
    handler: Outcome | None = None

    def on(self, way: str) -> list[Outcome]:
        """What may become of it; of several outcomes the first is the one to wait for."""
        if way == "wire":
            return [self.outcome]
        outcome = self.handler or self.outcome
        return [outcome, refused()] if outcome.closes and not outcome.waits else [outcome]


def refused(status: int = 400, *answers: int, arrives: Sequence[Sent] = ()) -> Outcome:
    """Answered with that, after other answers, and the connection closed."""
    return Outcome((*answers, status), closes=True, arrives=tuple(arrives))


def denied(status: int) -> Outcome:
    """Answered here; the connection can go on, since the end of the request is known."""
    return Outcome((status,), closes=False)


def passes(*sent: Sent) -> Outcome:
    """Each goes on as it should, and so does what follows."""
    return Outcome((200,) * len(sent), closes=False, arrives=sent)


def last(*sent: Sent) -> Outcome:
    """They go on, and the connection ends with the last one's answer."""
    return Outcome((200,) * len(sent), closes=True, arrives=sent)


WAITS = Outcome((), closes=True, waits=True)


def message(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *fields, b"", b""]) + body


def get(*fields: bytes, target: bytes = b"/x") -> bytes:
    """A request without a body, with these lines behind a good Host."""
    return message(b"GET %b HTTP/1.1" % target, HOST, *fields)


def post(*fields: bytes, body: bytes = b"") -> bytes:
    """One with these lines behind a good Host, and this behind its head."""
    return message(b"POST /x HTTP/1.1", HOST, *fields, body=body)


def in_chunks(body: bytes) -> bytes:
    """A request whose body is framed by these bytes."""
    return post(b"Transfer-Encoding: chunked", body=body)


GET = Sent()


def posted(body: bytes = b"", *fields: Field, framing: str = "length") -> Sent:
    return Sent(b"POST", fields=fields, body=body, framing=framing)


def well(*sent: Sent) -> tuple[Outcome, Outcome]:
    """What becomes of chunks in either way in: the handler cannot trust what comes behind them."""
    return passes(*sent), last(*sent)


CHUNKS = posted(b"hello", framing="chunked")
