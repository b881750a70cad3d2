"""A thousand replicas on one rotating token, over a real Redis."""

import pytest

from bench.replicas import simulate


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("replicas", "seconds"),
    [
        pytest.param(40, 5.0, id="short"),
        pytest.param(1000, 30.0, id="a thousand", marks=pytest.mark.soak),
    ],
)
def test_replicas_cost_one_token_call_for_each_life(replicas: int, seconds: float) -> None:
    life = 6.0 if replicas == 1000 else 4.0
    result = simulate(replicas=replicas, seconds=seconds, access_life=life, processes=2)

    assert result.failures == 0
    assert result.refused == 0
    # A token of whole seconds may live one less, and is renewed in the last quarter of that.
    assert 1 <= result.token_calls <= result.seconds / ((life - 1) * 0.75) + 1


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_replicas_that_are_idle_leave_redis_alone() -> None:
    result = simulate(replicas=200, seconds=60.0, access_life=3600.0)

    assert (result.token_calls, result.failures) == (0, 0)
    assert result.per_hour < 150  # a keep-alive of each connection in half a minute, at most
