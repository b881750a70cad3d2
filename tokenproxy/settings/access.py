"""Who may call a route, and for what: `cors`, `allow` and `deny` (contract 1, 3.2)."""

import re
from itertools import zip_longest
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, model_validator

from tokenproxy.settings.base import Settings, Shaped

EVERYBODY = "*"
DEFAULT_PORTS = {"http": 80, "https": 443}

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
# What a normal form and its raw form can both be: where one holds anything else, they differ.
_PLAIN_GLOB = re.compile(r"[!$-$&->@-\[\]-~?]+")
_DOUBLE = "**"


def _origin(text: str) -> str:
    """As browsers write it (RFC 6454 6.2): in lower case, without the scheme's own port."""
    if text == EVERYBODY:
        return text
    if text.lower() == "null":
        raise ValueError(
            "is what any sandboxed page and local file says: it cannot be told who asks"
        )
    origin = text.lower()
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(
            "must be a page's origin and nothing after it, as in https://app.example or "
            "http://localhost:3000"
        )
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError as error:
        raise ValueError("has a port or an address that is none") from error
    default = DEFAULT_PORTS.get(parts.scheme)
    return origin.removesuffix(f":{port}") if port is not None and port == default else origin


class Cors(Settings):
    """The browser pages of other sites that may call a route; `credentials`: with cookies."""

    origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = ()
    credentials: bool = False

    @model_validator(mode="after")
    def _not_everybody_with_credentials(self) -> Self:
        if self.credentials and EVERYBODY in self.origins:
            raise ValueError(
                "would let every page in the world call with your cookies: name the pages in "
                "'origins' instead of '*', or leave 'credentials' out"
            )
        return self


def _glob(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("must start with '/': it is matched with the whole path")
    if not _PLAIN_GLOB.fullmatch(text):
        raise ValueError(
            "must be plain: it is matched with the decoded path, and can hold no spaces, '#', "
            "'%' or '\\'"
        )
    segments = text.split("/")
    if "" in segments[1:-1] or any(segment in {".", ".."} for segment in segments):
        raise ValueError("must not hold '//', '.' or '..' segments: no path has them then")
    if any(_DOUBLE in segment and segment != _DOUBLE for segment in segments):
        raise ValueError("must have '**' between slashes, as in /items/**: it is whole segments")
    return text


Method = Annotated[
    str,
    Shaped(
        r"[!#$%&'*+.^_`|~0-9A-Za-z-]+",  # RFC 9110 9.1, token
        "is no method: write it as in GET",
    ),
    AfterValidator(str.upper),
]
Glob = Annotated[str, AfterValidator(_glob)]


class Requests(Settings):
    """Some of a route's requests, by method and by path; where none is named, none is singled out.

    GET stands for HEAD as well. A path is a glob over the path as callers send it, decoded: `*`
    and `?` stay within a segment, `**` is any number of segments, also none.
    """

    methods: tuple[Method, ...] = ()
    paths: tuple[Glob, ...] = ()


def may_be_below(prefix: str, glob: str) -> bool:
    """Whether any path below a route's prefix can match."""
    wanted = glob.split("/")[1:]
    segments = [segment for segment in prefix.split("/") if segment]
    for segment, its in zip_longest(segments, wanted):
        if its is None:
            return False
        if its == _DOUBLE or segment is None:
            return True
        if not _fits(its, segment):
            return False
    return True


def _fits(its: str, segment: str) -> bool:
    wild = {"*": ".*", "?": "."}
    pattern = "".join(wild.get(letter) or re.escape(letter) for letter in its)
    return re.fullmatch(pattern, segment) is not None
