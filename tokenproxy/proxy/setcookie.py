"""What `Set-Cookie` says, as it holds for the route (contract 3.1, `rewrite_cookies`).

A cookie is cut at `;` as browsers do (RFC 6265 5.2), who know no quotes there; what is not
named below stays byte for byte.

| attribute | becomes                                                                          |
|-----------|----------------------------------------------------------------------------------|
| Domain    | dropped: the cookie is for the proxy's own host                                  |
| Path      | below the route's home: the same below its prefix; else the prefix, so that      |
|           | what was to be sent to the whole upstream is sent to this route, and no other    |
| Secure    | on an http listener dropped, and with it `SameSite=None` and `Partitioned`,      |
|           | which browsers take with Secure only. A page of another site may not ask here    |
|           | anyhow, and without SameSite a cookie is Lax                                     |

The name may ask for attributes of its own. A browser refuses `__Secure-` and `__Http-` without
Secure, and `__Host-` without Secure or with any Path but `/`; so these stay, for the browsers that
count http://localhost as secure.
"""

from tokenproxy.proxy.location import Home

_NEED_SECURE = (b"__secure-", b"__http-", b"__host-")
_NEEDS_ROOT = b"__host-"
_SPACES = b" \t"


class Cookies:
    """Maps values of Set-Cookie."""

    __slots__ = ("_home",)

    def __init__(self, home: Home) -> None:
        self._home = home

    def mapped(self, value: bytes, *, scheme: str) -> bytes:
        """The value for the caller; `scheme` is the listener's."""
        pair, *attributes = value.split(b";")
        name = pair.partition(b"=")[0].strip(_SPACES).lower()
        keeps_path = name.startswith(_NEEDS_ROOT)
        dropped = {b"domain"}
        if scheme == "http" and not name.startswith(_NEED_SECURE):
            dropped |= _with_secure(attributes)
        kept = [
            attribute if keeps_path else self._with_path(attribute)
            for attribute in attributes
            if not dropped & {_name(attribute), _plain(attribute)}
        ]
        return b";".join([pair, *kept])

    def _with_path(self, attribute: bytes) -> bytes:
        name, equals, path = attribute.partition(b"=")
        path = path.strip(_SPACES)
        if _name(attribute) != b"path" or not path.startswith(b"/"):
            return attribute  # RFC 6265 5.2.4: any other value counts as none
        mapped = self._home.outside(path) or self._home.root
        return attribute if mapped == path else name + equals + mapped


def _with_secure(attributes: list[bytes]) -> set[bytes]:
    """What goes with Secure, where that is among them."""
    if b"secure" not in {_name(attribute) for attribute in attributes}:
        return set()
    return {b"secure", b"partitioned", b"samesite=none"}


def _name(attribute: bytes) -> bytes:
    return attribute.partition(b"=")[0].strip(_SPACES).lower()


def _plain(attribute: bytes) -> bytes:
    """Name and value in lower case, with no space round either."""
    name, equals, value = attribute.partition(b"=")
    return (name.strip(_SPACES) + equals + value.strip(_SPACES)).lower()
