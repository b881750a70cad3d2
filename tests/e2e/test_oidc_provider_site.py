"""The real server answers as oidc-provider was observed to: what our client and doubles rest on."""

import hashlib
import json
import os
import signal
import subprocess
import threading
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
import requests

from tests.e2e import oidc
from tests.e2e.conftest import ProviderFactory
from tests.e2e.oidc import Client, OidcProvider, SigningKey, basic, claims
from tests.e2e.oidc_pages import approve_device, callback_address, decline_device, sign_in
from tokenproxy.clock import SystemClock

CLOCK = SystemClock()
LONG = 60  # seconds that no test takes
CALLBACK = "http://127.0.0.1:8400/callback"  # nobody listens there, nor need anybody
VERIFIER = "v" * 43


@pytest.fixture
def provider(oidc_provider: ProviderFactory) -> OidcProvider:
    return oidc_provider(access_life=LONG)


def fault(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def ask(method: str, url: str, **more: Any) -> requests.Response:
    """One request by a client that knows nothing of the proxies of this machine."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=30, **more)


def get(provider: OidcProvider, token: str, path: str = "/items", **more: Any) -> requests.Response:
    """With the token as bearer; over TLS where there are keywords for it."""
    base = provider.tls_url + "/api" if more else provider.api_url
    return ask("GET", base + path, headers={"Authorization": f"Bearer {token}"}, **more)


def soon(true: Callable[[], bool]) -> bool:
    """Whether it comes true within five seconds; the server's clock cannot be moved."""
    end = CLOCK.now().steady + 5
    while not (found := true()) and CLOCK.now().steady < end:
        pass
    return found


def active(provider: OidcProvider, token: str) -> bool:
    told: bool = provider.ask("post", "/token/introspection", token=token).json()["active"]
    return told


# Refresh tokens


def test_a_refresh_rotates(provider: OidcProvider) -> None:
    first = provider.tokens(scope="api")
    second = provider.refresh("public", first["refresh_token"]).json()
    assert set(second) == {"access_token", "expires_in", "refresh_token", "scope", "token_type"}
    assert (second["token_type"], second["expires_in"]) == ("Bearer", LONG)
    assert second["refresh_token"] != first["refresh_token"]
    assert [get(provider, answer["access_token"]).status_code for answer in (first, second)] == [
        200,
        200,
    ]
    assert [call.status for call in provider.token_calls("refresh_token")] == [200]
    assert (provider.refused(), provider.revoked_families()) == ([], [])


def unknown(provider: OidcProvider) -> str:
    return "abc"


def used(provider: OidcProvider) -> str:
    token: str = provider.tokens()["refresh_token"]
    provider.refresh("public", token)
    return token


def revoked(provider: OidcProvider) -> str:
    token: str = provider.tokens()["refresh_token"]
    provider.ask("public", "/token/revocation", token=token)
    return token


def of_another_client(provider: OidcProvider) -> str:
    token: str = provider.tokens("post")["refresh_token"]
    return token


@pytest.mark.parametrize("dead", [unknown, used, revoked, of_another_client])
def test_a_dead_refresh_token_is_a_400_invalid_grant(
    provider: OidcProvider, dead: Callable[[OidcProvider], str]
) -> None:
    answer = provider.refresh("public", dead(provider))
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "invalid_grant",
        "error_description": "grant request is invalid",  # whatever the reason
    }
    assert [call.error for call in provider.refused()] == ["invalid_grant"]


def test_an_expired_refresh_token_is_a_400_invalid_grant(oidc_provider: ProviderFactory) -> None:
    provider = oidc_provider(refresh_life=1)
    token = provider.tokens()["refresh_token"]
    assert soon(lambda: not active(provider, token))
    assert fault(provider.refresh("public", token)) == (400, "invalid_grant")
    assert provider.refused()[0].detail == "refresh token is expired"


def test_a_second_use_revokes_the_family_with_its_access_token(provider: OidcProvider) -> None:
    first = provider.tokens()
    second = provider.refresh("public", first["refresh_token"]).json()
    assert get(provider, second["access_token"]).status_code == 200

    again = provider.refresh("public", first["refresh_token"])

    assert fault(again) == (400, "invalid_grant")
    assert len(provider.revoked_families()) == 1
    assert provider.refused()[-1].detail == "refresh token already used"
    assert fault(provider.refresh("public", second["refresh_token"])) == (400, "invalid_grant")
    assert [get(provider, answer["access_token"]).status_code for answer in (first, second)] == [
        401,
        401,
    ]


def test_of_parallel_refreshes_one_succeeds_and_the_others_end_the_family(
    provider: OidcProvider,
) -> None:
    token = provider.tokens()["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: provider.refresh("public", token), range(8)))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 400: 7}
    assert len(provider.revoked_families()) == 1
    [good] = [answer.json() for answer in answers if answer.ok]
    assert get(provider, good["access_token"]).status_code == 401


def test_without_rotation_the_same_refresh_token_comes_back(oidc_provider: ProviderFactory) -> None:
    provider = oidc_provider(rotate=False, access_life=LONG)
    token = provider.tokens()["refresh_token"]
    for _ in range(2):
        answer = provider.refresh("public", token)
        assert (answer.status_code, answer.json()["refresh_token"]) == (200, token)


def test_a_lost_answer_is_a_refresh_that_took_place(provider: OidcProvider) -> None:
    token = provider.tokens()["refresh_token"]
    provider.lose_next_token_answer()
    with pytest.raises(requests.ConnectionError):
        provider.refresh("public", token)
    assert fault(provider.refresh("public", token)) == (400, "invalid_grant")
    calls = provider.token_calls("refresh_token")
    assert [(call.status, call.lost) for call in calls] == [(200, True), (400, False)]
    assert len(provider.revoked_families()) == 1


# Revocation and introspection


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
def test_revoking_either_token_ends_both(provider: OidcProvider, kind: str) -> None:
    tokens = provider.tokens()
    answer = provider.ask("public", "/token/revocation", token=tokens[kind], token_type_hint=kind)
    assert (answer.status_code, answer.content) == (200, b"")
    assert get(provider, tokens["access_token"]).status_code == 401
    assert fault(provider.refresh("public", tokens["refresh_token"])) == (400, "invalid_grant")
    assert [call.form["token"] for call in provider.revocations()] == [tokens[kind]]
    assert provider.revoked_families() == []  # nobody used a token twice


def test_an_unknown_token_is_revoked_with_a_200(provider: OidcProvider) -> None:
    assert provider.ask("basic", "/token/revocation", token="abc").status_code == 200


# Clients


CLIENTS = ["basic", "post", "secret_jwt", "rs256", "es256", "tls", "bound", "public"]


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_authenticates_in_its_way(provider: OidcProvider, name: str) -> None:
    answer = provider.ask(name, grant_type="client_credentials", scope="api")
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "expires_in", "scope", "token_type"}
    [call] = provider.token_calls()
    client = provider.clients[name]
    assert (call.client_id, call.auth, call.grant_type) == (
        client.client_id,
        client.method,
        "client_credentials",
    )


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_refreshes_in_its_way(provider: OidcProvider, name: str) -> None:
    tokens = provider.tokens(name)
    assert provider.refresh(name, tokens["refresh_token"]).status_code == 200


def post(provider: OidcProvider, headers: dict[str, str], **form: Any) -> requests.Response:
    return ask("POST", provider.token_url, data=form, headers=headers)


def unencoded(client: Client) -> str:
    """What Basic is elsewhere (RFC 7617)."""
    return "Basic " + b64encode(f"{client.client_id}:{client.secret}".encode()).decode()


def test_client_id_and_secret_are_form_encoded_before_basic(provider: OidcProvider) -> None:
    client = provider.clients["basic"]
    good = basic(client.client_id, client.secret or "")
    answers = [
        post(provider, {"Authorization": value}, grant_type="client_credentials")
        for value in (good, unencoded(client))
    ]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert fault(answers[1]) == (400, "invalid_request")
    assert "not properly encoded" in answers[1].json()["error_description"]


def test_a_secret_of_letters_that_mean_something_in_a_form_is_wrong_unencoded(
    provider: OidcProvider,
) -> None:
    headers = {"Authorization": unencoded(provider.clients["post"])}
    answer = post(provider, headers, grant_type="client_credentials")
    assert fault(answer) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"].startswith(f'Basic realm="{provider.url}", ')


@pytest.mark.parametrize("name", ["secret_jwt", "rs256", "es256"])
def test_a_client_assertion_is_good_once(provider: OidcProvider, name: str) -> None:
    def answer(assertion: str) -> requests.Response:
        form = {"client_assertion": assertion, "client_assertion_type": oidc.ASSERTION_TYPE}
        return post(provider, {}, grant_type="client_credentials", **form)

    first = provider.client_assertion(name, aud=provider.token_url)
    assert answer(first).status_code == 200
    assert fault(answer(first)) == (401, "invalid_client")
    assert answer(provider.client_assertion(name)).status_code == 200
    [refused] = provider.refused()
    assert refused.detail == "client assertion tokens must only be used once"


@pytest.mark.parametrize(
    "changed",
    [{"aud": "https://elsewhere.example"}, {"exp": 1}, {"jti": None}, {"iss": "post"}],
)
def test_a_bad_client_assertion_is_a_401(provider: OidcProvider, changed: dict[str, Any]) -> None:
    form = {
        "client_assertion": provider.client_assertion("es256", **changed),
        "client_assertion_type": oidc.ASSERTION_TYPE,
    }
    answer = post(provider, {}, grant_type="client_credentials", **form)
    assert fault(answer) == (401, "invalid_client")


@pytest.mark.parametrize("certificate", [None, "other", "stranger"])
def test_another_certificate_is_no_client(provider: OidcProvider, certificate: str | None) -> None:
    form = {"grant_type": "client_credentials", "client_id": "tls"}
    shown = provider.tls(certificate)
    answer = ask("POST", provider.tls_url + "/token", data=form, **shown)
    assert fault(answer) == (401, "invalid_client")
    assert fault(ask("POST", provider.token_url, data=form)) == (
        401,
        "invalid_client",
    )


def test_a_bound_token_is_good_with_its_certificate_alone(provider: OidcProvider) -> None:
    token = provider.tokens("bound")["access_token"]
    statuses = [
        get(provider, token, **provider.tls(shown)).status_code for shown in ("client", "other")
    ]
    assert (statuses, get(provider, token).status_code) == ([200, 401], 401)


# Grants


def test_a_wrong_password_is_a_400_invalid_grant(provider: OidcProvider) -> None:
    login = {"username": provider.username, "password": "wrong"}
    assert fault(provider.ask("public", grant_type="password", **login)) == (400, "invalid_grant")


@pytest.mark.parametrize("key", ["RS256", "ES256"])
def test_an_assertion_is_good_once_and_gives_no_refresh_token(
    provider: OidcProvider, key: str
) -> None:
    form = {"grant_type": oidc.JWT_BEARER, "assertion": provider.assertion(key), "scope": "api"}
    answer = provider.ask("public", **form)
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "expires_in", "scope", "token_type"}
    assert get(provider, answer.json()["access_token"]).status_code == 200
    assert fault(provider.ask("public", **form)) == (400, "invalid_grant")
    assert provider.refused()[0].detail == "the assertion was used before"


@pytest.mark.parametrize(
    "changed",
    [{"aud": "https://elsewhere.example"}, {"exp": 1}, {"jti": None}, {"sub": None}],
)
def test_a_bad_assertion_is_a_400_invalid_grant(
    provider: OidcProvider, changed: dict[str, Any]
) -> None:
    form = {"grant_type": oidc.JWT_BEARER, "assertion": provider.assertion(**changed)}
    assert fault(provider.ask("public", **form)) == (400, "invalid_grant")


def test_an_assertion_by_a_strangers_key_is_a_400_invalid_grant(provider: OidcProvider) -> None:
    stranger = SigningKey.new("es256", "ES256")
    signed = stranger.sign(claims(iss="anna", sub="anna", aud=provider.url))
    form = {"grant_type": oidc.JWT_BEARER, "assertion": signed}
    assert fault(provider.ask("public", **form)) == (400, "invalid_grant")


def exchange(provider: OidcProvider, token: str, kind: str, **more: str) -> requests.Response:
    form = {"subject_token": token, "subject_token_type": kind, **more}
    return provider.ask("basic", grant_type=oidc.TOKEN_EXCHANGE, **form)


def test_an_access_token_or_a_jwt_is_exchanged_as_often_as_one_likes(
    provider: OidcProvider,
) -> None:
    token, spoken = provider.tokens()["access_token"], provider.assertion()
    more = {"audience": "https://api.example", "actor_token": provider.assertion("ES256")}
    answers = [
        exchange(provider, token, oidc.ACCESS_TOKEN_TYPE),
        exchange(provider, token, oidc.ACCESS_TOKEN_TYPE, **more, actor_token_type=oidc.JWT_TYPE),
        exchange(provider, spoken, oidc.JWT_TYPE),
        exchange(provider, spoken, oidc.JWT_TYPE, requested_token_type=oidc.ACCESS_TOKEN_TYPE),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    for answer in answers:
        assert answer.json()["issued_token_type"] == oidc.ACCESS_TOKEN_TYPE
        assert "refresh_token" not in answer.json()
        assert get(provider, answer.json()["access_token"]).status_code == 200


def test_a_bad_subject_token_is_an_invalid_request(provider: OidcProvider) -> None:
    ended = provider.assertion(exp=1)
    assert fault(exchange(provider, ended, oidc.JWT_TYPE)) == (400, "invalid_request")
    assert fault(exchange(provider, "abc", oidc.ACCESS_TOKEN_TYPE)) == (400, "invalid_request")
    elsewhere = exchange(provider, provider.assertion(), oidc.JWT_TYPE, audience="elsewhere")
    assert fault(elsewhere) == (400, "invalid_target")


def test_a_resource_decides_on_the_form_of_the_token(provider: OidcProvider) -> None:
    def token(**more: Any) -> Any:
        return provider.ask("post", grant_type="client_credentials", **more)

    opaque = token(resource=oidc.OPAQUE_RESOURCE).json()
    structured = token(resource=oidc.JWT_RESOURCE, scope="api").json()
    told = jwt.decode(structured["access_token"], options={"verify_signature": False})
    assert opaque["access_token"].count(".") == 0
    assert (told["aud"], told["iss"], told["scope"]) == (oidc.JWT_RESOURCE, provider.url, "api")
    assert told["exp"] - told["iat"] == structured["expires_in"] == LONG
    assert {get(provider, found["access_token"]).status_code for found in (opaque, structured)} == {
        200
    }
    assert fault(token(resource="urn:api:other")) == (400, "invalid_target")


def test_a_resource_stays_with_a_refresh_token(oidc_provider: ProviderFactory) -> None:
    provider = oidc_provider(default_resource=oidc.JWT_RESOURCE)
    tokens = provider.tokens(scope="api")
    renewed = provider.refresh("public", tokens["refresh_token"]).json()
    for answer in (tokens, renewed):
        assert answer["access_token"].count(".") == 2
        assert get(provider, answer["access_token"]).status_code == 200
    assert soon(lambda: get(provider, renewed["access_token"]).status_code == 401)


# DPoP


class Prover:
    """A key, and proofs by it (RFC 9449 4.2)."""

    def __init__(self) -> None:
        self._key = SigningKey.new("dpop", "ES256")

    def __call__(self, htu: str, htm: str = "POST", **more: Any) -> str:
        jwk = {name: self._key.public_jwk[name] for name in ("kty", "crv", "x", "y")}
        payload = {**claims(exp=None), "htm": htm, "htu": htu, **more}
        return self._key.sign(payload, typ="dpop+jwt", jwk=jwk)

    def get(self, provider: OidcProvider, token: str, **more: Any) -> requests.Response:
        """GET /api/items with the token and a proof, or with a `proof` of another's making."""
        url = provider.api_url + "/items"
        ath = urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
        proof = more.pop("proof", None) or self(**{"htu": url, "htm": "GET", "ath": ath, **more})
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        return ask("GET", url, headers=headers)


@pytest.fixture
def prover() -> Prover:
    return Prover()


def test_a_proof_makes_a_token_that_is_good_with_its_key_alone(
    provider: OidcProvider, prover: Prover
) -> None:
    tokens = provider.tokens("dpop", dpop=prover(provider.token_url))
    assert tokens["token_type"] == "DPoP"
    assert prover.get(provider, tokens["access_token"]).status_code == 200
    as_bearer = get(provider, tokens["access_token"])
    of_another = Prover().get(provider, tokens["access_token"])
    for answer in (as_bearer, of_another):
        assert answer.status_code == 401
        assert 'DPoP realm="api", error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_no_proof_is_an_invalid_grant_and_a_refresh_token_outlives_it(
    provider: OidcProvider, prover: Prover
) -> None:
    token = provider.tokens("dpop", dpop=prover(provider.token_url))["refresh_token"]
    assert fault(provider.refresh("dpop", token)) == (400, "invalid_grant")
    another = Prover()(provider.token_url)
    assert fault(provider.refresh("dpop", token, dpop=another)) == (400, "invalid_grant")
    good = prover(provider.token_url)
    assert provider.refresh("dpop", token, dpop=good).status_code == 200


def test_a_proof_is_good_once_and_a_refresh_token_outlives_it(
    provider: OidcProvider, prover: Prover
) -> None:
    proof = prover(provider.token_url)
    token = provider.tokens("dpop", dpop=proof)["refresh_token"]
    assert fault(provider.refresh("dpop", token, dpop=proof)) == (400, "invalid_grant")
    assert provider.refused()[0].detail == "DPoP proof JWT Replay detected"
    assert provider.refresh("dpop", token, dpop=prover(provider.token_url)).status_code == 200
    assert provider.revoked_families() == []


@pytest.mark.parametrize("wrong", [{"htm": "GET"}, {"htu": "http://127.0.0.1/token"}, {"iat": 1}])
def test_a_bad_proof_is_an_invalid_dpop_proof(
    provider: OidcProvider, prover: Prover, wrong: dict[str, Any]
) -> None:
    proof = prover(**{"htu": provider.token_url, **wrong})
    form = {"grant_type": "client_credentials"}
    assert fault(provider.ask("dpop", **form, dpop=proof)) == (400, "invalid_dpop_proof")


def test_a_required_nonce_is_told_in_a_400(oidc_provider: ProviderFactory, prover: Prover) -> None:
    provider = oidc_provider(token_nonces="required")
    form = {"grant_type": "client_credentials"}
    refused = [
        provider.ask("dpop", **form, dpop=prover(provider.token_url, **wrong))
        for wrong in ({}, {"nonce": "old"})
    ]
    assert [fault(answer) for answer in refused] == [(400, "use_dpop_nonce")] * 2
    nonce = refused[0].headers["DPoP-Nonce"]
    answer = provider.ask("dpop", **form, dpop=prover(provider.token_url, nonce=nonce))
    assert (answer.status_code, answer.headers.get("DPoP-Nonce")) == (200, None)
    assert provider.refused() == []  # a good client makes such calls


def test_an_offered_nonce_is_told_in_a_200(oidc_provider: ProviderFactory, prover: Prover) -> None:
    provider = oidc_provider(token_nonces="offered")
    form = {"grant_type": "client_credentials"}
    answer = provider.ask("dpop", **form, dpop=prover(provider.token_url))
    assert (answer.status_code, len(answer.headers["DPoP-Nonce"])) == (200, 43)


def test_a_nonce_that_was_never_told_is_an_invalid_dpop_proof(
    provider: OidcProvider, prover: Prover
) -> None:
    proof = prover(provider.token_url, nonce="made up")
    answer = provider.ask("dpop", grant_type="client_credentials", dpop=proof)
    assert fault(answer) == (400, "invalid_dpop_proof")


def test_a_proof_reaches_the_api_once(provider: OidcProvider, prover: Prover) -> None:
    token = provider.tokens("dpop", dpop=prover(provider.token_url))["access_token"]
    jti = {"jti": "the same"}
    assert prover.get(provider, token, **jti).status_code == 200
    again = prover.get(provider, token, **jti)
    assert fault(again) == (401, "invalid_dpop_proof")
    assert "used before" in again.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "wrong",
    [{"htm": "POST"}, {"htu": "http://127.0.0.1:1/api/items"}, {"ath": "abc"}, {"iat": 1}],
)
def test_the_api_takes_no_proof_of_another_request(
    provider: OidcProvider, prover: Prover, wrong: dict[str, Any]
) -> None:
    token = provider.tokens("dpop", dpop=prover(provider.token_url))["access_token"]
    assert fault(prover.get(provider, token, **wrong)) == (401, "invalid_dpop_proof")


def test_the_api_tells_its_nonces_in_a_401_and_in_each_answer(
    oidc_provider: ProviderFactory, prover: Prover
) -> None:
    provider = oidc_provider(api_nonces=True, joined_challenges=True, access_life=LONG)
    token = provider.tokens("dpop", dpop=prover(provider.token_url))["access_token"]
    first = prover.get(provider, token)
    assert fault(first) == (401, "use_dpop_nonce")
    word, challenge = first.headers["WWW-Authenticate"].split(", ", 1)
    assert word == 'Bearer realm="api"'
    assert challenge.startswith('DPoP realm="api", error="use_dpop_nonce", ')
    nonce = first.headers["DPoP-Nonce"]
    second = prover.get(provider, token, nonce=nonce)
    assert (second.status_code, second.headers["DPoP-Nonce"]) == (200, nonce)
    provider.change_api_nonce()
    third = prover.get(provider, token, nonce=nonce)
    assert fault(third) == (401, "use_dpop_nonce")
    assert third.headers["DPoP-Nonce"] != nonce


# The API


def test_an_expired_token_is_a_401_with_a_challenge(oidc_provider: ProviderFactory) -> None:
    provider = oidc_provider(access_life=1)
    token = provider.tokens()["access_token"]
    assert soon(lambda: get(provider, token).status_code == 401)
    challenge = get(provider, token).headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="api", error="invalid_token", ')
    assert "DPoP" not in challenge


def test_without_a_token_both_schemes_share_one_challenge(provider: OidcProvider) -> None:
    answer = ask("GET", provider.api_url + "/items")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == (
        'Bearer realm="api", DPoP realm="api", algs="ES256 EdDSA RS256"'
    )


def test_the_issuers_own_api_challenges_in_two_fields(provider: OidcProvider) -> None:
    answer = ask("GET", provider.url + "/me")
    assert answer.status_code == 401
    fields = answer.raw.headers.getlist("WWW-Authenticate")
    assert [field.split()[0] for field in fields] == ["Bearer", "DPoP"]
    token = provider.tokens(scope="openid")["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert ask("GET", provider.url + "/me", headers=headers).json() == {"sub": "anna"}
    assert [(call.target, call.status) for call in provider.api_calls()] == [
        ("/me", 401),
        ("/me", 200),
    ]


def test_a_token_in_use_can_be_rejected_ahead_of_its_time(provider: OidcProvider) -> None:
    tokens = provider.tokens()
    assert get(provider, tokens["access_token"]).status_code == 200
    provider.reject_tokens_in_use()
    assert fault(get(provider, tokens["access_token"])) == (401, "invalid_token")
    renewed = provider.refresh("public", tokens["refresh_token"]).json()
    assert get(provider, renewed["access_token"]).status_code == 200


def test_a_body_arrives_whole_and_is_counted(provider: OidcProvider) -> None:
    body = os.urandom(1 << 20)
    token = provider.tokens()["access_token"]
    sha256 = hashlib.sha256(body).hexdigest()
    for arrivals in (1, 2):
        headers = {"Authorization": f"Bearer {token}"}
        answer = ask("POST", provider.api_url + "/hash", data=body, headers=headers)
        assert answer.json() == {"sha256": sha256, "length": len(body), "arrivals": arrivals}
    call = provider.api_calls()[-1]
    assert (call.token, call.body_length, call.body_sha256) == (token, len(body), sha256)


def test_a_rejection_comes_before_the_body(provider: OidcProvider) -> None:
    headers = {"Authorization": "Bearer abc"}
    with requests.Session() as session:
        for _ in range(2):  # and leaves the connection usable
            answer = session.post(
                provider.api_url + "/hash", data=bytes(1 << 16), headers=headers, timeout=30
            )
            assert fault(answer) == (401, "invalid_token")
    assert [call.body_length for call in provider.api_calls()] == [0, 0]


def test_the_api_shows_what_came(provider: OidcProvider) -> None:
    token = provider.tokens()["access_token"]
    answer = get(provider, token, "/echo?q=a%2Fb&&c")
    assert answer.json()["target"] == "/api/echo?q=a%2Fb&&c"
    assert answer.json()["headers"]["authorization"] == f"Bearer {token}"
    assert get(provider, token, "/elsewhere").status_code == 404


# The pages: device flow


def device(provider: OidcProvider, client: str = "public", **more: Any) -> dict[str, Any]:
    answer = provider.ask(client, "/device/auth", scope="api", **more)
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    return told


def poll(provider: OidcProvider, told: dict[str, Any], client: str = "public") -> requests.Response:
    form = {"grant_type": oidc.DEVICE_CODE, "device_code": told["device_code"]}
    return provider.ask(client, **form)


def test_a_device_is_told_no_interval(provider: OidcProvider) -> None:
    told = device(provider)
    assert set(told) == {
        "device_code",
        "expires_in",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
    }
    assert told["verification_uri"] == provider.url + "/device"


@pytest.mark.parametrize("client", ["public", "basic"])
def test_a_device_waits_until_a_person_says_yes(provider: OidcProvider, client: str) -> None:
    told = device(provider, client)
    for _ in range(2):  # never `slow_down`
        assert fault(poll(provider, told, client)) == (400, "authorization_pending")
    approve_device(told["verification_uri_complete"])
    tokens = poll(provider, told, client).json()
    assert get(provider, tokens["access_token"]).status_code == 200
    assert provider.refresh(client, tokens["refresh_token"]).status_code == 200
    assert provider.refused() == []


def test_a_person_may_type_the_code(provider: OidcProvider) -> None:
    told = device(provider)
    approve_device(told["verification_uri"], told["user_code"].lower().replace("-", ""))
    assert poll(provider, told).status_code == 200


def test_a_code_that_nobody_was_given_is_not_approved(provider: OidcProvider) -> None:
    with pytest.raises(AssertionError, match="code you entered is incorrect"):
        approve_device(provider.url + "/device", "BCDF-GHJK")


def test_a_person_may_say_no_to_a_device(provider: OidcProvider) -> None:
    told = device(provider)
    decline_device(told["verification_uri_complete"])
    assert fault(poll(provider, told)) == (400, "access_denied")


def test_a_device_code_is_good_once(provider: OidcProvider) -> None:
    told = device(provider)
    approve_device(told["verification_uri_complete"])
    tokens = poll(provider, told).json()
    assert fault(poll(provider, told)) == (400, "invalid_grant")
    assert get(provider, tokens["access_token"]).status_code == 401
    assert len(provider.revoked_families()) == 1


def test_a_device_code_expires(oidc_provider: ProviderFactory) -> None:
    provider = oidc_provider(device_life=1)
    told = device(provider)
    assert soon(lambda: fault(poll(provider, told)) == (400, "expired_token"))


# The pages: authorization code


def authorization_url(provider: OidcProvider, client: str = "public", **more: Any) -> str:
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    asked = {
        "client_id": provider.clients[client].client_id,
        "code_challenge": urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "api",
        "state": "a state",
        **more,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    return f"{provider.metadata()['authorization_endpoint']}?{urlencode(given)}"


def told(address: str) -> dict[str, str]:
    """What a redirect tells the client."""
    assert address.startswith(CALLBACK + "?")
    return {name: value for name, [value] in parse_qs(urlsplit(address).query).items()}


def redeem(provider: OidcProvider, code: str, client: str = "public", **more: Any) -> Any:
    form = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER, **more}
    return provider.ask(client, grant_type="authorization_code", **form)


@pytest.mark.parametrize("client", ["public", "basic", "tls"])
def test_a_sign_in_ends_in_a_code_beside_state_and_issuer(
    provider: OidcProvider, client: str
) -> None:
    assert provider.metadata()["authorization_response_iss_parameter_supported"] is True
    found = told(callback_address(authorization_url(provider, client)))
    assert set(found) == {"code", "state", "iss"}
    assert (found["state"], found["iss"]) == ("a state", provider.url)
    tokens = redeem(provider, found["code"], client).json()
    assert get(provider, tokens["access_token"]).status_code == 200
    assert provider.refresh(client, tokens["refresh_token"]).status_code == 200


def test_a_person_may_say_no_to_a_client(provider: OidcProvider) -> None:
    found = told(callback_address(authorization_url(provider), decline=True))
    assert set(found) == {"error", "error_description", "state", "iss"}
    assert (found["error"], found["iss"]) == ("access_denied", provider.url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": VERIFIER, "code_challenge_method": "plain"},
    ],
)
@pytest.mark.parametrize("client", ["public", "basic"])
def test_there_is_no_code_without_pkce_s256(
    provider: OidcProvider, wrong: dict[str, Any], client: str
) -> None:
    found = told(callback_address(authorization_url(provider, client, **wrong)))
    assert (found["error"], found["iss"]) == ("invalid_request", provider.url)


@pytest.mark.parametrize(
    "wrong", [{"code_verifier": "w" * 43}, {"redirect_uri": "http://127.0.0.1:8401/callback"}]
)
def test_a_code_is_good_for_whoever_asked_for_it(
    provider: OidcProvider, wrong: dict[str, Any]
) -> None:
    code = told(callback_address(authorization_url(provider)))["code"]
    assert fault(redeem(provider, code, **wrong)) == (400, "invalid_grant")


def test_a_code_is_good_once(provider: OidcProvider) -> None:
    code = told(callback_address(authorization_url(provider)))["code"]
    tokens = redeem(provider, code).json()
    assert fault(redeem(provider, code)) == (400, "invalid_grant")
    assert get(provider, tokens["access_token"]).status_code == 401
    assert len(provider.revoked_families()) == 1


def test_a_stranger_address_gets_no_redirect(provider: OidcProvider) -> None:
    url = authorization_url(provider, redirect_uri="http://127.0.0.1:8400/elsewhere")
    with pytest.raises(AssertionError, match="invalid_redirect_uri"):
        callback_address(url)


def test_by_default_a_refresh_token_takes_offline_access_and_consent(
    oidc_provider: ProviderFactory,
) -> None:
    provider = oidc_provider(offline_access_only=True)

    def given(**more: str) -> bool:
        code = told(callback_address(authorization_url(provider, **more)))["code"]
        return "refresh_token" in redeem(provider, code).json()

    assert given(scope="api offline_access", prompt="consent")
    assert not given(scope="api offline_access")
    assert not given(scope="api", prompt="consent")


def test_a_code_is_for_the_resource_that_was_asked_for(provider: OidcProvider) -> None:
    url = authorization_url(provider, resource=oidc.JWT_RESOURCE)
    tokens = redeem(provider, told(callback_address(url))["code"]).json()
    renewed = provider.refresh("public", tokens["refresh_token"]).json()
    for answer in (tokens, renewed):
        claimed = jwt.decode(answer["access_token"], options={"verify_signature": False})
        assert (claimed["aud"], claimed["scope"]) == (oidc.JWT_RESOURCE, "api")


@pytest.fixture
def listener() -> Iterator[HTTPServer]:
    """Answers one GET, as a client that waits for its callback."""

    class Callback(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing: its output is not looked at."""

    with HTTPServer(("127.0.0.1", 0), Callback) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield server
        thread.join()


def test_a_sign_in_goes_on_to_the_callback_at_any_port(
    provider: OidcProvider, listener: HTTPServer
) -> None:
    redirect_uri = f"http://127.0.0.1:{listener.server_port}/callback"
    answer = sign_in(authorization_url(provider, redirect_uri=redirect_uri))
    assert answer.status_code == 200
    assert answer.text.startswith("/callback?code=")


# The server


def start(tmp_path: Path) -> "subprocess.Popen[bytes]":
    command = [oidc.node() or "node", *oidc.arguments(oidc.OidcOptions(), oidc.Secrets(tmp_path))]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)


def test_it_ends_with_its_standard_input(provider: OidcProvider, tmp_path: Path) -> None:
    with start(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().startswith(b"listening on http://127.0.0.1:")
        process.stdin.close()
        assert process.wait(15) == 0


def test_it_ends_when_told_to(provider: OidcProvider, tmp_path: Path) -> None:
    with start(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_its_lock_names_no_registry() -> None:
    lock = json.loads((oidc.SITE.parent / "package-lock.json").read_text())
    urls = {package["resolved"] for package in lock["packages"].values() if "resolved" in package}
    assert {urlsplit(url).hostname for url in urls} <= {"registry.npmjs.org"}
