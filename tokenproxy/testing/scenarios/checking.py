"""Holds what a step has brought about against what was expected of it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenproxy.config.document import Where
from tokenproxy.testing.api import Received
from tokenproxy.testing.scenarios.asking import Got
from tokenproxy.testing.scenarios.matching import difference
from tokenproxy.testing.scenarios.script import Expect, ExpectAnswer, SeenByApi


@dataclass(frozen=True, slots=True)
class Brought:
    """What happened during a step; counts are of that step alone."""

    renewals: int = 0
    credentials: Mapping[str, str] = field(default_factory=dict)
    logins: int = 0
    refreshes: int = 0
    reused: int = 0
    received: Sequence[Received] = ()
    replayed: Sequence[bool] = ()


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing that is not as expected; `where` is below an `expect`, or a step."""

    where: Where
    what: str


def check_answers(expect: ExpectAnswer, answers: Sequence[Got]) -> Iterator[Mismatch]:
    """What is wrong with the answers; of many that are wrong alike, the first is shown."""
    seen: set[Mismatch] = set()
    for got in answers:
        for wrong in _answer(expect, got):
            if wrong not in seen:
                seen.add(wrong)
                yield wrong


def _answer(expect: ExpectAnswer, got: Got) -> Iterator[Mismatch]:
    if got.status is None:
        yield Mismatch((), f"no answer came ({got.trouble})")
        return
    if expect.status is not None and expect.status != got.status:
        yield Mismatch(("status",), _instead(expect.status, got.status) + _of(got))
    yield from _fields(("headers",), expect.headers, got.headers)
    if "json_" in expect.model_fields_set:
        yield from _compared(("json",), expect.json_, got.json)
    if expect.body is not None:
        yield from _compared(("body",), expect.body, got.text)


def check(expect: Expect, brought: Brought) -> Iterator[Mismatch]:
    """What else is not as expected."""
    counts = {
        ("renewals",): (expect.renewals, brought.renewals),
        ("issuer", "logins"): (expect.issuer.logins, brought.logins),
        ("issuer", "refreshes"): (expect.issuer.refreshes, brought.refreshes),
        ("issuer", "reused"): (expect.issuer.reused, brought.reused),
        ("api", "requests"): (expect.api.requests, len(brought.received)),
    }
    for where, (wanted, got) in counts.items():
        if wanted not in {None, got}:
            yield Mismatch(where, _instead(wanted, got))
    for name, state in expect.credentials.items():
        if brought.credentials.get(name) != state:
            got_state = brought.credentials.get(name, "no such credential")
            yield Mismatch(("credentials", name), _instead(state, got_state))
    if isinstance(expect, ExpectAnswer) and expect.replayed is not None:
        yield from _replayed(brought, wanted=expect.replayed)
    yield from _received(expect.api, brought.received)


def _replayed(brought: Brought, *, wanted: bool) -> Iterator[Mismatch]:
    for got in set(brought.replayed):
        if got is not wanted:
            yield Mismatch(("replayed",), _instead(_word(wanted), _word(got)))


def _received(expect: SeenByApi, received: Sequence[Received]) -> Iterator[Mismatch]:
    if expect.authorized is None and not expect.headers and expect.body is None:
        return
    if not received:
        yield Mismatch(("api",), "no request reached the API")
        return
    last = received[-1]
    if expect.authorized not in {None, last.authorized}:
        wanted, got = _word(bool(expect.authorized)), _word(last.authorized)
        yield Mismatch(("api", "authorized"), _instead(wanted, got))
    found = {name: ", ".join(last.values(name)) for name in expect.headers if last.values(name)}
    yield from _fields(("api", "headers"), expect.headers, found)
    if expect.body is not None:
        yield from _sent(expect.body, last)


def _sent(body: str, last: Received) -> Iterator[Mismatch]:
    """The body that arrived, of which the API keeps no more than this."""
    data = body.encode()
    wanted, got = hashlib.sha256(data).hexdigest(), last.body_sha256
    if wanted != got:
        told = f"{len(data)} bytes (sha256 {wanted})", f"{last.body_length} (sha256 {got})"
        yield Mismatch(("api", "body"), _instead(*told))


def _fields(
    where: Where, expected: Mapping[str, Any], got: Mapping[str, str]
) -> Iterator[Mismatch]:
    """Header fields; null stands for one that must not be there."""
    for name, written in expected.items():
        wanted = _as_text(written)
        if wanted is None and name in got:
            yield Mismatch((*where, name), _instead("no such field", got[name]))
        if wanted is not None and difference(wanted, got.get(name)):
            yield Mismatch((*where, name), _instead(wanted, got.get(name, "no such field")))


def _as_text(value: Any) -> Any:
    """`5` and `true` as a header would have them."""
    if isinstance(value, bool):
        return _word(value)
    return str(value) if isinstance(value, (int, float)) else value


def _compared(where: Where, expected: Any, got: Any) -> Iterator[Mismatch]:
    lines = difference(expected, got)
    if lines:
        yield Mismatch(where, "\n".join(["is not what was expected (-) but (+)", *lines]))


def _instead(wanted: object, got: object) -> str:
    return f"expected {wanted}, got {got}"


def _of(got: Got) -> str:
    """The proxy's own reason for an answer, which tells more than its status."""
    body = got.json
    return f" ({body['code']})" if isinstance(body, dict) and "code" in body else ""


def _word(value: bool) -> str:  # noqa: FBT001 - a word for it
    return "true" if value else "false"
