"""A person before the pages of npm oidc-provider: what a browser shows, read and filled in here.

Each function is a browser of its own, with no cookies. It fails with the text of a page that it
does not know how to leave.
"""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

PAGES = 12  # more than any of the ways has; beyond it we go in circles
DONE, INTERRUPTED = "<h1>Sign-in Success</h1>", "request was interrupted"


@dataclass
class _Reader(HTMLParser):
    """The one form of a page, and the way out of it."""

    action: str | None = None
    fields: dict[str, str] = field(default_factory=dict)
    cancel: str | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = given["action"]
        elif tag == "input" and "name" in given:
            self.fields[given["name"]] = given.get("value", "")
        elif tag == "a" and given.get("href", "").endswith("/abort"):
            self.cancel = given["href"]


@dataclass(frozen=True)
class _Page:
    """Where a way through the pages has come to; `form` is None outside the issuer."""

    url: str
    text: str = ""
    form: _Reader | None = None


def _origin(url: str) -> str:
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


class _Browser:
    def __init__(self, session: Any, home: str) -> None:
        self._session = session
        self._home = home

    def go(self, url: str, fields: dict[str, str] | None = None) -> _Page:
        """Follow redirects as far as they stay on the issuer; elsewhere nothing is asked."""
        for _ in range(PAGES):
            if _origin(url) != self._home:
                return _Page(url)
            method = "GET" if fields is None else "POST"
            answer = self._session.request(
                method, url, data=fields, allow_redirects=False, timeout=30
            )
            if not answer.is_redirect:
                break
            url, fields = urljoin(url, answer.headers["Location"]), None
        else:
            raise AssertionError(f"the issuer redirects in circles, at last to {url}")
        reader = _Reader()
        reader.feed(answer.text)
        return _Page(url, answer.text, reader)

    def walk(self, url: str, *, login: str, decline: bool, code: str = "") -> _Page:
        """Fill in each page until one has no form, asks for an unknown code, or we are away."""
        page = self.go(url)
        for _ in range(PAGES):
            form = page.form
            if form is None or form.action is None:
                return page
            if "user_code" in form.fields and not (form.fields["user_code"] or code):
                return page
            page = self._leave(page.url, form, login=login, decline=decline, code=code)
            code = ""
        raise AssertionError(f"the pages go in circles, at last to {page.url}\n{page.text}")

    def _leave(self, url: str, form: _Reader, *, login: str, decline: bool, code: str) -> _Page:
        fields = dict(form.fields)
        if fields.get("prompt") == "login":
            fields |= {"login": login, "password": "any will do"}
        elif fields.get("prompt") == "consent" and decline:
            return self.go(urljoin(url, form.cancel))
        elif "confirm" in fields and decline:
            fields["abort"] = "yes"
        elif code:
            fields["user_code"] = code
        return self.go(urljoin(url, form.action), fields)


def _walk(url: str, *, login: str, decline: bool, code: str = "") -> _Page:
    with requests.Session() as session:
        session.trust_env = False
        browser = _Browser(session, _origin(url))
        return browser.walk(url, login=login, decline=decline, code=code)


def callback_address(url: str, *, login: str = "anna", decline: bool = False) -> str:
    """Where the issuer sends the browser after the sign-in that begins at `url`; not gone there."""
    page = _walk(url, login=login, decline=decline)
    if page.form is not None:
        raise AssertionError(f"the sign-in ended at {page.url}\n{page.text}")
    return page.url


def sign_in(url: str, *, login: str = "anna", decline: bool = False) -> requests.Response:
    """Sign in and consent (or decline), from the authorization URL to the loopback callback.

    The answer is the callback's, whatever its status; raises requests.ConnectionError where
    nobody listens there.
    """
    address = callback_address(url, login=login, decline=decline)
    with requests.Session() as session:
        session.trust_env = False
        return session.get(address, timeout=30)


def approve_device(url: str, code: str = "", *, login: str = "anna") -> None:
    """Say yes at a `verification_uri_complete`, or at a `verification_uri` with its code."""
    page = _walk(url, login=login, decline=False, code=code)
    assert DONE in page.text, f"{page.url}\n{page.text}"


def decline_device(url: str, code: str = "") -> None:
    """Say no there."""
    page = _walk(url, login="anna", decline=True, code=code)
    assert INTERRUPTED in page.text, f"{page.url}\n{page.text}"
