"""What a route does to the header fields of answers (contract 3.1).

Names decide, as in `headers`; the values of a few are mapped, so that what an answer says of
its own place holds at the route's.
"""

from collections.abc import Sequence

from tokenproxy.proxy import cors
from tokenproxy.proxy.headers import (
    Fate,
    Header,
    NameTable,
    answer_fate,
    dashed,
    fields_set,
    names_changed,
    remove_nominated,
)
from tokenproxy.proxy.location import Home, Locations
from tokenproxy.proxy.setcookie import Cookies
from tokenproxy.settings.route import Route

# A global is found faster than a member of an enum.
_KEPT, _CONNECTION, _LOCATION = Fate.KEPT, Fate.CONNECTION, Fate.LOCATION
_COOKIE = Fate.COOKIE
_MAPPED = frozenset({_LOCATION, _COOKIE})  # by the request's target, by the listener's scheme


class AnswerRules:
    """A route's rules for answers, compiled; `locations` are those of its upstream."""

    __slots__ = ("_cookies", "_fates", "_is_shared", "_locations", "_sets")

    def __init__(self, settings: Route, home: Home, locations: Locations) -> None:
        self._locations = locations
        self._cookies = Cookies(home)
        is_shared = self._is_shared = bool(settings.cors.origins)
        self._sets = fields_set(settings.response_headers)
        changed = names_changed(settings.response_headers)
        mapped: dict[bytes, Fate] = {}
        if settings.rewrite_location:
            mapped |= {b"location": _LOCATION, b"content-location": _LOCATION}
        if settings.rewrite_cookies:
            mapped |= {b"set-cookie": _COOKIE}

        def fate(name: bytes) -> Fate:
            if dashed(name) in changed or (is_shared and dashed(name).startswith(cors.PREFIX)):
                return Fate.DROPPED
            return mapped.get(name) or answer_fate(name)

        self._fates = NameTable(fate)

    def is_same_for_all(self, headers: Sequence[Header]) -> bool:
        """Whether an answer with these fields is the same whatever its request has asked for.

        To a page of another site it is another one all the same.
        """
        fates = self._fates
        return not any(fates[name] in _MAPPED for name, _ in headers)

    def to_caller(
        self,
        headers: Sequence[Header],
        *,
        target: bytes,
        scheme: str,
        host: bytes | None = None,
        interim: bool = False,
        shared: Sequence[Header] = (),
    ) -> list[Header]:
        """The fields that go on to the caller.

        `target` is what the upstream was asked for, without the credential, and `host` the Host
        that it got; `scheme` is the listener's. `shared` is what a page of another site is told
        that has asked (see `cors`). An `interim` answer (1xx) gets none of the fields that the
        route sets.

        Content-Length is kept as it came; Transfer-Encoding is left to who frames the body.
        """
        fates = self._fates
        kept: list[Header] = []
        connection: list[bytes] = []
        for field in headers:
            fate = fates[field[0]]
            if fate is _KEPT:
                kept.append(field)
            elif fate is _CONNECTION:
                connection.append(field[1])
            elif fate is _LOCATION:
                value = self._locations.mapped(field[1], target=target, host=host)
                kept.append((field[0], value))
            elif fate is _COOKIE:
                kept.append((field[0], self._cookies.mapped(field[1], scheme=scheme)))
        remove_nominated(kept, connection)
        if interim:
            return kept
        if self._sets:
            kept += self._sets
        if shared:
            cors.share(kept, shared)
        elif self._is_shared:
            kept.append(cors.VARY)
        return kept
