"""A token, what a renewal brings, and what a store keeps of it."""

from dataclasses import dataclass, replace
from typing import TypeGuard

from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret

MOST_OTHERS = 7  # setbacks of other settings that a record keeps
MOST_SPENT = 32  # first refresh tokens that it remembers
SENDABLE = frozenset(map(chr, range(0x21, 0x7F)))  # contract 3.3.7


def is_sendable(access: object) -> TypeGuard[str]:
    """Whether this is an access token that a header can carry."""
    return isinstance(access, str) and bool(access) and SENDABLE.issuperset(access)


@dataclass(frozen=True, slots=True)
class Token:
    """An access token. Times are seconds since the epoch by this machine's clock.

    `expires_at` is None for a token that names no life: it is good until it is rejected.
    """

    access: Secret
    issued_at: float
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """What an issuer gave. Without `refresh` the refresh token stays as it was (RFC 6749 6).

    `dpop_key` is the private key that it was asked for with, as PEM; None for the one before.
    """

    token: Token
    refresh: Secret | None = None
    dpop_key: Secret | None = None

    def bound_to(self, key: Secret) -> "Granted":
        """The same, bound to that key."""
        return replace(self, dpop_key=key)


class Unusable(SourceUnavailable):
    """An access token came that no request can carry, and `refresh` with it: that one counts."""

    def __init__(self, message: str, refresh: Secret | None) -> None:
        super().__init__(message)
        self.refresh = refresh


@dataclass(frozen=True, slots=True)
class Setback:
    """How the last renewal failed, for all who share the record.

    `config` is the label of the settings that it failed under: with others it says nothing.
    `failures` and `doubts` count in a row; nobody asks before `not_before`, which was `pause`
    seconds away, nor logs in merely
    because renewals fail sooner than five minutes after `rescued_at` (both in seconds since the
    epoch, 0 for never). `login_refused` is the sentence of a login that the issuer has refused,
    `seed_refused` the label of a first refresh token that it has refused, `means_refused` those
    of all that a renewal was tried with.
    """

    error: str
    config: str
    failures: int = 0
    doubts: int = 0
    not_before: float = 0.0
    pause: float = 0.0
    rescued_at: float = 0.0
    login_refused: str | None = None
    seed_refused: str | None = None
    means_refused: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a store keeps of one credential.

    `generation` grows with every save, deletions included, so that an older record is never
    taken for a newer one; 0 is a record that was never saved. `seed` is the label of the
    refresh token that the config held when this record began: another one in the config
    starts anew, unless it is in `spent`: those that began it before, and have been replaced.
    `renewed_at` and `setback` tell other processes how the last renewals went; `others` are
    setbacks of processes with other settings, latest first.
    `lost` is a record that was there and cannot be read: it is stored nowhere.
    `dpop_key` is the private key that the tokens are bound to (RFC 9449), as PEM.
    """

    generation: int = 0
    token: Token | None = None
    refresh: Secret | None = None
    seed: str | None = None
    renewed_at: float | None = None
    setback: Setback | None = None
    dpop_key: Secret | None = None
    lost: bool = False
    spent: tuple[str, ...] = ()
    others: tuple[Setback, ...] = ()

    def under(self, config: str) -> "Record":
        """The same for settings of that label: `setback` is theirs."""
        setbacks = tuple(each for each in (self.setback, *self.others) if each is not None)
        theirs = next((each for each in setbacks if each.config == config), None)
        others = tuple(each for each in setbacks if each.config != config)
        return replace(self, setback=theirs, others=others[:MOST_OTHERS])

    @property
    def replaced_seeds(self) -> tuple[str, ...]:
        """Labels of the first refresh tokens that must not be sent again, latest first."""
        begun_with = self.seed is not None and (
            self.refresh is None or self.refresh.label != self.seed
        )
        now_spent = (self.seed,) if begun_with and self.seed is not None else ()
        return tuple(dict.fromkeys(now_spent + self.spent))[:MOST_SPENT]

    @property
    def error(self) -> str | None:
        """Why the last renewal failed, if it did."""
        return None if self.setback is None else self.setback.error

    def means_the_same_as(self, other: "Record") -> bool:
        """Whether both hold the same tokens, whatever else has happened."""
        return (self.token, self.refresh, self.seed, self.dpop_key) == (
            other.token,
            other.refresh,
            other.seed,
            other.dpop_key,
        )

    @property
    def means(self) -> str:
        """Labels of all that a renewal can be tried with."""
        access = self.token.access.label if self.token is not None else ""
        return f"{self.refresh.label if self.refresh is not None else ''}:{access}"

    def tombstone(self, at: float | None = None) -> "Record":
        """What is left of it when it is deleted, at a time in seconds since the epoch.

        It keeps its `seed` and `spent`: the config's first refresh token may have been replaced
        long ago, and must not be sent again (contract 3.3.4).
        """
        return Record(self.generation + 1, seed=self.seed, spent=self.spent, renewed_at=at)


LOST = Record(lost=True)
