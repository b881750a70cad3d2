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
