"""Values that must be asked before they show themselves."""

import hashlib
from weakref import WeakValueDictionary


class Secret:
    """A text that no `repr`, log or traceback gives away; `.reveal()` is easy to search for.

    `redaction` knows it for as long as it lives.
    """

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        _living[id(self)] = self
        _count.births += 1

    def reveal(self) -> str:
        """The text itself."""
        return self._value

    @property
    def label(self) -> str:
        """What a log may name it by: the first eight hex digits of its SHA-256."""
        return hashlib.sha256(self._value.encode("utf-8", "surrogatepass")).hexdigest()[:8]

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class _Count:
    births = 0


_count = _Count()
_living: WeakValueDictionary[int, Secret] = WeakValueDictionary()


def living() -> list[Secret]:
    """All secrets that there are."""
    return [found for reference in _living.valuerefs() if (found := reference()) is not None]


def births() -> int:
    """How many there have ever been: another number says that there are others."""
    return _count.births
