"""One credential's state: what it holds, what is under way, what went wrong.

Plain functions over plain values; nothing here awaits, so nothing can be cancelled half-way.

| token          | renewal   | trouble     | `state`          | `need` answers                   |
|----------------|-----------|-------------|------------------|----------------------------------|
| fresh          | any       | any         | `fresh`          | Use                              |
| in its window  | none      | none, over  | `ageing`         | Use, and renew behind it         |
| in its window  | under way | any         | `ageing`         | Use                              |
| in its window  | none      | any other   | `ageing`         | Use                              |
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

from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from tokenproxy.clock import LONG_AGO, Moment
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tokens.backoff import LONGEST_PAUSE, STORE_COOLDOWN, cooldown
from tokenproxy.tokens.held import Held, hold, window
from tokenproxy.tokens.token import Record, Setback, Token

__all__ = [
    "Fetch",
    "Held",
    "Join",
    "Need",
    "Refused",
    "Rejection",
    "Slot",
    "State",
    "Use",
    "Wait",
]

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
    """Nothing is tried for `seconds`; `why` is the sentence that tells."""

    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is tried until a person acts; `why` is the sentence that tells."""

    why: str


Need = Use | Join | Fetch | Wait | Refused


@dataclass(frozen=True, slots=True)
class _Cooling:
    why: str
    until: Moment


class Slot:
    """The state of one credential."""

    def __init__(self, settings: Refresh, random: Random, *, renewable: bool) -> None:
        self._settings = settings
        self._random = random
        self._renewable = renewable
        self._record = Record()
        self._held: Held | None = None
        self._tokens = 0  # that were held so far
        self._rejected = False
        self._fresh_until = LONG_AGO
        self._renewing = False
        self._trouble: _Cooling | Refused | None = None
        self.failures = 0  # renewals that failed in a row
        self.doubts = 0  # and of those, the last ones that looked like a refusal

    # -- what is there -----------------------------------------------------------------------

    @property
    def held(self) -> Held | None:
        """The token that was last taken up, good or not."""
        return self._held

    @property
    def is_renewing(self) -> bool:
        """Whether a renewal is under way."""
        return self._renewing

    def fresh(self, now: Moment) -> Held | None:
        """The token, if nothing need be done about it: every request asks this, so it is short."""
        until = self._fresh_until
        return self._held if now.wall < until.wall and now.steady < until.steady else None

    @property
    def is_refused(self) -> bool:
        """Whether nothing is tried until a person acts."""
        return isinstance(self._trouble, Refused)

    @property
    def is_rejected(self) -> bool:
        """Whether the API has not taken the token that is held."""
        return self._rejected

    def usable(self, now: Moment) -> Held | None:
        """The token, if it may be sent."""
        held = self._held
        return None if held is None or self._rejected or held.is_over(now) else held

    def need(self, now: Moment) -> Need:
        """What a request that wants a token has to do."""
        held = self.usable(now)
        if held is not None:
            return Use(held, renew=held.is_due(now) and self._may_try(now))
        if self._renewing:
            return Join()
        match self._trouble:
            case Refused():
                return self._trouble
            case _Cooling(why, until) if now.until(until) > 0:
                return Wait(why, now.until(until))
            case _Cooling() | None:
                return Fetch()

    def state(self, now: Moment) -> State:
        """The state as contract 4 names it."""
        match self.need(now):
            case Use(held):
                return State.AGEING if held.is_due(now) else State.FRESH
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
            case Fetch() | Use(_, True):
                return 0.0
            case Wait(_, seconds):
                return seconds
            case Use(held) if not held.is_due(now):
                return now.until(held.renew_from)
            case Use():
                return self._until_next_try(now)
            case Join() | Refused():
                return None

    # -- what happens to it ------------------------------------------------------------------

    def rejected(self, generation: int, now: Moment) -> Rejection:
        """The API did not take the token of `generation`."""
        held = self._held
        if held is None or held.generation < generation or not self._renewable:
            return Rejection.KEEP
        if held.generation > generation:
            return Rejection.NEWER
        old_enough = now.since(held.obtained) >= self._settings.min_interval
        if not (self._rejected or old_enough or held.is_due(now)):
            return Rejection.KEEP
        self._rejected = True
        self._fresh_until = LONG_AGO
        return Rejection.RENEW

    def begin(self) -> None:
        """A renewal is under way."""
        self._renewing = True

    def abandon(self) -> None:
        """The renewal ended without an outcome: it was cancelled."""
        self._renewing = False

    def renewed(self) -> None:
        """The renewal went well; what it brought has been taken up."""
        self.abandon()
        self.recover()

    def recover(self) -> None:
        """What failed, or was refused, may be tried again at once."""
        self._trouble = None
        self.doubts = self.failures = 0

    def failed(self, error: SourceUnavailable, now: Moment) -> float | Refused:
        """The issuer did not answer; seconds until it is asked again, or the refusal it is."""
        self.abandon()
        self.doubts = self.doubts + 1 if error.doubtful else 0
        if self.doubts >= DOUBTS_THAT_REFUSE:
            return self.refused(str(error))
        self.failures += 1
        seconds = cooldown(self.failures, error.retry_after, self._random)
        self._trouble = _Cooling(str(error), now.after(seconds))
        return seconds

    def held_up(self, error: SourceUnavailable, now: Moment) -> float:
        """The store did not let us ask: that says nothing about the issuer; seconds to wait."""
        self.abandon()
        self._trouble = _Cooling(str(error), now.after(STORE_COOLDOWN))
        return STORE_COOLDOWN

    def learn(self, setback: Setback, now: Moment) -> None:
        """Another process, or one before this, has met with a setback: it is ours as well."""
        self.recover()
        left = setback.not_before - now.wall
        if left < -LONGEST_PAUSE and setback.not_before:
            return  # of long ago: it says nothing about today
        self.failures, self.doubts = setback.failures, setback.doubts
        if self.doubts >= DOUBTS_THAT_REFUSE:
            self._trouble = Refused(setback.error)
        elif left > 0:
            # No longer than was meant: clocks differ, and are set.
            self._trouble = _Cooling(setback.error, now.after(min(left, setback.pause)))

    def refused(self, why: str) -> Refused:
        """The issuer said no: nothing is tried until the config or the store changes."""
        self.abandon()
        self._trouble = Refused(why)
        return self._trouble

    def take_up(self, record: Record, now: Moment) -> bool:
        """Hold what `record` holds, unless it is older than what was seen; whether it is news.

        That a renewal has failed is none: what failed or was refused may be tried again only
        where there is something else to try it with.
        """
        if record.generation < self._record.generation:
            return False
        news = not record.means_the_same_as(self._record)
        self._record = record
        if news:
            self.recover()
            self._take_token(record, now)
        return news

    def _take_token(self, record: Record, now: Moment) -> None:
        if record.token is None:
            self._held = None
            self._admit(LONG_AGO)
        elif self._held is None or (self._held.token, self._held.dpop_key) != (
            record.token,
            record.dpop_key,
        ):
            self._hold(record.token, record.dpop_key, now)

    def _hold(self, token: Token, dpop_key: Secret | None, now: Moment) -> None:
        """Where the token is the one we had, it keeps its generation: it is no newer one."""
        if self._held is None or self._held.token.access != token.access:
            self._tokens += 1
        before_end = window(token, self._settings, self._random) if self._renewable else 0.0
        held = hold(token, self._tokens, now, window=before_end)
        self._held = held if dpop_key is None else replace(held, dpop_key=dpop_key)
        self._admit(self._held.renew_from)

    def _admit(self, fresh_until: Moment) -> None:
        self._rejected = False
        self._fresh_until = fresh_until

    def retry_at(self, now: Moment) -> float | None:
        """When the source may be asked again, in seconds since the epoch; None for at once."""
        match self._trouble:
            case _Cooling(_, until) if now.until(until) > 0:
                return now.wall + now.until(until)
            case _:
                return None

    def may_try(self, now: Moment) -> bool:
        """Whether nothing that went wrong forbids to ask the source now."""
        match self._trouble:
            case Refused():
                return False
            case _Cooling(_, until):
                return now.until(until) <= 0
            case None:
                return True

    def _may_try(self, now: Moment) -> bool:
        return self._until_next_try(now) == 0.0

    def _until_next_try(self, now: Moment) -> float | None:
        """Seconds until a renewal may be begun; None: not before a change."""
        if self._renewing:
            return None
        match self._trouble:
            case Refused():
                return None
            case _Cooling(_, until):
                return max(0.0, now.until(until))
            case None:
                return 0.0
