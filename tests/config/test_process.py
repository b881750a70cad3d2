import pytest
from pydantic import ValidationError

from tokenproxy.config.process import Process


@pytest.mark.parametrize("port", ["65536", "99999", "100000", "1" * 5000])
def test_a_port_that_no_machine_has_is_told_as_such(port: str) -> None:
    with pytest.raises(ValidationError, match=r"has a port out of range: 0 \(picks a free one\)"):
        Process.model_validate({"listen": f"127.0.0.1:{port}"})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:\u0661"])
def test_what_is_no_address_is_told_with_what_one_looks_like(address: str) -> None:
    with pytest.raises(ValidationError, match="must be 'host:port'"):
        Process.model_validate({"listen": address})


def test_the_last_port_is_one() -> None:
    assert Process.model_validate({"listen": "127.0.0.1:65535"}).listen == ("127.0.0.1:65535",)


@pytest.mark.parametrize(
    ("told", "means"), [(1, 1), (4, 4), ("4", 4), ("auto", "auto"), (256, 256)]
)
def test_workers_are_a_number_or_auto(told: object, means: object) -> None:
    assert Process.model_validate({"workers": told}).workers == means


@pytest.mark.parametrize("told", [0, -1, 257, 1.5, True, None, "many", "1 ", "\u0664", "1" * 5000])
def test_what_is_no_number_of_workers_is_told_with_what_one_is(told: object) -> None:
    with pytest.raises(ValidationError, match="must be a whole number from 1 to 256, or auto"):
        Process.model_validate({"workers": told})


def test_callers_have_limits() -> None:
    usual = Process()
    assert usual.max_connections == 10_000
    assert usual.timeouts.model_dump() == {
        "request_head": 30.0,
        "keep_alive": 75.0,
        "request_body_idle": 60.0,
    }


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_connections": 0}, "greater than or equal to 1"),
        ({"max_connections": True}, "must be a number"),
        ({"timeouts": {"keep_alive": 0}}, "greater than 0"),
        ({"timeouts": {"request_head": "soon"}}, "must be a duration"),
        ({"timeouts": {"idle": "5s"}}, "Extra inputs"),
    ],
)
def test_limits_on_callers_are_checked(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Process.model_validate(settings)
