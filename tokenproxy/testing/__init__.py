"""Doubles of issuers and an API, for tests and the demo; real servers, and a movable clock.

    with running(Issuer(access_life=5)) as issuer, running(Api(issuer)) as api:
        ...  # issuer.url, api.url; issuer.fail_next(1, faults.TOO_MANY); api.requests[-1]

In a coroutine the same is `async with Issuer() as issuer:`. An `Issuer` is one of simplejwt's
kind, an `OAuth2Issuer` has the endpoints, clients and grants of OAuth 2. `faults` holds the ways
in which they can fail. Nothing here imports aiohttp before one of the names is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenproxy.testing import faults
    from tokenproxy.testing.api import Api, Received
    from tokenproxy.testing.clock import ManualClock
    from tokenproxy.testing.doubles import Doubles
    from tokenproxy.testing.issuer import Endpoint, Issuer
    from tokenproxy.testing.issuing import Call
    from tokenproxy.testing.ledger import User, Verdict
    from tokenproxy.testing.movable import MovableClock
    from tokenproxy.testing.oauth2 import OAuth2Call, OAuth2Endpoint, OAuth2Issuer
    from tokenproxy.testing.oauth2_desk import Person
    from tokenproxy.testing.places import (
        ErrorInBody,
        Forbidden,
        InBasic,
        InCookie,
        InHeader,
        InQuery,
        Unauthorized,
    )
    from tokenproxy.testing.proxy import Credentials, Proxy
    from tokenproxy.testing.serving import running

__all__ = [
    "Api",
    "Call",
    "Credentials",
    "Doubles",
    "Endpoint",
    "ErrorInBody",
    "Forbidden",
    "InBasic",
    "InCookie",
    "InHeader",
    "InQuery",
    "Issuer",
    "ManualClock",
    "MovableClock",
    "OAuth2Call",
    "OAuth2Endpoint",
    "OAuth2Issuer",
    "Person",
    "Proxy",
    "Received",
    "Unauthorized",
    "User",
    "Verdict",
    "faults",
    "running",
]

_HOMES = {
    "Api": "api",
    "Call": "issuing",
    "Credentials": "proxy",
    "Doubles": "doubles",
    "Endpoint": "issuer",
    "ErrorInBody": "places",
    "Forbidden": "places",
    "InBasic": "places",
    "InCookie": "places",
    "InHeader": "places",
    "InQuery": "places",
    "Issuer": "issuer",
    "ManualClock": "clock",
    "MovableClock": "movable",
    "OAuth2Call": "oauth2",
    "OAuth2Endpoint": "oauth2",
    "OAuth2Issuer": "oauth2",
    "Person": "oauth2_desk",
    "Proxy": "proxy",
    "Received": "api",
    "Unauthorized": "places",
    "User": "ledger",
    "Verdict": "ledger",
    "running": "serving",
}


def __getattr__(name: str) -> Any:
    if name == "faults":
        return importlib.import_module(f"{__name__}.faults")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
