import itertools

import pytest

from tokenproxy.proxy.verdict import Step, decide, may_retry_stale
from tokenproxy.tokens.slot import Rejection

FORWARD = Step.FORWARD


@pytest.mark.parametrize(
    ("rejection", "replayable", "step"),
    [
        (None, True, FORWARD),
        (None, False, FORWARD),
        (Rejection.KEEP, True, FORWARD),
        (Rejection.KEEP, False, FORWARD),
        (Rejection.NEWER, True, Step.RESEND_WITH_NEWER),
        (Rejection.NEWER, False, FORWARD),
        (Rejection.RENEW, True, Step.RENEW_AND_RESEND),
        (Rejection.RENEW, False, Step.RENEW_AND_FORWARD),
    ],
)
def test_a_first_answer_leads_to(rejection: Rejection | None, replayable: bool, step: Step) -> None:
    assert decide(rejection, attempt=1, replayable=replayable) is step


@pytest.mark.parametrize("rejection", [None, *Rejection])
@pytest.mark.parametrize("replayable", [True, False])
@pytest.mark.parametrize("attempt", [2, 3])
def test_a_second_answer_goes_on_whatever_it_is(
    rejection: Rejection | None, replayable: bool, attempt: int
) -> None:
    assert decide(rejection, attempt=attempt, replayable=replayable) is FORWARD


METHODS = [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"POST", b"PATCH", b"LOCK", b"get"]


@pytest.mark.parametrize("method", METHODS)
def test_a_stale_connection_is_tried_again_for_idempotent_methods_alone(method: bytes) -> None:
    again = may_retry_stale(
        method, sent_on_reused_connection=True, answer_begun=False, body_replayable=True
    )
    assert again is (method in METHODS[:5])


@pytest.mark.parametrize(
    ("reused", "begun", "replayable"), list(itertools.product([True, False], repeat=3))
)
def test_a_request_is_tried_again_only_where_it_cannot_have_been_served(
    reused: bool, begun: bool, replayable: bool
) -> None:
    again = may_retry_stale(
        b"GET",
        sent_on_reused_connection=reused,
        answer_begun=begun,
        body_replayable=replayable,
    )
    assert again is ((reused, begun, replayable) == (True, False, True))
