import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest

from tests.tokens.oauth2.asking import (
    SECRET,
    TOKEN,
    Build,
    a_public_issuer,
    an_issuer,
    is_accepted,
    last,
)
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.testing import OAuth2Endpoint, OAuth2Issuer, Person, faults
from tokenproxy.tokens.oauth2.code import Begun, CodeFlow, ForeignAnswer, challenge, shown_error

BACK = "http://127.0.0.1:8400/callback"
AGAIN = "run 'tokenproxy login shop' again"
UNRESERVED = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 4.1

Answer = dict[str, str]


class Browser:
    """Goes where it is sent, and tells what it would bring back."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def visit(self, url: str) -> Answer:
        async with self._session.get(url, allow_redirects=False) as answer:
            assert answer.status == 302
            where = answer.headers["Location"]
        assert where.startswith(f"{BACK}?")
        return dict(parse_qsl(urlsplit(where).query, strict_parsing=True, keep_blank_values=True))


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession() as session:
        yield Browser(session)


def flow(build: Build, issuer: OAuth2Issuer, **keys: object) -> CodeFlow:
    sign_in = build(issuer, "authorization_code", **{"client_auth": None, **keys}).sign_in
    assert isinstance(sign_in, CodeFlow)
    return sign_in


def asked(begun: Begun) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(begun.url).query, strict_parsing=True, keep_blank_values=True)


# -- where the browser is sent ---------------------------------------------------------------


def test_the_challenge_is_that_of_rfc_7636_appendix_b() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_the_browser_is_sent_with_this_query_and_nothing_else(build: Build) -> None:
    wants: dict[str, Any] = {
        "scope": ["a", "b"],
        "audience": "api",
        "resource": ["urn:a", "urn:b"],
        "extra": {"tenant": "t&=é"},
    }
    async with a_public_issuer() as issuer:
        begun = await flow(build, issuer, **wants).begin(BACK)
    assert begun.url.startswith(f"{issuer.url_of(OAuth2Endpoint.AUTHORIZE)}?")
    assert asked(begun) == [
        ("response_type", "code"),
        ("client_id", "demo-client"),
        ("redirect_uri", BACK),
        ("scope", "a b"),
        ("audience", "api"),
        ("resource", "urn:a"),
        ("resource", "urn:b"),
        ("tenant", "t&=é"),
        ("state", begun.state),
        ("code_challenge", challenge(begun.verifier)),
        ("code_challenge_method", "S256"),
    ]


@pytest.mark.parametrize(
    ("keys", "prompt"),
    [
        ({"scope": "openid offline_access"}, ["consent"]),
        ({"scope": "openid"}, []),
        ({"scope": "not_offline_access"}, []),
        ({}, []),
        ({"scope": "offline_access", "extra": {"prompt": "login"}}, ["login"]),
    ],
    ids=["offline_access", "no offline_access", "another scope", "no scope", "a prompt of its own"],
)
async def test_offline_access_is_asked_for_with_consent(
    build: Build, keys: dict[str, object], prompt: list[str]
) -> None:
    """OpenID Connect Core 11."""
    async with a_public_issuer() as issuer:
        begun = await flow(build, issuer, **keys).begin(BACK)
    assert [value for name, value in asked(begun) if name == "prompt"] == prompt


async def test_no_two_sign_ins_share_a_secret_and_none_shows_it(build: Build) -> None:
    async with a_public_issuer() as issuer:
        begun = [await flow(build, issuer).begin(BACK) for _ in range(3)]
    secrets = [secret for one in begun for secret in (one.state, one.verifier)]
    assert len(set(secrets)) == 6
    assert all(UNRESERVED.fullmatch(one.verifier) for one in begun)
    assert all(len(one.state) >= 22 for one in begun)  # 128 bits
    assert not any(secret in repr(begun) for secret in secrets)
    assert all(one.verifier not in one.url for one in begun)


async def test_a_query_of_the_endpoint_stays(build: Build) -> None:
    async with a_public_issuer() as issuer:
        keys = {"authorization_url": "https://login.example/authorize?tenant=x%2Fy"}
        begun = await flow(build, issuer, **keys).begin(BACK)
    assert begun.url.startswith("https://login.example/authorize?tenant=x%2Fy&response_type=code&")


async def test_an_issuer_without_the_endpoint_is_told_as_that(build: Build) -> None:
    async with a_public_issuer() as issuer:
        issuer.metadata = {"authorization_endpoint": faults.ABSENT}
        with pytest.raises(SourceRefused, match="tells no 'authorization_endpoint'"):
            await flow(build, issuer).begin(BACK)


# -- what it brings back ---------------------------------------------------------------------


async def test_a_code_is_exchanged_with_the_verifier(build: Build, browser: Browser) -> None:
    async with a_public_issuer() as issuer:
        signing_in = flow(build, issuer, scope="a b", resource="urn:a", audience="api")
        begun = await signing_in.begin(BACK)
        answer = await browser.visit(begun.url)
        granted = await signing_in.finish(begun, answer)
        assert is_accepted(issuer, granted)
    assert granted.refresh is not None
    assert answer["iss"] == issuer.issuer
    assert last(issuer).form == (
        ("grant_type", "authorization_code"),
        ("code", answer["code"]),
        ("redirect_uri", BACK),
        ("code_verifier", begun.verifier),
        ("resource", "urn:a"),
        ("client_id", "demo-client"),
    )


async def test_a_client_with_a_secret_proves_itself_too(build: Build, browser: Browser) -> None:
    async with an_issuer() as issuer:
        signing_in = flow(build, issuer, client_auth={"secret": SECRET})
        begun = await signing_in.begin(BACK)
        await signing_in.finish(begun, await browser.visit(begun.url))
    assert last(issuer).method == "client_secret_basic"
    assert SECRET not in begun.url


async def test_a_code_of_another_sign_in_does_not_fit_our_verifier(
    build: Build, browser: Browser
) -> None:
    async with a_public_issuer() as issuer:
        signing_in = flow(build, issuer)
        ours, theirs = await signing_in.begin(BACK), await signing_in.begin(BACK)
        answer = await browser.visit(theirs.url)
        with pytest.raises(SourceRefused, match="invalid_grant"):
            await signing_in.finish(ours, {**answer, "state": ours.state})


async def test_a_code_is_not_sent_twice_without_a_refusal(build: Build, browser: Browser) -> None:
    async with a_public_issuer() as issuer:
        signing_in = flow(build, issuer)
        begun = await signing_in.begin(BACK)
        answer = await browser.visit(begun.url)
        granted = await signing_in.finish(begun, answer)
        with pytest.raises(SourceRefused, match="invalid_grant"):
            await signing_in.finish(begun, answer)
        assert not is_accepted(issuer, granted)


@pytest.mark.parametrize(
    "state",
    [None, "", "other", "é", "\udcff", "{state}x", "{STATE}"],
    ids=["absent", "empty", "another", "not ASCII", "no text", "longer", "in capitals"],
)
async def test_an_answer_with_another_state_changes_nothing(
    build: Build, browser: Browser, state: str | None
) -> None:
    async with a_public_issuer() as issuer:
        signing_in = flow(build, issuer)
        begun = await signing_in.begin(BACK)
        answer = await browser.visit(begun.url)
        foreign = {name: value for name, value in answer.items() if name != "state"}
        if state is not None:
            foreign["state"] = state.format(state=begun.state, STATE=begun.state.swapcase())
        for odd in (foreign, {**foreign, "error": "access_denied"}):
            with pytest.raises(ForeignAnswer):
                await signing_in.finish(begun, odd)
        assert issuer.calls_to(TOKEN) == []
        assert is_accepted(issuer, await signing_in.finish(begun, answer))


@pytest.mark.parametrize(
    ("announced", "told", "taken"),
    [
        (True, "ours", True),
        (True, None, False),
        (True, "", False),
        (True, "https://evil.example", False),
        (False, "ours", True),
        (False, None, True),
        (False, "https://evil.example", False),
    ],
    ids=str,
)
async def test_an_answer_of_another_issuer_is_not_used(
    build: Build, browser: Browser, announced: bool, told: str | None, taken: bool
) -> None:
    """RFC 9207 2.4."""
    async with a_public_issuer() as issuer:
        issuer.metadata = {"authorization_response_iss_parameter_supported": announced}
        signing_in = flow(build, issuer)
        begun = await signing_in.begin(BACK)
        answer = await browser.visit(begun.url)
        if told is None:
            del answer["iss"]
        elif told != "ours":
            answer["iss"] = told
        if taken:
            assert is_accepted(issuer, await signing_in.finish(begun, answer))
            return
        with pytest.raises(SourceRefused) as caught:
            await signing_in.finish(begun, answer)
    assert str(caught.value) == (
        f"credential 'shop' got an answer that another issuer sent, and has not used it; {AGAIN}"
    )
    assert issuer.calls_to(TOKEN) == []


async def test_a_person_who_says_no_is_told_as_that(build: Build, browser: Browser) -> None:
    async with a_public_issuer() as issuer:
        issuer.person = Person.DECLINES
        signing_in = flow(build, issuer)
        begun = await signing_in.begin(BACK)
        with pytest.raises(SourceRefused) as caught:
            await signing_in.finish(begun, await browser.visit(begun.url))
    assert str(caught.value) == f"credential 'shop' was not let in (access_denied); {AGAIN}"
    assert issuer.calls_to(TOKEN) == []


@pytest.mark.parametrize("code", [None, ""], ids=["absent", "empty"])
async def test_an_answer_without_a_code_is_told_as_that(build: Build, code: str | None) -> None:
    async with a_public_issuer() as issuer:
        signing_in = flow(build, issuer)
        begun = await signing_in.begin(BACK)
        answer = {"state": begun.state, "iss": issuer.issuer}
        with pytest.raises(SourceRefused, match="got an answer without a code"):
            await signing_in.finish(begun, answer if code is None else {**answer, "code": code})
    assert issuer.calls_to(TOKEN) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("access_denied", "access_denied"),
        ("a\x1b[2J\r\nb\x00", "a[2Jb"),
        ("\u202ex", "x"),
        ("x" * 5000, "x" * 200),
    ],
    ids=["word", "control characters", "bidi", "long"],
)
def test_what_an_issuer_calls_an_error_is_one_short_line(text: str, shown: str) -> None:
    assert shown_error(text) == shown


async def test_a_token_endpoint_that_is_down_lets_the_same_answer_be_used_again(
    build: Build, browser: Browser
) -> None:
    async with a_public_issuer() as issuer:
        signing_in = flow(build, issuer)
        begun = await signing_in.begin(BACK)
        answer = await browser.visit(begun.url)
        issuer.fail_next(1, faults.UNAVAILABLE, endpoint=TOKEN)
        with pytest.raises(SourceUnavailable):
            await signing_in.finish(begun, answer)
        assert is_accepted(issuer, await signing_in.finish(begun, answer))
