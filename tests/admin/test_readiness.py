"""What `/readyz` says of credentials, as a table."""

import pytest

from tokenproxy.admin.readiness import Readiness, Wanted, readiness
from tokenproxy.tokens.slot import State
from tokenproxy.tokens.status import Status

GOOD, BAD = State.FRESH, State.UNAVAILABLE


def status(state: State, error: str | None = None, *, not_persisted: bool = False) -> Status:
    return Status(state, not_persisted, expires_at=None, last_renewal=None, last_error=error)


@pytest.mark.parametrize(
    ("state", "error", "ready"),
    [
        (State.FRESH, None, True),
        (State.FRESH, "no", True),
        (State.AGEING, None, True),
        (State.AGEING, "no", True),
        (State.EMPTY, None, True),
        (State.EMPTY, "no", False),
        (State.EXPIRED, None, True),
        (State.EXPIRED, "no", False),
        (State.RENEWING, None, True),
        (State.RENEWING, "no", False),
        (State.UNAVAILABLE, "no", False),
        (State.UNAVAILABLE, None, False),
        (State.LOGIN_REQUIRED, "no", False),
        (State.LOGIN_REQUIRED, None, False),
    ],
)
def test_a_credential_bars_the_way_once_a_try_has_failed_and_no_token_is_good(
    state: State, error: str | None, ready: bool
) -> None:
    found = readiness({"shop": status(state, error)}, "all")
    assert found.ready is ready
    assert found.reasons == ([] if ready else [f"shop: {state.value}"])


@pytest.mark.parametrize(
    ("wanted", "states", "ready"),
    [
        ("all", [], True),
        ("any", [], True),
        ("none", [], True),
        ("all", [GOOD, GOOD], True),
        ("all", [GOOD, BAD], False),
        ("any", [GOOD, BAD], True),
        ("any", [BAD, BAD], False),
        ("none", [BAD, BAD], True),
    ],
)
def test_all_any_or_none_of_them_are_asked_for(
    wanted: Wanted, states: list[State], ready: bool
) -> None:
    statuses = {f"c{at}": status(state) for at, state in enumerate(states)}
    found = readiness(statuses, wanted)
    assert found.ready is ready
    bad = [f"c{at}: unavailable" for at, state in enumerate(states) if state is BAD]
    assert (found.warnings if ready else found.reasons) == bad


def test_what_stops_nothing_is_a_warning() -> None:
    statuses = {"a": status(GOOD, not_persisted=True), "b": status(GOOD, "no")}
    assert readiness(statuses, "all") == Readiness(
        ready=True, warnings=["a: not_persisted", "b: renewal_failed"]
    )


@pytest.mark.parametrize("wanted", ["all", "any", "none"])
def test_one_that_stops_wants_no_work_whatever_else(wanted: Wanted) -> None:
    found = readiness({"a": status(GOOD)}, wanted, withheld="stopping")
    assert found == Readiness(ready=False, reasons=["stopping"])
