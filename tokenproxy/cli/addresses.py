"""Where a command finds the proxy that was started for it: variables, by route."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from tokenproxy.errors import ConfigError
from tokenproxy.proxy.route import CompiledRoute
from tokenproxy.settings.base import is_loopback

ROUTE = "TOKENPROXY_URL_"
KEY = "TOKENPROXY_KEY"
LOOPBACK = "127.0.0.1"  # where we listen, too; not every resolver knows localhost
USER = "tokenproxy"  # any would do: only the password is looked at
_NO_WORD = re.compile("[^A-Z0-9_]")


def addresses(
    base: str, routes: Sequence[CompiledRoute], name: str, key: str | None
) -> dict[str, str]:
    """The variables: `name` is of the proxy, or of its one route; each route has one as well.

    A route with a `host` that does not lead to this machine has none: its URL would go elsewhere.

    Raises:
        ConfigError: two routes would have the same variable.
    """
    owners: dict[str, CompiledRoute] = {}
    for route in routes:
        other = owners.setdefault(variable_of(route.name), route)
        if other is not route:
            raise ConfigError(
                f"routes '{other.name}' and '{route.name}' would both be told as "
                f"${variable_of(route.name)}: give one of them another 'name'"
            )
    urls = {each: _of(base, route, key) for each, route in owners.items() if _leads_here(route)}
    whole = _url(base, None, "/", key)
    first = next(iter(urls.values()), whole) if len(routes) == 1 else whole
    return {**urls, name: first, **({} if key is None else {KEY: key})}


def variable_of(route: str) -> str:
    """The variable of a route by its name."""
    return f"{ROUTE}{_NO_WORD.sub('_', route.upper())}"


def unreachable(routes: Sequence[CompiledRoute]) -> list[str]:
    """The names of the routes that have no variable."""
    return [route.name for route in routes if not _leads_here(route)]


def _leads_here(route: CompiledRoute) -> bool:
    host = route.settings.host
    return host is None or is_loopback(host.strip("[]"))


def _of(base: str, route: CompiledRoute, key: str | None) -> str:
    return _url(base, route.settings.host, route.settings.path, key)


def _url(base: str, host: str | None, path: str, key: str | None) -> str:
    """Without a slash at its end, as most tools join it."""
    userinfo = "" if key is None else f"{USER}:{key}@"
    return f"http://{userinfo}{host or LOOPBACK}:{urlsplit(base).port}{path.rstrip('/')}"
