from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenproxy.testing.ledger import Grant, Ledger, Pair, Single, Terms, User, Verdict, span

NOON = 1_800_000_000.0


class Times:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def ledger(now: Times, **terms: Any) -> Ledger:
    usual: dict[str, Any] = {
        "access_life": 300,
        "refresh_life": 3600,
        "rotate": True,
        "reuse_kills_session": False,
        "sliding": False,
    }
    return Ledger(Terms(**{**usual, **terms}), now)


def pair(grant: Grant | Verdict) -> Pair:
    assert isinstance(grant, Pair)
    return grant


def single(grant: Grant | Verdict) -> Single:
    assert isinstance(grant, Single)
    return grant


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


@pytest.mark.parametrize(
    ("now", "life", "expected"),
    [
        (NOON, 300, (NOON, NOON + 300)),
        (NOON + 0.999, 300, (NOON, NOON + 300)),
        (NOON + 0.999, 300.0, (NOON, NOON + 300)),
        (NOON + 0.25, 1.5, (NOON + 0.25, NOON + 1.75)),
    ],
)
def test_times_are_whole_seconds_unless_the_life_has_a_fraction(
    now: float, life: float, expected: tuple[float, float]
) -> None:
    assert span(now, life) == expected
    assert all(isinstance(moment, int) for moment in span(now, life)) == (life == int(life))


@settings(deadline=None)  # a machine may be busy
@given(st.floats(0, 2e9), st.integers(0, 10**6))
def test_a_token_of_whole_seconds_never_outlives_its_life(now: float, life: int) -> None:
    iat, exp = span(now, life)
    assert exp - iat == life
    assert now + life - 1 < exp <= now + life


def test_a_token_is_dead_the_moment_its_exp_is_reached() -> None:
    now = Times(NOON + 0.75)
    book = ledger(now, access_life=5)
    access = book.login().access
    now.now = NOON + 4.999
    assert book.access_verdict(access) is Verdict.ACCEPTED
    now.now = NOON + 5
    assert book.access_verdict(access) is Verdict.EXPIRED


def test_each_kind_of_token_has_the_life_that_was_set_for_it() -> None:
    now = Times()
    book = ledger(now, access_life=5, refresh_life=60)
    tokens = pair(book.login())
    now.now = NOON + 59
    assert book.access_verdict(tokens.access) is Verdict.EXPIRED
    assert book.refresh_verdict(tokens.refresh) is Verdict.ACCEPTED
    now.now = NOON + 60
    assert book.renew(tokens.refresh) is Verdict.EXPIRED


def test_tokens_hold_the_claims_that_simplejwt_writes() -> None:
    tokens = pair(ledger(Times(NOON + 0.5)).login())
    assert jwt.get_unverified_header(tokens.access) == {"alg": "HS256", "typ": "JWT"}
    for token, kind, life in [(tokens.access, "access", 300), (tokens.refresh, "refresh", 3600)]:
        held = claims(token)
        assert list(held) == ["token_type", "exp", "iat", "jti", "user_id"]
        assert (held["token_type"], held["iat"], held["exp"]) == (kind, NOON, NOON + life)
        assert held["user_id"] == "1"
    assert claims(tokens.access)["jti"] != claims(tokens.refresh)["jti"]


def test_a_token_of_another_issuer_is_invalid() -> None:
    foreign = ledger(Times()).login().access
    assert ledger(Times()).access_verdict(foreign) is Verdict.INVALID


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "1|abc"])
def test_what_is_no_token_is_invalid(token: str) -> None:
    assert ledger(Times()).access_verdict(token) is Verdict.INVALID
    assert ledger(Times()).renew(token) is Verdict.INVALID


def test_a_token_serves_only_as_what_it_is() -> None:
    book = ledger(Times())
    tokens = pair(book.login())
    assert book.access_verdict(tokens.refresh) is Verdict.WRONG_TYPE
    assert book.renew(tokens.access) is Verdict.WRONG_TYPE
    assert book.reused == 0


def test_with_rotation_a_refresh_token_serves_once() -> None:
    book = ledger(Times())
    first = pair(book.login())
    second = pair(book.renew(first.refresh))
    assert second.refresh != first.refresh
    assert book.renew(first.refresh) is Verdict.BLACKLISTED
    assert book.reused == 1
    assert isinstance(book.renew(second.refresh), Pair)
    assert book.reused == 1


def test_without_rotation_a_refresh_token_serves_until_it_expires() -> None:
    book = ledger(Times(), rotate=False)
    first = pair(book.login())
    for _ in range(3):
        assert book.access_verdict(single(book.renew(first.refresh)).access) is Verdict.ACCEPTED
    assert book.reused == 0


def test_a_renewal_leaves_older_access_tokens_alone() -> None:
    book = ledger(Times())
    first = pair(book.login())
    book.renew(first.refresh)
    assert book.access_verdict(first.access) is Verdict.ACCEPTED


def test_a_reuse_alone_ends_no_session() -> None:
    book = ledger(Times())
    first = pair(book.login())
    second = pair(book.renew(first.refresh))
    book.renew(first.refresh)
    assert book.access_verdict(second.access) is Verdict.ACCEPTED
    assert isinstance(book.renew(second.refresh), Pair)


def test_a_reuse_that_kills_ends_the_whole_session_and_no_other() -> None:
    book = ledger(Times(), reuse_kills_session=True)
    other = pair(book.login())
    first = pair(book.login())
    second = pair(book.renew(first.refresh))
    assert book.renew(first.refresh) is Verdict.BLACKLISTED
    assert book.access_verdict(first.access) is Verdict.BLACKLISTED
    assert book.access_verdict(second.access) is Verdict.BLACKLISTED
    assert book.renew(second.refresh) is Verdict.BLACKLISTED
    assert book.reused == 1, "the second was never replaced"
    assert book.access_verdict(other.access) is Verdict.ACCEPTED
    assert isinstance(book.renew(other.refresh), Pair)
    assert isinstance(book.login(), Pair)


def test_a_replaced_token_that_has_expired_too_kills_nothing() -> None:
    now = Times()
    book = ledger(now, reuse_kills_session=True, refresh_life=10)
    first = pair(book.login())
    now.now += 5
    second = pair(book.renew(first.refresh))
    now.now += 5
    assert book.renew(first.refresh) is Verdict.EXPIRED
    assert isinstance(book.renew(second.refresh), Pair)


def test_access_tokens_can_be_ended_at_once_and_refreshed() -> None:
    book = ledger(Times())
    first = pair(book.login())
    book.expire_access()
    assert book.access_verdict(first.access) is Verdict.EXPIRED
    second = pair(book.renew(first.refresh))
    assert book.access_verdict(second.access) is Verdict.ACCEPTED


def test_after_a_revocation_only_a_login_helps() -> None:
    book = ledger(Times())
    first = pair(book.login())
    book.revoke()
    assert book.access_verdict(first.access) is Verdict.EXPIRED
    assert book.renew(first.refresh) is Verdict.BLACKLISTED
    assert book.reused == 0
    assert book.access_verdict(book.login().access) is Verdict.ACCEPTED


def test_a_sliding_token_is_renewed_while_it_lives_and_keeps_its_end() -> None:
    now = Times()
    book = ledger(now, sliding=True, access_life=10, refresh_life=25)
    first = single(book.login()).access
    held = claims(first)
    assert list(held) == ["token_type", "exp", "iat", "jti", "refresh_exp", "user_id"]
    assert (held["token_type"], held["exp"]) == ("sliding", NOON + 10)
    now.now += 9
    second = single(book.renew(first)).access
    assert claims(second) == {**held, "iat": NOON + 9, "exp": NOON + 19}
    assert book.access_verdict(first) is Verdict.ACCEPTED
    assert book.access_verdict(second) is Verdict.ACCEPTED


def test_a_sliding_token_past_its_exp_is_not_renewed() -> None:
    now = Times()
    book = ledger(now, sliding=True, access_life=10)
    token = book.login().access
    now.now += 10
    assert book.access_verdict(token) is Verdict.EXPIRED
    assert book.renew(token) is Verdict.EXPIRED


def test_a_sliding_token_is_not_renewed_past_its_refresh_exp() -> None:
    now = Times()
    book = ledger(now, sliding=True, access_life=10, refresh_life=5)
    token = book.login().access
    now.now += 5
    assert book.access_verdict(token) is Verdict.ACCEPTED
    assert book.renew(token) is Verdict.REFRESH_OVER


def test_a_sliding_token_that_was_ended_is_replaced_only_by_a_login() -> None:
    book = ledger(Times(), sliding=True)
    token = book.login().access
    book.expire_access()
    assert book.renew(token) is Verdict.EXPIRED
    assert book.access_verdict(book.login().access) is Verdict.ACCEPTED


@pytest.mark.parametrize("user", [User.INACTIVE, User.DELETED])
def test_the_tokens_of_an_account_that_was_closed_are_not_taken(user: User) -> None:
    book = ledger(Times())
    tokens = pair(book.login())
    book.user = user
    assert book.access_verdict(tokens.access) is user.value
    assert book.renew(tokens.refresh) is user.value
    book.user = User.ACTIVE
    assert isinstance(book.renew(tokens.refresh), Pair)


def test_opaque_tokens_tell_nothing_and_are_judged_as_others_are() -> None:
    now = Times()
    books = ledger(now, opaque=True)
    issued = pair(books.login())
    with pytest.raises(jwt.DecodeError):
        jwt.decode(issued.access, options={"verify_signature": False})
    assert books.access_verdict(issued.access) is Verdict.ACCEPTED
    now.now += 301
    assert books.access_verdict(issued.access) is Verdict.EXPIRED
    pair(books.renew(issued.refresh))
    assert books.refresh_verdict(issued.refresh) is Verdict.BLACKLISTED


def test_other_terms_hold_for_what_is_granted_from_then_on() -> None:
    now = Times()
    books = ledger(now)
    before = pair(books.login())
    books.change(access_life=10, rotate=False)
    after = single(books.renew(before.refresh))
    now.now += 20
    assert books.access_verdict(before.access) is Verdict.ACCEPTED
    assert books.access_verdict(after.access) is Verdict.EXPIRED
