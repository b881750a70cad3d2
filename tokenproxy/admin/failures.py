"""Why nobody was let in: of each credential the last sign-in on the page, if it failed.

It is told as the credential's last error for as long as its keeper knows nothing newer.
"""

from dataclasses import dataclass, replace

from tokenproxy.tokens.keeper import Keeper
from tokenproxy.tokens.oauth2.code import shown_error
from tokenproxy.tokens.status import Status


@dataclass(frozen=True, slots=True)
class Failure:
    """`error` is a sentence; `said` is the issuer's own word on it, which may be anything."""

    error: str
    said: str | None = None


class Failures:
    """Those of the keepers that are in use."""

    def __init__(self) -> None:
        self._last: dict[Keeper, tuple[Failure, Status]] = {}

    def note(self, keeper: Keeper, error: str, said: str | None = None) -> None:
        """One has failed."""
        failure = Failure(error, None if said is None else shown_error(said))
        self._last[keeper] = failure, keeper.status()

    def forget(self, keeper: Keeper) -> None:
        """Another begins, or the keeper is not in use any more."""
        self._last.pop(keeper, None)

    def of(self, keeper: Keeper) -> Failure | None:
        """The last one, if nothing newer is known."""
        failure, then = self._last.get(keeper, (None, None))
        return failure if then is not None and _is_as_it_was(keeper.status(), then) else None

    def told(self, keeper: Keeper, status: Status) -> Status:
        """How it stands, with that for its last error."""
        failure = self.of(keeper)
        return status if failure is None else replace(status, last_error=failure.error)


def _is_as_it_was(now: Status, then: Status) -> bool:
    return (now.last_renewal, now.last_error) == (then.last_renewal, then.last_error)
