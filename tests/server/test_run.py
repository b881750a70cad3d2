import os

from tokenproxy.server.share import number


def test_the_number_of_workers_is_the_one_that_was_given() -> None:
    assert [number(1), number(5)] == [1, 5]


def test_auto_is_one_for_each_core_that_may_be_used() -> None:
    usable = getattr(os, "sched_getaffinity", None)
    assert number("auto") == (len(usable(0)) if usable else os.cpu_count())
