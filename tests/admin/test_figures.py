"""What is counted of which event, and how the counts of processes are added up."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.admin.counting import served
from tokenproxy.admin.figures import BOUNDS, METHODS, Figures, Histogram, merged
from tokenproxy.events import (
    Event,
    LoginRequired,
    NotPersisted,
    RenewalFailed,
    TokenRenewed,
    TokenTakenUp,
)

EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        served,
        route=st.sampled_from(["", "shop", "other"]),
        method=st.sampled_from(["GET", "POST", "BREW"]),
        status=st.sampled_from([200, 401, 502]),
        seconds=st.integers(0, 100).map(float),  # whole, so that no sum depends on its order
        upstream_seconds=st.none() | st.integers(0, 100).map(float),
        replay=st.sampled_from([None, "accepted", "rejected_again", "not_replayable"]),
        code=st.sampled_from([None, "overloaded"]),
    ),
    st.builds(
        TokenRenewed,
        st.sampled_from("ab"),
        st.just("label"),
        st.integers(0, 9).map(float),
        st.none(),
    ),
    st.builds(RenewalFailed, st.sampled_from("ab"), st.just("no"), st.just(1.0)),
)


def counted(events: list[Event]) -> Figures:
    figures = Figures()
    for event in events:
        figures(event)
    return figures


@given(st.lists(st.lists(EVENTS)))
def test_it_makes_no_difference_which_process_counts(parts: list[list[Event]]) -> None:
    apart = [pickle.loads(pickle.dumps(counted(part))) for part in parts]
    assert merged(apart) == counted([event for part in parts for event in part])


def test_adding_up_leaves_the_parts_as_they_were() -> None:
    part = counted([served()])
    total = merged([part, part])
    total(served())
    assert (part.routes["shop"].requests, total.routes["shop"].requests) == (1, 3)
    assert part == counted([served()])


@pytest.mark.parametrize("method", [*METHODS, "BREW", "get", "PROPFIND", ""])
def test_methods_beyond_the_usual_nine_are_one(method: str) -> None:
    assert len(METHODS) == 9
    shown = method if method in METHODS else "other"
    assert counted([served(method=method)]).routes["shop"].answers == {(shown, 200): 1}


@pytest.mark.parametrize(
    ("told", "errors", "codes"),
    [
        ({"status": 200}, 0, {}),
        ({"status": 404}, 0, {}),
        ({"status": 499}, 0, {}),
        ({"status": 500}, 1, {}),
        ({"status": 502}, 1, {}),
        ({"status": 502, "code": "login_required"}, 1, {"login_required": 1}),
        ({"status": 403, "code": "path_not_allowed"}, 1, {"path_not_allowed": 1}),
    ],
)
def test_an_error_is_an_answer_of_our_own_or_a_5xx(
    told: dict[str, object], errors: int, codes: dict[str, int]
) -> None:
    figures = counted([served(**told)])
    assert (figures.routes["shop"].errors, figures.errors) == (errors, codes)


def test_a_time_is_in_the_bucket_of_the_first_bound_that_it_does_not_pass() -> None:
    for at, bound in enumerate(BOUNDS):
        times = Histogram()
        times.note(bound)
        assert times.counts.index(1) == at
    beyond = Histogram()
    beyond.note(BOUNDS[-1] + 1)
    assert beyond.counts == [0] * len(BOUNDS) + [1]
    assert beyond.total == BOUNDS[-1] + 1


def test_both_times_of_a_request_are_noted() -> None:
    route = counted([served(seconds=1.5, upstream_seconds=0.25), served(seconds=2)]).routes["shop"]
    assert (sum(route.seconds.counts), route.seconds.total) == (2, 3.5)
    assert (sum(route.upstream.counts), route.upstream.total) == (1, 0.25)


@pytest.mark.parametrize(
    ("event", "renewals"),
    [
        (TokenRenewed("a", "label", 0.5, 60.0), {("a", "ok"): 1}),
        (RenewalFailed("a", "no", 1.0, 0.5), {("a", "unavailable"): 1}),
        (RenewalFailed("a", "the store did not let us ask", 1.0), {("a", "unavailable"): 1}),
        (LoginRequired("a", "no", 0.5), {("a", "refused"): 1}),
        (LoginRequired("a", "another process was told so"), {}),
        (TokenTakenUp("a", "label"), {}),
        (NotPersisted("a", "disk full"), {}),
    ],
)
def test_a_renewal_counts_where_it_was_tried(
    event: Event, renewals: dict[tuple[str, str], int]
) -> None:
    figures = counted([event])
    assert figures.renewals == renewals
    took = getattr(event, "seconds", None)
    assert figures.renewal_seconds.get("a", Histogram()).total == (took or 0)
