from itertools import pairwise

from tokenproxy.server.restarts import FIRST_PAUSE, LASTED, LONGEST_PAUSE, Restarts


def test_the_first_that_dies_is_replaced_at_once() -> None:
    assert Restarts().pause(LASTED * 100) == Restarts().pause(0) == FIRST_PAUSE


def test_those_that_do_not_last_are_replaced_later_each_time() -> None:
    restarts = Restarts()
    pauses = [restarts.pause(0.5) for _ in range(100)]
    assert all(later == min(2 * earlier, LONGEST_PAUSE) for earlier, later in pairwise(pauses))
    assert pauses[-1] == LONGEST_PAUSE


def test_after_one_that_lasted_it_begins_anew() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.pause(0)
    assert restarts.pause(LASTED) == FIRST_PAUSE
    assert restarts.pause(0) == FIRST_PAUSE
    assert restarts.pause(0) == 2 * FIRST_PAUSE
