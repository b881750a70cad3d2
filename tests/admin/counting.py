"""Events as the request path tells them, for tests of what is made of them."""

from typing import Any

from tokenproxy.events import RequestServed


def served(**told: Any) -> RequestServed:
    usual: dict[str, Any] = {
        "route": "shop",
        "method": "GET",
        "path": "/",
        "status": 200,
        "seconds": 0.02,
        "bytes_in": 0,
        "bytes_out": 2,
        "replayed": False,
        "code": None,
    }
    return RequestServed(**{**usual, **told})
