"""Who may ask the admin listener: the proxy's own rules of Host and Origin (contract 3.2, 4).

| what is asked for              | Host    | a page of another site                       |
|--------------------------------|---------|----------------------------------------------|
| `/healthz` `/readyz` `/metrics`| any     | refused                                      |
| `/` `/oauth/callback`          | ours    | may lead a person here (GET, navigate)       |
| all else                       | ours    | refused                                      |

Probes and scrapers ask by whatever address they know, so the Host tells nothing there. A page
that could make a person's browser read them would need our Host all the same: browsers send
`Origin` or Fetch Metadata, and those are looked at.
"""

from collections.abc import Sequence
from typing import Protocol

from tokenproxy.proxy.guard import Guard
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.hosts import Listener
from tokenproxy.proxy.request import Denied, Request
from tokenproxy.proxy.route import RouteTable

ANY_HOST = frozenset({"/healthz", "/readyz", "/metrics"})
LED_TO = frozenset({"/", "/oauth/callback"})


class Asked(Protocol):
    """A request, as aiohttp tells it."""

    @property
    def method(self) -> str:
        """In capitals."""

    @property
    def raw_headers(self) -> Sequence[Header]:
        """As they came."""


class AdminGuard:
    """The checks of one listener."""

    def __init__(self, listener: Listener, allowed_hosts: Sequence[str]) -> None:
        self._guard = Guard(RouteTable(()), listener, allowed_hosts)

    def refusal(self, asked: Asked, path: str, *, version: str) -> Denied | None:
        """Why a request is not answered, or None."""
        request = Request(
            asked.method.encode(),
            path.encode("utf-8", "surrogateescape"),
            asked.raw_headers,
            version,
            has_body=False,
        )
        denied = None if path in ANY_HOST else self._guard.host_refusal(request)
        if denied is not None or _is_led_here(request, path):
            return denied
        return self._guard.page_refusal(request)


def _is_led_here(request: Request, path: str) -> bool:
    """Whether a person follows a link, or comes back from an issuer."""
    modes = [value for name, value in request.headers if name.lower() == b"sec-fetch-mode"]
    return path in LED_TO and request.method == b"GET" and modes == [b"navigate"]
