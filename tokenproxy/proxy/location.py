r"""Where an answer points to, as the caller has to ask for it (contract 3.1, `rewrite_location`).

A reference is resolved as RFC 3986 5.2 says, against the target that the upstream was asked
for. What becomes of it:

| it leads                                     | the caller gets                              |
|----------------------------------------------|----------------------------------------------|
| to the upstream, below the route's home      | a path below the route's prefix              |
| to the upstream, elsewhere                   | its URL there                                |
| to another origin                            | its URL                                      |
| to the same document (`#part`, or empty)     | what came: only the caller knows its URL     |
| nowhere, for it is malformed                 | what came                                    |

What came as a whole URL, and stays one, stays byte for byte; nothing is ever encoded anew. A
redirect often repeats the query that was sent, with the token in it: below the prefix those
parameters are left out, since the next request gets them again.

Browsers take `\` for `/`, and leave tabs and line breaks out. No reference holds any of them, so
one that does is malformed: cutting a base off it could make it lead anywhere.
"""

import re
from collections.abc import Callable

from tokenproxy.proxy.target import climbs, is_plain

# RFC 3986, appendix B; the last group is the query with its `?` and the fragment with its `#`.
_PARTS = re.compile(rb"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(.*)")
_AUTHORITY = re.compile(rb"([^@\[\] ]*@)?(\[[0-9A-Fa-f:.]+\]|[^@\[\]: ]+)(:[0-9]*)?")
_MALFORMED = re.compile(rb"[\x00-\x1f\x7f\\]")
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


class Home:
    """The paths of an upstream that a route's requests can reach: the base, and all below it.

    Where the prefix is not stripped, it is the base with the prefix behind it. `path` and
    `prefix` are without a trailing slash, so `/` is empty; `root` is what the caller asks for.
    """

    __slots__ = ("path", "prefix", "root")

    def __init__(self, *, base: bytes, prefix: bytes, strips: bool) -> None:
        self.path = base if strips else base + prefix
        self.prefix = prefix
        self.root = prefix or b"/"

    def outside(self, path: bytes) -> bytes | None:
        """A path of the upstream as callers have it, or None where it is not below the home.

        Compared and cut byte by byte, on whole segments.
        """
        rest = path[len(self.path) :]
        if not path.startswith(self.path) or rest[:1] not in {b"", b"/"}:
            return None
        return self.prefix + rest or self.root


class Locations:
    """Maps values of Location and Content-Location.

    `authority` is the upstream's own Host; `without_token` takes out of a target what has been
    injected there.
    """

    __slots__ = ("_authorities", "_home", "_origin", "_scheme", "_without_token")

    def __init__(
        self,
        home: Home,
        *,
        scheme: bytes,
        authority: bytes,
        without_token: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._home = home
        self._without_token = without_token
        self._scheme = scheme
        self._origin = scheme + b"://" + authority
        self._authorities = {authority}
        if not re.search(rb":[0-9]+$", authority):  # RFC 3986 6.2.3: these are the same
            self._authorities |= {authority + b":", authority + _DEFAULT_PORTS[scheme]}

    def mapped(self, value: bytes, *, target: bytes, host: bytes | None = None) -> bytes:
        """The value for the caller; `target` is what the upstream was asked for.

        `host` is the Host that the upstream was asked with. Where that is not its own, it may
        call itself so, under the scheme by which it takes itself to be reached.
        """
        parts = _PARTS.fullmatch(value)
        if parts is None or _MALFORMED.search(value) or value[:1] in {b"", b"#"}:
            return value
        scheme, authority, path, tail = parts.groups()
        if scheme is None and authority is None:
            path = _resolved(path, target)
            return self._below_home(path, tail) or self._origin + path + tail
        known = scheme.lower() if scheme else self._scheme
        if known not in _DEFAULT_PORTS or not _AUTHORITY.fullmatch(authority or b""):
            return value
        whole: bytes = value if scheme else known + b":" + value
        name, path = authority.lower(), _without_dots(path or b"/")
        if name in self._authorities:
            return (self._below_home(path, tail) or whole) if known == self._scheme else whole
        if host is not None and name == host.lower():
            return self._below_home(path, tail) or self._origin + path + tail
        return whole

    def _below_home(self, path: bytes, tail: bytes) -> bytes | None:
        outside = self._home.outside(path)
        if outside is None:
            return None
        if not is_plain(path) and climbs(path[len(self._home.path) :]):
            return None  # `%2e%2e` is a dot segment to some, so to them it is not below
        query, mark, part = tail.partition(b"#")
        # RFC 3986 4.2: two slashes would begin an authority. Resolved, `/.//a` is the path `//a`.
        start = b"/." if outside.startswith(b"//") else b""
        return start + self._without_token(outside + query) + mark + part


def _resolved(path: bytes, target: bytes) -> bytes:
    """RFC 3986 5.2.2 and 5.2.3: the path of a reference that has neither scheme nor authority."""
    if path.startswith(b"/"):
        return _without_dots(path)
    base = target.partition(b"?")[0]
    return _without_dots(base[: base.rfind(b"/") + 1] + path) if path else base


def _without_dots(path: bytes) -> bytes:
    """RFC 3986 5.2.4; empty segments stay."""
    if path.find(b"/.") < 0:
        return path
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    ends_in_folder = segments[-1] in {b".", b".."}
    return b"/" + b"/".join(kept) + (b"/" if ends_in_folder and kept else b"")
