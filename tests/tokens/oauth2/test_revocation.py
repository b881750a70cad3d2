import pytest

from tests.tokens.oauth2.asking import (
    KEY,
    SECRET,
    Build,
    a_public_issuer,
    a_stranger,
    an_issuer,
    claims_of,
    is_accepted,
    last,
    pem,
    public_pem,
    record,
)
from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.testing import OAuth2Endpoint, faults
from tokenproxy.tokens.source import Attempt
from tokenproxy.tokens.token import Record, Token

REVOKE = OAuth2Endpoint.REVOKE
BOTH = Record(1, Token(Secret("a"), 0), Secret("r"))
REFRESH = (("token", "r"), ("token_type_hint", "refresh_token"))
ACCESS = (("token", "a"), ("token_type_hint", "access_token"))
UNSUPPORTED = faults.Status(400, b'{"error":"unsupported_token_type"}')


@pytest.mark.parametrize(
    ("held", "forms"),
    [
        (BOTH, [REFRESH, ACCESS]),
        (Record(1, refresh=Secret("r")), [REFRESH]),
        (Record(1, Token(Secret("a"), 0)), [ACCESS]),
    ],
    ids=["both", "a refresh token", "an access token"],
)
async def test_what_is_held_is_revoked_the_refresh_token_first(
    build: Build, held: Record, forms: list[tuple[tuple[str, str], ...]]
) -> None:
    async with an_issuer() as issuer:
        assert await build(issuer, "password").revoke(held)
    assert [call.form for call in issuer.calls_to(REVOKE)] == forms
    assert all(call.method == "client_secret_basic" for call in issuer.calls_to(REVOKE))


async def test_where_nothing_is_held_nobody_is_asked(build: Build) -> None:
    async with an_issuer() as issuer:
        assert not await build(issuer, "password").revoke(Record())
    assert issuer.calls == []


async def test_what_was_revoked_is_good_no_more(build: Build) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password")
        granted = await source.fetch(Attempt.LOGIN, Record())
        assert is_accepted(issuer, granted)
        await source.revoke(record(granted))
        assert not is_accepted(issuer, granted)


async def test_a_public_client_says_its_name(build: Build) -> None:
    async with a_public_issuer() as issuer:
        await build(issuer, "password", client_auth=None).revoke(BOTH)
    assert last(issuer, REVOKE).form == (*ACCESS, ("client_id", "demo-client"))


async def test_each_request_has_an_assertion_of_its_own(build: Build) -> None:
    async with an_issuer(client_key=public_pem(KEY)) as issuer:
        await build(issuer, "password", client_auth={"key": pem(KEY)}).revoke(BOTH)
    calls = issuer.calls_to(REVOKE)
    assert len({claims_of(call.field("client_assertion"))["jti"] for call in calls}) == 2
    assert [call.status for call in calls] == [200, 200]


async def test_an_issuer_without_the_endpoint_is_told_nothing(build: Build) -> None:
    async with an_issuer() as issuer:
        issuer.metadata = {"revocation_endpoint": faults.ABSENT}
        assert not await build(issuer, "password").revoke(BOTH)
    assert issuer.calls_to(REVOKE) == []


async def test_the_endpoint_of_the_config_wins(build: Build) -> None:
    async with an_issuer() as issuer:
        issuer.metadata = {"revocation_endpoint": faults.ABSENT}
        keys = {"revocation_url": issuer.url_of(REVOKE)}
        assert await build(issuer, "password", **keys).revoke(BOTH)
    assert len(issuer.calls_to(REVOKE)) == 2


async def test_an_issuer_need_not_revoke_access_tokens(build: Build) -> None:
    """RFC 7009 2.2.1."""
    async with an_issuer() as issuer:
        issuer.fail_next(1, UNSUPPORTED, endpoint=REVOKE)
        assert await build(issuer, "password").revoke(BOTH)
    assert [call.status for call in issuer.calls_to(REVOKE)] == [400, 200]


@pytest.mark.parametrize(
    "fault",
    [
        faults.Status(204),
        faults.Status(202, b"{}"),
        faults.Status(400, b'{"error":"invalid_token"}'),
    ],
    ids=["204", "202", "Google's"],
)
async def test_what_is_gone_is_gone_however_that_is_told(build: Build, fault: faults.Fault) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(2, fault, endpoint=REVOKE)
        assert await build(issuer, "password").revoke(BOTH)
    assert len(issuer.calls_to(REVOKE)) == 2


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        (faults.unavailable(retry_after="7"), 503, 7.0),
        (faults.EMPTY_401, 401, None),
        (faults.Status(400, b'{"error":"invalid_client"}'), 400, None),
        (faults.page(404, "Not Found"), 404, None),
    ],
    ids=["503", "401", "invalid_client", "404"],
)
async def test_what_was_not_done_is_told(
    build: Build, fault: faults.Fault, status: int, retry_after: float | None
) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(1, fault, endpoint=REVOKE)
        with pytest.raises(SourceUnavailable) as caught:
            await build(issuer, "password").revoke(BOTH)
    assert str(caught.value) == (
        f"credential 'shop': {issuer.url_of(REVOKE)} did not revoke the token ({status})"
    )
    assert caught.value.retry_after == retry_after
    assert len(issuer.calls_to(REVOKE)) == 1


async def test_a_connection_that_breaks_is_told(build: Build) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(1, faults.DropBeforeAnswer(), endpoint=REVOKE)
        with pytest.raises(SourceUnavailable, match="closed the connection without an answer"):
            await build(issuer, "password").revoke(BOTH)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_token_follows_a_redirect(build: Build, status: int) -> None:
    async with a_stranger() as (url, heard), an_issuer() as issuer:
        issuer.fail_next(1, faults.redirect(f"{url}/revoke", status=status), endpoint=REVOKE)
        with pytest.raises(SourceUnavailable, match=rf"did not revoke the token \({status}\)$"):
            await build(issuer, "password", client_auth={"secret": SECRET}).revoke(BOTH)
        assert heard == []
