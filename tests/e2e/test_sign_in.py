"""A person signs in by `tokenproxy login`, on another device or in a browser, at a real issuer."""

import stat
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from tests.cli.shell import NEEDS_A_PERSON, Dialogue, Said, Shell
from tests.e2e import oidc
from tests.e2e.conftest import PACKAGE_FOLDER, Program, ProviderFactory, ProxyFactory
from tests.e2e.oidc import OidcProvider
from tests.e2e.oidc_pages import approve_device, callback_address, decline_device, sign_in
from tests.e2e.test_failing_well import free_port
from tests.e2e.test_main_job import SHORT, for_seconds
from tests.e2e.test_oauth2 import LIFE, LONG, TEN_LIVES, config, credential
from tokenproxy.clock import SystemClock

CLOCK = SystemClock()
pytestmark = pytest.mark.timeout(180)  # a verb takes half a second, and ten times that under load
SIGN_IN_AT = r"Sign in at (http\S+)"
OR_GO_TO = r"or go to (http\S+)"


def by_browser(provider: OidcProvider, *, scope: str = "openid", **more: Any) -> dict[str, Any]:
    return config(
        provider, {"it": credential(provider, "authorization_code", "public", scope=scope, **more)}
    )


def by_device(provider: OidcProvider, *, scope: str = "openid", **more: Any) -> dict[str, Any]:
    return config(
        provider, {"it": credential(provider, "device_code", "public", scope=scope, **more)}
    )


def get(url: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=30)


def seconds_until_served(program: Program, client: requests.Session) -> float:
    began = CLOCK.now()
    while client.get(f"{program.url}/it/items").status_code != 200:
        assert CLOCK.now().since(began) < 10
    return CLOCK.now().since(began)


def check_it_needs_a_person(program: Program, client: requests.Session) -> None:
    answer = client.get(f"{program.url}/it/items")
    assert (answer.status_code, answer.json()["code"]) == (502, "login_required")
    assert "run 'tokenproxy login it'" in program.stderr_text()


def check_it_lives_on(
    provider: OidcProvider, program: Program, client: requests.Session, seconds: float
) -> None:
    """Nothing is refused for that long, by the proxy or by the issuer."""
    seen = for_seconds(seconds, lambda: client.get(f"{program.url}/it/items").status_code)
    assert set(seen) == {200}
    assert len(provider.token_calls("refresh_token")) >= seconds / LIFE - 1
    assert provider.refused() == []
    assert provider.revoked_families() == []


@pytest.mark.parametrize("seconds", [SHORT, TEN_LIVES])
def test_a_running_proxy_takes_up_a_sign_in_on_another_device_and_keeps_it_alive(
    oidc_provider: ProviderFactory,
    proxy: ProxyFactory,
    tmp_path: Path,
    client: requests.Session,
    seconds: float,
) -> None:
    provider = oidc_provider(access_life=LIFE)
    told = by_device(provider, scope="openid api")
    program = proxy(told)
    check_it_needs_a_person(program, client)
    verbs = Shell(tmp_path, told)
    with verbs.begin("login", "it") as login:
        uri, code = login.find(r"Go to +(http\S+)"), login.find(r"and type +(\S+)")
        assert code in login.find(OR_GO_TO)
        approve_device(uri, code)
        said = verbs.checked(login.end())
        assert seconds_until_served(program, client) < 1

    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1].startswith("it: signed in, good for ")
    check_it_lives_on(provider, program, client, seconds)


@pytest.mark.parametrize("seconds", [SHORT, TEN_LIVES])
def test_a_running_proxy_takes_up_a_sign_in_in_a_browser_and_keeps_it_alive(
    oidc_provider: ProviderFactory,
    proxy: ProxyFactory,
    tmp_path: Path,
    client: requests.Session,
    seconds: float,
) -> None:
    provider = oidc_provider(access_life=LIFE)
    told = by_browser(provider, scope="openid api")
    program = proxy(told)
    check_it_needs_a_person(program, client)
    verbs = Shell(tmp_path, told)
    with verbs.begin("login", "it", "--no-browser") as login:
        page = sign_in(login.find(SIGN_IN_AT))
        said = verbs.checked(login.end())
        assert seconds_until_served(program, client) < 1

    assert (page.status_code, "Signed in" in page.text) == (200, True)
    assert (said.code, said.err) == (0, "")
    check_it_lives_on(provider, program, client, seconds)


def finished(verbs: Shell, login: Dialogue, url: str) -> tuple[requests.Response, Said]:
    """The page that a browser sees at the end, and what the terminal says."""
    return sign_in(url), verbs.checked(login.end())


def test_a_foreign_visitor_of_the_callback_changes_nothing(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    verbs = Shell(tmp_path, by_browser(provider))
    with verbs.begin("login", "it", "--no-browser") as login:
        url = login.find(SIGN_IN_AT)
        [back] = parse_qs(urlsplit(url).query)["redirect_uri"]
        origin = back.removesuffix("/callback")
        assert get(f"{back}?code=abc&state=wrong").status_code == 400
        assert get(f"{back}?error=access_denied").status_code == 400
        assert get(f"{origin}/").status_code == 404
        assert get(f"{origin}/callback/more").status_code == 404
        rebound = requests.post(back, data="code=abc", timeout=30)
        assert rebound.status_code == 404

        page, said = finished(verbs, login, url)

    assert (page.status_code, said.code) == (200, 0)
    assert len(provider.token_calls("authorization_code")) == 1
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"


def test_an_answer_of_another_issuer_is_refused(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    verbs = Shell(tmp_path, by_browser(provider))
    for told in ({"iss": "https://evil.example"}, {}):
        with verbs.begin("login", "it", "--no-browser") as login:
            address, _, query = callback_address(login.find(SIGN_IN_AT)).partition("?")
            brought = {name: values[0] for name, values in parse_qs(query).items()}
            assert brought.pop("iss") == provider.url
            page = get(f"{address}?{urlencode({**brought, **told})}")
            said = verbs.checked(login.end())

        assert page.status_code == 400
        assert (said.code, "another issuer" in said.sentence) == (NEEDS_A_PERSON, True)
    assert provider.token_calls("authorization_code") == []


def test_who_says_no_in_the_browser_is_asked_again_by_another_login_only(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    verbs = Shell(tmp_path, by_browser(provider))
    with verbs.begin("login", "it", "--no-browser") as login:
        page = sign_in(login.find(SIGN_IN_AT), decline=True)
        said = verbs.checked(login.end())

    assert page.status_code == 400
    assert said.code == NEEDS_A_PERSON
    assert said.sentence == (
        "credential 'it' was not let in (access_denied); run 'tokenproxy login it' again"
    )
    assert provider.token_calls() == []


def test_who_says_no_on_the_other_device_is_asked_again_by_another_login_only(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    verbs = Shell(tmp_path, by_device(provider))
    with verbs.begin("login", "it") as login:
        decline_device(login.find(OR_GO_TO))
        said = verbs.checked(login.end())

    assert said.code == NEEDS_A_PERSON
    assert said.sentence == (
        "credential 'it' was not let in: whoever was asked said no; run 'tokenproxy login it' again"
    )
    assert [call.error for call in provider.token_calls(oidc.DEVICE_CODE)] == ["access_denied"]


BROWSER = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(PACKAGE_FOLDER)!r})
from tests.e2e.oidc_pages import sign_in
sys.exit(sign_in(sys.argv[1]).status_code != 200)
"""


def test_a_browser_that_stays_in_the_foreground_is_opened(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    browser = tmp_path / "browser"
    browser.write_text(BROWSER)
    browser.chmod(stat.S_IRWXU)

    said = Shell(tmp_path, by_browser(provider))("login", "it", BROWSER=f"{browser} %s")

    assert (said.code, said.err) == (0, "")
    assert "it: signed in" in said.out


def test_a_redirect_uri_with_a_port_is_where_the_browser_comes_back(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    uri = f"http://localhost:{free_port()}/callback"
    verbs = Shell(tmp_path, by_browser(provider, redirect_uri=uri))
    with verbs.begin("login", "it", "--no-browser") as login:
        url = login.find(SIGN_IN_AT)
        taken = verbs("login", "it", "--no-browser")
        page, said = finished(verbs, login, url)

    assert page.url.startswith(f"{uri}?")
    assert said.code == 0
    assert taken.code == 1
    assert "cannot be had (Address already in use): free it, or register" in taken.sentence


@pytest.mark.parametrize("offline", [True, False])
def test_offline_access_is_asked_for_with_a_prompt_and_brings_a_refresh_token(
    oidc_provider: ProviderFactory, tmp_path: Path, *, offline: bool
) -> None:
    provider = oidc_provider(access_life=LONG, offline_access_only=True)
    verbs = Shell(
        tmp_path, by_browser(provider, scope="openid offline_access" if offline else "openid")
    )
    with verbs.begin("login", "it", "--no-browser") as login:
        url = login.find(SIGN_IN_AT)
        page, said = finished(verbs, login, url)

    assert (page.status_code, said.code) == (200, 0)
    assert parse_qs(urlsplit(url).query).get("prompt") == (["consent"] if offline else None)
    renewed = verbs("refresh", "it")
    assert renewed.code == (0 if offline else NEEDS_A_PERSON)
    assert len(provider.token_calls("refresh_token")) == (1 if offline else 0)
