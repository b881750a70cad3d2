import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.config.model import Config
from tokenproxy.server import share as shares
from tokenproxy.server.share import apportioned, share


@given(st.integers(1, 64), st.integers(0, 100_000))
def test_the_parts_are_the_whole_and_nearly_equal(workers: int, more: int) -> None:
    total = workers + more
    parts = [share(total, workers, index) for index in range(workers)]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


def test_no_part_is_nothing() -> None:
    assert [share(2, 4, index) for index in range(4)] == [1, 1, 1, 1]


def test_one_alone_has_all() -> None:
    assert share(10_000, 1, 0) == 10_000


def test_a_worker_is_told_its_part_and_the_rest_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "OVER_ALL", ("workers", "unheard_of"))
    config = Config.model_validate({"workers": 7, "routes": [{"upstream": "https://a.example"}]})

    parts = [apportioned(config, 3, index) for index in range(3)]

    assert [part.workers for part in parts] == [3, 2, 2]
    assert {part.admin for part in parts} == {None}  # the supervisor's alone
    rest = {"workers": config.workers, "admin": config.admin}
    assert {part.model_copy(update=rest) == config for part in parts} == {True}
