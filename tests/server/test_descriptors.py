"""How many descriptors there may be, and what of them is for callers."""

import resource

import pytest

from tokenproxy.server.descriptors import for_admin, for_callers, limit, make_room

ANY = resource.RLIM_INFINITY


class Limits:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.now = (soft, hard)
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.now)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, kind: int, limits: tuple[int, int]) -> None:
        self.now = limits


@pytest.mark.parametrize(
    ("soft", "most"), [(64, 56), (1024, 896), (ANY, float("inf"))], ids=["few", "usual", "no limit"]
)
def test_an_eighth_is_not_for_callers(
    monkeypatch: pytest.MonkeyPatch, soft: int, most: float
) -> None:
    Limits(monkeypatch, soft, ANY)
    assert for_callers() == most


@pytest.mark.parametrize(("soft", "most"), [(64, 8), (1024, 128), (4096, 256), (ANY, 256)], ids=str)
def test_admin_has_an_eighth_at_most(monkeypatch: pytest.MonkeyPatch, soft: int, most: int) -> None:
    Limits(monkeypatch, soft, ANY)
    assert for_admin(256) == most


@pytest.mark.parametrize(
    ("before", "connections", "after"),
    [
        ((1024, 4096), 700, 1600),
        ((1024, 4096), 10_000, 4096),
        ((1024, ANY), 7000, 16_000),
        ((1024, 4096), 10, 1024),
        ((64, 64), 10_000, 64),
        ((ANY, ANY), 10_000, ANY),
    ],
    ids=["as needed", "as allowed", "no hard limit", "enough", "not allowed", "no limit"],
)
def test_the_limit_is_raised_for_as_many_connections_as_may_come(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], connections: int, after: int
) -> None:
    limits = Limits(monkeypatch, *before)
    make_room(connections)
    assert limits.now == (after, before[1])


def test_a_system_that_refuses_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: int, limits: tuple[int, int]) -> None:
        raise ValueError

    Limits(monkeypatch, 256, ANY)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    make_room(10_000)
    assert limit() == 256
