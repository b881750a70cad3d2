"""The status page of a running program, in a real browser, with real renewals to look at."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.async_api import Page

from tests.browser import Tab
from tests.e2e.conftest import Program, ProxyFactory
from tests.e2e.test_failing_well import config, free_port
from tests.e2e.test_page import press, see, wait_for
from tokenproxy.testing import Api, Issuer, faults, running

RENEWALS = "+document.querySelector('[data-is=renewals]').innerText"
SPENT = "+document.querySelector('.bar').style.getPropertyValue('--spent')"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running(Issuer(access_life=3)) as issuer:
        yield issuer


@pytest.fixture
def api(issuer: Issuer) -> Iterator[Api]:
    with running(Api(issuer)) as api:
        yield api


class Shown:
    """A program, and its page in a browser."""

    def __init__(self, proxy: ProxyFactory, tab: Tab, told: dict[str, Any]) -> None:
        admin = f"127.0.0.1:{free_port()}"
        self.program: Program = proxy({**told, "admin": admin})
        self.url = f"http://{admin}/"
        self.requested: list[str] = []
        self._tab = tab

    def open(self) -> None:
        async def note(page: Page) -> None:
            page.on("request", lambda request: self.requested.append(request.url))

        self._tab.do(note)
        assert self._tab.goto(self.url) == 200


def test_a_renewal_is_seen_as_it_happens(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tab: Tab
) -> None:
    shown = Shown(proxy, tab, config(issuer, api))
    shown.open()
    see(tab, "Ready: shop has a good token.", "h1")
    before = tab.run(RENEWALS)
    wait_for(tab, f"{SPENT} > 0.5")
    wait_for(tab, f"{RENEWALS} > {before} && {SPENT} < 0.5")
    see(tab, "by this process", "[data-is=renewed]")
    see(tab, "renewed in", ".events")
    assert issuer.refreshes >= 1


def test_an_issuer_that_fails_is_told_with_what_to_do(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tab: Tab
) -> None:
    told = config(issuer, api)
    told["credentials"]["shop"]["refresh"]["retries"] = 0
    shown = Shown(proxy, tab, told)
    shown.open()
    see(tab, "Ready", "h1")
    issuer.fail_next(1000, faults.UNAVAILABLE)
    see(tab, "Unavailable", ".state")
    see(tab, "503", ".error")
    see(tab, "Wait", ".advice")
    see(tab, "Not ready: shop gets no token from its issuer.", "h1")
    see(tab, "503", ".events li[data-level=warning]")


def test_a_credential_that_needs_a_person_says_so(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tab: Tab
) -> None:
    issuer.fail_next(1000, faults.USER_INACTIVE)
    shown = Shown(proxy, tab, config(issuer, api))
    shown.open()
    see(tab, "Needs a person", ".state")
    see(tab, "Not ready: shop needs a person.", "h1")
    see(tab, "refused", ".error")
    assert tab.run("document.querySelector('.advice').innerText") != ""


def test_renew_now_renews_now(proxy: ProxyFactory, tab: Tab) -> None:
    with running(Issuer(access_life=300)) as issuer, running(Api(issuer)) as api:
        shown = Shown(proxy, tab, config(issuer, api))
        shown.open()
        see(tab, "Fresh", ".state")
        before = tab.run(RENEWALS)
        press(tab, "Renew now")
        wait_for(tab, f"{RENEWALS} == {before} + 1")
        see(tab, "shop has been renewed.", "[data-is=announcement]")
        assert issuer.refreshes == 1


def test_requests_and_errors_of_a_route_are_counted_before_ones_eyes(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tab: Tab, client: requests.Session
) -> None:
    shown = Shown(proxy, tab, config(issuer, api))
    shown.open()
    see(tab, "Since the start: 0 requests", ".totals")
    for _ in range(3):
        assert client.get(f"{shown.program.url}/items/").status_code == 200
    see(tab, "Since the start: 3 requests, 0 errors", ".totals")


def test_the_page_keeps_to_its_origin_and_its_policy(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tab: Tab
) -> None:
    shown = Shown(proxy, tab, config(issuer, api))
    shown.open()
    see(tab, "Live", "[role=status]")
    see(tab, "renewed", ".events")
    origins = {urlsplit(url).netloc for url in shown.requested}
    assert origins == {urlsplit(shown.url).netloc}
    assert {"/", "/page/page.js", "/page/favicon.svg", "/api/events"} <= {
        urlsplit(url).path for url in shown.requested
    }
    assert tab.errors == []  # a violated policy is told there


def test_the_policy_lets_no_foreign_script_style_or_markup_in(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tab: Tab
) -> None:
    shown = Shown(proxy, tab, config(issuer, api))
    shown.open()
    violated = tab.run(
        """() => new Promise((done) => {
            const violated = new Set();
            document.addEventListener("securitypolicyviolation", (event) => {
                violated.add(event.effectiveDirective);
                if (violated.size === 4) done([...violated].sort());
            });
            const add = (name, more) =>
                document.body.append(Object.assign(document.createElement(name), more));
            add("style", { textContent: "body { display: none }" });
            add("img", { src: "http://elsewhere.example/x.png" });
            fetch("http://elsewhere.example/").catch(() => {});
            try { document.body.innerHTML = "<b>"; } catch {}
        })"""
    )
    assert violated == ["connect-src", "img-src", "require-trusted-types-for", "style-src-elem"]


def test_a_program_that_ends_is_missed_and_found_again(
    proxy: ProxyFactory, issuer: Issuer, api: Api, tab: Tab
) -> None:
    shown = Shown(proxy, tab, config(issuer, api))
    shown.open()
    see(tab, "Live", "[role=status]")
    shown.program.terminate()
    see(tab, "Reconnecting", "[role=status]")
    shown.program.restart()
    see(tab, "Live", "[role=status]")
    see(tab, "Ready", "h1")
