"""What browsers are told of a route that pages of other sites may use (WHATWG Fetch 3.2).

The proxy alone says it: a preflight ends here, and an upstream's own `Access-Control-*` are taken
out of every answer of such a route, since the upstream knows nothing of who may call the proxy.
The answers name the one origin that has asked, so all of them bear `Vary: Origin`.
"""

from collections.abc import Callable, Iterable, Sequence

from tokenproxy.proxy.headers import TOKEN_CHARS, Header
from tokenproxy.settings import access
from tokenproxy.settings.access import DEFAULT_PORTS, EVERYBODY

MAX_AGE = b"600"  # seconds that a preflight holds: Safari's longest, and soon over after a change
PREFIX = b"access-control-"
VARY = (b"Vary", b"Origin")

_ASKED_METHOD = b"access-control-request-method"
_ASKED_FIELDS = b"access-control-request-headers"
_ASKED_PRIVATE = b"access-control-request-private-network"
_PREFLIGHT_VARY = (
    b"Vary",
    b"Origin, " + b", ".join((_ASKED_METHOD, _ASKED_FIELDS, _ASKED_PRIVATE)),
)
_NULL = b"null"
_TRUE = b"true"
# Fetch 2.2.2: what a page sees without leave, and what it never sees; and what is for caches.
_NOT_EXPOSED = frozenset(
    {
        b"cache-control",
        b"content-language",
        b"content-length",
        b"content-type",
        b"expires",
        b"last-modified",
        b"pragma",
        b"set-cookie",
        b"set-cookie2",
        b"vary",
    }
)


class Cors:
    """A route's `cors`, compiled."""

    __slots__ = ("_credentials", "_everybody", "_origins")

    def __init__(self, settings: access.Cors) -> None:
        self._everybody = EVERYBODY in settings.origins
        self._origins = frozenset(
            spelt.encode() for origin in settings.origins for spelt in _spellings(origin)
        )
        self._credentials = settings.credentials

    def shared_with(self, origin: bytes) -> tuple[Header, ...] | None:
        """What answers say to a page of that origin; None where it may not ask.

        The origin that stands for no page in particular is never let in.
        """
        if origin not in self._origins and not (self._everybody and _is_page(origin)):
            return None
        allowed = (b"Access-Control-Allow-Origin", origin)
        if not self._credentials:
            return (allowed,)
        return (allowed, (b"Access-Control-Allow-Credentials", b"true"))


def is_preflight(method: bytes, headers: Sequence[Header]) -> bool:
    """Whether a browser asks if a page may send a request (it also sends the page's origin)."""
    return method == b"OPTIONS" and bool(_values(headers, _ASKED_METHOD))


def preflight_fields(
    shared: Sequence[Header],
    headers: Sequence[Header],
    *,
    methods: Sequence[bytes],
    may_have: Callable[[bytes], bool],
) -> list[Header]:
    """The answer to a preflight with these `headers` from a page that may ask.

    `methods` are those that the route lists, and `may_have` tells of any other. What is no token
    is not said again.
    """
    asked = [name for name in _values(headers, _ASKED_METHOD) if _is_token(name) and may_have(name)]
    listed = dict.fromkeys([*methods, *asked])
    fields = [*shared, (b"Access-Control-Allow-Methods", b", ".join(listed))]
    names = [
        name.strip(b" \t")
        for value in _values(headers, _ASKED_FIELDS)
        for name in value.split(b",")
    ]
    if names and all(map(_is_token, names)):
        fields.append((b"Access-Control-Allow-Headers", b", ".join(names)))
    if _TRUE in _values(headers, _ASKED_PRIVATE):
        # Whoever lists a page's origin means it to reach the proxy where it listens.
        fields.append((b"Access-Control-Allow-Private-Network", _TRUE))
    return [*fields, (b"Access-Control-Max-Age", MAX_AGE), _PREFLIGHT_VARY]


def share(fields: list[Header], shared: Sequence[Header]) -> None:
    """Let the page have an answer with these fields, all of which it may read."""
    names = dict.fromkeys(name.lower() for name, _ in fields)
    exposed = [name for name in names if name not in _NOT_EXPOSED]
    fields += (*shared, VARY)
    if exposed:
        fields.append((b"Access-Control-Expose-Headers", b", ".join(exposed)))


def _spellings(origin: str) -> Iterable[str]:
    """With and without the scheme's own port."""
    scheme, _, host = origin.partition("://")
    has_port = host.rpartition(":")[2].isdigit()
    if scheme in DEFAULT_PORTS and not has_port:
        return (origin, f"{origin}:{DEFAULT_PORTS[scheme]}")
    return (origin,)


def _is_page(origin: bytes) -> bool:
    return origin != _NULL and b"://" in origin and not origin.translate(None, _ORIGIN_CHARS)


_ORIGIN_CHARS = TOKEN_CHARS + b":/[]"


def _is_token(name: bytes) -> bool:
    return bool(name) and not name.translate(None, TOKEN_CHARS)


def _values(headers: Sequence[Header], name: bytes) -> list[bytes]:
    return [field[1] for field in headers if field[0].lower() == name]
