"""How a credential stands, for people: never a token."""

from dataclasses import dataclass

from tokenproxy.tokens.slot import State


@dataclass(frozen=True, slots=True)
class Status:
    """Times are seconds since the epoch; `last_error` is of the last renewal, if it failed.

    `is_stored` is False for tokens that live elsewhere, such as in a file; `is_readable` is False
    where the store has not told, and the state is but a guess.
    """

    state: State
    not_persisted: bool
    expires_at: float | None
    last_renewal: float | None
    last_error: str | None
    is_stored: bool = True
    is_readable: bool = True
