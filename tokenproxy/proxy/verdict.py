"""What becomes of an answer: it goes on, or the request is sent once more (contract 3.3.2, 3.3.3).

| answer   | attempt | rejected token     | body       | step              |
|----------|---------|--------------------|------------|-------------------|
| accepted | any     | -                  | any        | FORWARD           |
| rejected | second  | any                | any        | FORWARD           |
| rejected | first   | stays              | any        | FORWARD           |
| rejected | first   | has a newer one    | replayable | RESEND_WITH_NEWER |
| rejected | first   | has a newer one    | gone       | FORWARD           |
| rejected | first   | is to be renewed   | replayable | RENEW_AND_RESEND  |
| rejected | first   | is to be renewed   | gone       | RENEW_AND_FORWARD |

RENEW_AND_FORWARD cannot save this request, but it saves the next one.

A second answer goes on whatever it is: an API that says no to a new token says no to the
caller, and asking a third time would be a loop.
"""

from enum import Enum, StrEnum, auto

from tokenproxy.tokens.slot import Rejection

_RESENDS = 1
# RFC 9110 9.2.2; TRACE is idempotent too, and goes nowhere.
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})


class Replay(StrEnum):
    """What became of a request whose first answer rejected the token (contract 5)."""

    ACCEPTED = "accepted"
    REJECTED_AGAIN = "rejected_again"
    NOT_REPLAYABLE = "not_replayable"


class Step(Enum):
    """What is done next."""

    FORWARD = auto()
    RENEW_AND_RESEND = auto()
    RESEND_WITH_NEWER = auto()
    RENEW_AND_FORWARD = auto()


def decide(rejection: Rejection | None, *, attempt: int, replayable: bool) -> Step:
    """The step after an answer to the `attempt`-th send (from 1).

    `rejection` is what the slot says about the token that was sent, or None for an answer that
    rejects none; `replayable` tells whether the request's body can be sent again.
    """
    if rejection is None or attempt > _RESENDS:
        return Step.FORWARD
    match rejection:
        case Rejection.KEEP:
            return Step.FORWARD
        case Rejection.NEWER:
            return Step.RESEND_WITH_NEWER if replayable else Step.FORWARD
        case Rejection.RENEW:
            return Step.RENEW_AND_RESEND if replayable else Step.RENEW_AND_FORWARD


def outcome(rejection: Rejection | None, *, attempt: int, replayable: bool) -> Replay | None:
    """What an answer that rejects the token means for the replay; None while it is under way.

    Takes what `decide` does. A second answer that is no rejection is not asked about: what is
    replayed is accepted, unless something is said against it.
    """
    if attempt > _RESENDS:
        return Replay.REJECTED_AGAIN
    if rejection in {None, Rejection.KEEP} or replayable:
        return None
    return Replay.NOT_REPLAYABLE


def may_retry_stale(
    method: bytes, *, sent_on_reused_connection: bool, answer_begun: bool, body_replayable: bool
) -> bool:
    """Whether a request whose connection broke is sent again on a new one (RFC 9110 9.2.2).

    Only a kept-alive connection can have been closed just before the request reached it, and
    only where nothing of an answer has come is that what happened.
    """
    return (
        sent_on_reused_connection and not answer_begun and body_replayable and method in _IDEMPOTENT
    )
