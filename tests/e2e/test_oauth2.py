"""OAuth 2 at a real issuer: each grant, each way of a client to say who it is, and bad days."""

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cli.shell import Shell
from tests.e2e import oidc
from tests.e2e.conftest import Program, ProviderFactory, ProxyFactory
from tests.e2e.oidc import OidcProvider
from tests.e2e.test_main_job import SHORT, for_seconds

LIFE = 2  # seconds of a token that is to be renewed while a test looks on
LONG = 60  # seconds that no test takes
TEN_LIVES = pytest.param(10.0 * LIFE, marks=pytest.mark.soak)
ALWAYS_RENEW = {"min_interval": 0}


def credential(provider: OidcProvider, grant: str, client: str, **more: Any) -> dict[str, Any]:
    """A credential of one of the issuer's clients, that finds the issuer's endpoints itself."""
    known = provider.clients[client]
    tls: dict[str, Any] = {}
    if known.method == "tls_client_auth":
        shown = provider.certificates["client"]
        tls = {"tls": {"ca": provider.ca, "cert": shown.cert, "key": shown.key}}
    return {
        "type": "oauth2",
        "grant": grant,
        "issuer": provider.url,
        "client_id": known.client_id,
        "client_auth": known.client_auth(),
        "refresh": ALWAYS_RENEW,
        **tls,
        **more,
    }


def login_of(provider: OidcProvider) -> dict[str, str]:
    return {"username": provider.username, "password": provider.password}


def config(provider: OidcProvider, credentials: Mapping[str, Any]) -> dict[str, Any]:
    """Each credential has a route of its name to the issuer's API."""
    routes = [
        {"path": f"/{name}", "upstream": provider.api_url, "credential": name}
        for name in credentials
    ]
    return {"credentials": dict(credentials), "routes": routes}


def unattended(provider: OidcProvider, folder: Path) -> dict[str, Any]:
    """A credential for each grant that needs no person, by a client that has not yet asked."""
    (folder / "subject-token").write_text(provider.assertion())
    given = {"subject_token": provider.assertion(), "subject_token_type": oidc.JWT_TYPE}
    read = {
        "subject_token_file": str(folder / "subject-token"),
        "subject_token_type": oidc.JWT_TYPE,
    }

    def signing(key: str) -> dict[str, Any]:
        known = provider.keys[key]
        signs = {"key": known.pem, "key_id": known.key_id, "algorithm": known.algorithm}
        return {**signs, "claims": {"sub": "anna"}}

    return {
        "client": credential(provider, "client_credentials", "basic", scope="api"),
        "password": credential(provider, "password", "public", **login_of(provider)),
        "refresh": credential(
            provider,
            "refresh_token",
            "post",
            refresh_token=provider.tokens("post")["refresh_token"],
        ),
        "assert-rs": credential(provider, "jwt_bearer", "secret_jwt", **signing("RS256")),
        "assert-es": credential(provider, "jwt_bearer", "rs256", **signing("ES256")),
        "exchange": credential(provider, "token_exchange", "es256", **given),
        "exchange-file": credential(provider, "token_exchange", "tls", **read),
    }


def check_untroubled(provider: OidcProvider, *programs: Program) -> None:
    """Nothing was refused, no family ended, and nobody had anything to complain of."""
    assert provider.refused() == []
    assert provider.revoked_families() == []
    for program in programs:
        told = program.stderr_text()
        assert not [word for word in ("Traceback", "failed", "required") if word in told], told


@pytest.mark.parametrize("seconds", [SHORT, TEN_LIVES])
def test_every_grant_keeps_its_token_alive(
    oidc_provider: ProviderFactory,
    proxy: ProxyFactory,
    client: requests.Session,
    tmp_path: Path,
    seconds: float,
) -> None:
    provider = oidc_provider(access_life=LIFE)
    credentials = unattended(provider, tmp_path)
    provider.clear()
    program = proxy(config(provider, credentials))
    seen: dict[str, Counter[int]] = defaultdict(Counter)

    def ask_all() -> int:
        for name in credentials:
            seen[name][client.get(f"{program.url}/{name}/items").status_code] += 1
        return 0

    for_seconds(seconds, ask_all)

    assert {name: set(statuses) for name, statuses in seen.items()} == {
        name: {200} for name in credentials
    }
    answered = [call for call in provider.token_calls() if call.status is not None]
    asked = Counter(call.client_id for call in answered)
    assert len(asked) == len(credentials)
    assert min(asked.values()) >= seconds / LIFE
    check_untroubled(provider, program)


def test_a_refresh_token_is_used_once_where_it_rotates(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    sent = refresh_tokens_sent(oidc_provider(access_life=LONG), proxy, client)
    assert len(set(sent)) == len(sent) == 3


def test_a_refresh_token_that_comes_back_is_used_again(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    sent = refresh_tokens_sent(oidc_provider(access_life=LONG, rotate=False), proxy, client)
    assert (len(set(sent)), len(sent)) == (1, 3)


def refresh_tokens_sent(
    provider: OidcProvider, proxy: ProxyFactory, client: requests.Session
) -> list[str]:
    """What three renewals send, the first of them with the config's own."""
    first = provider.tokens("basic")["refresh_token"]
    provider.clear()
    it = credential(provider, "refresh_token", "basic", refresh_token=first)
    program = proxy(config(provider, {"it": it}))
    for _ in range(3):
        assert client.get(f"{program.url}/it/items").status_code == 200
        provider.reject_tokens_in_use()
    check_untroubled(provider, program)
    sent = [str(call.form["refresh_token"]) for call in provider.token_calls("refresh_token")]
    assert sent[0] == first
    return sent


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds", [SHORT, TEN_LIVES])
def test_two_proxies_with_one_store_never_use_a_refresh_token_twice(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, seconds: float
) -> None:
    provider = oidc_provider(access_life=LIFE)
    first = provider.tokens("post")["refresh_token"]
    provider.clear()
    credentials = {
        "given": credential(provider, "refresh_token", "post", refresh_token=first),
        "login": credential(provider, "password", "public", **login_of(provider)),
    }
    programs = [proxy(config(provider, credentials)) for _ in range(2)]

    def statuses(url: str) -> Counter[int]:
        with requests.Session() as session:
            session.trust_env = False
            return for_seconds(seconds, lambda: session.get(url, timeout=30).status_code)

    urls = [f"{program.url}/{name}/items" for program in programs for name in credentials]
    with ThreadPoolExecutor(len(urls)) as pool:
        seen = list(pool.map(statuses, urls))

    assert [set(counter) for counter in seen] == [{200}] * len(urls)
    sent = [call.form["refresh_token"] for call in provider.token_calls("refresh_token")]
    assert len(set(sent)) == len(sent)
    assert len(sent) >= 2 * (seconds / LIFE - 1)
    assert len(provider.token_calls("password")) == 1
    check_untroubled(provider, *programs)


# Clients

CLIENTS = ["basic", "post", "secret_jwt", "rs256", "es256", "tls", "bound", "public"]


def test_each_client_says_who_it_is_in_its_way_at_login_and_renewal(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=LONG)
    told = config(
        provider,
        {name: credential(provider, "password", name, **login_of(provider)) for name in CLIENTS},
    )
    for route in told["routes"]:
        if route["credential"] == "bound":  # its tokens are good with its certificate alone
            route["upstream"] = f"{provider.tls_url}/api"
            route["tls"] = told["credentials"]["bound"]["tls"]
    program = proxy(told)
    for _ in range(2):
        for name in CLIENTS:
            assert client.get(f"{program.url}/{name}/items").status_code == 200, name
        provider.reject_tokens_in_use()

    calls = [(call.client_id, call.grant_type, call.auth) for call in provider.token_calls()]

    expected = {
        (provider.clients[name].client_id, grant, provider.clients[name].method)
        for name in CLIENTS
        for grant in ("password", "refresh_token")
    }
    assert (set(calls), len(calls)) == (expected, len(expected))
    check_untroubled(provider, program)


@pytest.mark.soak
def test_each_client_keeps_its_token_alive_for_ten_lives(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=LIFE)
    names = [name for name in CLIENTS if name != "bound"]  # whose upstream is another
    told = {name: credential(provider, "password", name, **login_of(provider)) for name in names}
    program = proxy(config(provider, told))
    seen: dict[str, Counter[int]] = defaultdict(Counter)

    def ask_all() -> int:
        for name in names:
            seen[name][client.get(f"{program.url}/{name}/items").status_code] += 1
        return 0

    for_seconds(10.0 * LIFE, ask_all)

    assert {name: set(statuses) for name, statuses in seen.items()} == {
        name: {200} for name in names
    }
    renewals = Counter(call.client_id for call in provider.token_calls("refresh_token"))
    assert len(renewals) == len(names)
    assert min(renewals.values()) >= 10
    assert len(provider.token_calls("password")) == len(names)
    check_untroubled(provider, program)


def test_what_a_token_is_wanted_for_arrives(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=LONG)
    wanted: dict[str, Any] = {
        "scope": ["api", "write"],
        "audience": provider.options.audience,
        "resource": oidc.JWT_RESOURCE,
        "extra": {"tenant": "seven & 8"},
        "subject_token": provider.assertion(),
        "subject_token_type": oidc.JWT_TYPE,
        "requested_token_type": oidc.ACCESS_TOKEN_TYPE,
        "actor_token": provider.assertion("ES256"),
        "actor_token_type": oidc.JWT_TYPE,
    }
    exchange = credential(provider, "token_exchange", "basic", **wanted)
    login = credential(provider, "password", "public", **login_of(provider))
    login |= {"scope": "api", "resource": [oidc.JWT_RESOURCE], "extra": {"tenant": "seven"}}
    program = proxy(config(provider, {"exchange": exchange, "login": login}))
    for name in ("exchange", "login"):
        assert client.get(f"{program.url}/{name}/items").status_code == 200
    provider.reject_tokens_in_use()
    assert client.get(f"{program.url}/login/items").status_code == 200

    [exchanged] = provider.token_calls(oidc.TOKEN_EXCHANGE)
    extra = wanted.pop("extra")
    assert exchanged.form == {
        "grant_type": oidc.TOKEN_EXCHANGE,
        **wanted,
        "scope": "api write",
        **extra,
    }
    [renewed] = provider.token_calls("refresh_token")
    assert (renewed.form["resource"], renewed.form["tenant"]) == (oidc.JWT_RESOURCE, "seven")
    assert "scope" not in renewed.form  # it is what was granted (RFC 6749 6)
    tokens = {call.token for call in provider.api_calls()}
    assert {(token or "").count(".") for token in tokens} == {2}
    check_untroubled(provider, program)


# Bad days


def test_a_token_that_the_api_rejects_is_renewed_and_the_request_sent_again(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    credentials = unattended(provider, tmp_path)
    program = proxy(config(provider, credentials))
    for name in credentials:
        client.get(f"{program.url}/{name}/items")
    provider.reject_tokens_in_use()
    provider.clear()

    for name in credentials:
        answer = client.post(f"{program.url}/{name}/echo", data=f"by {name}")

        assert (answer.status_code, answer.json()["body"]) == (200, f"by {name}")

    assert [call.status for call in provider.api_calls()] == [401, 200] * len(credentials)
    assert len(provider.token_calls()) == len(credentials)
    check_untroubled(provider, program)


def lose_an_answer(
    provider: OidcProvider, program: Program, client: requests.Session
) -> requests.Response:
    """What a caller gets whose token is renewed by an answer that never comes."""
    assert client.get(f"{program.url}/it/items").status_code == 200
    provider.reject_tokens_in_use()
    provider.clear()
    provider.lose_next_token_answer()
    return client.get(f"{program.url}/it/items")


def test_a_lost_answer_ends_in_the_login_of_the_config(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=LONG)
    it = credential(provider, "password", "public", **login_of(provider))
    program = proxy(config(provider, {"it": it}))

    assert lose_an_answer(provider, program, client).status_code == 200

    calls = [(call.grant_type, call.lost, call.error) for call in provider.token_calls()]
    assert calls == [
        ("refresh_token", True, None),
        ("refresh_token", False, "invalid_grant"),
        ("password", False, None),
    ]


def test_a_lost_answer_without_a_login_needs_a_person_and_nothing_is_tried_again(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=LONG)
    first = provider.tokens("public")["refresh_token"]
    it = credential(provider, "refresh_token", "public", refresh_token=first)
    program = proxy(config(provider, {"it": it}))

    assert lose_an_answer(provider, program, client).status_code == 401  # as it came

    answers = [client.get(f"{program.url}/it/items") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {502}
    assert {answer.json()["code"] for answer in answers} == {"login_required"}
    program.restart()  # what the API does not take is forgotten, and not tried again
    seen = [client.get(f"{program.url}/it/items").status_code for _ in range(3)]
    assert seen == [502, 502, 502]
    assert [call.error for call in provider.token_calls()] == [None, "invalid_grant"]


# Discovery


@contextmanager
def metadata_site(documents: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """A site with these documents and nothing else: its URL, and the paths that were asked for.

    In a document `{site}` is that URL.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            known = documents.get(self.path)
            body = json.dumps(known).replace("{site}", url).encode()
            self.send_response(404 if known is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield url, asked
        finally:
            server.shutdown()
            thread.join()


def test_an_issuer_with_a_path_is_found_where_rfc_8414_has_it(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session
) -> None:
    provider = oidc_provider(access_life=LONG)
    document = {**provider.metadata(), "issuer": "{site}/tenant/7"}
    place = "/.well-known/oauth-authorization-server/tenant/7"
    with metadata_site({place: document}) as (site, asked):
        it = credential(provider, "client_credentials", "basic", issuer=f"{site}/tenant/7")
        program = proxy(config(provider, {"it": it}))

        assert client.get(f"{program.url}/it/items").status_code == 200

    assert asked == ["/tenant/7/.well-known/openid-configuration", place]
    check_untroubled(provider, program)


def test_the_metadata_of_another_issuer_are_not_used_unless_they_are_meant(
    oidc_provider: ProviderFactory, proxy: ProxyFactory, client: requests.Session, tmp_path: Path
) -> None:
    provider = oidc_provider(access_life=LONG)
    elsewhere = provider.url.replace("127.0.0.1", "localhost")
    plain = credential(provider, "client_credentials", "basic", issuer=elsewhere)
    meant = {**plain, "metadata_issuer": provider.url, "scope": "api"}
    told = config(provider, {"plain": plain, "meant": meant})
    program = proxy(told)

    assert client.get(f"{program.url}/meant/items").status_code == 200
    answer = client.get(f"{program.url}/plain/items")

    assert (answer.status_code, answer.json()["code"]) == (503, "token_unavailable")
    said = Shell(tmp_path, told)("token", "plain")
    assert said.code == 1
    assert said.sentence == (
        f"credential 'plain': {elsewhere}/.well-known/openid-configuration holds the metadata of "
        f"another issuer than '{elsewhere}': check 'issuer', or name the other one as "
        "'metadata_issuer' if that is meant"
    )
    assert {call.form.get("scope") for call in provider.token_calls()} == {"api"}
