import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlsplit

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tokenproxy.testing import (
    Api,
    ManualClock,
    OAuth2Endpoint,
    OAuth2Issuer,
    Person,
    User,
    Verdict,
    faults,
)

TOKEN, DEVICE, REVOKE = OAuth2Endpoint.TOKEN, OAuth2Endpoint.DEVICE, OAuth2Endpoint.REVOKE
OPENID, METADATA = OAuth2Endpoint.OPENID, OAuth2Endpoint.METADATA
URN = "urn:ietf:params:oauth:grant-type:"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SECRET = "demo-secret-of-at-least-32-bytes-for-HS256"
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
CLIENT = {"client_id": "demo-client", "client_secret": SECRET}
PASSWORD = {"grant_type": "password", "username": "demo", "password": "demo-password"}
EXCHANGE = {
    "grant_type": f"{URN}token-exchange",
    "subject_token": "demo-subject-token",
    "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
}
# RFC 7636 appendix B
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
BACK = "http://127.0.0.1:8400/callback"
AUTHORIZE = {
    "response_type": "code",
    "client_id": "demo-client",
    "redirect_uri": BACK,
    "state": "s",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}

Answer = tuple[int, Any]


class Asker:
    """Asks an issuer; a client with its secret in the form, unless it says otherwise."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, issuer: OAuth2Issuer, endpoint: OAuth2Endpoint, **kwargs: Any) -> Answer:
        async with self._session.post(issuer.url_of(endpoint), **kwargs) as answer:
            body = await answer.read()
            return answer.status, json.loads(body) if body else None

    async def token(self, issuer: OAuth2Issuer, **form: str) -> Answer:
        return await self.post(issuer, TOKEN, data={**CLIENT, **form})

    async def get(self, url: str, **query: str) -> tuple[int, Any, str]:
        async with self._session.get(url, params=query, allow_redirects=False) as answer:
            body = await answer.read()
            told = json.loads(body) if answer.content_type == "application/json" else None
            return answer.status, told, answer.headers.get("Location", "")

    async def authorize(self, issuer: OAuth2Issuer, **query: str) -> dict[str, str]:
        url = issuer.url_of(OAuth2Endpoint.AUTHORIZE)
        status, _, where = await self.get(url, **{**AUTHORIZE, **query})
        assert status == 302
        assert where.startswith(f"{BACK}?")
        return dict(parse_qsl(urlsplit(where).query))


@pytest.fixture
async def ask() -> AsyncIterator[Asker]:
    async with aiohttp.ClientSession() as session:
        yield Asker(session)


def an_issuer(**keys: Any) -> OAuth2Issuer:
    return OAuth2Issuer(**{"client_secret": SECRET, **keys})


def error(answer: Answer) -> tuple[int, str]:
    return answer[0], answer[1]["error"]


def basic(client_id: str, secret: str) -> dict[str, str]:
    both = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}


def assertion(issuer: OAuth2Issuer, key: str = PEM, algorithm: str = "ES256", **more: Any) -> str:
    now = int(issuer.clock.now().wall)
    claims = {
        "iss": "demo-client",
        "sub": "demo-client",
        "aud": issuer.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": "1",
        **more,
    }
    told = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(told, key, algorithm)


def proof(told: str) -> dict[str, str]:
    return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": told}


# -- grants ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "refreshable"),
    [
        ({"grant_type": "client_credentials"}, False),
        (PASSWORD, True),
        (EXCHANGE, False),
    ],
    ids=["client_credentials", "password", "token_exchange"],
)
async def test_a_grant_gives_a_token_that_is_accepted(
    ask: Asker, form: dict[str, str], refreshable: bool
) -> None:
    async with an_issuer() as issuer:
        status, answer = await ask.token(issuer, **form)
        assert issuer.accepts(answer["access_token"]) is Verdict.ACCEPTED
    assert (status, answer["token_type"], answer["expires_in"]) == (200, "Bearer", 300)
    assert ("refresh_token" in answer) is refreshable


async def test_an_api_takes_its_tokens(ask: Asker) -> None:
    async with an_issuer() as issuer, Api(issuer) as api, aiohttp.ClientSession() as session:
        _, answer = await ask.token(issuer, **PASSWORD)
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        for expired, status in ((False, 200), (True, 401)):
            if expired:
                issuer.expire_now()
            async with session.get(f"{api.url}/items/", headers=headers) as got:
                assert got.status == status


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "magic"}, "unsupported_grant_type"),
        ({**PASSWORD, "password": "wrong"}, "invalid_grant"),
        ({**PASSWORD, "username": "nobody"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "r"}, "invalid_grant"),
        ({"grant_type": "refresh_token"}, "invalid_grant"),
        ({**EXCHANGE, "subject_token": "another"}, "invalid_grant"),
        ({"grant_type": EXCHANGE["grant_type"], "subject_token": "s"}, "invalid_request"),
        ({"grant_type": f"{URN}jwt-bearer", "assertion": "a.b.c"}, "invalid_grant"),
        ({"grant_type": f"{URN}device_code", "device_code": "d"}, "invalid_grant"),
        ({"grant_type": "authorization_code", "code": "c"}, "invalid_grant"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
async def test_a_form_that_is_not_right_is_refused(
    ask: Asker, form: dict[str, str], code: str
) -> None:
    async with an_issuer() as issuer:
        assert error(await ask.token(issuer, **form)) == (400, code)
        assert issuer.calls[-1].refused


async def test_a_refresh_token_rotates_and_its_reuse_ends_the_family(ask: Asker) -> None:
    async with an_issuer() as issuer:
        first = issuer.new_refresh_token()
        renewal = {"grant_type": "refresh_token"}
        _, second = await ask.token(issuer, **renewal, refresh_token=first)
        assert second["refresh_token"] != first
        refused = error(await ask.token(issuer, **renewal, refresh_token=first))
        assert refused == (400, "invalid_grant")
        assert issuer.accepts(second["access_token"]) is Verdict.BLACKLISTED
        again = await ask.token(issuer, **renewal, refresh_token=second["refresh_token"])
        assert error(again) == (400, "invalid_grant")
        assert issuer.reused == 1


async def test_without_rotation_a_refresh_token_stays(ask: Asker) -> None:
    async with an_issuer(rotate=False) as issuer:
        first = issuer.new_refresh_token()
        for _ in range(2):
            form = {"grant_type": "refresh_token", "refresh_token": first}
            status, answer = await ask.token(issuer, **form)
            assert (status, "refresh_token" in answer) == (200, False)


async def test_an_account_that_is_closed_gets_nothing(ask: Asker) -> None:
    async with an_issuer() as issuer:
        issuer.user = User.INACTIVE
        assert error(await ask.token(issuer, **PASSWORD)) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 200),
        ({"aud": "urn:another"}, 400),
        ({"aud": None}, 400),
        ({"sub": None}, 400),
        ({"jti": None}, 400),
        ({"exp": 1}, 400),
        ({"iat": 9_999_999_999}, 400),
    ],
    ids=["good", "another audience", "no audience", "no subject", "no jti", "over", "ahead"],
)
async def test_an_assertion_is_looked_at(ask: Asker, claims: dict[str, Any], status: int) -> None:
    async with an_issuer(assertion_key=PUBLIC) as issuer:
        told = assertion(issuer, **claims)
        form = {"grant_type": f"{URN}jwt-bearer", "assertion": told}
        assert (await ask.token(issuer, **form))[0] == status
        assert error(await ask.token(issuer, **form)) == (400, "invalid_grant")  # its jti is used


async def test_a_signature_of_somebody_else_is_refused_where_a_key_is_known(ask: Asker) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    pem = stranger.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for key, status in ((PUBLIC, 400), (None, 200)):
        async with an_issuer(assertion_key=key) as issuer:
            form = {"grant_type": f"{URN}jwt-bearer", "assertion": assertion(issuer, pem)}
            assert (await ask.token(issuer, **form))[0] == status


# -- sign-in ---------------------------------------------------------------------------------


async def test_a_device_polls_through_its_script_to_the_persons_answer(ask: Asker) -> None:
    async with an_issuer() as issuer:
        issuer.interval = 7
        issuer.polls.extend(["authorization_pending", "slow_down"])
        status, code = await ask.post(issuer, DEVICE, data=CLIENT)
        assert (status, code["interval"], code["user_code"]) == (200, 7, "WDJB-MJHT")
        form = {"grant_type": f"{URN}device_code", "device_code": code["device_code"]}
        assert error(await ask.token(issuer, **form)) == (400, "authorization_pending")
        assert error(await ask.token(issuer, **form)) == (400, "slow_down")
        status, answer = await ask.token(issuer, **form)
        assert (status, "refresh_token" in answer) == (200, True)
        assert error(await ask.token(issuer, **form)) == (400, "invalid_grant")


async def test_a_device_whose_person_says_no_or_nothing_gets_nothing(ask: Asker) -> None:
    clock = ManualClock()
    async with an_issuer(clock=clock) as issuer:
        issuer.person = Person.DECLINES
        for wait, code in ((0, "access_denied"), (600, "expired_token")):
            _, told = await ask.post(issuer, DEVICE, data=CLIENT)
            clock.jump(wall=wait)
            form = {"grant_type": f"{URN}device_code", "device_code": told["device_code"]}
            assert error(await ask.token(issuer, **form)) == (400, code)


async def test_a_code_is_good_once_and_for_its_verifier(ask: Asker) -> None:
    async with an_issuer() as issuer:
        back = await ask.authorize(issuer)
        assert (back["state"], back["iss"]) == ("s", issuer.issuer)
        form = {"grant_type": "authorization_code", "code": back["code"], "redirect_uri": BACK}
        for wrong in ({}, {"code_verifier": "x"}, {"code_verifier": VERIFIER, "redirect_uri": ""}):
            answer = await ask.token(issuer, **{**form, **wrong})
            assert error(answer) == (400, "invalid_grant")
        form["code_verifier"] = VERIFIER
        status, tokens = await ask.token(issuer, **form)
        assert status == 200
        assert issuer.accepts(tokens["access_token"]) is Verdict.ACCEPTED
        assert error(await ask.token(issuer, **form)) == (400, "invalid_grant")
        assert issuer.accepts(tokens["access_token"]) is Verdict.BLACKLISTED


async def test_a_code_is_good_for_a_minute(ask: Asker) -> None:
    clock = ManualClock()
    async with an_issuer(clock=clock) as issuer:
        code = (await ask.authorize(issuer))["code"]
        clock.jump(wall=60)
        form = {"code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
        answer = await ask.token(issuer, grant_type="authorization_code", **form)
    assert error(answer) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
    ids=["token", "no challenge", "plain"],
)
async def test_a_question_that_is_not_right_comes_back_as_an_error(
    ask: Asker, query: dict[str, str], code: str
) -> None:
    async with an_issuer() as issuer:
        assert await ask.authorize(issuer, **query) == {
            "error": code,
            "state": "s",
            "iss": issuer.issuer,
        }


async def test_a_person_may_say_no(ask: Asker) -> None:
    async with an_issuer() as issuer:
        issuer.person = Person.DECLINES
        assert issuer.person is Person.DECLINES
        assert (await ask.authorize(issuer))["error"] == "access_denied"


@pytest.mark.parametrize(
    "query", [{"client_id": "another"}, {"redirect_uri": "https://evil.example/"}], ids=str
)
async def test_nobody_is_sent_to_a_stranger(ask: Asker, query: dict[str, str]) -> None:
    async with an_issuer() as issuer:
        url = issuer.url_of(OAuth2Endpoint.AUTHORIZE)
        status, told, where = await ask.get(url, **{**AUTHORIZE, **query})
    assert (status, told, where) == (400, {"error": "invalid_request"}, "")


# -- clients ---------------------------------------------------------------------------------


async def test_basic_is_form_decoded(ask: Asker) -> None:
    client_id, secret = "a:b c", "p+%é:"
    async with an_issuer(client_id=client_id, client_secret=secret) as issuer:
        headers = basic(client_id, secret)
        status, _ = await ask.post(issuer, TOKEN, data=PASSWORD, headers=headers)
    assert status == 200
    assert issuer.calls[-1].method == "client_secret_basic"


@pytest.mark.parametrize(
    ("form", "headers", "method"),
    [
        ({"client_id": "demo-client"}, {}, "none"),
        ({}, {}, "none"),
        ({**CLIENT, "client_secret": "wrong"}, {}, "client_secret_post"),
        ({**CLIENT, "client_id": "another"}, {}, "client_secret_post"),
        ({}, basic("demo-client", "wrong"), "client_secret_basic"),
        ({}, {"Authorization": "Basic !"}, "client_secret_basic"),
        ({}, {"Authorization": "Bearer x"}, "client_secret_basic"),
        (proof("a.b.c"), {}, "private_key_jwt"),
    ],
    ids=["no secret", "nothing", "wrong", "another", "wrong basic", "no basic", "bearer", "no jwt"],
)
async def test_a_client_that_does_not_prove_itself_is_refused(
    ask: Asker, form: dict[str, str], headers: dict[str, str], method: str
) -> None:
    async with an_issuer() as issuer:
        for endpoint in (TOKEN, DEVICE, REVOKE):
            given = {**PASSWORD, "token": "t", **form}
            answer = await ask.post(issuer, endpoint, data=given, headers=headers)
            assert error(answer) == (401, "invalid_client")
            assert issuer.calls[-1].method == method


async def test_two_proofs_at_once_are_one_too_many(ask: Asker) -> None:
    """RFC 6749 2.3."""
    async with an_issuer() as issuer:
        headers = basic("demo-client", SECRET)
        answer = await ask.post(issuer, TOKEN, data={**PASSWORD, **CLIENT}, headers=headers)
    assert error(answer) == (400, "invalid_request")
    assert issuer.calls[-1].method is None


async def test_a_body_that_is_no_form_is_turned_down(ask: Asker) -> None:
    async with an_issuer() as issuer:
        headers = basic("demo-client", SECRET)
        answer = await ask.post(issuer, TOKEN, json=PASSWORD, headers=headers)
    assert error(answer) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("key", "algorithm", "method"),
    [(SECRET, "HS256", "client_secret_jwt"), (PEM, "ES256", "private_key_jwt")],
    ids=["secret", "key"],
)
async def test_an_assertion_proves_a_client_once(
    ask: Asker, key: str, algorithm: str, method: str
) -> None:
    async with an_issuer(client_key=PUBLIC) as issuer:
        form = {**PASSWORD, **proof(assertion(issuer, key, algorithm))}
        assert (await ask.post(issuer, TOKEN, data=form))[0] == 200
        answer = await ask.post(issuer, TOKEN, data=form)
        assert error(answer) == (401, "invalid_client")
    assert [call.method for call in issuer.calls] == [method] * 2


@pytest.mark.parametrize(
    "claims",
    [{"aud": "urn:another"}, {"exp": 1}, {"iss": "another"}, {"jti": None}],
    ids=["audience", "over", "issuer", "no jti"],
)
async def test_an_assertion_that_is_not_right_proves_nothing(
    ask: Asker, claims: dict[str, Any]
) -> None:
    async with an_issuer(client_key=PUBLIC) as issuer:
        form = {**PASSWORD, **proof(assertion(issuer, **claims))}
        assert error(await ask.post(issuer, TOKEN, data=form)) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("keys", "form", "status"),
    [
        ({"client_secret": None}, {"client_id": "demo-client"}, 200),
        ({"client_secret": None}, CLIENT, 401),
        ({"auth_method": "client_secret_post"}, CLIENT, 200),
        ({"auth_method": "client_secret_basic"}, CLIENT, 401),
        ({"auth_method": "tls_client_auth"}, {"client_id": "demo-client"}, 200),
        ({"auth_method": "none"}, {"client_id": "demo-client"}, 200),
    ],
    ids=["public", "no secret is known", "post", "basic only", "tls", "none"],
)
async def test_one_way_may_be_all_that_is_taken(
    ask: Asker, keys: dict[str, Any], form: dict[str, str], status: int
) -> None:
    async with an_issuer(**keys) as issuer:
        assert (await ask.post(issuer, TOKEN, data={**PASSWORD, **form}))[0] == status


@pytest.mark.parametrize(("form", "status"), [(EXCHANGE, 200), (PASSWORD, 401)], ids=["e", "p"])
async def test_two_grants_need_no_client(ask: Asker, form: dict[str, str], status: int) -> None:
    async with an_issuer() as issuer:
        assert (await ask.post(issuer, TOKEN, data=form))[0] == status


# -- metadata --------------------------------------------------------------------------------


async def test_both_well_known_places_hold_the_same(ask: Asker) -> None:
    async with an_issuer(path="/tenant") as issuer:
        first = f"{issuer.url}/tenant/.well-known/openid-configuration"
        second = f"{issuer.url}/.well-known/oauth-authorization-server/tenant"
        assert (issuer.url_of(OPENID), issuer.url_of(METADATA)) == (first, second)
        told = await ask.get(first)
        assert told == await ask.get(second)
    status, document, _ = told
    assert (status, document["issuer"]) == (200, f"{issuer.url}/tenant")
    assert document["token_endpoint"] == issuer.url_of(TOKEN)


async def test_metadata_can_be_left_out_changed_and_moved(ask: Asker) -> None:
    async with an_issuer() as issuer:
        issuer.published = frozenset({METADATA})
        issuer.metadata = {"issuer": "https://x.example", "revocation_endpoint": faults.ABSENT}
        issuer.move(TOKEN, "/v2/token")
        assert (await ask.get(issuer.url_of(OPENID)))[0] == 404
        _, document, _ = await ask.get(issuer.url_of(METADATA))
        assert document["issuer"] == "https://x.example"
        assert "revocation_endpoint" not in document
        assert document["token_endpoint"] == f"{issuer.url}/v2/token"
        assert (await ask.token(issuer, **PASSWORD))[0] == 200
        assert (await ask.get(f"{issuer.url}/token"))[0] == 404


async def test_an_endpoint_minds_the_method(ask: Asker) -> None:
    async with an_issuer() as issuer:
        assert (await ask.get(issuer.url_of(TOKEN)))[0] == 404
        assert (await ask.post(issuer, OPENID))[0] == 404
    assert issuer.calls == []


# -- the rest --------------------------------------------------------------------------------


async def test_a_revoked_token_ends_its_session(ask: Asker) -> None:
    async with an_issuer() as issuer:
        _, tokens = await ask.token(issuer, **PASSWORD)
        for token in ("nobody's", tokens["refresh_token"]):
            answer = await ask.post(issuer, REVOKE, data={**CLIENT, "token": token})
            assert answer == (200, None)
        assert issuer.accepts(tokens["access_token"]) is Verdict.BLACKLISTED


@pytest.mark.parametrize("odd", ["300", 0.5, None, 0, -1, 1e18, []], ids=repr)
async def test_expires_in_is_sent_as_it_is(ask: Asker, odd: object) -> None:
    async with an_issuer() as issuer:
        issuer.expires_in = odd
        assert issuer.expires_in == odd
        assert (await ask.token(issuer, **PASSWORD))[1]["expires_in"] == odd


async def test_a_life_with_a_fraction_is_told_as_it_is(ask: Asker) -> None:
    async with an_issuer(access_life=1.5) as issuer:
        assert (await ask.token(issuer, **PASSWORD))[1]["expires_in"] == 1.5


async def test_a_fault_hits_the_endpoint_that_it_is_meant_for(ask: Asker) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(1, faults.INVALID_GRANT_IN_200, endpoint=TOKEN)
        issuer.fail_next(1, faults.UNAVAILABLE, endpoint=OPENID)
        assert (await ask.post(issuer, DEVICE, data=CLIENT))[0] == 200
        assert error(await ask.token(issuer, **PASSWORD)) == (200, "invalid_grant")
        assert (await ask.get(issuer.url_of(OPENID)))[0] == 503
        assert (await ask.token(issuer, **PASSWORD))[0] == 200
    assert [call.status for call in issuer.calls_to(TOKEN)] == [200, 200]


async def test_every_call_is_on_record_and_shows_no_secret(ask: Asker) -> None:
    clock = ManualClock()
    async with an_issuer(clock=clock) as issuer:
        form = [*CLIENT.items(), *PASSWORD.items(), ("resource", "a"), ("resource", "b")]
        await ask.post(issuer, TOKEN, data=form, headers={"X-Mark": "1"})
        [call] = issuer.calls
    assert (call.endpoint, call.at, call.status) == (TOKEN, clock.now(), 200)
    assert call.form == tuple(form)
    assert (call.field("username"), call.field("resource"), call.field("x")) == ("demo", None, None)
    assert call.headers["x-mark"] == "1"
    assert SECRET not in repr(call)
    assert "demo-password" not in repr(call)
