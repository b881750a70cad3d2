import asyncio
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.tokens.oauth2.asking import (
    CERT,
    KEY,
    PASSWORD,
    SECRET,
    TOKEN,
    Build,
    a_public_issuer,
    a_stranger,
    an_issuer,
    building,
    claims_of,
    is_accepted,
    last,
    pem,
    public_pem,
    record,
)
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.testing import ManualClock, OAuth2Endpoint, User, faults
from tokenproxy.tokens import endpoint as endpoint_module
from tokenproxy.tokens.oauth2.code import CodeFlow
from tokenproxy.tokens.oauth2.device import DeviceFlow
from tokenproxy.tokens.source import Attempt, Seed, Source
from tokenproxy.tokens.token import Granted, Record, Unusable

GRANT = "urn:ietf:params:oauth:grant-type:"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
WANTS = {
    "scope": ["a", "b"],
    "audience": "api",
    "resource": ["urn:a", "urn:b"],
    "extra": {"tenant": "t&=é"},
}
WANTED = (
    ("audience", "api"),
    ("resource", "urn:a"),
    ("resource", "urn:b"),
    ("tenant", "t&=é"),
)
SCOPE = (("scope", "a b"),)
NOBODY: dict[str, object] = {"client_id": None, "client_auth": None}
PUBLIC: dict[str, object] = {"client_auth": None}
SIGNED: dict[str, object] = {"client_auth": {"key": pem(KEY)}}
RECORD = Record(refresh=Secret("r"))


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    async with building() as build:
        yield build


async def log_in(source: Source) -> Granted:
    return await source.fetch(Attempt.LOGIN, Record())


async def renew(source: Source, refresh: str) -> Granted:
    return await source.fetch(Attempt.RENEW, Record(refresh=Secret(refresh)))


# -- what each grant sends -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grant", "keys", "form"),
    [
        ("client_credentials", {}, ()),
        ("password", {}, (("username", "demo"), ("password", PASSWORD))),
        (
            "token_exchange",
            {},
            (("subject_token", "demo-subject-token"), ("subject_token_type", ACCESS_TOKEN)),
        ),
        (
            "token_exchange",
            {
                "subject_token_type": JWT_TYPE,
                "actor_token": "who",
                "actor_token_type": JWT_TYPE,
                "requested_token_type": ACCESS_TOKEN,
            },
            (
                ("subject_token", "demo-subject-token"),
                ("subject_token_type", JWT_TYPE),
                ("actor_token", "who"),
                ("actor_token_type", JWT_TYPE),
                ("requested_token_type", ACCESS_TOKEN),
            ),
        ),
    ],
    ids=["client_credentials", "password", "token_exchange", "token_exchange with an actor"],
)
async def test_a_grant_sends_this_form_and_nothing_else(
    build: Build, grant: str, keys: dict[str, object], form: tuple[tuple[str, str], ...]
) -> None:
    name = f"{GRANT}token-exchange" if grant == "token_exchange" else grant
    async with an_issuer() as issuer:
        assert is_accepted(issuer, await log_in(build(issuer, grant, **keys, **WANTS)))
    assert last(issuer).form == (("grant_type", name), *form, *SCOPE, *WANTED)


async def test_the_headers_are_these_and_no_others(build: Build) -> None:
    async with an_issuer() as issuer:
        await log_in(build(issuer, "client_credentials"))
    headers = dict(last(issuer).headers)
    assert headers.pop("authorization").startswith("Basic ")
    assert headers.pop("accept-encoding")
    assert headers == {
        "host": issuer.url.removeprefix("http://"),
        "accept": "application/json",
        "content-type": "application/x-www-form-urlencoded",
        "content-length": "29",
        "connection": "close",
    }


async def test_an_assertion_is_signed_and_made_out_to_the_token_endpoint(build: Build) -> None:
    clock = ManualClock()
    async with an_issuer(assertion_key=public_pem(KEY), clock=clock) as issuer:
        source = build(issuer, "jwt_bearer", claims={"sub": "me", "act": {"x": 1}}, **WANTS)
        assert is_accepted(issuer, await log_in(source))
    form = last(issuer).form
    assertion = last(issuer).field("assertion")
    assert form == (
        ("grant_type", f"{GRANT}jwt-bearer"),
        ("assertion", assertion),
        *SCOPE,
        *WANTED,
    )
    claims = claims_of(assertion)
    assert claims.pop("jti")
    now = int(clock.now().wall)
    assert claims == {
        "iss": "demo-client",
        "aud": issuer.url_of(TOKEN),
        "sub": "me",
        "act": {"x": 1},
        "iat": now,
        "exp": now + 120,
    }


async def test_claims_of_the_config_win_but_for_the_times(build: Build) -> None:
    claims = {"iss": "someone", "aud": "urn:them", "sub": "me", "exp": 1, "iat": 2, "jti": "3"}
    async with an_issuer() as issuer:
        with pytest.raises(SourceRefused, match="invalid_grant"):
            await log_in(build(issuer, "jwt_bearer", claims=claims))
    sent = claims_of(last(issuer).field("assertion"))
    assert (sent["iss"], sent["aud"], sent["sub"]) == ("someone", "urn:them", "me")
    assert sent["exp"] > 120
    assert sent["jti"] != "3"


@pytest.mark.parametrize(("grant"), ["jwt_bearer", "token_exchange"])
async def test_two_grants_need_no_client(build: Build, grant: str) -> None:
    claims = {"claims": {"iss": "me", "sub": "me"}} if grant == "jwt_bearer" else {}
    async with an_issuer() as issuer:
        assert is_accepted(issuer, await log_in(build(issuer, grant, **NOBODY, **claims)))
    assert last(issuer).field("client_id") is None
    assert "authorization" not in last(issuer).headers


async def test_a_subject_token_is_read_from_its_file_each_time(
    build: Build, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xef\xbb\xbf  old\n")
    async with an_issuer() as issuer:
        source = build(issuer, "token_exchange", subject_token=None, subject_token_file=path)
        with pytest.raises(SourceRefused):
            await log_in(source)
        path.write_text("demo-subject-token\n")
        assert is_accepted(issuer, await log_in(source))
    assert issuer.calls_to(TOKEN)[0].field("subject_token") == "old"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty, where the subject token should be"),
        (b" \n", "is empty, where the subject token should be"),
        (b"\xff", "cannot be read (it is no text)"),
    ],
    ids=["missing", "empty", "blank", "not text"],
)
async def test_a_file_without_a_subject_token_is_waited_for(
    build: Build, tmp_path: Path, content: bytes | None, what: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    async with an_issuer() as issuer:
        source = build(issuer, "token_exchange", subject_token=None, subject_token_file=path)
        with pytest.raises(SourceUnavailable) as caught:
            await log_in(source)
    assert what in str(caught.value)
    assert not caught.value.retriable
    assert issuer.calls_to(TOKEN) == []


# -- how the client proves itself ------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "auth", "method", "names"),
    [
        ({}, {"secret": SECRET}, "client_secret_basic", []),
        (
            {},
            {"method": "client_secret_post", "secret": SECRET},
            "client_secret_post",
            ["client_id", "client_secret"],
        ),
        (
            {},
            {"method": "client_secret_jwt", "secret": SECRET},
            "client_secret_jwt",
            ["client_id", "client_assertion_type", "client_assertion"],
        ),
        (
            {"client_key": public_pem(KEY)},
            {"key": pem(KEY), "key_id": "k1"},
            "private_key_jwt",
            ["client_id", "client_assertion_type", "client_assertion"],
        ),
        ({"client_secret": None}, None, "none", ["client_id"]),
        (
            {"auth_method": "tls_client_auth"},
            {"method": "tls_client_auth"},
            "none",  # what proves it is not seen here
            ["client_id"],
        ),
    ],
    ids=["basic", "post", "secret jwt", "key jwt", "none", "tls"],
)
async def test_a_client_says_who_it_is(
    build: Build, known: dict[str, Any], auth: Any, method: str, names: list[str]
) -> None:
    async with an_issuer(**known) as issuer:
        source = build(issuer, "password", client_auth=auth, tls=CERT)
        assert is_accepted(issuer, await log_in(source))
    call = last(issuer)
    assert call.method == method
    assert [name for name, _ in call.form] == ["grant_type", "username", "password", *names]
    assert ("authorization" in call.headers) is (method == "client_secret_basic")


async def test_basic_has_both_parts_form_encoded_first(build: Build) -> None:
    """RFC 6749 2.3.1."""
    client_id, secret = "shop:one +é/%", "p:a ss+&=%/é☃"
    async with an_issuer(client_id=client_id, client_secret=secret) as issuer:
        source = build(issuer, "client_credentials", client_auth={"secret": secret})
        assert is_accepted(issuer, await log_in(source))


@pytest.mark.parametrize("lost", [faults.UNAVAILABLE, faults.DropBeforeAnswer()], ids=["503", "-"])
@pytest.mark.parametrize("method", ["client_secret_jwt", "private_key_jwt"])
async def test_each_try_has_an_assertion_of_its_own(
    build: Build, method: str, lost: faults.Fault
) -> None:
    auth = {"method": method}
    auth |= {"secret": SECRET} if method == "client_secret_jwt" else {"key": pem(KEY)}
    async with an_issuer(client_key=public_pem(KEY)) as issuer:
        source = build(issuer, "client_credentials", client_auth=auth)
        issuer.fail_next(1, lost, endpoint=TOKEN)
        with pytest.raises(SourceUnavailable):
            await log_in(source)
        assert is_accepted(issuer, await log_in(source))
    told = [claims_of(call.field("client_assertion")) for call in issuer.calls_to(TOKEN)]
    assert len({claims["jti"] for claims in told}) == 2


async def test_a_grants_assertion_is_new_with_each_try(build: Build) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "jwt_bearer")
        for _ in range(2):
            assert is_accepted(issuer, await log_in(source))


async def test_a_client_that_is_not_known_is_refused_and_told_without_its_secret(
    build: Build,
) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "client_credentials", client_auth={"secret": "MARKER"})
        with pytest.raises(SourceRefused, match=r"/token refused \(401 invalid_client\): ") as no:
            await log_in(source)
    assert "MARKER" not in str(no.value)
    assert "MARKER" not in repr(source.__dict__)


# -- the refresh token -----------------------------------------------------------------------


async def test_a_renewal_leaves_the_scope_out_and_nothing_else(build: Build) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "refresh_token", **WANTS)
        token = issuer.new_refresh_token()
        assert is_accepted(issuer, await renew(source, token))
    assert last(issuer).form == (
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        *WANTED,
    )


async def test_a_refresh_token_that_is_replaced_is_given_on(build: Build) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password")
        first = await log_in(source)
        second = await source.fetch(Attempt.RENEW, record(first))
        third = await source.fetch(Attempt.RENEW, record(second))
    refreshes = {granted.refresh for granted in (first, second, third)}
    assert len(refreshes) == 3
    assert None not in refreshes
    assert issuer.reused == 0


async def test_a_refresh_token_that_is_left_out_stays_as_it_was(build: Build) -> None:
    async with an_issuer(rotate=False) as issuer:
        source = build(issuer, "refresh_token")
        token = issuer.new_refresh_token()
        for _ in range(2):
            granted = await renew(source, token)
            assert granted.refresh is None
            assert is_accepted(issuer, granted)


async def test_a_refresh_token_may_be_replaced_by_itself(build: Build) -> None:
    async with an_issuer(rotate=False) as issuer:
        token = issuer.new_refresh_token()
        issuer.fail_next(1, faults.with_field("refresh_token", token), endpoint=TOKEN)
        granted = await renew(build(issuer, "refresh_token"), token)
    assert granted.refresh == Secret(token)


async def test_a_refresh_token_that_was_replaced_ends_the_family(build: Build) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password")
        first = await log_in(source)
        second = await source.fetch(Attempt.RENEW, record(first))
        with pytest.raises(SourceRefused, match=r"refused \(400 invalid_grant\): "):
            await source.fetch(Attempt.RENEW, record(first))
        assert not is_accepted(issuer, second)
    assert issuer.reused == 1


async def test_a_refresh_token_beside_a_token_that_cannot_be_used_is_told(build: Build) -> None:
    async with an_issuer() as issuer:
        odd = faults.with_field("access_token", "to\r\nken")
        issuer.fail_next(1, odd, endpoint=TOKEN)
        with pytest.raises(Unusable) as caught:
            await renew(build(issuer, "refresh_token"), issuer.new_refresh_token())
    assert caught.value.refresh is not None


# -- what may be tried -----------------------------------------------------------------------

UNATTENDED = ["client_credentials", "password", "jwt_bearer", "token_exchange"]
ATTENDED = ["refresh_token", "device_code", "authorization_code"]


@pytest.mark.parametrize("grant", UNATTENDED + ATTENDED)
async def test_what_is_there_may_be_tried_renewal_first(build: Build, grant: str) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, grant)
    login = (Attempt.LOGIN,) if grant in UNATTENDED else ()
    renewal = (Attempt.RENEW,) if grant != "client_credentials" else ()
    assert source.attempts(Record()) == login
    assert source.attempts(RECORD) == renewal + login
    assert source.renewable
    assert source.persistent


@pytest.mark.parametrize(
    ("grant", "seed"),
    [
        ("refresh_token", Seed(Secret("r"))),
        ("token_exchange", Seed(Secret("demo-subject-token"), is_refresh_token=False)),
        ("password", None),
    ],
)
async def test_a_token_in_the_config_is_the_seed(
    build: Build, grant: str, seed: Seed | None
) -> None:
    async with an_issuer() as issuer:
        assert build(issuer, grant).seed == seed


@pytest.mark.parametrize(
    ("grant", "sign_in"),
    [("device_code", DeviceFlow), ("authorization_code", CodeFlow), ("password", type(None))],
)
async def test_two_grants_are_begun_by_a_person(
    build: Build, grant: str, sign_in: type[object]
) -> None:
    async with an_issuer() as issuer:
        assert isinstance(build(issuer, grant).sign_in, sign_in)


@pytest.mark.parametrize(
    ("grant", "what"),
    [
        (
            "refresh_token",
            "credential 'shop' has no refresh token that still works: give it a new "
            "'refresh_token'",
        ),
        ("device_code", "credential 'shop' needs a person: run 'tokenproxy login shop'"),
        ("authorization_code", "credential 'shop' needs a person: run 'tokenproxy login shop'"),
    ],
)
async def test_where_nothing_is_left_a_person_is_told_what_to_do(
    build: Build, grant: str, what: str
) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, grant)
        assert source.helpless == what
        with pytest.raises(SourceUnavailable, match="credential 'shop'"):
            await log_in(source)
    assert issuer.calls == []


# -- what is refused -------------------------------------------------------------------------

CODES = [
    "invalid_grant",
    "invalid_client",
    "unauthorized_client",
    "invalid_scope",
    "unsupported_grant_type",
    "invalid_request",
]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("status", [200, 400, 401])
async def test_a_code_is_a_no_even_inside_a_200(build: Build, status: int, code: str) -> None:
    body = f'{{"error": "{code}", "error_description": "MARKER", "access_token": "MARKER"}}'
    async with a_public_issuer() as issuer:
        source = build(issuer, "refresh_token", **PUBLIC)
        issuer.fail_next(1, faults.Status(status, body.encode()), endpoint=TOKEN)
        with pytest.raises(SourceRefused) as caught:
            await renew(source, "r")
    assert str(caught.value).startswith(
        f"credential 'shop': {issuer.url_of(TOKEN)} refused ({status} {code}): "
    )
    assert "MARKER" not in str(caught.value)
    assert len(issuer.calls_to(TOKEN)) == 1


@pytest.mark.parametrize(
    ("grant", "keys", "attempt", "certain"),
    [
        ("client_credentials", {}, Attempt.LOGIN, True),
        ("client_credentials", SIGNED, Attempt.LOGIN, False),
        ("password", PUBLIC, Attempt.LOGIN, True),
        ("password", PUBLIC, Attempt.RENEW, True),
        ("jwt_bearer", {}, Attempt.LOGIN, True),
        ("jwt_bearer", NOBODY, Attempt.LOGIN, False),
        ("jwt_bearer", NOBODY, Attempt.RENEW, True),
        ("token_exchange", NOBODY, Attempt.LOGIN, False),
        ("token_exchange", NOBODY, Attempt.RENEW, True),
        ("refresh_token", {}, Attempt.RENEW, True),
        (
            "refresh_token",
            {"client_auth": {"method": "client_secret_post", "secret": SECRET}},
            Attempt.RENEW,
            True,
        ),
        (
            "refresh_token",
            {"client_auth": {"method": "client_secret_jwt", "secret": SECRET}},
            Attempt.RENEW,
            False,
        ),
        ("refresh_token", PUBLIC, Attempt.RENEW, False),
        ("refresh_token", SIGNED, Attempt.RENEW, False),
        ("device_code", PUBLIC, Attempt.RENEW, False),
        ("authorization_code", PUBLIC, Attempt.RENEW, False),
        ("authorization_code", {}, Attempt.RENEW, True),
    ],
    ids=[
        "a client secret",
        "a client's signature",
        "a password",
        "a password is left",
        "an assertion and a client secret",
        "an assertion",
        "an assertion is left",
        "a subject token",
        "a subject token is left",
        "a refresh token and a client secret",
        "a refresh token and a client secret in the form",
        "a refresh token and a signature with the secret",
        "a refresh token",
        "a refresh token and a signature",
        "a device's refresh token",
        "a browser's refresh token",
        "a browser's refresh token and a client secret",
    ],
)
async def test_a_no_without_a_reason_counts_at_once_where_asking_again_does_harm(
    build: Build, grant: str, keys: dict[str, object], attempt: Attempt, certain: bool
) -> None:
    """Contract 3.3.6: a password or client secret was carried, or a login is left."""
    async with an_issuer() as issuer:
        source = build(issuer, grant, **keys)
        for fault in (faults.EMPTY_400, faults.EMPTY_401, faults.EMPTY_403):
            issuer.fail_next(1, fault, endpoint=TOKEN)
            with pytest.raises(SourceRefused if certain else SourceUnavailable) as caught:
                await source.fetch(attempt, RECORD)
            assert getattr(caught.value, "doubtful", False) is not certain


@pytest.mark.parametrize("user", [User.INACTIVE, User.DELETED])
async def test_an_account_that_is_closed_is_refused(build: Build, user: User) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password")
        first = await log_in(source)
        issuer.user = user
        for attempt in (Attempt.RENEW, Attempt.LOGIN):
            with pytest.raises(SourceRefused, match="invalid_grant"):
                await source.fetch(attempt, record(first))


# -- what passes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "retriable", "retry_after"),
    [
        (faults.SERVER_ERROR, True, None),
        (faults.BAD_GATEWAY, True, None),
        (faults.unavailable(retry_after="7"), True, 7.0),
        (faults.too_many(retry_after="86400"), True, 86400.0),
        (faults.TOO_MANY, True, None),
        (faults.DropBeforeAnswer(), True, None),
        (faults.CutShort(), True, None),
        (faults.HTML_PAGE, False, None),
        (faults.page(404, "Not Found"), False, None),
        (faults.BAD_JSON, False, None),
        (faults.EMPTY_200, False, None),
        (faults.LIST_200, False, None),
        (faults.Status(400, b'{"error":"authorization_pending"}'), False, None),
        (faults.Status(400, b'{"error":"MARKER"}'), False, None),
        (faults.Status(200, b'{"error":{"message":"MARKER"}}'), False, None),
        (faults.deep(200_000), False, None),
        (faults.Huge(128 << 20), False, None),
        (faults.GzipBomb(128 << 20), False, None),
    ],
    ids=[
        "500",
        "502",
        "503 in 7 s",
        "429 tomorrow",
        "429",
        "dropped",
        "cut short",
        "a page",
        "404",
        "half of JSON",
        "nothing",
        "a list",
        "a device's error",
        "an error that is not known",
        "an error that is an object",
        "200,000 lists",
        "128 MiB",
        "a gzip bomb",
    ],
)
async def test_what_is_no_answer_is_passing(
    build: Build, fault: faults.Fault, retriable: bool, retry_after: float | None
) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password")
        issuer.fail_next(1, fault, endpoint=TOKEN)
        with pytest.raises(SourceUnavailable) as caught:
            await log_in(source)
    assert (caught.value.retriable, caught.value.retry_after) == (retriable, retry_after)
    assert not caught.value.doubtful
    assert not any(text in str(caught.value) for text in (PASSWORD, SECRET, "MARKER"))


@pytest.mark.parametrize(
    "fault", [faults.SlowBytes(1.0), faults.Hang(30.0)], ids=["one byte a second", "nothing"]
)
async def test_an_answer_that_does_not_come_is_given_up(
    build: Build, monkeypatch: pytest.MonkeyPatch, fault: faults.Fault
) -> None:
    """Its clock stands still, so that it never comes; ours is cut down."""
    monkeypatch.setattr(endpoint_module, "LONGEST_BODY", 0.05)
    async with an_issuer(clock=ManualClock()) as issuer:
        source = build(issuer, "password", refresh={"timeout": "200ms"})
        issuer.fail_next(1, fault, endpoint=TOKEN)
        async with asyncio.timeout(20):
            with pytest.raises(SourceUnavailable, match="did not answer in time") as caught:
                await log_in(source)
    assert not caught.value.retriable


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_secret_follows_a_redirect(build: Build, status: int) -> None:
    async with a_stranger() as (url, heard), an_issuer() as issuer:
        source = build(issuer, "password")
        issuer.fail_next(1, faults.redirect(f"{url}/token", status=status), endpoint=TOKEN)
        with pytest.raises(SourceUnavailable, match=rf"is no token \({status}\)$"):
            await log_in(source)
        assert heard == []


# -- odd successes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        faults.CREATED,
        faults.AS_TEXT,
        faults.AS_FORM,
        faults.Odd(content_type="text/plain", as_form=True),
        faults.Odd(as_form=True),
        faults.WITH_BOM,
        faults.GZIPPED,
        faults.with_field("code", 0),
        faults.with_field("error", None),
        faults.with_field("error", ""),
        faults.with_field("token_type", "bearer"),
        faults.without("token_type"),
    ],
    ids=[
        "201",
        "text",
        "form",
        "form as text",
        "form as JSON",
        "BOM",
        "gzip",
        "code 0",
        "error null",
        "error empty",
        "lower-case bearer",
        "no type",
    ],
)
async def test_a_token_in_an_odd_dress_is_a_token(build: Build, odd: faults.Fault) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(1, odd, endpoint=TOKEN)
        assert is_accepted(issuer, await log_in(build(issuer, "password")))


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        (60, 60),
        ("60", 60),
        (60.5, 60.5),
        ("60.5", 60.5),
        (1e18, 10 * 366 * 86400),
        (None, 300),
        (0, 300),
        (-1, 300),
        (math.nan, 300),
        ("soon", 300),
        ([], 300),
        (True, 300),
        (faults.ABSENT, 300),
    ],
    ids=[
        "int",
        "string",
        "float",
        "a float in a string",
        "1e18",
        "null",
        "zero",
        "negative",
        "NaN",
        "word",
        "list",
        "true",
        "absent",
    ],
)
async def test_an_odd_expires_in_gives_way_to_the_jwt(
    build: Build, expires_in: object, life: float
) -> None:
    async with an_issuer(access_life=300) as issuer:
        issuer.expires_in = expires_in
        token = (await log_in(build(issuer, "client_credentials"))).token
    assert token.expires_at is not None
    assert token.expires_at - token.issued_at == pytest.approx(life, abs=2)
    assert token.issued_at == pytest.approx(time.time(), abs=60)  # noqa: TID251


@pytest.mark.parametrize(
    ("keys", "life"), [({}, None), ({"refresh": {"default_ttl": "5m"}}, 300)], ids=["none", "5m"]
)
async def test_an_opaque_token_without_a_life_has_the_configured_one(
    build: Build, keys: dict[str, object], life: float | None
) -> None:
    clock = ManualClock()
    async with an_issuer(clock=clock) as issuer:
        opaque = faults.Odd(also=(("access_token", "opaque"), ("expires_in", None)))
        issuer.fail_next(1, opaque, endpoint=TOKEN)
        token = (await log_in(build(issuer, "client_credentials", **keys))).token
    now = clock.now().wall
    assert token.expires_at == (None if life is None else pytest.approx(now + life))


@pytest.mark.parametrize(
    "access",
    ["to ken", "to\r\nX-Evil: 1", "to\nken", "tökén", "", "\x01", 5, ["t"]],
    ids=["space", "CR LF", "LF", "not ASCII", "empty", "control", "number", "list"],
)
async def test_a_token_that_no_header_can_carry_is_not_taken(build: Build, access: object) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(1, faults.with_field("access_token", access), endpoint=TOKEN)
        with pytest.raises(SourceUnavailable, match="sent a token that no request can carry"):
            await log_in(build(issuer, "client_credentials"))


async def test_fields_may_be_named_otherwise_and_lie_deeper(build: Build) -> None:
    clock = ManualClock()
    fields = {"access_token": "data.accessToken", "refresh_token": "r", "expires_in": "data.ttl"}
    async with an_issuer(clock=clock) as issuer:
        told = (("data.accessToken", "opaque|1"), ("r", "other"), ("data.ttl", "9"))
        issuer.fail_next(1, faults.Odd(also=told), endpoint=TOKEN)
        granted = await log_in(build(issuer, "client_credentials", fields=fields))
    assert granted.token.access == Secret("opaque|1")
    assert granted.refresh == Secret("other")
    assert granted.token.expires_at == pytest.approx(clock.now().wall + 9)


async def test_an_answer_without_a_token_is_told_with_the_field_that_is_missing(
    build: Build,
) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(1, faults.without("access_token"), endpoint=TOKEN)
        with pytest.raises(
            SourceUnavailable, match=r"without a field 'access_token', .* 'fields' in the config"
        ):
            await log_in(build(issuer, "client_credentials"))


# -- endpoints that move ---------------------------------------------------------------------


async def test_a_token_endpoint_that_has_moved_is_found_after_one_failure(build: Build) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password")
        await log_in(source)
        await log_in(source)
        assert len(issuer.calls_to(OAuth2Endpoint.OPENID)) == 1
        issuer.move(TOKEN, "/v2/token")
        with pytest.raises(SourceUnavailable, match=r"\(404\)$"):
            await log_in(source)
        assert is_accepted(issuer, await log_in(source))
    assert len(issuer.calls_to(OAuth2Endpoint.OPENID)) == 2


@pytest.mark.parametrize(
    "fault",
    [faults.DropBeforeAnswer(), faults.UNAVAILABLE, faults.HTML_PAGE],
    ids=["-", "503", "p"],
)
async def test_metadata_are_read_again_after_each_failure(
    build: Build, fault: faults.Fault
) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password")
        issuer.fail_next(1, fault, endpoint=TOKEN)
        with pytest.raises(SourceUnavailable):
            await log_in(source)
        await log_in(source)
    assert len(issuer.calls_to(OAuth2Endpoint.OPENID)) == 2


async def test_a_refusal_is_no_reason_to_look_elsewhere(build: Build) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password")
        issuer.fail_next(1, faults.INVALID_GRANT, endpoint=TOKEN)
        with pytest.raises(SourceRefused):
            await log_in(source)
        await log_in(source)
    assert len(issuer.calls_to(OAuth2Endpoint.OPENID)) == 1


async def test_without_an_issuer_nothing_is_looked_up(build: Build) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password", issuer=None, token_url=issuer.url_of(TOKEN))
        assert is_accepted(issuer, await log_in(source))
    assert len(issuer.calls) == 1


async def test_nothing_is_sent_to_the_token_endpoint_of_another_issuer(build: Build) -> None:
    async with a_stranger() as (url, heard), an_issuer() as issuer:
        issuer.metadata = {"issuer": url, "token_endpoint": f"{url}/token"}
        with pytest.raises(SourceUnavailable, match="holds the metadata of another issuer"):
            await log_in(build(issuer, "password"))
        assert heard == []
