"""What lets a browser come back from an issuer: once, in time, and no other browser."""

import pytest

from tokenproxy.admin.tickets import MOST, Tickets, cookie_name
from tokenproxy.clock import Moment
from tokenproxy.tokens.oauth2.code import PATIENCE

NOW = Moment(1_700_000_000.0, 50.0)
LAST = NOW.after(PATIENCE - 1)


@pytest.fixture
def tickets() -> Tickets[str]:
    return Tickets()


def test_the_browser_that_began_comes_back_once(tickets: Tickets[str]) -> None:
    cookie = tickets.issue("state", "it", NOW)
    assert tickets.take("state", {cookie.name: cookie.value}, LAST) == "it"
    assert tickets.take("state", {cookie.name: cookie.value}, LAST) is None


@pytest.mark.parametrize("value", [None, "", "other", "é", "\udcff", "{}x"])
def test_another_browser_gets_nothing_and_spoils_nothing(
    tickets: Tickets[str], value: str | None
) -> None:
    cookie = tickets.issue("state", "it", NOW)
    brought = {} if value is None else {cookie.name: value.format(cookie.value)}
    assert tickets.take("state", brought, LAST) is None
    assert tickets.take("state", {cookie.name: cookie.value}, LAST) == "it"


@pytest.mark.parametrize("state", ["", "other", "STATE", "state ", "é", "\udcff"])
def test_another_state_gets_nothing_and_spoils_nothing(tickets: Tickets[str], state: str) -> None:
    cookie = tickets.issue("state", "it", NOW)
    both = dict.fromkeys((cookie.name, cookie_name(state)), cookie.value)
    assert tickets.take(state, both, LAST) is None
    assert tickets.take("state", both, LAST) == "it"


@pytest.mark.parametrize("late", [NOW.after(PATIENCE), Moment(LAST.wall + 1, LAST.steady)])
def test_who_comes_back_late_by_either_clock_gets_nothing(
    tickets: Tickets[str], late: Moment
) -> None:
    cookie = tickets.issue("state", "it", NOW)
    assert tickets.take("state", {cookie.name: cookie.value}, late) is None


def test_two_sign_ins_of_one_browser_do_not_spoil_each_other(tickets: Tickets[str]) -> None:
    cookies = {}
    for state in ("one", "two"):
        cookie = tickets.issue(state, state, NOW)
        cookies[cookie.name] = cookie.value
    assert [tickets.take(state, cookies, LAST) for state in ("one", "two")] == ["one", "two"]


def test_the_oldest_makes_room_where_there_are_too_many(tickets: Tickets[str]) -> None:
    cookies = [tickets.issue(f"{number}", f"{number}", NOW) for number in range(MOST + 1)]
    brought = {cookie.name: cookie.value for cookie in cookies}
    found = [tickets.take(f"{number}", brought, NOW) for number in range(MOST + 1)]
    assert found == [None, *(f"{number}" for number in range(1, MOST + 1))]


def test_what_is_no_longer_good_is_forgotten(tickets: Tickets[str]) -> None:
    cookies = [tickets.issue(state, state, NOW) for state in ("one", "two")]
    brought = {cookie.name: cookie.value for cookie in cookies}
    tickets.keep(lambda what: what == "two")
    assert [tickets.take(state, brought, NOW) for state in ("one", "two")] == [None, "two"]


def test_a_cookie_tells_nothing_of_its_state_and_is_never_the_same(tickets: Tickets[str]) -> None:
    cookies = [tickets.issue("state", "it", NOW) for _ in range(3)]
    assert len({cookie.value for cookie in cookies}) == 3
    assert all(len(cookie.value) >= 22 for cookie in cookies)  # 128 bits
    assert not any("state" in cookie.name or cookie.value in repr(cookie) for cookie in cookies)
