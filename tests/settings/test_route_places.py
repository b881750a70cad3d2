from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tokenproxy.settings.route import Replay, Route


def route(**keys: Any) -> Route:
    return Route.model_validate({"upstream": "https://shop.example", **keys})


@pytest.mark.parametrize(
    ("inject", "said"),
    [
        ([{"query": "t"}, {"query": "t"}], "names the same query parameter twice"),
        ([{"cookie": "t"}, {"cookie": "t"}], "names the same cookie twice"),
        ([{"cookie": "t"}, {"header": "Cookie"}], "fills the Cookie header twice"),
        ([{"header": "cookie"}, {"cookie": "t"}], "fills the Cookie header twice"),
        ([{"header": "X-Key"}, {"header": "x_key"}], "names the same header twice"),
        ([{"basic": {"username": "u"}}, {}], "names the same header twice"),
    ],
)
def test_each_place_holds_one_token(inject: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        route(inject=inject)


def test_a_token_may_go_to_several_places() -> None:
    places = [{"query": "t"}, {"query": "T"}, {"cookie": "t"}, {"cookie": "T"}, {"header": "X-T"}]

    assert len(route(inject=[*places, {"basic": {"username": "u"}}]).inject) == 6


def test_an_upstream_holds_no_query() -> None:
    with pytest.raises(ValidationError, match="must not hold a query"):
        route(upstream="https://shop.example/?a=b")


def test_bodies_are_spooled_into_a_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert Replay.model_validate({"dir": tmp_path}).dir == tmp_path
    for wrong in (tmp_path / "none", tmp_path / "file", Path("nul\0")):
        with pytest.raises(ValidationError, match="is no folder that can be written"):
            Replay.model_validate({"dir": wrong})
