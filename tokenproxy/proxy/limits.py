"""What a route lets its callers ask for: `allow` and `deny` (contract 1, 3.2), compiled.

| a method                | allowed                             | denied                           |
|-------------------------|-------------------------------------|----------------------------------|
| `GET` in a list         | GET and HEAD, which shows no more   | GET and HEAD, which shows some   |
| any other               | spelt so: a method's case counts    | in any case: not to every server |

Paths are judged in their normal form, and one whose raw form would be judged otherwise is refused
as ambiguous. To be denied it is enough that one server is known to read the path so.

Some servers take a method or a path from a field, in place of the request's own that was judged
here: where the one or the other is limited, such fields go no further.
"""

import re
from collections.abc import Iterable

from tokenproxy.proxy.answers import METHODS
from tokenproxy.proxy.globs import matcher
from tokenproxy.proxy.target import is_plain, lenient_form, normal_form
from tokenproxy.settings.access import Requests

_USUAL = METHODS.split(b", ")
_GET, _HEAD = b"GET", b"HEAD"
_NAME_A_METHOD = (b"x-http-method", b"x-http-method-override", b"x-method-override")
_NAME_A_PATH = (b"x-original-url", b"x-rewrite-url")


class Limits:
    """One route's; with nothing in `allow` and `deny` it lets everything through."""

    __slots__ = ("_allowed", "_allowed_paths", "_denied", "_denied_paths", "bypasses", "methods")

    def __init__(self, allow: Requests, deny: Requests) -> None:
        self._allowed = _methods(allow.methods)
        self._denied = _methods(deny.methods)
        self._allowed_paths = _paths(allow.paths)
        self._denied_paths = _paths(deny.paths)
        self.bypasses = [
            *(_NAME_A_METHOD if self._allowed or self._denied else ()),
            *(_NAME_A_PATH if self._judges_paths else ()),
        ]
        self.methods = [each for each in self._allowed or _USUAL if each not in self._denied]

    def has_method(self, method: bytes) -> bool:
        """Whether requests may have that method."""
        is_allowed = not self._allowed or method in self._allowed
        return is_allowed and method.upper() not in self._denied

    def has_path(self, path: bytes) -> bool:
        """Whether they may ask for a path, in whichever way it is read."""
        if not self._judges_paths:
            return True
        if is_plain(path) and path.find(b";") < 0:
            return self._has(path)
        denied = self._denied_paths
        is_denied = denied is not None and denied.match(lenient_form(path))
        return not is_denied and self._has(normal_form(path))

    def is_ambiguous(self, path: bytes) -> bool:
        """Whether a path and its normal form would be judged differently."""
        return self._judges_paths and self._has(path) != self._has(normal_form(path))

    @property
    def _judges_paths(self) -> bool:
        return self._allowed_paths is not None or self._denied_paths is not None

    def _has(self, path: bytes) -> bool:
        if self._denied_paths is not None and self._denied_paths.match(path):
            return False
        return self._allowed_paths is None or self._allowed_paths.match(path) is not None


def _methods(names: Iterable[str]) -> list[bytes]:
    methods = dict.fromkeys(name.encode() for name in names)
    if _GET in methods:
        methods[_HEAD] = None
    return list(methods)


def _paths(globs: tuple[str, ...]) -> re.Pattern[bytes] | None:
    return matcher(globs) if globs else None
