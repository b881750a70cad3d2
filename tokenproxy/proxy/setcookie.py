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
        names = [_name(attribute) for attribute in attributes]
        cookie = _name(pair)
        keeps_path = cookie.startswith(_NEEDS_ROOT)
        bares = scheme == "http" and b"secure" in names and not cookie.startswith(_NEED_SECURE)
        kept = [pair]
        for name, attribute in zip(names, attributes, strict=True):
            if name == b"domain" or (bares and _goes_with_secure(name, attribute)):
                continue
            maps = name == b"path" and not keeps_path
            kept.append(self._with_path(attribute) if maps else attribute)
        return b";".join(kept)

    def _with_path(self, attribute: bytes) -> bytes:
        name, equals, path = attribute.partition(b"=")
        path = path.strip(_SPACES)
        if not path.startswith(b"/"):
            return attribute  # RFC 6265 5.2.4: any other value counts as none
        mapped = self._home.outside(path) or self._home.root
        return attribute if mapped == path else name + equals + mapped


def _name(attribute: bytes) -> bytes:
    return attribute.partition(b"=")[0].strip(_SPACES).lower()


def _goes_with_secure(name: bytes, attribute: bytes) -> bool:
    if name == b"samesite":
        return attribute.partition(b"=")[2].strip(_SPACES).lower() == b"none"
    return name in {b"secure", b"partitioned"}
