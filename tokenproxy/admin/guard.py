"""Who may ask the admin listener: the proxy's own rules of Host and Origin (contract 3.2, 4).

| what is asked for              | Host    | a page of another site                       |
|--------------------------------|---------|----------------------------------------------|
| `/healthz` `/readyz` `/metrics`| any     | refused                                      |
| `/` `/oauth/callback`          | ours    | may lead a person here (GET, navigate)       |
| all else                       | ours    | refused                                      |

Probes and scrapers ask by whatever address they know, so the Host tells nothing there. Under one
that is not ours no page may ask, not even one that says it is of that Host: it may be a name that
was made to lead here (DNS rebinding). Browsers leave out what tells them from a scraper where such
a page reads its own plain http address: what these three show can be read so, and no more. A target
in absolute form (RFC 9112 3.2.2) bears an authority that must be ours everywhere.
"""

from collections.abc import Sequence
from typing import Protocol

from tokenproxy.proxy.guard import FOREIGN_PAGE, Guard
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.hosts import Listener
from tokenproxy.proxy.request import Denied, Request
from tokenproxy.proxy.route import RouteTable
from tokenproxy.proxy.target import absolute

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


class Target:
    """What is asked for, `raw` as it was sent; `path` is what it names here."""

    __slots__ = ("is_absolute", "path", "raw")

    def __init__(self, sent: str) -> None:
        self.raw = sent.encode("utf-8", "surrogateescape")
        form = None if sent.startswith("/") else absolute(self.raw)
        self.is_absolute = form is not None
        whole = self.raw if form is None else form.target
        self.path = whole.partition(b"?")[0].decode("utf-8", "surrogateescape")


class AdminGuard:
    """The checks of one listener."""

    def __init__(self, listener: Listener, allowed_hosts: Sequence[str]) -> None:
        self._guard = Guard(RouteTable(()), listener, allowed_hosts)

    def refusal(self, asked: Asked, target: Target, *, version: str) -> Denied | None:
        """Why a request is not answered, or None."""
        method, headers = asked.method.encode(), asked.raw_headers
        request = Request(method, target.raw, headers, version, has_body=False)
        denied = self._guard.host_refusal(request)
        if target.path in ANY_HOST and not target.is_absolute:
            denied = FOREIGN_PAGE if denied is not None and _is_of_a_page(request) else None
        if denied is not None or _is_led_here(request, target.path):
            return denied
        return self._guard.page_refusal(request)


def _is_of_a_page(request: Request) -> bool:
    """Whether a browser says that a page asks, and not a person."""
    told = [(name.lower(), value) for name, value in request.headers]
    return any(
        name == b"origin" or (name == b"sec-fetch-site" and value != b"none")
        for name, value in told
    )


def _is_led_here(request: Request, path: str) -> bool:
    """Whether a person follows a link, or comes back from an issuer."""
    modes = [value for name, value in request.headers if name.lower() == b"sec-fetch-mode"]
    return path in LED_TO and request.method == b"GET" and modes == [b"navigate"]
