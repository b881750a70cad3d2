"""What events tell of a credential beyond its keeper: who renewed it, and who cannot save it.

Every process has a keeper of its own. What one of them has told is asked for here.
"""

from tokenproxy.events import Event, NotPersisted, Persisted, TokenRenewed

OURSELVES = "this process"
ELSEWHERE = "another process"


class Whereabouts:
    """Observes the events of this process and, by their index, of its workers."""

    def __init__(self) -> None:
        self._renewed: dict[str, tuple[str, str]] = {}  # the token's label, and who brought it
        self._unsaved: set[tuple[int | None, str]] = set()

    def note(self, event: Event, worker: int | None = None) -> None:
        """Take in what a worker tells, or this process itself."""
        match event:
            case TokenRenewed(credential, token):
                who = OURSELVES if worker is None else f"worker {worker}"
                self._renewed[credential] = token, who
            case NotPersisted(credential):
                self._unsaved.add((worker, credential))
            case Persisted(credential):
                self._unsaved.discard((worker, credential))
            case _:
                pass

    def ended(self, worker: int) -> None:
        """A worker is over, and what it could not save with it."""
        self._unsaved = {each for each in self._unsaved if each[0] != worker}

    def renewed_by(self, credential: str, token: str | None) -> str | None:
        """Who brought the token of that label; None where there is none."""
        if token is None:
            return None
        known, who = self._renewed.get(credential, ("", ELSEWHERE))
        return who if known == token else ELSEWHERE

    def is_unsaved(self, credential: str) -> bool:
        """Whether a worker has a token of it in memory only."""
        return any(name == credential for _, name in self._unsaved)
