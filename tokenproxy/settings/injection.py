"""Where the token goes in a request: `inject` (contract 1)."""

from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Tag

from tokenproxy.settings.base import HeaderName, NonEmpty, Settings, Shaped

# What frames and routes a message is the proxy's own: a token there would break the request.
_FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    }
)


def _carries_a_value(header: str) -> str:
    if header.lower().replace("_", "-") in _FRAMING:
        raise ValueError("is a header that the proxy sets itself: name another one for the token")
    return header


class HeaderInjection(Settings):
    """`{token}` in `value` stands for the token."""

    header: Annotated[HeaderName, AfterValidator(_carries_a_value)] = "Authorization"
    value: Annotated[
        str,
        Shaped(
            r"[\x20-\x7e]*\{token\}[\x20-\x7e]*",
            "must be plain ASCII that holds '{token}', as in \"Bearer {token}\"",
        ),
    ] = "Bearer {token}"


class QueryInjection(Settings):
    """The name of a query parameter."""

    query: NonEmpty


class CookieInjection(Settings):
    """The name of a cookie."""

    cookie: HeaderName


class Basic(Settings):
    """HTTP Basic (RFC 7617) with the token as the password."""

    username: Annotated[
        str, Shaped(r"[^:\x00-\x1f\x7f]*", "must not hold a ':' or control characters")
    ]


class BasicInjection(Settings):
    """An Authorization header of the scheme Basic."""

    basic: Basic


def _kind(value: Any) -> str:
    """The key that a mapping has tells its kind: `header` where it has none of the others."""
    for kind in ("query", "cookie", "basic"):
        if kind in value if isinstance(value, dict) else hasattr(value, kind):
            return kind
    return "header"


Injection = Annotated[
    Annotated[QueryInjection, Tag("query")]
    | Annotated[CookieInjection, Tag("cookie")]
    | Annotated[BasicInjection, Tag("basic")]
    | Annotated[HeaderInjection, Tag("header")],
    Discriminator(_kind),
]
