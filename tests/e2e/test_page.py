"""The status page's parts in a real browser, before a double that says what a test wants to see."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser import Tab
from tests.e2e.status_double import StatusDouble, credential, happening, route, without_token
from tokenproxy.testing import running

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
PATIENCE = 30_000  # ms; a loaded machine takes its time
MARKUP = "<img src=x onerror='document.title = 1'><b id=hurt>"
ERROR = "credential 'shop': the issuer answered with 503"
REFRESH = "/api/credentials/shop/refresh"
SIGN_IN = "/api/credentials/shop/sign-in"


@pytest.fixture
def double() -> Iterator[StatusDouble]:
    with running(StatusDouble()) as double:
        yield double


def see(tab: Tab, text: str, where: str = "body") -> None:
    """Wait until it can be read there."""

    async def seen(page: Page) -> None:
        there = expect(page.locator(where).first)
        await there.to_contain_text(text, use_inner_text=True, timeout=PATIENCE)

    tab.do(seen)


def wait_for(tab: Tab, fact: str) -> None:
    """Look at each frame until it is so. (Playwright's own way needs `unsafe-eval`.)"""
    tab.run(
        f"new Promise(done => {{ const look = () => {fact} ? done() : requestAnimationFrame(look);"
        " look(); })"
    )


def press(tab: Tab, button: str) -> None:
    tab.do(lambda page: page.get_by_role("button", name=button, exact=True).click())


def strike(tab: Tab, key: str) -> None:
    tab.do(lambda page: page.keyboard.press(key))


def every_state(now: float) -> dict[str, Any]:
    """A credential in each state, and one that is of its own kind."""
    ended = {"issued_at": now - 400, "expires_at": now - 100, "renews_at": now - 160}
    return {
        "empty": without_token(now),
        "fresh": credential(now),
        "ageing": credential(now, state="ageing", renews_at=now - 1, not_persisted=True),
        "expired": credential(now, state="expired", **ended),
        "renewing": credential(now, state="renewing", **ended),
        "unavailable": credential(
            now, state="unavailable", last_error=ERROR, advice="Wait.", retry_at=now + 30, **ended
        ),
        "login_required": without_token(
            now, state="login_required", sign_in="device_code", last_error="No.", advice="Sign in."
        ),
        "static": without_token(now, state="fresh", type="static", token="00aa11bb"),
    }


# -- what it says ------------------------------------------------------------------------------


WORDS = {
    "empty": "No token yet",
    "fresh": "Fresh",
    "ageing": "Ageing",
    "expired": "Expired",
    "renewing": "Renewing",
    "unavailable": "Unavailable",
    "login_required": "Needs a person",
}


STATE_OF = """card => [
    card.querySelector("[data-is=state]").innerText, card.querySelector("use").href.baseVal
]"""


def test_each_state_has_its_word_and_its_shape(double: StatusDouble, tab: Tab) -> None:
    double.say(credentials={state: credential(double.now, state=state) for state in WORDS})
    tab.goto(double.url)
    see(tab, "Needs a person")
    shown = tab.run(f"[...document.querySelectorAll('.card')].map({STATE_OF})")
    shapes = "[...document.querySelectorAll('symbol')].map(one => '#' + one.id)"
    assert shown == [[word, f"#shape-{state}"] for state, word in WORDS.items()]
    assert {shape for _, shape in shown} <= set(tab.run(shapes))


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ({}, "Ready: shop has a good token."),
        ({"credentials": {}}, "Ready: nothing here needs a token."),
        ({"state": "empty"}, "Ready: shop gets a token when it is needed."),
        ({"state": "login_required"}, "Ready, but shop needs a person."),
        (
            {"ready": False, "reasons": ["shop: unavailable", "crm: login_required"]},
            "Not ready: shop gets no token from its issuer and crm needs a person.",
        ),
        ({"ready": False, "reasons": ["stopping"]}, "Not ready: tokenproxy is stopping."),
        ({"ready": False, "reasons": ["the moon is full"]}, "Not ready: the moon is full."),
    ],
)
def test_the_headline_says_in_one_sentence_whether_it_is_ready_and_why(
    double: StatusDouble, tab: Tab, status: dict[str, Any], sentence: str
) -> None:
    state = status.pop("state", "fresh")
    told = {"credentials": {"shop": credential(double.now, state=state)}, **status}
    double.say(**told)
    tab.goto(double.url)
    see(tab, sentence, "h1")


def test_warnings_and_a_config_that_cannot_be_used_are_told_below_the_headline(
    double: StatusDouble, tab: Tab
) -> None:
    config = {"path": "/a", "loaded_at": double.now - 60, "reloads": 0, "error": "line 4 is wrong"}
    double.say(warnings=["shop: not_persisted"], config=config)
    tab.goto(double.url)
    see(tab, "shop has a token that could not be stored", ".notes")
    see(tab, "cannot be used (line 4 is wrong); the one read 1 min ago stays in use", ".notes")


def test_an_error_is_a_sentence_with_advice_and_the_next_try(
    double: StatusDouble, tab: Tab
) -> None:
    double.say(credentials=every_state(double.now))
    tab.goto(double.url)
    card = "[aria-labelledby=credential-unavailable]"
    see(tab, "Credential 'shop': the issuer answered with 503", f"{card} .error")
    see(tab, "Wait.", f"{card} .advice")
    see(tab, "Next try in", f"{card} .retry")


def test_what_an_issuer_says_is_never_markup(double: StatusDouble, tab: Tab) -> None:
    hurt = credential(double.now, state="unavailable", last_error=MARKUP, advice=MARKUP)
    double.say(
        credentials={"shop": {**hurt, "type": MARKUP, "renewed_by": MARKUP, "token": MARKUP}},
        routes={MARKUP: route(double.now, upstream=MARKUP, path=MARKUP, host=MARKUP)},
        events=[happening(double.now, MARKUP, credential=MARKUP, level=MARKUP)],
        ready=False,
        reasons=[MARKUP],
        warnings=[MARKUP],
    )
    tab.goto(double.url)
    see(tab, MARKUP, ".error")
    see(tab, MARKUP, ".events")
    see(tab, MARKUP, ".route h3")
    assert tab.run("document.querySelectorAll('img, #hurt').length") == 0
    assert tab.errors == []


def test_events_are_listed_newest_first_and_the_older_ones_when_asked_for(
    double: StatusDouble, tab: Tab
) -> None:
    double.say(events=[happening(double.now - 600 + 60 * n, f"number {n}") for n in range(10)])
    tab.goto(double.url)
    see(tab, "number 9", ".events li")
    see(tab, "1 min ago", ".events li")
    count = "document.querySelectorAll('.events li').length"
    assert tab.run(count) == 8
    press(tab, "Show all 10")
    assert tab.run(count) == 10
    press(tab, "Show the latest")
    assert tab.run(count) == 8


def test_the_charts_say_their_numbers_in_words_and_minute_by_minute(
    double: StatusDouble, tab: Tab
) -> None:
    tab.goto(double.url)
    see(tab, "12,034 requests", ".totals")
    labels = tab.run("[...document.querySelectorAll('.chart svg')].map(one => one.ariaLabel)")
    assert labels == [
        "Requests in the last 5 min: 1,770, at most 59 in 5 s",
        "Errors in the last 5 min: 2, at most 2 in 5 s",
        "Replays in the last 5 min: 1, at most 1 in 5 s",
        "Latency in the last 5 min: last p50 40 ms and p99 1.5 s, highest p99 1.5 s",
    ]
    rows = "[...document.querySelectorAll('tbody tr')].map(row => row.innerText.split('\\t'))"
    tab.do(lambda page: page.click("summary"))
    assert [row[1:] for row in tab.run(rows)] == [
        ["642", "2", "0", "40 ms", "1.5 s"],
        ["498", "0", "0", "40 ms", "130 ms"],
        ["354", "0", "0", "40 ms", "130 ms"],
        ["210", "0", "0", "40 ms", "130 ms"],
        ["66", "0", "1", "40 ms", "130 ms"],
    ]


IN_WORDS = {
    "duration(4.26)": "4.2 s",
    "duration(59.9)": "59 s",
    "duration(222)": "3 min 42 s",
    "duration(300)": "5 min",
    "duration(7500)": "2 h 5 min",
    "duration(273600)": "3 d 4 h",
    "duration(-3)": "0.0 s",
    "length(2.5)": "2.5 s",
    "length(299.4)": "5 min",
    "length(5395)": "1 h 30 min",
    "relative(100, 100.5)": "just now",
    "relative(0, 3599)": "59 min ago",
    "relative(108, 100)": "in 8 s",
    "milliseconds(0.42)": "0.4 ms",
    "milliseconds(42.4)": "42 ms",
    "milliseconds(1234)": "1.2 s",
    "counted(1, 'renewal')": "1 renewal",
    "counted(1204, 'renewal')": "1,204 renewals",
    "listed(['a', 'b', 'c'])": "a, b and c",
}


def test_times_and_numbers_in_words(double: StatusDouble, tab: Tab) -> None:
    tab.goto(double.url)
    assert {
        call: tab.run(f"import('/page/words.js').then(words => words.{call})") for call in IN_WORDS
    } == IN_WORDS


# -- time --------------------------------------------------------------------------------------


def test_a_bar_runs_by_the_clock_of_the_server_with_a_mark_where_renewal_is_due(tab: Tab) -> None:
    with running(StatusDouble(now=1_000_000_000.0)) as double:  # in 2001, by this browser's clock
        tab.goto(double.url)
        see(tab, "left of 5 min", ".left")
        spent = "+document.querySelector('.bar').style.getPropertyValue('--spent')"
        wait_for(tab, f"0.252 < {spent} && {spent} < 0.5")
        assert (
            tab.run("document.querySelector('.bar').style.getPropertyValue('--due')") == "0.80000"
        )
        assert "left of 5 min" in tab.run("document.querySelector('.bar').ariaValueText")


def test_a_token_without_an_end_has_no_bar(double: StatusDouble, tab: Tab) -> None:
    double.say(credentials={"shop": every_state(double.now)["static"]})
    tab.goto(double.url)
    see(tab, "No known end used until it is rejected", ".left")
    assert tab.run("document.querySelector('.bar').checkVisibility()") is False


# -- the stream --------------------------------------------------------------------------------


def test_a_page_that_lost_the_server_says_so_and_comes_back_by_itself(
    double: StatusDouble, tab: Tab
) -> None:
    tab.goto(double.url)
    see(tab, "Live", "[role=status]")
    double.lose()
    see(tab, "Reconnecting", "[role=status]")
    see(tab, "No answer from tokenproxy; this is how things stood.", "h1")
    double.find()
    see(tab, "Live", "[role=status]")
    see(tab, "Ready: shop has a good token.", "h1")


def test_credentials_come_and_go_with_the_config(double: StatusDouble, tab: Tab) -> None:
    tab.goto(double.url)
    see(tab, "shop", ".cards")
    double.say(credentials={"crm": credential(double.now)})
    see(tab, "crm", ".card h3")
    assert tab.run("document.querySelectorAll('.card').length") == 1


# -- what a person can do ----------------------------------------------------------------------


def test_a_renewal_that_fails_is_told_in_the_words_of_the_server(
    double: StatusDouble, tab: Tab
) -> None:
    double.answers[REFRESH] = (503, {"detail": "Credential 'shop' could not be renewed."})
    tab.goto(double.url)
    press(tab, "Renew now")
    see(tab, "Credential 'shop' could not be renewed.", ".error")
    see(tab, "Renew now", "button:visible")
    assert double.posts == [REFRESH]


def waiting_for_a_person(double: StatusDouble, kind: str) -> None:
    waits = without_token(double.now, state="login_required", sign_in=kind)
    double.say(credentials={"shop": waits}, ready=False, reasons=["shop: login_required"])


def test_signing_in_leads_to_the_issuer(double: StatusDouble, tab: Tab) -> None:
    waiting_for_a_person(double, "authorization_code")
    url = f"{double.url}elsewhere?state=1"
    double.answers[SIGN_IN] = (200, {"type": "redirect", "url": url})
    tab.goto(double.url)
    see(tab, "Sign-in required", ".state")
    see(tab, "Not ready: shop needs a person to sign in.", "h1")
    press(tab, "Sign in")
    tab.do(lambda page: page.wait_for_url(url))
    see(tab, "this is the issuer")


def test_an_address_that_is_none_of_the_web_is_not_gone_to(double: StatusDouble, tab: Tab) -> None:
    waiting_for_a_person(double, "authorization_code")
    url = "javascript:document.body.remove()"
    double.answers[SIGN_IN] = (200, {"type": "redirect", "url": url})
    tab.goto(double.url)
    press(tab, "Sign in")
    see(tab, "The issuer named no web address", ".error")


DEVICE = {
    "type": "device_code",
    "verification_uri": "https://login.shop.example/device",
    "verification_uri_complete": None,
    "user_code": "WDJB-MJHT",
}


def test_a_code_is_shown_until_the_person_has_signed_in_elsewhere(
    double: StatusDouble, tab: Tab
) -> None:
    waiting_for_a_person(double, "device_code")
    double.answers[SIGN_IN] = (200, {**DEVICE, "expires_at": double.now + 600})
    tab.goto(double.url)
    press(tab, "Sign in")
    see(tab, "WDJB-MJHT", ".code")
    see(tab, "Waiting for you to sign in there.", ".waiting")
    link = tab.run("(a => [a.href, a.innerText, a.rel])(document.querySelector('.device a'))")
    assert link == [DEVICE["verification_uri"], "Open login.shop.example", "noopener noreferrer"]
    double.say(credentials={"shop": credential(double.now)})
    tab.do(lambda page: page.wait_for_selector(".device", state="hidden"))
    see(tab, "Fresh", ".state")


def test_a_sign_in_that_cannot_begin_is_told_beside_what_is_known(
    double: StatusDouble, tab: Tab
) -> None:
    waits = without_token(double.now, state="login_required", sign_in="device_code")
    double.say(credentials={"shop": {**waits, "last_error": "the issuer said no"}})
    double.answers[SIGN_IN] = (409, {"detail": "Run 'tokenproxy login shop'."})
    tab.goto(double.url)
    press(tab, "Sign in")
    see(tab, "Run 'tokenproxy login shop'. The issuer said no", ".error")


def test_a_code_that_brought_nothing_is_put_away(double: StatusDouble, tab: Tab) -> None:
    waiting_for_a_person(double, "device_code")
    double.answers[SIGN_IN] = (200, {**DEVICE, "expires_at": double.now + 600})
    tab.goto(double.url)
    press(tab, "Sign in")
    see(tab, "WDJB-MJHT", ".code")
    waits = without_token(double.now, state="login_required", sign_in="device_code")
    double.say(credentials={"shop": {**waits, "last_error": "whoever was asked said no"}})
    tab.do(lambda page: page.wait_for_selector(".device", state="hidden"))
    see(tab, "Whoever was asked said no", ".error")


def test_a_code_can_be_copied_and_says_when_it_has_run_out(double: StatusDouble, tab: Tab) -> None:
    waiting_for_a_person(double, "device_code")
    double.answers[SIGN_IN] = (200, {**DEVICE, "expires_at": double.now - 1})
    tab.goto(double.url)
    tab.do(lambda page: page.context.grant_permissions(["clipboard-read", "clipboard-write"]))
    press(tab, "Sign in")
    see(tab, "This code has run out.", ".waiting")
    press(tab, "Copy code")
    see(tab, "Copied", ".device")
    assert tab.run("navigator.clipboard.readText()") == "WDJB-MJHT"


# -- for everybody -----------------------------------------------------------------------------


async def _dressed(page: Page, scheme: Any, width: int) -> None:
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await page.set_viewport_size({"width": width, "height": 900})


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("is_lost", [False, True])
def test_axe_finds_nothing_wrong(
    double: StatusDouble, tab: Tab, scheme: str, width: int, *, is_lost: bool
) -> None:
    levels = [
        happening(double.now, "so it is", level=level) for level in ("info", "warning", "error")
    ]
    double.say(
        credentials=every_state(double.now), events=levels * 4, warnings=["fresh: not_persisted"]
    )
    code = {**DEVICE, "expires_at": double.now + 600}
    double.answers["/api/credentials/login_required/sign-in"] = (200, code)
    tab.do(lambda page: _dressed(page, scheme, width))
    tab.goto(double.url)
    press(tab, "Sign in")
    see(tab, "WDJB-MJHT", "[aria-labelledby=credential-login_required] .code")
    tab.do(lambda page: page.click("summary"))
    if is_lost:
        double.lose()
        see(tab, "Reconnecting", "[role=status]")
    tab.run(AXE)
    found = tab.run("axe.run().then(({violations}) => violations)")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    assert tab.run("document.documentElement.scrollWidth") == width


def test_the_page_is_used_by_keyboard(double: StatusDouble, tab: Tab) -> None:
    double.answers[REFRESH] = (200, {})
    tab.goto(double.url)
    see(tab, "shop", ".cards")
    strike(tab, "Tab")
    assert tab.run("document.activeElement.innerText") == "Skip to the credentials"
    strike(tab, "Enter")
    strike(tab, "Tab")
    assert tab.run("document.activeElement.innerText") == "Renew now"
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    strike(tab, "Enter")
    see(tab, "shop has been renewed.", "[data-is=announcement]")
    assert tab.run("document.activeElement.innerText") == "Renew now"


@pytest.mark.parametrize(("motion", "animation"), [("reduce", "none"), ("no-preference", "turn")])
def test_who_wants_no_motion_sees_none(
    double: StatusDouble, tab: Tab, motion: Any, animation: str
) -> None:
    double.say(credentials={"shop": credential(double.now, state="renewing")})
    tab.do(lambda page: page.emulate_media(reduced_motion=motion))
    tab.goto(double.url)
    see(tab, "Renewing", ".state")
    assert (
        tab.run("getComputedStyle(document.querySelector('.state svg')).animationName") == animation
    )
