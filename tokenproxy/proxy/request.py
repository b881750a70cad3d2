"""A request's head, and what becomes of one before it goes anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenproxy.proxy.answers import Answer, ErrorCode, answer
from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.route import Matched


@dataclass(slots=True)
class Request:
    """A request's head, as it came. `version` is "1.0" or "1.1"."""

    method: bytes
    target: bytes
    headers: Sequence[Header]
    version: str
    has_body: bool


@dataclass(frozen=True, slots=True)
class Denied:
    """The request goes nowhere. `close`: neither does another one on its connection.

    `allow` is the value of an Allow field; `route` is a name, once one has been chosen, and
    `shared` what the answer tells a page of another site.
    """

    code: ErrorCode
    detail: str
    close: bool = False
    allow: bytes | None = None
    route: str | None = None
    shared: Sequence[Header] = ()

    def answer(self) -> Answer:
        """What the caller is told."""
        return answer(
            self.code, detail=self.detail, route=self.route, allow=self.allow, close=self.close
        )


@dataclass(frozen=True, slots=True)
class OptionsAsked:
    """`OPTIONS *`, which is answered here."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """A browser asks what a page may send, and is answered here, with these fields."""

    fields: Sequence[Header]
    route: str


Verdict = Matched | Denied | OptionsAsked | Preflight
