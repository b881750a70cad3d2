from typing import Any

import pytest

from tokenproxy.config.document import dotted
from tokenproxy.config.references import mistakes

# -- workers without a store that they share -------------------------------------------------------


def not_shared(workers: object, store: str, kind: str = "simplejwt") -> list[str]:
    data = {"workers": workers, "store": {"type": store}, "credentials": {"c": {"type": kind}}}
    return [dotted(mistake.where) for mistake in mistakes(data)]


@pytest.mark.parametrize("workers", [2, "2", "auto"])
@pytest.mark.parametrize("kind", ["simplejwt", "json", "oauth2", "command"])
def test_workers_need_a_store_that_they_share(workers: object, kind: str) -> None:
    assert not_shared(workers, "memory", kind) == ["workers"]


@pytest.mark.parametrize(
    ("workers", "store", "kind"),
    [
        (1, "memory", "simplejwt"),
        (None, "memory", "simplejwt"),
        (4, "file", "simplejwt"),
        (4, "redis", "oauth2"),
        ("auto", "memory", "static"),
        (4, "memory", "file"),
    ],
)
def test_workers_that_share_their_tokens_or_keep_none_are_fine(
    workers: object, store: str, kind: str
) -> None:
    assert not_shared(workers, store, kind) == []


@pytest.mark.parametrize(
    "data",
    [
        {"workers": [2], "store": {"type": "memory"}, "credentials": {"c": {"type": "oauth2"}}},
        {"workers": 2, "store": "memory", "credentials": {"c": {"type": "oauth2"}}},
        {"workers": 2, "store": {"type": "memory"}, "credentials": {"c": ["oauth2"]}},
        {"workers": 2, "store": {"type": "memory"}, "credentials": {"c": {"type": ["oauth2"]}}},
        {"workers": 2, "store": {"type": "memory"}, "credentials": []},
    ],
)
def test_what_has_another_shape_is_left_to_those_who_look_at_shapes(data: dict[str, Any]) -> None:
    assert mistakes(data) == []
