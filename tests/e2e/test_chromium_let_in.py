"""Pages of other sites that a route lets in, in a real browser; none of them knows of tokens."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.browser import Tab
from tests.e2e.conftest import Program, ProxyFactory, SiteFactory
from tests.e2e.pages import Pages
from tests.e2e.test_failing_well import config, until
from tests.e2e.test_main_job import shop
from tests.e2e.test_websocket import echo_server
from tests.e2e.test_workers import told
from tokenproxy.testing import Api, Issuer, running

USUAL_PORT = 3000  # where the development servers of web applications listen
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running(Issuer(access_life=60)) as issuer:
        yield issuer


@pytest.fixture
def api(issuer: Issuer) -> Iterator[Api]:
    with running(Api(issuer)) as api:
        yield api


@pytest.fixture
def origin(tab: Tab) -> Iterator[str]:
    """Of the page that the tab shows: at the usual port, or a free one where somebody has that."""
    with ExitStack() as serving:
        try:
            pages = serving.enter_context(running(Pages(port=USUAL_PORT)))
        except OSError:
            pages = serving.enter_context(running(Pages()))
        tab.goto(pages.origin("localhost"))
        yield pages.origin("localhost")


Starter = Callable[..., Program]


@pytest.fixture
def letting_in(proxy: ProxyFactory, issuer: Issuer, api: Api, origin: str) -> Starter:
    """Starts the program before `api`, with a route that lets the page in."""

    def start(*routes: dict[str, Any], **route: Any) -> Program:
        settings = config(issuer, api)
        cors = {"origins": [origin], "credentials": True}
        settings["routes"][0] |= {"cors": cors, **route}
        settings["routes"] += routes
        return proxy(settings)

    return start


def same_site(program: Program) -> str:
    """By the name that the page has too: then its cookies are no third party's."""
    return program.url.replace("127.0.0.1", "localhost")


CALL = """
async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    const headers = Object.fromEntries(answer.headers);
    return { status: answer.status, headers, text: await answer.text() };
  } catch (error) {
    return { error: error.name };
  }
}
"""


def fetched(tab: Tab, url: str, **options: Any) -> Any:
    """What the page's `fetch` gives it."""
    return tab.run(CALL, [url, options])


def test_it_reads_an_answer(letting_in: Starter, api: Api, tab: Tab) -> None:
    program = letting_in()

    answer = fetched(tab, f"{program.url}/items/")

    assert (answer["status"], answer["text"]) == (200, '[{"id": 1, "name": "teapot"}]')
    assert "server" in answer["headers"]  # which no page sees that is not told it may
    assert [request.method for request in api.requests] == ["GET"]


def test_it_puts_with_fields_of_its_own_after_a_preflight(
    letting_in: Starter, api: Api, tab: Tab
) -> None:
    program = letting_in()
    custom = {"X-Custom": "1", "Content-Type": "application/json"}

    answer = fetched(tab, f"{program.url}/hash", method="PUT", headers=custom, body="{}")

    assert answer["status"] == 200
    assert hashlib.sha256(b"{}").hexdigest() in answer["text"]
    until(lambda: len(told(program, "request")) == 2)
    asked = [(line["method"], line["status"]) for line in told(program, "request")]
    assert asked == [("OPTIONS", 204), ("PUT", 200)]
    [arrived] = api.requests
    assert (arrived.method, arrived.values("X-Custom")) == ("PUT", ["1"])


def test_its_cookies_come_along_where_it_says_so(letting_in: Starter, api: Api, tab: Tab) -> None:
    program = letting_in(response_headers={"set": {"Set-Cookie": "visit=1; Path=/"}})
    url = f"{same_site(program)}/items/"

    answers = [fetched(tab, url, credentials=which) for which in ("include", "include", "omit")]

    assert [answer["status"] for answer in answers] == [200, 200, 200]
    assert [request.values("Cookie") for request in api.requests] == [[], ["visit=1"], []]


def test_it_can_read_what_the_proxy_itself_answers(
    letting_in: Starter, api: Api, tab: Tab, origin: str
) -> None:
    down = {"path": "/down", "upstream": NOWHERE, "cors": {"origins": [origin]}}
    program = letting_in(down, deny={"methods": ["POST"], "paths": ["/no"]})
    asked = [("/items/", "POST"), ("/no", "GET"), ("/down", "GET")]

    answers = [fetched(tab, program.url + path, method=method) for path, method in asked]

    assert [(answer["status"], json.loads(answer["text"])["code"]) for answer in answers] == [
        (405, "method_not_allowed"),
        (403, "path_not_allowed"),
        (502, "upstream_unreachable"),
    ]
    assert "proxy-status" in answers[0]["headers"]
    assert api.requests == []


def test_it_is_shut_out_of_the_routes_that_do_not_name_it(
    letting_in: Starter, api: Api, tab: Tab
) -> None:
    program = letting_in({"path": "/other", "upstream": api.url, "credential": "shop"})

    answers = [
        fetched(tab, f"{program.url}/other/items/"),
        fetched(tab, f"{program.url}/other/items/", method="PUT"),
    ]

    assert answers == [{"error": "TypeError"}] * 2
    assert api.requests == []


ECHOED = """
url => new Promise((resolve) => {
  const socket = new WebSocket(url);
  socket.onopen = () => socket.send("hello");
  socket.onmessage = ({ data }) => resolve(data);
  socket.onclose = ({ code }) => resolve(code);
})
"""


def test_it_opens_web_sockets(letting_in: Starter, issuer: Issuer, tab: Tab) -> None:
    with echo_server(issuer) as (url, statuses):
        program = letting_in(upstream=url)

        assert tab.run(ECHOED, program.url.replace("http", "ws")) == "hello"
        assert statuses == [101]


EVENTS = """
url => new Promise((resolve) => {
  const [source, events] = [new EventSource(url), []];
  source.onmessage = ({ data }) => events.push(data);
  source.onerror = () => resolve(events) ?? source.close();
})
"""


def test_it_reads_event_streams(letting_in: Starter, tab: Tab) -> None:
    program = letting_in()
    assert tab.run(EVENTS, f"{program.url}/stream?n=3") == ["0", "1", "2"]


# -- the main job ------------------------------------------------------------------------------

FOR_SECONDS = """
async ([url, seconds]) => {
  const [seen, end] = [[], performance.now() + seconds * 1000];
  do seen.push((await fetch(url)).status); while (performance.now() < end);
  return seen;
}
"""


def test_a_page_with_no_word_of_tokens_sees_only_200(
    proxy: ProxyFactory, simplejwt_site: SiteFactory, tab: Tab, origin: str
) -> None:
    """Its first call, calls past the end of several tokens, and one on a token just rejected."""
    site = simplejwt_site(access_life=2)
    refresh = {"min_interval": 0, "background": False, "before_expiry": 0}
    settings = shop(site, refresh=refresh)
    settings["routes"][0]["cors"] = {"origins": [origin]}
    url = f"{proxy(settings).url}/shop/items/"

    assert fetched(tab, url)["text"] == '{"items": ["apple", "pear"]}'
    assert set(tab.run(FOR_SECONDS, [url, 2.5])) == {200}
    renewed = len(site.refreshes())
    assert renewed >= 1

    site.reject_tokens_in_use()
    assert fetched(tab, url)["status"] == 200
    typed = {"Content-Type": "application/json"}
    assert fetched(tab, url, method="POST", headers=typed, body="{}")["status"] == 201

    assert len(site.refreshes()) > renewed
    assert (len(site.logins()), site.refused_refreshes()) == (1, [])
    assert tab.errors == []
