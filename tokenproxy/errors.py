"""Errors, sorted by what a person does next.

Every message is one sentence that somebody can act on, and holds no secret: messages are
logged and shown as they are. Foreign exceptions are translated where they enter.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class TokenproxyError(Exception):
    """The root of all errors that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a config file: where it stands and what is wrong."""

    path: str  # dotted, as in `routes.0.upstream`; empty for the file as a whole
    what: str
    line: int | None = None
    file: Path | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.path, self.what) if part)


class ConfigError(TokenproxyError):
    """Edit a file: holds every mistake that was found, in the order of the file."""

    def __init__(self, problems: list[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem("", problems)]
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class SourceError(TokenproxyError):
    """No token could be had."""


class SourceUnavailable(SourceError):
    """Wait: the issuer may answer later.

    `retry_after` is in seconds, where the issuer named a time. `retriable` says that the same
    request may be sent again soon, as part of the same renewal: no answer came, or a 429 or 5xx.
    `doubtful` says that it looked like a refusal without saying so: the third in a row is one.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        retriable: bool = False,
        doubtful: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.retriable = retriable
        self.doubtful = doubtful


class SourceRefused(SourceError):
    """Sign in again: the issuer has said no, and will say so again.

    `of_the_client` says that it has not even looked at the grant: another client secret may do.
    """

    def __init__(self, message: str, *, of_the_client: bool = False) -> None:
        super().__init__(message)
        self.of_the_client = of_the_client


class StoreError(TokenproxyError):
    """Mend the store: a token could not be read, written or locked."""


class ListenError(TokenproxyError):
    """Free the address or choose another: a listener could not be opened."""


class WorkerError(TokenproxyError):
    """Look at what the log says before it: a worker process did not come to serve."""


class Overloaded(TokenproxyError):
    """Allow a route more connections: all that it may have stayed in use."""


class UpstreamFault(Enum):
    """What an upstream did wrong, as far as its callers are told."""

    UNREACHABLE = "it cannot be reached"
    BROKE_OFF = "it closed the connection before it answered"
    PROTOCOL = "its answer breaks the rules of HTTP"
    TLS = "no TLS connection could be made"
    CONNECT_TIMEOUT = "no connection could be made in time"
    RESPONSE_TIMEOUT = "it did not answer in time"


class UpstreamError(TokenproxyError):
    """Look at the upstream: it could not be reached, or broke the protocol."""

    def __init__(self, message: str, kind: UpstreamFault) -> None:
        super().__init__(message)
        self.kind = kind
