"""The last things that happened, for people: no requests, and no secrets.

What an issuer said may stand in a text; whoever shows it escapes it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from tokenproxy.events import (
    DescriptorsUsedUp,
    Event,
    InternalError,
    LoginRequired,
    NotPersisted,
    Persisted,
    Reloaded,
    ReloadFailed,
    ReloadUnneeded,
    RenewalFailed,
    RequestServed,
    SignInFailed,
    Stopping,
    StoreTrouble,
    TokenRejected,
    TokenRenewed,
    TokenTakenUp,
    WorkerDied,
    WorkerStarted,
)
from tokenproxy.redaction import redact
from tokenproxy.units import format_duration

MOST = 100
LONGEST = 500  # characters of a text: an issuer may say anything, at any length


@dataclass(frozen=True, slots=True)
class Happening:
    """One of them; `event` is its name in the log."""

    at: float
    level: str
    event: str
    text: str
    credential: str | None = None
    route: str | None = None


class Happenings:
    """Observes; `now` is the wall clock, in seconds since the epoch."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last: deque[Happening] = deque(maxlen=MOST)

    def __call__(self, event: Event) -> None:
        """Note it, where a person should know."""
        if type(event) is RequestServed:
            return
        told = _told(event)
        if told is not None:
            level, name, text, about = told
            self._append(Happening(self._now(), level, name, _shown(text), **about))

    def _append(self, new: Happening) -> None:
        """What only repeats the last one takes its place: it must not push out all others."""
        if self._last and replace(self._last[-1], at=new.at) == new:
            self._last.pop()
        self._last.append(new)

    def recent(self) -> list[dict[str, Any]]:
        """They, oldest first."""
        return [asdict(happening) for happening in self._last]


def _shown(text: str) -> str:
    return redact(text)[:LONGEST]


_Told = tuple[str, str, str, dict[str, str]]  # level, name and text, and what it is about


def _told(event: Event) -> _Told | None:
    match event:
        case RequestServed():
            return None
        case InternalError(route, error):
            text = f"a request met a fault of tokenproxy's own ({error})"
            return "error", "internal_error", text, {"route": route}
        case WorkerStarted() | WorkerDied() | DescriptorsUsedUp() | Stopping():
            return *_of_process(event), {}
        case Reloaded() | ReloadFailed() | ReloadUnneeded():
            return *_of_config(event), {}
        case NotPersisted() | Persisted() | StoreTrouble():
            return *_of_store(event), {"credential": event.credential}
        case _:
            return *_of_token(event), {"credential": event.credential}


def _of_config(event: Reloaded | ReloadFailed | ReloadUnneeded) -> tuple[str, str, str]:
    match event:
        case Reloaded(_, _, None):
            return "info", "reloaded", "another config is in force"
        case Reloaded(_, _, needing):
            text = f"another config is in force, but for what needs a restart: {needing}"
            return "warning", "reloaded", text
        case ReloadFailed(_, error):
            return "error", "reload_failed", error
        case ReloadUnneeded(why):
            return "info", "reload_unneeded", why


def _of_process(
    event: WorkerStarted | WorkerDied | DescriptorsUsedUp | Stopping,
) -> tuple[str, str, str]:
    match event:
        case WorkerStarted(worker, pid):
            return "info", "worker_started", f"worker {worker} serves, as process {pid}"
        case WorkerDied(worker):
            return "error", "worker_died", f"worker {worker} ended ({_end(event)})"
        case DescriptorsUsedUp(error):
            return "warning", "descriptors_used_up", error
        case Stopping(signal):
            return "info", "stopping", f"told to stop by {signal}"


def _of_token(
    event: TokenRenewed
    | TokenTakenUp
    | TokenRejected
    | RenewalFailed
    | LoginRequired
    | SignInFailed,
) -> tuple[str, str, str]:
    match event:
        case TokenRenewed(_, _, seconds, life):
            good = "until it is rejected" if life is None else f"for {format_duration(life)}"
            return "info", "renewed", f"renewed in {_took(seconds)}, good {good}"
        case TokenTakenUp():
            return "info", "taken_up", "a token was found in the store"
        case TokenRejected():
            return "info", "rejected", "the API did not take the token"
        case RenewalFailed(_, error, retry_in):
            again = format_duration(max(retry_in, 1.0))
            return "warning", "renewal_failed", f"{error}; it is tried again in {again}"
        case LoginRequired(_, error):
            return "error", "login_required", error
        case SignInFailed(_, error):
            return "warning", "sign_in_failed", error


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _of_store(event: NotPersisted | Persisted | StoreTrouble) -> tuple[str, str, str]:
    match event:
        case NotPersisted(_, error):
            return "warning", "not_persisted", f"the token is in memory only: {error}"
        case Persisted():
            return "info", "persisted", "the store keeps the token again"
        case StoreTrouble(_, error):
            return "warning", "store_trouble", error


def _end(event: WorkerDied) -> str:
    how = f"by {event.signal}" if event.signal else f"with code {event.code}"
    again = "" if event.restart_in is None else f", another follows in {event.restart_in:.1f} s"
    return (event.error or how) + again
