"""How a credential stands, for people: never a token."""

from dataclasses import dataclass

from tokenproxy.tokens.slot import State


@dataclass(frozen=True, slots=True)
class Status:
    """Times are seconds since the epoch; `last_error` is of the last renewal, if it failed."""

    state: State
    not_persisted: bool
    expires_at: float | None
    last_renewal: float | None
    last_error: str | None
