"""Whatever happens to a slot, in whatever order, it keeps its word."""

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.tokens.acting import NoJitter
from tokenproxy.clock import LONG_AGO, Moment
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tokens.slot import Fetch, Join, Refused, Rejection, Slot, State, Use, Wait
from tokenproxy.tokens.token import Record, Token

lives = st.one_of(st.none(), st.sampled_from([0.5, 2.0, 100.0, 3600.0]))
seconds = st.sampled_from([0.1, 1.0, 5.0, 30.0, 100.0, 4000.0])


class Life(RuleBasedStateMachine):
    """One credential, with what a keeper may do to its slot, and a ledger of what it did."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Moment(1_800_000_000.0, 1000.0)
        self.slot = Slot(Refresh(), NoJitter(), renewable=True)
        self.renewing = False
        self.saved = 0  # the newest generation in the store
        self.issued = 0
        self.dead: set[str] = set()  # tokens that were rejected
        self.cooling_until = LONG_AGO
        self.refused = False
        self.newest_held = 0

    # -- time --------------------------------------------------------------------------------

    @rule(seconds=seconds)
    def time_passes(self, seconds: float) -> None:
        self.now = self.now.after(seconds)

    @rule(jump=st.sampled_from([7200.0, -3600.0, 30.0]))
    def somebody_sets_the_clock(self, jump: float) -> None:
        self.now = Moment(self.now.wall + jump, self.now.steady)

    # -- the renewal -------------------------------------------------------------------------

    @precondition(lambda self: not self.renewing)
    @rule()
    def a_request_or_the_background_begins_a_renewal(self) -> None:
        match self.slot.need(self.now):
            case Fetch() | Use(_, True):
                self.slot.begin()
                self.renewing = True
            case Use() | Join() | Wait() | Refused():
                pass

    @precondition(lambda self: self.renewing)
    @rule(life=lives)
    def it_brings_a_token(self, life: float | None) -> None:
        self.slot.take_up(self.new_record(life), self.now)
        self.slot.renewed()
        self.settled()

    @precondition(lambda self: self.renewing)
    @rule(retry_after=st.sampled_from([None, 5.0, 86400.0]), doubtful=st.booleans())
    def it_fails(self, retry_after: float | None, doubtful: bool) -> None:
        error = SourceUnavailable("down", retry_after=retry_after, doubtful=doubtful)
        outcome = self.slot.failed(error, self.now)
        self.renewing = False
        if isinstance(outcome, Refused):
            self.refused = True
        else:
            self.cooling_until = self.now.after(outcome)
            assert outcome >= min(retry_after or 1.0, 300.0)

    @precondition(lambda self: self.renewing)
    @rule()
    def it_is_refused(self) -> None:
        self.slot.refused("no")
        self.renewing = False
        self.refused = True

    @precondition(lambda self: self.renewing)
    @rule()
    def it_is_cancelled(self) -> None:
        self.slot.abandon()
        self.renewing = False

    def settled(self) -> None:
        self.renewing = False
        self.cooling_until, self.refused = LONG_AGO, False

    # -- the store, the API ------------------------------------------------------------------

    @rule(life=lives)
    def another_process_stores_a_token(self, life: float | None) -> None:
        assert self.slot.take_up(self.new_record(life), self.now)
        self.cooling_until, self.refused = LONG_AGO, False

    @rule()
    def another_process_logs_out(self) -> None:
        self.saved += 1
        if self.slot.take_up(Record(self.saved), self.now):
            self.cooling_until, self.refused = LONG_AGO, False

    @rule()
    def another_process_fails_and_tells(self) -> None:
        """What is in the record is the same: what we may not try stays as it is."""
        self.saved += 1
        record = replace(self.slot._record, generation=self.saved)
        assert not self.slot.take_up(record, self.now)

    @rule(back=st.integers(1, 5))
    def the_store_is_found_in_an_older_state(self, back: int) -> None:
        token = Token(Secret("from-before"), self.now.wall, None)
        assert not self.slot.take_up(Record(self.saved - back, token=token), self.now)

    @rule(late=st.integers(0, 3))
    def the_api_rejects(self, late: int) -> None:
        held = self.slot.held
        if held is None:
            return
        rejection = self.slot.rejected(held.generation - late, self.now)
        if late:
            assert rejection is Rejection.NEWER
        elif rejection is Rejection.RENEW:
            self.dead.add(held.token.access.reveal())

    def new_record(self, life: float | None) -> Record:
        self.saved += 1
        self.issued += 1
        ends = None if life is None else self.now.wall + life
        return Record(self.saved, token=Token(Secret(f"access-{self.issued}"), self.now.wall, ends))

    # -- its word ----------------------------------------------------------------------------

    @invariant()
    def what_is_used_is_neither_rejected_nor_over(self) -> None:
        need = self.slot.need(self.now)
        if isinstance(need, Use):
            token = need.held.token
            assert token.access.reveal() not in self.dead
            assert token.expires_at is None or token.expires_at > self.now.wall

    @invariant()
    def nothing_is_tried_while_cooling_off_or_after_a_refusal(self) -> None:
        tried = self.slot.need(self.now) == Fetch() or (
            isinstance(need := self.slot.need(self.now), Use) and need.renew
        )
        if tried:
            assert not self.refused
            assert not self.renewing
            assert self.now.until(self.cooling_until) <= 0

    @invariant()
    def a_token_is_never_older_than_one_that_was_held_before(self) -> None:
        if self.slot.held is not None:
            assert self.slot.held.generation >= self.newest_held
            self.newest_held = self.slot.held.generation

    @invariant()
    def whoever_waits_waits_for_something(self) -> None:
        match self.slot.need(self.now):
            case Join():
                assert self.renewing
            case Wait(_, left):
                assert left > 0
            case Use() | Fetch() | Refused():
                pass

    @invariant()
    def the_short_way_agrees_with_the_long_one(self) -> None:
        fresh, need = self.slot.fresh(self.now), self.slot.need(self.now)
        assert (fresh is not None) == (self.slot.state(self.now) is State.FRESH)
        if fresh is not None:
            assert need == Use(fresh, renew=False)

    @invariant()
    def the_background_is_called_when_there_is_something_to_do_and_never_in_vain(self) -> None:
        left, need = self.slot.attention(self.now), self.slot.need(self.now)
        due = isinstance(need, Fetch) or (isinstance(need, Use) and need.renew)
        assert (left == 0) == due
        assert left is None or left >= 0


TestLife = Life.TestCase
