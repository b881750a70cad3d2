"""What the parts of a config say about each other: who names whom, and who is there twice.

Looks at plain data, which may be wrong in any other way: what is not of the right shape is
passed over here, and reported where its shape is checked.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Any

from tokenproxy.config.document import Document, Mistake, Where, dotted
from tokenproxy.config.explain import closest, did_you_mean

Routes = list[tuple[int, dict[str, Any]]]

_STORED = ("command", "simplejwt", "json", "oauth2")  # what the store keeps tokens of


def mistakes(data: Any) -> list[Mistake]:
    """Unknown credentials, routes that are there twice, and workers that share no store."""
    routes = _routes(data)
    found = list(_unknown_credentials(routes, data.get("credentials", {})))
    found += _bound_elsewhere(routes, data.get("credentials", {}))
    found += _twice(routes, "path", _way, "has the same host and path as")
    found += _twice(routes, "name", _name, "is also the name of")
    found += _not_shared(data)
    return found


def warnings(data: Any) -> list[Mistake]:
    """What is allowed and hardly meant."""
    return list(_unused(_routes(data), data.get("credentials") or {}))


def _unused(routes: Routes, credentials: dict[str, Any]) -> Iterator[Mistake]:
    if not routes:
        yield Mistake(("routes",), "there are none: no request can be forwarded")
        return
    used = {route.get("credential") for _, route in routes}
    for name in credentials:
        if name not in used:
            yield Mistake(("credentials", name), "is used by no route")


def _routes(data: Any) -> Routes:
    routes = data.get("routes")
    if not isinstance(routes, list):
        return []
    return [(index, route) for index, route in enumerate(routes) if isinstance(route, dict)]


def _unknown_credentials(routes: Routes, credentials: Any) -> Iterator[Mistake]:
    if not isinstance(credentials, dict):
        return
    for index, route in routes:
        name = route.get("credential")
        if isinstance(name, str) and name not in credentials:
            where: Where = ("routes", index, "credential")
            yield Mistake(where, f"names no credential{_hint(name, list(credentials))}")


def _bound_elsewhere(routes: Routes, credentials: Any) -> Iterator[Mistake]:
    """A token with a proof (RFC 9449 7.1) goes in the Authorization header only."""
    if not isinstance(credentials, dict):
        return
    for index, route in routes:
        name = route.get("credential")
        settings = credentials.get(name) if isinstance(name, str) else None
        if not isinstance(settings, dict) or settings.get("dpop") is not True:
            continue
        if "inject" in route and not _is_usual(route["inject"]):
            yield Mistake(
                ("routes", index, "inject"),
                f"is not for credential '{name}', whose 'dpop: true' needs the Authorization "
                "header and its own word: leave 'inject' out",
            )


def _is_usual(inject: Any) -> bool:
    """Whether it only says what is done anyway."""
    places = inject if isinstance(inject, list) else [inject]
    return all(
        isinstance(place, dict)
        and place.keys() <= {"header", "value"}
        and str(place.get("header", "Authorization")).lower() == "authorization"
        and place.get("value", "Bearer {token}") in {"Bearer {token}", "DPoP {token}"}
        for place in places
    )


def _not_shared(data: Any) -> Iterator[Mistake]:
    """Each worker would ask the issuer, and a refresh token that two of them send is a reuse."""
    if _is_several(data.get("workers")) and _at(data, "store", "type") == "memory":
        credentials = data.get("credentials")
        names = credentials if isinstance(credentials, dict) else ()
        if any(_at(data, "credentials", name, "type") in _STORED for name in names):
            yield Mistake(
                ("workers",),
                "cannot be more than 1 with 'store: {type: memory}', which they do not share: each "
                "would log in by itself; use a file, keyring or redis store",
            )


def _is_several(workers: Any) -> bool:
    return isinstance(workers, (int, str)) and workers not in {1, "1"}


def _at(data: Any, *where: str) -> Any:
    return Document(data, {}).at(where)


def _hint(name: str, known: list[str]) -> str:
    guess = closest(name, known)
    if guess is not None:
        return f" of this file{did_you_mean(guess)}"
    return " of this file" if known else ": this file has none under 'credentials'"


def _twice(
    routes: Routes, key: str, same: Callable[[dict[str, Any]], Hashable], words: str
) -> Iterator[Mistake]:
    first: dict[Hashable, int] = {}
    for index, route in routes:
        value = same(route)
        if value is None:
            continue
        if value in first:
            yield Mistake(("routes", index, key), f"{words} {dotted(('routes', first[value]))}")
        first.setdefault(value, index)


def _way(route: dict[str, Any]) -> Hashable:
    """Host and prefix as requests are matched: `/shop/` is `/shop`, and hosts have no case."""
    path, host = route.get("path", "/"), route.get("host")
    if not isinstance(path, str) or not (host is None or isinstance(host, str)):
        return None
    return (host and host.lower(), path.removesuffix("/"))


def _name(route: dict[str, Any]) -> Hashable:
    name = route.get("name")
    return name if isinstance(name, str) else None
