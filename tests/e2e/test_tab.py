"""What tests are told by a page in a real browser (tests/browser.py)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, Tab
from tests.e2e.pages import Pages
from tokenproxy.testing import running


@pytest.fixture
def url() -> Iterator[str]:
    with running(Pages()) as pages:
        yield pages.url


def test_it_hears_of_what_goes_wrong_on_the_page(tab: Tab, url: str) -> None:
    assert tab.goto(url) == 200
    assert tab.errors == []

    tab.run("console.log('fine'), console.error('so so')")
    tab.run("() => new Promise((done) => { setTimeout(done); reportError(Error('bad')) })")

    assert tab.errors == ["so so", "bad"]


def test_it_can_be_looked_at(tab: Tab, url: str, tmp_path: Path) -> None:
    tab.goto(url)
    tab.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_a_failed_step_says_on_which_page(tab: Tab, url: str) -> None:
    tab.goto(url)
    with pytest.raises(AssertionError, match=f"^{url}/: .*bad"):
        tab.run("() => { throw Error('bad') }")


def test_two_know_nothing_of_each_other(browser: Browser, url: str) -> None:
    with browser.tab() as one, browser.tab() as other:
        for tab in (one, other):
            tab.goto(url)
        one.run("document.cookie = 'a=b', localStorage.setItem('a', 'b')")
        assert other.run("[document.cookie, localStorage.getItem('a')]") == ["", None]


async def test_it_serves_tests_that_have_a_loop_of_their_own(tab: Tab, url: str) -> None:
    assert tab.goto(url) == 200
