"""How a credential stands, for people: never a token."""

from dataclasses import dataclass

from tokenproxy.tokens.slot import State


@dataclass(frozen=True, slots=True)
class Status:
    """Times are seconds since the epoch; `last_error` is of the last renewal, if it failed.

    `is_stored` is False for tokens that live elsewhere, such as in a file; `is_readable` is False
    where the store has not told, and the state is but a guess. `token` is a label, `renews_at`
    when the token's window begins, and `retry_at` when the source may be asked again after a
    failure.
    """

    state: State
    not_persisted: bool
    expires_at: float | None
    last_renewal: float | None
    last_error: str | None
    is_stored: bool = True
    is_readable: bool = True
    issued_at: float | None = None
    renews_at: float | None = None
    retry_at: float | None = None
    token: str | None = None
