from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokens.acting import NoJitter
from tokenproxy.tokens.backoff import cooldown, retry_pause

EVEN = NoJitter()
retry_afters = st.none() | st.floats(0, 1e9)


@pytest.mark.parametrize(("tries", "seconds"), [(1, 0.5), (2, 1), (3, 2), (4, 4), (20, 262144)])
def test_tries_of_one_renewal_are_twice_as_far_apart_each_time(tries: int, seconds: float) -> None:
    assert retry_pause(tries, None, EVEN) == seconds


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1), (2, 2), (6, 32), (7, 60), (8, 60), (10**9, 60)]
)
def test_renewals_that_fail_are_at_most_a_minute_apart(failures: int, seconds: float) -> None:
    assert cooldown(failures, None, EVEN) == seconds


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [(None, 1), (0, 1), (0.5, 1), (30, 30), (300, 300), (301, 300), (86400, 300)],
)
def test_an_issuer_that_names_a_time_is_not_asked_before_it_but_after_five_minutes(
    retry_after: float | None, seconds: float
) -> None:
    assert cooldown(1, retry_after, EVEN) == seconds
    assert retry_pause(2, retry_after, EVEN) == seconds


@given(st.integers(1, 40), retry_afters, st.integers())
def test_chance_only_ever_adds_and_a_fifth_at_most(
    count: int, retry_after: float | None, seed: int
) -> None:
    for pause in (cooldown, retry_pause):
        least = pause(count, retry_after, EVEN)
        assert least <= pause(count, retry_after, Random(seed)) <= least * 1.2


def test_replicas_fall_out_of_step() -> None:
    random = Random(1)
    assert len({cooldown(7, None, random) for _ in range(50)}) == 50
