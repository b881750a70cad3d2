"""Fields that a route sets or removes: `headers` and `response_headers` (contract 1).

A name stands for every spelling of it, and for those that servers take for the same, which do
not tell `_` from `-`.
"""

from collections.abc import Iterable
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from tokenproxy.settings.base import HeaderName, HeaderText, Settings, refuse

# RFC 9110 7.6.1, with HTTP2-Settings (RFC 7540 3.2.1) and Trailer (6.6.2: trailers stop here).
# Proxy-Authorization is for the proxy that asked for it (11.7.2), Proxy-Authenticate and
# Proxy-Authentication-Info are for the client that chose that proxy (11.7.1, 11.7.3): each
# has a meaning in one direction, and none has one beyond this hop.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def merged(name: str) -> str:
    """The name as servers see it that do not tell `_` from `-`; in lower case."""
    return name.lower().replace("_", "-")


class HeaderChanges(Settings):
    """`set` replaces every field of a name, `remove` takes all of them out."""

    set: dict[HeaderName, HeaderText] = Field(default_factory=dict)
    remove: tuple[HeaderName, ...] = ()

    own: ClassVar[frozenset[str]] = HOP_BY_HOP | {"content-length"}

    @property
    def names(self) -> dict[str, str]:
        """All that are changed: each as servers see it, and as it is written."""
        return {merged(name): name for name in (*self.set, *self.remove)}

    @field_validator("set", "remove")
    @classmethod
    def _leaves_framing_alone(cls, value: Iterable[str]) -> Iterable[str]:
        refuse(
            [
                f"names '{name}', which the proxy takes care of itself: leave it out"
                for name in value
                if merged(name) in cls.own
            ]
        )
        return value

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        seen: dict[str, str] = {}
        wrong = []
        for name in (*self.set, *self.remove):
            if merged(name) in seen:
                wrong.append(f"names '{name}' twice: a header is either set, once, or removed")
            seen[merged(name)] = name
        refuse(wrong)
        return self


class RequestHeaders(HeaderChanges):
    """On the request to the upstream. `Expect` is about its body, which the proxy sends."""

    own: ClassVar[frozenset[str]] = HeaderChanges.own | {"expect", "host"}


class ResponseHeaders(HeaderChanges):
    """On the answer to the caller."""
