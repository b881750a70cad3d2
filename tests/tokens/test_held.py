from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.clock import FOREVER, Moment
from tokenproxy.secret import Secret
from tokenproxy.settings.refresh import Refresh
from tokenproxy.tokens.held import hold, life, window
from tokenproxy.tokens.token import Token

NOW = Moment(1_800_000_000.0, 1000.0)


def token(*, age: float = 0.0, life: float | None = 100.0) -> Token:
    issued_at = NOW.wall - age
    return Token(Secret("access"), issued_at, None if life is None else issued_at + life)


def settings(**changes: float) -> Refresh:
    return Refresh.model_validate({"jitter": 0} | changes)


@pytest.mark.parametrize(
    ("lives", "before_expiry", "seconds"),
    [
        (3600, 60, 60),
        (240, 60, 60),
        (100, 60, 25),  # a quarter of its life
        (2, 60, 0.5),
        (3600, 0, 0),
        (-5, 60, 0),  # over before it began
        (None, 60, 60),
    ],
)
def test_the_window_is_what_the_config_says_but_never_more_than_a_quarter(
    lives: float | None, before_expiry: float, seconds: float
) -> None:
    told = settings(before_expiry=before_expiry)
    assert window(token(life=lives), told, Random(1)) == seconds


@given(st.floats(0, 1e8), st.floats(0, 1e6), st.floats(0, 1), st.integers(0, 1000))
def test_jitter_makes_a_window_smaller_by_its_share_at_most_and_never_larger(
    lives: float, before_expiry: float, jitter: float, seed: int
) -> None:
    told = settings(before_expiry=before_expiry, jitter=jitter)
    given_token = token(life=lives)
    longest = min(before_expiry, life(given_token) / 4)
    seconds = window(given_token, told, Random(seed))
    assert longest * (1 - jitter) <= seconds <= longest


def test_jitter_spreads_windows() -> None:
    random = Random(1)
    told = settings(jitter=0.5)
    windows = {window(token(life=3600), told, random) for _ in range(50)}
    assert len(windows) == 50
    assert max(windows) - min(windows) > 20


@pytest.mark.parametrize(
    ("age", "obtained", "left"),
    [
        (0, 0, 100),
        (30, -30, 70),  # found in the store
        (-20, 0, 100),  # issued in the future: our clock was set back since
        (150, -150, -50),  # found dead
    ],
)
def test_a_token_is_as_old_as_its_record_says_and_lives_no_longer_than_it_was_given(
    age: float, obtained: float, left: float
) -> None:
    held = hold(token(age=age), 1, NOW, window=10)
    assert held.obtained == NOW.after(obtained)
    assert held.expires.steady == NOW.steady + left
    assert held.renew_from == held.expires.after(-10)
    assert held.is_over(NOW) is (left <= 0)


@pytest.mark.parametrize(("seconds", "due", "over"), [(89, 0, 0), (90, 1, 0), (100, 1, 1)])
def test_a_token_is_due_in_its_window_and_over_at_its_end(
    seconds: float, due: bool, over: bool
) -> None:
    held = hold(token(), 1, NOW, window=10)
    later = NOW.after(seconds)
    assert (held.is_due(later), held.is_over(later)) == (bool(due), bool(over))


def test_a_life_that_nobody_knows_never_ends() -> None:
    held = hold(token(life=None), 1, NOW, window=10)
    assert held.expires == held.renew_from == FOREVER
    assert not held.is_due(NOW.after(1e12))
