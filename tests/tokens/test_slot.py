from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from tests.tokens.acting import LIFE, WINDOW, NoJitter
from tokenproxy.clock import Moment
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tokens.slot import (
    Fetch,
    Held,
    Join,
    Need,
    Refused,
    Rejection,
    Slot,
    State,
    Use,
    Wait,
)
from tokenproxy.tokens.token import Record, Token

NOW = Moment(1_800_000_000.0, 1000.0)
AGES = {"fresh": 1.0, "in its window": LIFE - WINDOW, "past its end": LIFE, "rejected": 11.0}
TROUBLES = ("none", "over", "cooling off", "refused")


def record(generation: int = 1, access: str | None = None, at: Moment = NOW) -> Record:
    token = Token(Secret(access or f"access-{generation}"), at.wall, at.wall + LIFE)
    return Record(generation, token=token, refresh=Secret(f"refresh-{generation}"))


def empty(*, renewable: bool = True, **settings: float) -> Slot:
    told = Refresh.model_validate({"jitter": 0} | settings)
    return Slot(told, NoJitter(), renewable=renewable)


def holding(*, renewable: bool = True, **settings: float) -> Slot:
    slot = empty(renewable=renewable, **settings)
    assert slot.take_up(record(), NOW)
    return slot


def situation(token: str, renewal: str, trouble: str) -> tuple[Slot, Moment]:
    """A slot in that row of the table, and the moment at which it is."""
    slot = empty() if token == "none" else holding()
    now = NOW.after(AGES.get(token, 0.0))
    if token == "rejected":
        assert slot.rejected(1, now) is Rejection.RENEW
    match trouble:
        case "over":
            slot.failed(SourceUnavailable("down"), now.after(-60))
        case "cooling off":
            slot.failed(SourceUnavailable("down"), now)
        case "refused":
            slot.refused("no")
        case _:
            assert trouble == "none"
    if renewal == "under way":
        slot.begin()
    return slot, now


ANY = {"none", "under way", *TROUBLES}
OVER = {"none", "over"}
TABLE = [  # as the module's docstring draws it; the first row that fits
    ({"fresh"}, ANY, ANY, State.FRESH, "Use", LIFE - WINDOW - AGES["fresh"]),
    ({"in its window"}, {"none"}, OVER, State.AGEING, "Use and renew", 0.0),
    ({"in its window"}, {"under way"}, ANY, State.AGEING, "Use", None),
    ({"in its window"}, {"none"}, {"cooling off"}, State.AGEING, "Use", 1.0),
    ({"in its window"}, {"none"}, {"refused"}, State.AGEING, "Use", None),
    ({"none", *AGES}, {"under way"}, ANY, State.RENEWING, "Join", None),
    ({"none", *AGES}, {"none"}, {"refused"}, State.LOGIN_REQUIRED, "Refused", None),
    ({"none", *AGES}, {"none"}, {"cooling off"}, State.UNAVAILABLE, "Wait", 1.0),
    ({"none"}, {"none"}, OVER, State.EMPTY, "Fetch", 0.0),
    ({"past its end", "rejected"}, {"none"}, OVER, State.EXPIRED, "Fetch", 0.0),
]
SITUATIONS = list(product(["none", *AGES], ["none", "under way"], TROUBLES))


def expected(token: str, renewal: str, trouble: str) -> tuple[State, str, float | None]:
    """State, need and attention."""
    fits = (row[3:] for row in TABLE if token in row[0] and renewal in row[1] and trouble in row[2])
    return next(fits)


def shown(need: Need) -> str:
    renews = isinstance(need, Use) and need.renew
    return type(need).__name__ + (" and renew" if renews else "")


@pytest.mark.parametrize(("token", "renewal", "trouble"), SITUATIONS)
def test_every_row_of_the_table(token: str, renewal: str, trouble: str) -> None:
    slot, now = situation(token, renewal, trouble)

    seen = slot.state(now), shown(slot.need(now)), slot.attention(now)

    assert seen == expected(token, renewal, trouble)


@pytest.mark.parametrize(("token", "renewal", "trouble"), SITUATIONS)
def test_what_is_asked_at_every_request_agrees_with_the_table(
    token: str, renewal: str, trouble: str
) -> None:
    slot, now = situation(token, renewal, trouble)

    assert slot.fresh(now) is (slot.held if token == "fresh" else None)
    good = token in {"fresh", "in its window"}
    assert slot.usable(now) is (slot.held if good else None)


@pytest.mark.parametrize("clock", ["wall", "steady"])
def test_a_token_is_over_on_whichever_clock_gets_there_first(clock: str) -> None:
    slot = holding()
    at_its_end = replace(NOW, **{clock: getattr(NOW, clock) + LIFE})
    assert slot.fresh(at_its_end) is None
    assert slot.need(at_its_end) == Fetch()


def test_waiting_tells_why_and_how_long() -> None:
    slot = empty()
    slot.failed(SourceUnavailable("the issuer is down", retry_after=30), NOW)
    assert slot.need(NOW.after(10)) == Wait("the issuer is down", 20)
    assert slot.need(NOW.after(30)) == Fetch()


def test_a_refusal_tells_why() -> None:
    slot = empty()
    assert slot.refused("sign in again") == Refused("sign in again")
    assert slot.need(NOW.after(1e6)) == Refused("sign in again")


# -- rejections ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "settings", "rejection"),
    [
        (9.9, {}, Rejection.KEEP),
        (10.0, {}, Rejection.RENEW),
        (0.0, {"min_interval": 0}, Rejection.RENEW),
        (LIFE - WINDOW - 1, {"min_interval": 90}, Rejection.KEEP),
        (LIFE - WINDOW, {"min_interval": 90}, Rejection.RENEW),
        (LIFE + 1, {"min_interval": 1000}, Rejection.RENEW),
    ],
)
def test_a_young_token_stays_but_one_in_its_window_goes_whatever_its_age(
    age: float, settings: dict[str, Any], rejection: Rejection
) -> None:
    slot, now = holding(**settings), NOW.after(age)
    before = slot.usable(now)

    assert slot.rejected(1, now) is rejection

    assert slot.usable(now) is (before if rejection is Rejection.KEEP else None)


def test_a_late_rejection_leaves_a_newer_token_alone() -> None:
    slot = holding()
    slot.take_up(record(2), NOW.after(20))
    late = NOW.after(40)
    newer = slot.held

    assert [slot.rejected(1, late) for _ in range(10)] == [Rejection.NEWER] * 10

    assert slot.fresh(late) is newer is not None


def test_all_who_were_rejected_together_are_told_to_renew() -> None:
    slot, now = holding(), NOW.after(20)
    assert [slot.rejected(1, now) for _ in range(3)] == [Rejection.RENEW] * 3


@pytest.mark.parametrize("generation", [1, 2])
def test_nothing_is_rejected_where_nothing_is_held(generation: int) -> None:
    assert empty().rejected(generation, NOW) is Rejection.KEEP


def test_a_token_that_was_never_given_out_is_not_rejected() -> None:
    slot = holding()
    assert slot.rejected(2, NOW.after(20)) is Rejection.KEEP
    assert slot.usable(NOW.after(20)) is slot.held


def test_what_cannot_be_renewed_is_neither_rejected_nor_due_before_its_end() -> None:
    slot = holding(renewable=False)
    almost = NOW.after(LIFE - 0.5)
    assert slot.rejected(1, almost) is Rejection.KEEP
    assert slot.state(almost) is State.FRESH
    assert slot.attention(almost) == 0.5
    assert slot.state(NOW.after(LIFE)) is State.EXPIRED


def test_min_interval_counts_from_when_the_token_was_issued_not_from_when_it_was_found() -> None:
    slot = empty()
    found = NOW.after(60)
    slot.take_up(record(), found)
    assert slot.rejected(1, found) is Rejection.RENEW


# -- records ---------------------------------------------------------------------------------


def test_an_older_record_and_the_same_one_are_not_taken_up() -> None:
    slot = empty()
    slot.take_up(record(5), NOW)
    held = slot.held

    assert not slot.take_up(record(4), NOW)
    assert not slot.take_up(record(5), NOW)

    assert slot.held is held


def test_a_record_that_was_edited_by_hand_is_taken_up_though_its_generation_is_the_same() -> None:
    slot = holding()
    assert slot.take_up(record(1, access="by-hand"), NOW)
    assert slot.held is not None
    assert slot.held.generation == 2


def test_a_tombstone_leaves_no_token() -> None:
    slot = holding()
    assert slot.take_up(Record(2), NOW)
    assert slot.fresh(NOW) is None
    assert slot.state(NOW) is State.EMPTY


def test_a_token_after_a_tombstone_is_a_newer_one() -> None:
    slot = holding()
    slot.take_up(Record(2), NOW)
    slot.take_up(record(3), NOW)
    assert slot.rejected(1, NOW.after(20)) is Rejection.NEWER


def test_a_record_that_only_lost_its_refresh_token_lets_a_rejection_stand() -> None:
    slot, now = holding(), NOW.after(20)
    slot.rejected(1, now)

    assert slot.take_up(replace(record(), generation=2, refresh=None), now)

    assert slot.usable(now) is None


def test_the_same_token_given_again_is_good_again_and_no_newer_one() -> None:
    slot, later = holding(), NOW.after(20)
    slot.rejected(1, later)

    slot.take_up(record(2, access="access-1", at=later), later)

    held = slot.usable(later)
    assert held is not None
    assert held.generation == 1
    assert slot.rejected(1, later.after(9)) is Rejection.KEEP
    assert slot.usable(NOW.after(LIFE)) is held, "its life was made longer"


def test_the_same_token_given_again_in_its_window_is_asked_for_less_and_less_but_not_at_once() -> (
    None
):
    slot, now, generation = holding(), NOW, 1
    pauses = []
    for _ in range(3):
        pauses.append(slot.attention(now))
        now = now.after(pauses[-1] or 0.0)
        generation += 1
        token = Token(Secret("access-1"), now.wall, NOW.wall + LIFE)
        slot.take_up(Record(generation, token=token), now)
    assert pauses == [75.0, 18.75, 4.6875]


def test_taking_up_a_record_does_not_by_itself_end_a_trouble() -> None:
    """Our own dead token must not be asked for again at once."""
    slot = empty()
    slot.failed(SourceUnavailable("down"), NOW)
    slot.take_up(Record(1), NOW)
    assert isinstance(slot.need(NOW), Wait)
    slot.recover()
    assert slot.need(NOW) == Fetch()


# -- outcomes --------------------------------------------------------------------------------


def test_a_renewal_that_went_well_ends_every_trouble() -> None:
    slot = empty()
    slot.failed(SourceUnavailable("down"), NOW)
    slot.begin()
    slot.renewed()
    assert slot.need(NOW) == Fetch()
    assert slot.failures == 0


def test_a_renewal_that_was_cancelled_leaves_things_as_they_were() -> None:
    slot, now = holding(), NOW.after(LIFE)
    slot.begin()
    assert slot.need(now) == Join()
    slot.abandon()
    assert slot.need(now) == Fetch()


def test_failures_cool_off_longer_and_longer() -> None:
    slot = empty()
    pauses = [slot.failed(SourceUnavailable("down"), NOW) for _ in range(8)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_third_doubt_in_a_row_is_a_refusal() -> None:
    slot = empty()
    doubt, down = SourceUnavailable("403", doubtful=True), SourceUnavailable("down")
    outcomes = [slot.failed(error, NOW) for error in (doubt, doubt, down, doubt, doubt, doubt)]
    assert outcomes == [1, 2, 4, 8, 16, Refused("403")]
    assert slot.state(NOW) is State.LOGIN_REQUIRED


def test_a_token_that_is_still_good_goes_on_being_used_after_a_refusal() -> None:
    slot = holding()
    slot.refused("no")
    ageing = NOW.after(LIFE - 1)
    held = slot.held
    assert isinstance(held, Held)
    assert slot.need(ageing) == Use(held, renew=False)
    assert slot.need(NOW.after(LIFE)) == Refused("no")
