from typing import Any

import pytest
import requests

from tokenproxy import load_config
from tokenproxy.config.load import load_config as load_with
from tokenproxy.config.model import Config
from tokenproxy.errors import SourceUnavailable
from tokenproxy.settings.stores import FileStore
from tokenproxy.testing import Doubles, MovableClock, Proxy, faults, running
from tokenproxy.testing.proxy import for_tests
from tokenproxy.testing.usual import SHOP


def config(**more: Any) -> Config:
    return load_config({"routes": [{"upstream": "http://127.0.0.1:9"}], **more})


def test_a_test_takes_a_free_port_no_admin_and_no_place_on_the_disk() -> None:
    quiet = for_tests(config())
    assert (quiet.listen, quiet.admin, quiet.store.type) == (("127.0.0.1:0",), None, "memory")


def test_what_a_config_names_is_left_as_it_is() -> None:
    named = for_tests(
        config(listen="127.0.0.1:8099", admin="127.0.0.1:8098", store={"type": "file"})
    )
    assert (named.listen, named.admin) == (("127.0.0.1:8099",), "127.0.0.1:8098")
    assert isinstance(named.store, FileStore)


def test_one_that_has_ended_is_there_no_more() -> None:
    with running(Proxy(config())) as proxy:
        assert requests.get(proxy.url, timeout=5).status_code == 502
    assert [each.code for each in proxy.requests] == ["upstream_unreachable"]
    with pytest.raises(requests.ConnectionError):
        requests.get(proxy.url, timeout=5)


def test_one_that_was_never_started_says_how() -> None:
    with pytest.raises(RuntimeError, match="this Proxy does not serve yet: enter it with"):
        _ = Proxy(config()).url


async def test_in_its_own_loop_it_tells_what_there_is_and_cannot_be_waited_for() -> None:
    async with Proxy(config()) as proxy:
        assert (proxy.requests, repr(proxy)) == ((), f"Proxy(['{proxy.url}'])")
        with Doubles(MovableClock()) as doubles:
            found = doubles.environment({})
            async with Proxy(_shop(found)) as shop:
                with pytest.raises(RuntimeError, match="start it by running"):
                    shop.credentials.refresh("shop")


def test_a_renewal_that_fails_tells_its_reason() -> None:
    with Doubles(MovableClock()) as doubles:
        doubles.issuer.fail_next(9, faults.UNAVAILABLE)
        environment = doubles.environment({})
        with running(Proxy(_shop(environment, retries=0), clock=doubles.clock)) as proxy:
            with pytest.raises(SourceUnavailable, match="503"):
                proxy.credentials.refresh("shop")
            assert proxy.credentials.status("shop").state.value == "unavailable"


def _shop(environment: Any, **refresh: Any) -> Config:
    shop = SHOP["credentials"]["shop"]
    wanted = {**shop, "refresh": {**shop["refresh"], **refresh}}
    return load_with({**SHOP, "credentials": {"shop": wanted}}, environment=environment).config


@pytest.mark.parametrize("path", ["/bytes?n=2000000", "/items/"])
def test_a_request_whose_head_has_been_seen_is_waited_for(path: str) -> None:
    with Doubles(MovableClock()) as doubles:
        config = _shop(doubles.environment({}))
        with (
            running(Proxy(config, clock=doubles.clock)) as proxy,
            requests.get(proxy.url + path, stream=True, timeout=5),
        ):
            pass
        assert [each.status for each in proxy.requests] == [200]


def test_a_stream_that_goes_on_is_not_waited_for() -> None:
    with Doubles(MovableClock()) as doubles:
        config = _shop(doubles.environment({}))
        with running(Proxy(config, clock=doubles.clock)) as proxy:
            stream = proxy.url + "/stream?n=2&interval=3600"
            with requests.get(stream, stream=True, timeout=5) as answer:
                assert (answer.status_code, proxy.requests) == (200, ())
