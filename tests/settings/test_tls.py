from pathlib import Path
from typing import Any

import pytest

from tests.settings.written import SIMPLEJWT, read_route, told_of_credential, told_of_route
from tokenproxy.settings.tls import Tls

NO_CERT = "has a 'key' but no 'cert': give both, or a 'cert' that holds its key"


def test_a_server_is_verified_unless_the_config_says_otherwise() -> None:
    assert read_route().tls == Tls(ca=None, cert=None, key=None, verify=True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ca": "/ca.pem"},
        {"cert": "/cert.pem"},
        {"cert": "/cert.pem", "key": "/key.pem"},
        {"verify": False},
        {"ca": "/ca.pem", "verify": False},
    ],
)
def test_what_may_be_said_of_tls(settings: dict[str, Any]) -> None:
    read = read_route(tls=settings).tls.model_dump(exclude_defaults=True)

    assert read == {
        key: Path(value) if isinstance(value, str) else value for key, value in settings.items()
    }


def test_a_key_needs_its_certificate() -> None:
    assert told_of_route(tls={"key": "/key.pem"}) == [f"tls: {NO_CERT}"]
    assert told_of_credential({**SIMPLEJWT, "tls": {"key": "/k"}}) == [f"tls: {NO_CERT}"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"ca": 7}, "tls.ca: must be text: put it in quotes"),
        ({"ca": ["/ca.pem"]}, "tls.ca: must be text, not a list"),
        ({"verify": "sometimes"}, "tls.verify: must be true or false"),
        ({"verify": None}, "tls.verify: is empty: must be true or false"),
        ({"certt": "/c"}, "tls.certt: is not a known key (did you mean 'cert'?)"),
        ({"key": "~no-such-user/k"}, "tls.key: has a '~' for which no home folder is known"),
    ],
)
def test_what_is_wrong_with_a_tls_block_is_told_as_that(
    settings: dict[str, Any], problem: str
) -> None:
    assert told_of_route(tls=settings) == [problem]


@pytest.mark.parametrize("kind", ["static", "file", "command"])
def test_a_credential_that_talks_to_no_server_has_none(kind: str) -> None:
    problems = told_of_credential({"type": kind, "tls": {}})

    assert any(problem.startswith("tls: belongs to the types simplejwt") for problem in problems)
