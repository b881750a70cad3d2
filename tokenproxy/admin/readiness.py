"""Whether work may be sent here (contract 4, `/readyz`).

| state                         | a try has failed | is it in the way? |
|-------------------------------|------------------|-------------------|
| fresh, ageing                 | any              | no                |
| empty, renewing, expired      | no               | no                |
| empty, renewing, expired      | yes              | yes               |
| unavailable, login_required   | any              | yes               |

A credential that nobody has asked for yet is fetched with the first request: that is no reason to
send that request elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tokenproxy.tokens.slot import State
from tokenproxy.tokens.status import Status

Wanted = Literal["all", "any", "none"]
_USABLE = frozenset({State.FRESH, State.AGEING})
_HOPELESS = frozenset({State.UNAVAILABLE, State.LOGIN_REQUIRED})


@dataclass(frozen=True, slots=True)
class Readiness:
    """`reasons` say why not; `warnings` what a person should see all the same."""

    ready: bool
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def readiness(
    statuses: Mapping[str, Status], wanted: Wanted, *, withheld: str | None = None
) -> Readiness:
    """By the credentials that routes use: `all` of them, `any` one, or `none` at all.

    `withheld` is why the process itself wants no work.
    """
    reasons = [
        f"{name}: {status.state.value}" for name, status in statuses.items() if _bars(status)
    ]
    warnings = [
        f"{name}: {what}" for name, status in statuses.items() for what in _warnings(status)
    ]
    suffices = {
        "all": not reasons,
        "any": not statuses or len(reasons) < len(statuses),
        "none": True,
    }[wanted]
    if suffices:
        warnings, reasons = [*reasons, *warnings], []
    if withheld is not None:
        reasons.insert(0, withheld)
    return Readiness(not reasons, reasons, warnings)


def _bars(status: Status) -> bool:
    if status.state in _USABLE:
        return False
    return status.state in _HOPELESS or status.last_error is not None


def _warnings(status: Status) -> list[str]:
    found = ["not_persisted"] if status.not_persisted else []
    if status.state in _USABLE and status.last_error is not None:
        found.append("renewal_failed")
    return found
