"""The verbs that people use on credentials, at real issuers, beside a running proxy and without."""

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cli.shell import NEEDS_A_PERSON, Shell
from tests.e2e.conftest import Program, ProviderFactory, ProxyFactory, SiteFactory
from tests.e2e.oidc import OidcProvider
from tests.e2e.oidc_pages import sign_in
from tests.e2e.test_failing_well import free_port, until
from tests.e2e.test_main_job import shop
from tests.e2e.test_oauth2 import LONG, config, credential, login_of
from tokenproxy.clock import SystemClock

pytestmark = pytest.mark.timeout(180)  # a verb takes half a second, and ten times that under load
CLOCK = SystemClock()
FAILED, WRONG_USAGE = 1, 2
ON_ONE = ["login", "logout", "token", "refresh"]  # credential, that they name


def by_password(provider: OidcProvider, client: str = "public", **more: Any) -> dict[str, Any]:
    return credential(provider, "password", client, **{**login_of(provider), **more})


def by_refresh_token(provider: OidcProvider) -> dict[str, Any]:
    first = provider.tokens("public")["refresh_token"]
    provider.clear()
    return credential(provider, "refresh_token", "public", refresh_token=first)


def get(program: Program, client: requests.Session, path: str = "/it/items") -> requests.Response:
    return client.get(program.url + path)


def state(verbs: Shell, name: str = "it") -> dict[str, Any]:
    """What `status --json` says of one."""
    said = verbs("status", "--json")
    assert (said.code, said.err) == (0, "")
    found: dict[str, Any] = json.loads(said.out)["credentials"][name]
    return found


# What each verb does


def test_token_prints_a_good_token_and_nothing_else(
    oidc_provider: ProviderFactory, client: requests.Session, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    verbs = Shell(tmp_path, config(provider, {"it": by_password(provider)}))

    first, second = verbs("token", "it"), verbs("token", "it")

    assert (first.code, first.err) == (0, "")
    [token] = first.out.splitlines()
    assert second == first  # it is good for longer
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get(f"{provider.api_url}/items", headers=headers).status_code == 200
    assert len(provider.token_calls()) == 1


@pytest.mark.parametrize("verb", ["refresh", "login"])
def test_a_running_proxy_takes_up_what_a_verb_has_renewed(
    oidc_provider: ProviderFactory,
    proxy: ProxyFactory,
    client: requests.Session,
    tmp_path: Path,
    verb: str,
) -> None:
    provider = oidc_provider(access_life=LONG)
    told = config(provider, {"it": by_password(provider)})
    program = proxy(told)
    assert get(program, client).status_code == 200
    verbs = Shell(tmp_path, told)

    said = verbs(verb, "it")

    done = {"refresh": "renewed", "login": "signed in"}[verb]
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"it: {done}, good for ")
    token = verbs("token", "it").out.strip()
    assert get(program, client).status_code == 200
    assert provider.api_calls()[-1].token == token != provider.api_calls()[0].token
    assert [call.grant_type for call in provider.token_calls()] == ["password", "refresh_token"]
    assert provider.refused() == []


def test_status_tells_how_each_credential_stands(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    told = config(
        provider,
        {
            "it": by_password(provider),
            "wrong": by_password(provider, client="post", password="wrong-password"),
            "unused": credential(provider, "device_code", "basic"),
        },
    )
    told["credentials"]["unused"]["refresh"] = {"background": False}
    program = proxy(told)
    assert [get(program, client, f"/{name}/items").status_code for name in ("it", "wrong")] == [
        200,
        502,
    ]
    verbs = Shell(tmp_path, told)

    table, machine = verbs("status", COLUMNS="200"), verbs("status", "--json")

    assert (table.code, table.err, machine.code, machine.err) == (0, "", 0, "")
    rows = {line.split()[0]: line for line in table.out.splitlines()[1:]}
    assert list(rows) == ["it", "unused", "wrong"]
    assert re.fullmatch(r"it +fresh +good for \d\S+ +\S+ ago +-\s*", rows["it"])
    assert "login_required" in rows["wrong"]
    assert "refused (400 invalid_grant)" in rows["wrong"]
    assert "never" in rows["unused"]
    shown = json.loads(machine.out)["credentials"]
    assert shown["it"] | {"expires_at": 0, "last_renewal": 0} == {
        "state": "fresh",
        "not_persisted": False,
        "expires_at": 0,
        "last_renewal": 0,
        "last_error": None,
    }
    now = CLOCK.now().wall
    assert (
        now < shown["it"]["expires_at"] <= shown["it"]["last_renewal"] + LONG + 1 <= now + LONG + 1
    )
    assert shown["wrong"]["state"] == "login_required"
    assert shown["unused"]["state"] == "login_required"
    assert len(provider.token_calls()) == 2  # looking asks nobody


def test_status_shows_an_error_as_it_is(tmp_path: Path, oidc_provider: ProviderFactory) -> None:
    provider = oidc_provider(access_life=LONG)
    odd = str(tmp_path / "[bold]" / "[/x]")
    it = credential(provider, "token_exchange", "basic", subject_token_file=odd)
    verbs = Shell(tmp_path, config(provider, {"it": it}))
    assert f"the subject token in {odd} cannot be read" in verbs("token", "it").sentence

    said = verbs("status", COLUMNS="1000")

    assert said.code == 0
    assert odd in said.out
    assert odd in state(verbs)["last_error"]


# Logging out


def test_logout_revokes_and_forgets_and_a_login_of_the_config_is_done_again(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    told = config(provider, {"it": by_password(provider)})
    program = proxy(told)
    assert get(program, client).status_code == 200
    old = provider.api_calls()[0].token

    said = Shell(tmp_path, told)("logout", "it")

    assert (said.code, said.out, said.err) == (0, "it: revoked and forgotten\n", "")
    hints = {call.form["token_type_hint"]: call.form["token"] for call in provider.revocations()}
    assert (list(hints), hints["access_token"]) == (["refresh_token", "access_token"], old)
    until(lambda: len(provider.token_calls("password")) == 2)
    assert get(program, client).status_code == 200
    assert provider.api_calls()[-1].token != old
    assert provider.token_calls("refresh_token") == []
    assert (provider.refused(), provider.revoked_families()) == ([], [])


def test_logout_leaves_a_proxy_that_cannot_log_in_without_a_token(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    told = config(provider, {"it": by_refresh_token(provider)})
    program = proxy(told)
    assert get(program, client).status_code == 200
    verbs = Shell(tmp_path, told)

    assert verbs("logout", "it").out == "it: revoked and forgotten\n"

    until(lambda: get(program, client).status_code == 502)
    assert get(program, client).json()["code"] == "login_required"
    assert verbs("logout", "it").out == "it: forgotten (nothing could be revoked)\n"
    program.restart()
    assert get(program, client).json()["code"] == "login_required"
    assert len(provider.token_calls("refresh_token")) == 1
    assert len(provider.revocations()) == 2


def test_logout_says_who_the_client_is_as_renewals_do(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    clients = ["basic", "es256", "tls"]
    told = config(provider, {name: by_password(provider, client=name) for name in clients})
    verbs = Shell(tmp_path, told)
    assert verbs("check", "--online").code == 0

    for name in clients:
        assert verbs("logout", name).out == f"{name}: revoked and forgotten\n"

    methods = [(call.auth, call.status) for call in provider.revocations()]
    assert methods == [(provider.clients[name].method, 200) for name in clients for _ in range(2)]


def test_a_logout_that_the_issuer_does_not_hear_of_forgets_all_the_same_and_says_so(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    nowhere = f"http://127.0.0.1:{free_port()}/revoke"
    told = config(provider, {"it": by_password(provider, revocation_url=nowhere)})
    verbs = Shell(tmp_path, told)
    assert verbs("refresh", "it").code == 0

    said = verbs("logout", "it")

    assert (said.code, said.out) == (FAILED, "")
    assert f"{nowhere} could not be reached" in said.sentence
    assert state(verbs)["state"] == "empty"


@pytest.mark.parametrize("ends_sessions", [True, False])
def test_logout_at_simplejwt_ends_the_session_where_there_is_an_address_for_it(
    simplejwt_site: SiteFactory,
    proxy: ProxyFactory,
    client: requests.Session,
    tmp_path: Path,
    *,
    ends_sessions: bool,
) -> None:
    site = simplejwt_site(access_life=60)
    logout_url = f"{site.url}/api/token/blacklist/"
    told = shop(site, logout_url=logout_url if ends_sessions else None)
    program = proxy(told)
    assert get(program, client, "/shop/items/").status_code == 200

    said = Shell(tmp_path, told)("logout", "shop")

    done = "revoked and forgotten" if ends_sessions else "forgotten (nothing could be revoked)"
    assert (said.code, said.out, said.err) == (0, f"shop: {done}\n", "")
    until(lambda: len(site.logins()) == 2)
    assert get(program, client, "/shop/items/").status_code == 200
    ended = [arrival for arrival in site.log() if arrival.target == "/api/token/blacklist/"]
    assert [arrival.status for arrival in ended] == ([200] if ends_sessions else [])
    assert site.refreshes() == []


# What goes wrong


@pytest.mark.parametrize("verb", [*ON_ONE, "status"])
def test_a_store_in_memory_is_nobody_elses_to_look_into(tmp_path: Path, verb: str) -> None:
    static = {"type": "static", "token": "a-token-of-the-config"}
    told = {
        "store": {"type": "memory"},
        "credentials": {"it": static},
        "routes": [{"upstream": "http://127.0.0.1:1", "credential": "it"}],
    }

    said = Shell(tmp_path, told)(verb, *(["it"] if verb in ON_ONE else []))

    assert (said.code, said.out) == (WRONG_USAGE, "")
    assert said.sentence.startswith("the config keeps its tokens in memory, where no other process")
    assert said.sentence.endswith("use 'store: {type: file}' for this")


@pytest.mark.parametrize("verb", ON_ONE)
def test_an_unknown_credential_is_told_with_a_guess(tmp_path: Path, verb: str) -> None:
    static = {"type": "static", "token": "a-token-of-the-config"}
    told = {
        "credentials": {"shop": static},
        "routes": [{"upstream": "http://127.0.0.1:1", "credential": "shop"}],
    }

    said = Shell(tmp_path, told)(verb, "shpo")

    assert (said.code, said.out) == (WRONG_USAGE, "")
    assert said.sentence == "no credential is called 'shpo' (did you mean 'shop'?)"


@pytest.mark.parametrize("verb", ["login", "token", "refresh"])
def test_an_issuer_that_is_down_is_one_sentence(
    oidc_provider: ProviderFactory, tmp_path: Path, verb: str
) -> None:
    provider = oidc_provider(access_life=LONG)
    issuer = f"http://127.0.0.1:{free_port()}"
    it = by_password(provider, issuer=issuer, refresh={"retries": 0})

    said = Shell(tmp_path, config(provider, {"it": it}))(verb, "it")

    assert (said.code, said.out) == (FAILED, "")
    assert said.sentence == (
        f"credential 'it': {issuer}/.well-known/openid-configuration could not be reached"
    )


def test_a_logout_with_nothing_to_revoke_asks_no_issuer(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    it = by_password(provider, issuer=f"http://127.0.0.1:{free_port()}")

    said = Shell(tmp_path, config(provider, {"it": it}))("logout", "it")

    assert (said.code, said.out, said.err) == (0, "it: forgotten (nothing could be revoked)\n", "")


@pytest.mark.parametrize("verb", ["login", "token", "refresh"])
def test_a_refusal_needs_a_person(
    oidc_provider: ProviderFactory, tmp_path: Path, verb: str
) -> None:
    provider = oidc_provider(access_life=LONG)
    it = by_password(provider, password="wrong-password")

    said = Shell(tmp_path, config(provider, {"it": it}))(verb, "it")

    assert (said.code, said.out) == (NEEDS_A_PERSON, "")
    assert said.sentence == (
        f"credential 'it': {provider.token_url} refused (400 invalid_grant): "
        "sign in again, or mend the login in the config"
    )
    assert len(provider.token_calls()) == 1


def test_a_refused_login_is_sent_again_only_when_a_person_asks_for_it(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    told = config(provider, {"it": by_password(provider, password="wrong-password")})
    program = proxy(told)
    assert get(program, client).json()["code"] == "login_required"
    verbs = Shell(tmp_path, told)

    asked = {}
    for verb in ("token", "refresh"):
        provider.clear()
        assert verbs(verb, "it").code == NEEDS_A_PERSON
        asked[verb] = len(provider.token_calls())

    assert asked == {"token": 0, "refresh": 1}
    assert get(program, client).json()["code"] == "login_required"
    assert len(provider.token_calls()) == 1


def check_online(
    verbs: Shell, provider: OidcProvider, refused: Iterable[str] = (), down: Iterable[str] = ()
) -> int:
    """Its exit code, once it has told what it saw of each credential."""
    said = verbs("check", "--online")
    [first, *lines] = said.out.splitlines()
    assert first == f"{verbs.file} is fine."
    told = dict(
        line.strip().split(": ", 1) for line in lines if "token" in line and "->" not in line
    )
    assert told["good"].startswith("has a token, good for ")
    for name in refused:
        assert told[name] == (
            f"no token: credential '{name}': {provider.token_url} refused (400 invalid_grant): "
            "sign in again, or mend the login in the config"
        )
    for name in down:
        assert told[name].startswith(f"no token: credential '{name}': http://127.0.0.1:")
        assert told[name].endswith("/openid-configuration could not be reached")
    assert set(told) == {"good", *refused, *down}
    return said.code


def three(provider: OidcProvider) -> dict[str, Any]:
    nowhere = {"issuer": f"http://127.0.0.1:{free_port()}", "refresh": {"retries": 0}}
    return {
        "good": by_password(provider),
        "down": by_password(provider, client="basic", **nowhere),
        "refused": by_password(provider, client="post", password="wrong-password"),
    }


def test_check_online_says_what_it_saw(oidc_provider: ProviderFactory, tmp_path: Path) -> None:
    provider = oidc_provider(access_life=LONG)
    good = {"good": by_password(provider)}
    down = {**good, "down": three(provider)["down"]}

    assert check_online(Shell(tmp_path, config(provider, good)), provider) == 0
    assert check_online(Shell(tmp_path, config(provider, down)), provider, (), ["down"]) == FAILED
    assert len(provider.token_calls()) == 1  # the second time it is there already


def test_check_online_tells_first_what_needs_a_person(
    oidc_provider: ProviderFactory, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    verbs = Shell(tmp_path, config(provider, three(provider)))

    assert check_online(verbs, provider, ["refused"], ["down"]) == NEEDS_A_PERSON


# Secrets


def command_lines(*pids: int) -> str:
    """Of those processes and all that they have started."""
    told = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in told.splitlines()]
    family = {str(pid) for pid in pids}
    return "\n".join(row[2] for row in rows if family & set(row[:2]))


def test_no_secret_is_in_any_output_or_command_line(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    signing = provider.keys["RS256"]
    told = config(
        provider,
        {
            "code": credential(provider, "authorization_code", "post", scope="openid"),
            "login": by_password(provider, client="secret_jwt", scope="openid"),
            "assert": credential(
                provider,
                "jwt_bearer",
                "es256",
                key=signing.pem,
                key_id=signing.key_id,
                claims={"sub": "anna"},
            ),
            "given": by_refresh_token(provider),
        },
    )
    told["log"] = {"level": "debug"}
    program, verbs = proxy(told), Shell(tmp_path, told)
    with verbs.begin("login", "code", "--no-browser") as login:
        page = sign_in(login.find(r"Sign in at (http\S+)"))
        lines = command_lines(program.pid, login.pid)
        said = [login.end()]
    for name in told["credentials"]:
        assert get(program, client, f"/{name}/items?secret=marker-in-the-query").status_code == 200
    provider.reject_tokens_in_use()
    for name in told["credentials"]:
        assert get(program, client, f"/{name}/items").status_code == 200
    said += [verbs("status"), verbs("refresh", "given"), verbs("logout", "login")]
    said += [verbs("check", "--online")]
    program.terminate()

    written = "".join(one.out + one.err for one in said)
    written += program.stderr_text() + page.text + lines
    assert '"request"' in written
    assert "tokenproxy" in lines
    secrets = verbs.secrets | set(passed(provider)) | {"marker-in-the-query"}
    assert len(secrets) > 25
    assert [secret for secret in secrets if secret in written] == []


def passed(provider: OidcProvider) -> Iterable[str]:
    """All the secrets that reached the issuer and the API."""
    for call in provider.api_calls():
        yield call.token or "-" * 99
    for form in (call.form for call in [*provider.token_calls(), *provider.revocations()]):
        for name in ("refresh_token", "code", "code_verifier", "assertion", "client_assertion"):
            if name in form:
                yield str(form[name])
        if "token" in form:
            yield str(form["token"])


# -- what cannot be kept -----------------------------------------------------------------------


UNUSABLE: dict[str, dict[str, Any]] = {
    "no folder": {"type": "file", "path": "/proc/nowhere"},
    "no redis": {"type": "redis", "url": "redis://127.0.0.1:1/0"},
}


@pytest.mark.parametrize("store", UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize("verb", ["login", "logout", "refresh"])
def test_what_could_not_be_kept_is_no_success(
    tmp_path: Path, oidc_provider: ProviderFactory, verb: str, store: dict[str, Any]
) -> None:
    provider = oidc_provider(access_life=LONG)
    told = config(provider, {"it": by_password(provider)})

    said = Shell(tmp_path, {**told, "store": store})(verb, "it")

    assert (said.code, said.out) == (FAILED, "")
    assert "error: " in said.err


@pytest.mark.parametrize("store", UNUSABLE.values(), ids=UNUSABLE)
def test_nobody_is_sent_to_sign_in_where_nothing_can_be_kept(
    tmp_path: Path, oidc_provider: ProviderFactory, store: dict[str, Any]
) -> None:
    provider = oidc_provider(access_life=LONG)
    told = config(provider, {"it": credential(provider, "device_code", "basic")})

    said = Shell(tmp_path, {**told, "store": store})("login", "it")

    assert (said.code, said.out) == (FAILED, "")
    assert provider.token_calls() == []


def test_a_status_that_nobody_knows_is_no_success(
    tmp_path: Path, oidc_provider: ProviderFactory
) -> None:
    store = UNUSABLE["no redis"]
    provider = oidc_provider(access_life=LONG)
    told = config(provider, {"it": by_password(provider)})

    said = Shell(tmp_path, {**told, "store": store})("status", "--json")

    assert said.code == FAILED
    assert json.loads(said.out)["credentials"]["it"]["last_error"] is not None
