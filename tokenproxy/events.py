"""What happened, as frozen values: the core announces, log and metrics subscribe.

No event holds a token or a secret; `token` is the label of `tokenproxy.secret.Secret`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TokenRenewed:
    """A new token is in use; `seconds` is what the renewal took."""

    credential: str
    token: str
    seconds: float
    expires_in: float | None


@dataclass(frozen=True, slots=True)
class TokenTakenUp:
    """A token was found in the store: from before a restart, or renewed by another process."""

    credential: str
    token: str


@dataclass(frozen=True, slots=True)
class RenewalFailed:
    """No token could be had; `retry_in` seconds from now it is tried again.

    `seconds` is what the try took, where it came to one.
    """

    credential: str
    error: str
    retry_in: float
    seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class LoginRequired:
    """The issuer refused, and only a person can help.

    `seconds` is what the try took; None where there was none, and it is known all the same.
    """

    credential: str
    error: str
    seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SignInFailed:
    """A person began to sign in on the status page, and was not let in."""

    credential: str
    error: str


@dataclass(frozen=True, slots=True)
class TokenRejected:
    """The API did not take a token that should have been good."""

    credential: str
    token: str


@dataclass(frozen=True, slots=True)
class NotPersisted:
    """A token is used from memory, since the store cannot keep it."""

    credential: str
    error: str


@dataclass(frozen=True, slots=True)
class Persisted:
    """The store keeps the token again."""

    credential: str


@dataclass(frozen=True, slots=True)
class StoreTrouble:
    """Something about the store that a person should see, and that stops nothing."""

    credential: str
    error: str


@dataclass(slots=True)
class RequestServed:
    """One request has been answered, by the upstream or by ourselves (then `code` says why).

    Not frozen, like all that is made for every request: a frozen one takes twice as long.

    `error` says what was wrong with the upstream, where that is known.

    `complete` is False where the answer began and did not come to its end: the upstream broke
    off, or the caller left.

    `upstream_seconds` is what the upstream took from the last send to the head of its answer, and
    `replay` the outcome where the first answer rejected the token: `accepted`, `rejected_again`, or
    `not_replayable`.
    """

    route: str
    method: str
    path: str
    status: int
    seconds: float
    bytes_in: int
    bytes_out: int
    replayed: bool
    code: str | None
    complete: bool = True
    error: str | None = None
    upstream_seconds: float | None = None
    replay: str | None = None


@dataclass(frozen=True, slots=True)
class InternalError:
    """A request met a fault of our own; `error` names the exception's type and place."""

    route: str
    error: str


@dataclass(frozen=True, slots=True)
class DescriptorsUsedUp:
    """No connection is taken for the moment."""

    error: str


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """A worker process accepts connections."""

    worker: int
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker process ended, with a code or by a signal, or could not be started.

    In `restart_in` seconds there is another in its place, unless all of them are ending.
    """

    worker: int
    code: int | None
    signal: str | None
    error: str | None
    restart_in: float | None


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Another config is in force; `needs_restart` are settings of it that are not."""

    path: str
    seconds: float
    needs_restart: str | None = None
    warnings: str | None = None


@dataclass(frozen=True, slots=True)
class ReloadFailed:
    """The config stays as it was: the new one has mistakes, or cannot be served."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class ReloadUnneeded:
    """There is nothing to reload; `why` is a sentence."""

    why: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """It was told to stop by a signal: nobody should send it more requests."""

    signal: str


Event = (
    TokenRenewed
    | TokenTakenUp
    | RenewalFailed
    | LoginRequired
    | SignInFailed
    | TokenRejected
    | NotPersisted
    | Persisted
    | StoreTrouble
    | RequestServed
    | InternalError
    | DescriptorsUsedUp
    | WorkerStarted
    | WorkerDied
    | Reloaded
    | ReloadFailed
    | ReloadUnneeded
    | Stopping
)
Observe = Callable[[Event], None]


def to_all(*observers: Observe) -> Observe:
    """What tells each of them."""

    def observe(event: Event) -> None:
        for each in observers:
            each(event)

    return observe
