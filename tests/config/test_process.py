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
    ("written", "workers"), [(1, 1), (16, 16), ("4", 4), ("auto", "auto"), (None, 1)]
)
def test_workers_are_a_number_or_one_per_core(written: object, workers: object) -> None:
    settings = {} if written is None else {"workers": written}
    assert Process.model_validate(settings).workers == workers


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "", "0", "two", "AUTO", "1" * 5000, [2]])
def test_no_other_number_of_workers_is_taken(workers: object) -> None:
    with pytest.raises(ValidationError, match="must be a whole number of at least 1, or 'auto'"):
        Process.model_validate({"workers": workers})


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
