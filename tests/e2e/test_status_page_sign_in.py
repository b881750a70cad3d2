"""A person signs in on the status page, in a real browser, at a real issuer."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from playwright.async_api import ConsoleMessage, Page, Request

from tests.browser import Browser, Tab
from tests.e2e.conftest import Program, ProviderFactory, ProxyFactory
from tests.e2e.oidc_pages import decline_device
from tests.e2e.test_failing_well import free_port, until
from tests.e2e.test_oauth2 import LONG, config, credential
from tests.e2e.test_page import press, see
from tests.e2e.test_reload import WORKERS, reload

pytestmark = pytest.mark.timeout(180)
HERE = "127.0.0.1"  # the issuer's own site: what comes from there is same-site
PLACES = [
    pytest.param((HERE, 1), id="one process"),
    pytest.param((HERE, 2), id="two workers"),
    pytest.param(("localhost", 1), id="another site"),
]


class Desk:
    """A program with a credential that a person signs in to, and its page in a tab."""

    def __init__(self, tab: Tab, proxy: ProxyFactory, told: dict[str, Any], host: str) -> None:
        port, other = free_port(), free_port()
        self.config = {**told, "listen": f"127.0.0.1:{other}", "admin": f"127.0.0.1:{port}"}
        self.program: Program = proxy(self.config)
        self.url = f"http://{host}:{port}/"
        self.errors: list[str] = []  # that the console tells of our pages; not of the issuer's
        self.requests: list[Request] = []
        self._tab = tab
        tab.do(self._listen)

    async def _listen(self, page: Page) -> None:
        page.on("console", self._note)
        page.on("request", self._note_request)

    def _note_request(self, request: Request) -> None:
        self.requests.append(request)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and message.location["url"].startswith(self.url):
            self.errors.append(message.text)

    def begin(self) -> None:
        """Press the button."""
        assert self._tab.goto(self.url) == 200
        see(self._tab, "Sign-in required", ".state")
        see(self._tab, "Not ready: it needs a person to sign in.", "h1")
        press(self._tab, "Sign in")

    def check_discretion(self) -> None:
        """Where the browser came back, it told nobody of what it had brought."""
        [came] = [each.url for each in self.requests if "/oauth/callback?" in each.url]
        brought = dict(parse_qsl(urlsplit(came).query))
        told = self.program.stderr_text() + repr([each.headers for each in self.requests])
        assert [name for name in ("code", "state") if brought[name] in told] == []

    def check_signed_in(self, client: requests.Session) -> None:
        """The page says so, and whichever worker takes a request, it has its token."""
        see(self._tab, "Fresh", ".state")
        see(self._tab, "Ready: it has a good token.", "h1")
        url, each_its_own = f"{self.program.url}/it/items", {"Connection": "close"}
        until(lambda: client.get(url, headers=each_its_own).status_code == 200)
        answers = [client.get(url, headers=each_its_own).status_code for _ in range(6)]
        assert answers[-1] == 200


Begun = Callable[..., Desk]


@pytest.fixture
def desks(oidc_provider: ProviderFactory, proxy: ProxyFactory, tab: Tab) -> Begun:
    def start(grant: str, workers: int = 1, host: str = HERE, **more: Any) -> Desk:
        provider = oidc_provider(access_life=LONG)
        wanted = credential(provider, grant, "public", scope="openid api", **more)
        told = {**config(provider, {"it": wanted}), "workers": workers}
        return Desk(tab, proxy, told, host)

    return start


async def log_in(page: Page) -> None:
    """At the issuer, as a person does."""
    await page.get_by_placeholder("Enter any login").fill("anna")
    await page.get_by_placeholder("and password").fill("any will do")
    await page.get_by_role("button", name="Sign-in").click()


async def agree(page: Page) -> None:
    await page.get_by_role("button", name="Continue").click()


def link(tab: Tab) -> str:
    """Where the code is to be typed; it is there already."""
    found: str = tab.run("document.querySelector('[data-is=go]').href")
    return found


# -- in a browser ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_a_person_signs_in_at_the_issuer_and_lands_back_on_the_page(
    desks: Begun, client: requests.Session, tab: Tab, place: tuple[str, int]
) -> None:
    host, workers = place
    desk = desks("authorization_code", workers, host)
    desk.begin()
    tab.do(log_in)
    tab.do(agree)
    tab.do(lambda page: page.wait_for_url(desk.url))
    desk.check_signed_in(client)
    assert desk.errors == []
    desk.check_discretion()
    cookies = tab.do(lambda page: page.context.cookies(f"{desk.url}oauth/callback"))
    assert [each for each in cookies if each.get("path") == "/oauth/callback"] == []
    tab.do(lambda page: page.go_back())
    assert "code=" not in tab.run("location.href")


def test_who_says_no_at_the_issuer_is_told_on_a_page_of_ours(desks: Begun, tab: Tab) -> None:
    desk = desks("authorization_code")
    desk.begin()
    tab.do(lambda page: page.get_by_text("Cancel").click())
    see(tab, "Not signed in", "h1")
    see(tab, "Credential 'it' was not let in (access_denied)", "main")
    see(tab, "The issuer says: End-User aborted interaction", "main")
    assert "state=" not in tab.run("location.href")
    tab.do(lambda page: page.get_by_text("Back to the status page").click())
    see(tab, "was not let in (access_denied)", ".error")
    see(tab, "Sign in again here", ".advice")


def test_a_redirect_uri_of_another_listener_is_told_on_the_page(desks: Begun, tab: Tab) -> None:
    desk = desks("authorization_code", redirect_uri="http://127.0.0.1/callback")
    desk.begin()
    see(tab, "does not lead to this page: run 'tokenproxy login it'", ".error")
    assert tab.run("location.href") == desk.url


def test_a_reload_lets_a_sign_in_go_on_unless_it_changes_the_credential(
    desks: Begun, client: requests.Session, tab: Tab
) -> None:
    desk = desks("authorization_code")
    desk.begin()
    tab.do(log_in)
    changed = {**desk.config["credentials"]["it"], "scope": "openid"}
    reload(desk.program, {**desk.config, "credentials": {"it": changed}})
    tab.do(agree)
    see(tab, "This is no answer to a sign-in", "main")

    desk.begin()
    reload(desk.program, {**desk.config, "readiness": "any", "credentials": {"it": changed}})
    tab.do(agree)
    desk.check_signed_in(client)


# -- on another device -------------------------------------------------------------------------


@pytest.mark.parametrize("workers", WORKERS)
def test_a_person_signs_in_on_another_device_while_the_page_waits(
    desks: Begun, client: requests.Session, tab: Tab, browser: Browser, workers: int
) -> None:
    desk = desks("device_code", workers, refresh={"min_interval": 0})
    desk.begin()
    see(tab, "Waiting for you to sign in there.", ".waiting")
    reload(desk.program, {**desk.config, "readiness": "any"})  # and the code stays good
    with browser.tab() as other:
        other.goto(link(tab))
        other.do(agree)
        other.do(log_in)
        other.do(agree)
        see(other, "Sign-in Success")
    tab.do(lambda page: page.wait_for_selector(".device", state="hidden"))
    desk.check_signed_in(client)
    assert desk.errors == []


def test_who_says_no_on_the_other_device_is_told_on_the_page(desks: Begun, tab: Tab) -> None:
    desk = desks("device_code")
    desk.begin()
    see(tab, "Waiting for you to sign in there.", ".waiting")
    decline_device(link(tab))
    see(tab, "was not let in: whoever was asked said no", ".error")
    see(tab, "Sign in again here", ".advice")
    tab.do(lambda page: page.wait_for_selector(".device", state="hidden"))
