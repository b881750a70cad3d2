"""One credential's state: what it holds, what is under way, what went wrong.

Plain functions over plain values; nothing here awaits, so nothing can be cancelled half-way.

| token          | renewal   | trouble     | `state`          | `need` answers                   |
|----------------|-----------|-------------|------------------|----------------------------------|
| fresh          | any       | any         | `fresh`          | Use                              |
| in its window  | none      | none, over  | `ageing`         | Use, and renew behind it         |
| in its window  | any other | any other   | `ageing`         | Use                              |
| none           | under way | any         | `renewing`       | Join                             |
| none           | none      | refused     | `login_required` | Refused                          |
| none           | none      | cooling off | `unavailable`    | Wait                             |
| none, never had| none      | none, over  | `empty`          | Fetch                            |
| past its end   | none      | none, over  | `expired`        | Fetch                            |
| rejected       | none      | none, over  | `expired`        | Fetch                            |

A token has a generation, and only that one can be rejected: ten late 401s cannot kill a newer
token. A token in its window is rejected without regard to `min_interval`, since it is due to
be renewed for its expiry anyway (contract 3.3.2).
"""

from dataclasses import dataclass
from enum import Enum
from random import Random

from tokenproxy.clock import Moment
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tokens.backoff import cooldown
from tokenproxy.tokens.token import Record, Token

DOUBTS_THAT_REFUSE = 3  # contract 3.3.6: what looks like a refusal three times is one


class State(Enum):
    """The states of contract 4."""

    EMPTY = "empty"
    FRESH = "fresh"
    AGEING = "ageing"
    EXPIRED = "expired"
    RENEWING = "renewing"
    UNAVAILABLE = "unavailable"
    LOGIN_REQUIRED = "login_required"


class Rejection(Enum):
    """What an API's rejection of a token leads to."""

    NEWER = "a newer token is there already"
    RENEW = "the token is to be renewed"
    KEEP = "the token stays: it cannot be renewed, or is younger than `min_interval`"


@dataclass(frozen=True, slots=True)
class Held:
    """A token in use. `renew_from` begins its window; both are None for a life nobody knows."""

    generation: int
    token: Token
    obtained: Moment
    renew_from: Moment | None
    expires: Moment | None


@dataclass(frozen=True, slots=True)
class Use:
    """Send this one; with `renew`, have it renewed behind the request."""

    held: Held
    renew: bool = False


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for the renewal that is under way."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Begin a renewal and wait for it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is tried for `seconds`; `error` says why."""

    error: SourceUnavailable
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is tried until a person acts; `error` says why."""

    error: SourceRefused


Need = Use | Join | Fetch | Wait | Refused


@dataclass(frozen=True, slots=True)
class _Cooling:
    error: SourceUnavailable
    until: Moment


class Slot:
    """The state of one credential."""

    def __init__(self, settings: Refresh, random: Random, *, renewable: bool) -> None:
        self._settings = settings
        self._random = random
        self._renewable = renewable
        self._held: Held | None = None
        self._rejected = False
        self._renewing = False
        self._trouble: _Cooling | Refused | None = None
        self._doubts = 0
        self.failures = 0
        self.generation = 0  # the newest that was seen; never goes back

    @property
    def held(self) -> Held | None:
        """The token that was last taken up, good or not."""
        return self._held

    def usable(self, now: Moment) -> Held | None:
        """The token, if it may be sent."""
        held = self._held
        if held is None or self._rejected:
            return None
        if held.expires is not None and now.until(held.expires) <= 0:
            return None
        return held

    def is_fresh(self, now: Moment) -> bool:
        """Whether nothing need be done: there is a token, and it is not in its window."""
        held = self.usable(now)
        return held is not None and not self._is_due(held, now)

    def need(self, now: Moment) -> Need:
        """What a request that wants a token has to do."""
        held = self.usable(now)
        if held is not None:
            return Use(held, renew=self._is_due(held, now) and self._may_try(now))
        if self._renewing:
            return Join()
        match self._trouble:
            case Refused():
                return self._trouble
            case _Cooling(error, until) if now.until(until) > 0:
                return Wait(error, now.until(until))
            case _Cooling() | None:
                return Fetch()

    def state(self, now: Moment) -> State:
        """The state as contract 4 names it."""
        match self.need(now):
            case Use(held):
                return State.AGEING if self._is_due(held, now) else State.FRESH
            case Join():
                return State.RENEWING
            case Refused():
                return State.LOGIN_REQUIRED
            case Wait():
                return State.UNAVAILABLE
            case Fetch():
                return State.EMPTY if self._held is None else State.EXPIRED

    def attention(self, now: Moment) -> float | None:
        """Seconds until the background has something to do; None: not before a change."""
        match self.need(now):
            case Use(_, True) | Fetch():
                return 0.0
            case Use(held):
                return self._until_due(held, now)
            case Wait(_, seconds):
                return seconds
            case Join() | Refused():
                return None

    def rejected(self, generation: int, now: Moment) -> Rejection:
        """The API did not take the token of `generation`."""
        held = self._held
        if held is None or held.generation < generation or not self._renewable:
            return Rejection.KEEP
        if held.generation > generation:
            return Rejection.NEWER
        if self._rejected or self._is_due(held, now) or self._is_old_enough(held, now):
            self._rejected = True
            return Rejection.RENEW
        return Rejection.KEEP

    def begin(self) -> None:
        """A renewal is under way."""
        self._renewing = True

    def abandon(self) -> None:
        """The renewal ended without an outcome: it was cancelled."""
        self._renewing = False

    def renewed(self, record: Record, now: Moment, *, same: bool) -> None:
        """The renewal brought, or found, `record`; `same` where its token is the one we had."""
        self.abandon()
        self._recover()
        self.take_up(record, now)
        if same and self._held is not None:
            self._reaffirm(self._held, now)

    def failed(self, error: SourceUnavailable, now: Moment) -> float | SourceRefused:
        """The issuer did not answer; seconds until it is asked again, or the refusal it is."""
        self.abandon()
        self._doubts = self._doubts + 1 if error.doubtful else 0
        if self._doubts >= DOUBTS_THAT_REFUSE:
            refusal = SourceRefused(str(error))
            self.refused(refusal)
            return refusal
        self.failures += 1
        seconds = cooldown(self.failures, error.retry_after, self._random)
        self._trouble = _Cooling(error, now.after(seconds))
        return seconds

    def refused(self, error: SourceRefused) -> None:
        """The issuer said no: nothing is tried until the config or the store changes."""
        self.abandon()
        self._trouble = Refused(error)

    def take_up(self, record: Record, now: Moment) -> bool:
        """Hold what the store holds, unless it is older than what was seen, or the same."""
        if record.generation <= self.generation:
            return False
        self.generation = record.generation
        self._recover()
        if not self._holds(record.token):
            self._held = None if record.token is None else self._hold(record.token, now)
            self._rejected = False
        return True

    def _holds(self, token: Token | None) -> bool:
        """Whether only the refresh token of the record is another: a rejection still stands."""
        held = self._held
        return held is not None and token is not None and held.token.access == token.access

    def _reaffirm(self, held: Held, now: Moment) -> None:
        """The source gave the same token again: it stays, and counts as newly obtained.

        Where it was due, half of what is left of its life passes before it is asked for again.
        """
        renew_from = held.renew_from
        if held.expires is not None and self._is_due(held, now):
            renew_from = now.after(now.until(held.expires) / 2)
        self._held = Held(held.generation, held.token, now, renew_from, held.expires)
        self._rejected = False

    def _recover(self) -> None:
        self._trouble = None
        self._doubts = self.failures = 0

    def _hold(self, token: Token, now: Moment) -> Held:
        age = max(0.0, now.wall - token.issued_at)
        obtained = now.after(-age)
        if token.expires_at is None:
            return Held(self.generation, token, obtained, None, None)
        # A clock set back since then must not lengthen the token's life.
        life = token.expires_at - token.issued_at
        expires = Moment(
            token.expires_at, now.steady + min(token.expires_at - now.wall, max(life, 0.0))
        )
        return Held(self.generation, token, obtained, expires.after(-self._window(life)), expires)

    def _window(self, life: float) -> float:
        """How long before its end a token is renewed: never more than a quarter of its life."""
        window = min(self._settings.before_expiry, max(life, 0.0) / 4)
        return window * (1 - self._settings.jitter * self._random.random())

    def _is_due(self, held: Held, now: Moment) -> bool:
        until = self._until_due(held, now)
        return until is not None and until <= 0

    def _until_due(self, held: Held, now: Moment) -> float | None:
        """Seconds until the window begins; for what cannot be renewed, until the end."""
        edge = held.renew_from if self._renewable else held.expires
        return None if edge is None else now.until(edge)

    def _is_old_enough(self, held: Held, now: Moment) -> bool:
        return now.since(held.obtained) >= self._settings.min_interval

    def _may_try(self, now: Moment) -> bool:
        if self._renewing:
            return False
        match self._trouble:
            case Refused():
                return False
            case _Cooling(_, until):
                return now.until(until) <= 0
            case None:
                return True
