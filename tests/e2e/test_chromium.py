"""Pages of other sites in a real browser: nothing that one tries gets past the program."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.browser import FOREIGN_NAME, Tab
from tests.e2e.conftest import Program, ProxyFactory
from tests.e2e.pages import Pages
from tests.e2e.test_failing_well import config, until
from tests.e2e.test_workers import told
from tokenproxy.testing import Api, Issuer, running

ATTEMPTS = Path(__file__).parent / "attempts.js"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running(Issuer(access_life=60)) as issuer:
        yield issuer


@pytest.fixture
def api(issuer: Issuer) -> Iterator[Api]:
    with running(Api(issuer)) as api:
        yield api


@pytest.fixture
def pages() -> Iterator[Pages]:
    with running(Pages()) as pages:
        yield pages


@pytest.fixture
def program(proxy: ProxyFactory, client: requests.Session, issuer: Issuer, api: Api) -> Program:
    """The program before `api`, which has proved to let a caller that is no page through."""
    program = proxy(config(issuer, api))
    assert client.get(f"{program.url}/items/").status_code == 200
    api.requests.clear()
    return program


def away(pages: Pages, host: str) -> str:
    """What leads to the address that is put behind it."""
    return f"{pages.origin(host)}/away?to="


def attempted(tab: Tab, program: Program, base: str, away: str) -> list[tuple[str, str, str]]:
    """Each attempt of the page that is shown: its name, what it saw, and what it was answered."""
    tab.add_script(ATTEMPTS)
    seen = dict(tab.run("([base, away]) => tryAll(base, away)", [f"{base}/try/", away]))

    def answers() -> dict[str, str]:
        lines = [line for line in told(program, "request") if line["path"].startswith("/try/")]
        return {line["path"][5:]: f"{line['method']} {line['status']}" for line in lines}

    until(lambda: answers().keys() == seen.keys())
    return [(name, seen[name], answer) for name, answer in sorted(answers().items())]


def table(rows: list[tuple[str, str, str]]) -> str:
    return "\n".join(f"{name:24} {seen:16} {answer}" for name, seen, answer in rows)


def assert_all_refused(rows: list[tuple[str, str, str]], status: int) -> None:
    assert {answer.split()[1] for _, _, answer in rows} == {str(status)}, table(rows)


@pytest.mark.parametrize(
    ("page", "target", "status"),
    [
        ("localhost", "127.0.0.1", 403),  # cross-site
        ("localhost", "localhost", 403),  # same-site: ports make no site
        (FOREIGN_NAME, "127.0.0.1", 403),
        (FOREIGN_NAME, FOREIGN_NAME, 421),  # same-site, under its own name
    ],
)
def test_nothing_that_a_page_of_another_site_tries_reaches_the_upstream(
    program: Program, api: Api, tab: Tab, pages: Pages, *, page: str, target: str, status: int
) -> None:
    tab.goto(pages.origin(page))
    base = program.url.replace("127.0.0.1", target)

    rows = attempted(tab, program, base, away(pages, page))

    assert_all_refused(rows, status)
    assert [name for name, seen, _ in rows if seen.startswith("read")] == [], table(rows)
    assert api.requests == [], table(rows)


def test_a_page_that_has_rebound_its_name_is_told_nothing_of_the_upstream(
    proxy: ProxyFactory, tab: Tab, issuer: Issuer, api: Api, pages: Pages
) -> None:
    """Where its site was the proxy is by now, and to the browser both are one origin."""
    with running(Pages()) as rebound:
        tab.goto(rebound.origin(FOREIGN_NAME))
    program = proxy(config(issuer, api, listen=rebound.url.removeprefix("http://")))

    rows = attempted(tab, program, rebound.origin(FOREIGN_NAME), away(pages, FOREIGN_NAME))

    assert_all_refused(rows, 421)
    assert api.requests == [], table(rows)


@pytest.mark.parametrize(
    "leave",
    [
        "url => { location.href = url }",
        "url => form(url, '_self')",
        "url => form(url, '_self', { method: 'get' })",
    ],
)
def test_a_page_of_another_site_leads_nobody_to_the_upstream(
    program: Program, api: Api, tab: Tab, pages: Pages, *, leave: str
) -> None:
    tab.goto(pages.origin("localhost"))
    tab.add_script(ATTEMPTS)

    assert tab.led_away(leave, f"{program.url}/items/") == 403

    assert "origin_not_allowed" in tab.run("document.body.innerText")
    assert api.requests == []
    assert tab.goto(f"{program.url}/items/") == 200  # from the address bar


def test_an_answer_of_the_proxys_own_that_is_shown_fetches_no_icon_from_the_upstream(
    program: Program, api: Api, tab: Tab
) -> None:
    """An answer of the upstream's, shown after it, does."""
    assert tab.goto(f"{program.url}/%00") == 400
    assert tab.goto(f"{program.url}/items/") == 200

    until(lambda: len(api.requests) == 2)
    assert [request.target for request in api.requests] == ["/items/", "/favicon.ico"]
