import pytest

from tests.tokens.oauth2.asking import (
    CERT,
    SECRET,
    TOKEN,
    Build,
    a_public_issuer,
    a_stranger,
    an_issuer,
    is_accepted,
)
from tokenproxy.errors import SourceUnavailable
from tokenproxy.settings.oauth2 import OAuth2
from tokenproxy.testing import OAuth2Endpoint, faults
from tokenproxy.tokens.endpoint import Endpoint, TokenAnswer, TokenRequest
from tokenproxy.tokens.lifetime import Asked
from tokenproxy.tokens.oauth2.discovery import Discovery, Endpoints, well_known
from tokenproxy.tokens.source import Attempt
from tokenproxy.tokens.sources.oauth2 import OAuth2Source
from tokenproxy.tokens.token import Granted, Record

OPENID, METADATA = OAuth2Endpoint.OPENID, OAuth2Endpoint.METADATA
CONFIG = {
    "type": "oauth2",
    "grant": "client_credentials",
    "client_id": "c",
    "client_auth": {"secret": SECRET},
    "issuer": "https://issuer.example/t",
}


class Told(Endpoint):
    """An issuer that answers each of its URLs with one status and document; 404 elsewhere."""

    def __init__(self, answers: dict[str, object], status: int = 200) -> None:
        self.asked: list[str] = []
        self._answers = answers
        self._status = status

    async def send(self, request: TokenRequest) -> TokenAnswer:
        self.asked.append(request.url)
        known = request.url in self._answers
        status = self._status if known else 404
        return TokenAnswer(status, self._answers.get(request.url), None, Asked(0, 0))


def discovery(told: Endpoint, **keys: object) -> Discovery:
    given = {**CONFIG, **keys}
    return Discovery(
        "shop",
        OAuth2.model_validate({name: key for name, key in given.items() if key is not None}),
        told,
    )


def telling(**document: object) -> Told:
    issuer = str(document.get("issuer", CONFIG["issuer"]))
    first, _ = well_known(issuer)
    return Told({first: {"issuer": issuer, "token_endpoint": f"{issuer}/token", **document}})


async def log_in(source: OAuth2Source) -> Granted:
    return await source.fetch(Attempt.LOGIN, Record())


# -- where it looks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("issuer", "first", "second"),
    [
        (
            "https://a.example",
            "https://a.example/.well-known/openid-configuration",
            "https://a.example/.well-known/oauth-authorization-server",
        ),
        (
            "https://a.example/",
            "https://a.example/.well-known/openid-configuration",
            "https://a.example/.well-known/oauth-authorization-server",
        ),
        (
            "https://a.example:8443/x/y",
            "https://a.example:8443/x/y/.well-known/openid-configuration",
            "https://a.example:8443/.well-known/oauth-authorization-server/x/y",
        ),
        (
            "https://a.example/x/",
            "https://a.example/x/.well-known/openid-configuration",
            "https://a.example/.well-known/oauth-authorization-server/x",
        ),
    ],
)
def test_metadata_have_two_places(issuer: str, first: str, second: str) -> None:
    assert well_known(issuer) == (first, second)


@pytest.mark.parametrize("path", ["", "/tenant/one"])
@pytest.mark.parametrize(
    ("published", "asked"),
    [
        ({OPENID}, [OPENID]),
        ({OPENID, METADATA}, [OPENID]),
        ({METADATA}, [OPENID, METADATA]),
    ],
    ids=["openid", "both", "oauth"],
)
async def test_the_second_place_is_asked_where_the_first_is_empty(
    build: Build, path: str, published: set[OAuth2Endpoint], asked: list[OAuth2Endpoint]
) -> None:
    async with an_issuer(path=path) as issuer:
        issuer.published = frozenset(published)
        assert is_accepted(issuer, await log_in(build(issuer, "password")))
    assert [call.endpoint for call in issuer.calls] == [*asked, TOKEN]
    assert issuer.calls[0].headers["accept"] == "application/json"
    assert "authorization" not in issuer.calls[0].headers


@pytest.mark.parametrize(
    ("fault", "retriable", "retry_after"),
    [(faults.too_many(retry_after="7"), True, 7.0), (faults.UNAVAILABLE, True, None)],
    ids=["429 in 7 s", "503"],
)
async def test_an_issuer_that_is_busy_is_not_asked_twice(
    build: Build, fault: faults.Fault, retriable: bool, retry_after: float | None
) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(1, fault)
        with pytest.raises(SourceUnavailable, match="holds no metadata") as caught:
            await log_in(build(issuer, "password"))
    assert (caught.value.retriable, caught.value.retry_after) == (retriable, retry_after)
    assert [call.endpoint for call in issuer.calls] == [OPENID]


@pytest.mark.parametrize(
    "fault", [faults.HTML_PAGE, faults.LIST_200, faults.EMPTY_403], ids=["page", "list", "403"]
)
async def test_what_is_no_metadata_leads_to_the_second_place(
    build: Build, fault: faults.Fault
) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(1, fault, endpoint=OPENID)
        await log_in(build(issuer, "password"))
    assert [call.endpoint for call in issuer.calls] == [OPENID, METADATA, TOKEN]


async def test_where_no_place_holds_any_it_is_told_and_looked_for_again(build: Build) -> None:
    async with an_issuer() as issuer:
        source = build(issuer, "password")
        issuer.published = frozenset()
        with pytest.raises(SourceUnavailable) as caught:
            await log_in(source)
        assert str(caught.value) == (
            f"credential 'shop': {issuer.url_of(OPENID)} holds no metadata (404)"
        )
        assert not caught.value.retriable
        issuer.published = frozenset({OPENID})
        await log_in(source)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(build: Build, status: int) -> None:
    async with a_stranger() as (url, heard), an_issuer() as issuer:
        issuer.fail_next(2, faults.redirect(f"{url}/metadata", status=status))
        with pytest.raises(SourceUnavailable, match=rf"holds no metadata \({status}\)"):
            await log_in(build(issuer, "password"))
        assert heard == []
    assert issuer.calls_to(TOKEN) == []


# -- whose metadata they are -----------------------------------------------------------------


@pytest.mark.parametrize("named", ["https://evil.example", None, 5, faults.ABSENT], ids=str)
async def test_metadata_of_another_issuer_are_not_used(build: Build, named: object) -> None:
    async with an_issuer() as issuer:
        issuer.metadata = {"issuer": named}
        with pytest.raises(SourceUnavailable) as caught:
            await log_in(build(issuer, "password"))
    assert str(caught.value) == (
        f"credential 'shop': {issuer.url_of(OPENID)} holds the metadata of another issuer than "
        f"'{issuer.issuer}': check 'issuer', or name the other one as 'metadata_issuer' if that "
        "is meant"
    )
    assert not caught.value.retriable
    assert issuer.calls_to(TOKEN) == []


async def test_another_name_that_is_known_is_taken_and_no_third(build: Build) -> None:
    async with an_issuer() as issuer:
        issuer.metadata = {"issuer": "https://login.example/{tenant}"}
        keys = {"metadata_issuer": "https://login.example/{tenant}"}
        assert is_accepted(issuer, await log_in(build(issuer, "password", **keys)))
        issuer.metadata = {}
        with pytest.raises(SourceUnavailable, match="another issuer"):
            await log_in(build(issuer, "password", **keys))


# -- what they tell --------------------------------------------------------------------------

URLS = {
    "token_url": "https://a.example/1",
    "authorization_url": "https://a.example/2",
    "revocation_url": "https://a.example/3",
}


async def test_urls_of_the_config_win() -> None:
    told = telling(authorization_endpoint="https://no.example", revocation_endpoint="nonsense")
    found = await discovery(told, grant="authorization_code", client_auth=None, **URLS).endpoints()
    assert found == Endpoints(
        token="https://a.example/1",
        issuer="https://issuer.example/t",
        authorization="https://a.example/2",
        revocation="https://a.example/3",
    )


async def test_without_an_issuer_nothing_is_asked() -> None:
    told = telling()
    found = await discovery(told, issuer=None, token_url="https://a.example/1").endpoints()
    assert found == Endpoints(token="https://a.example/1")
    assert told.asked == []


async def test_everything_is_found_and_kept_until_it_is_forgotten() -> None:
    told = telling(
        authorization_endpoint="https://a.example/authorize?x=1",
        device_authorization_endpoint="https://b.example:8443/device",
        revocation_endpoint="https://a.example/revoke",
        authorization_response_iss_parameter_supported=True,
    )
    looking = discovery(told)
    assert (
        await looking.endpoints()
        == await looking.endpoints()
        == Endpoints(
            token="https://issuer.example/t/token",
            issuer="https://issuer.example/t",
            authorization="https://a.example/authorize?x=1",
            device_authorization="https://b.example:8443/device",
            revocation="https://a.example/revoke",
            answers_name_issuer=True,
        )
    )
    assert len(told.asked) == 1
    looking.forget()
    await looking.endpoints()
    assert len(told.asked) == 2


@pytest.mark.parametrize("value", ["true", 1, None, False], ids=repr)
async def test_only_true_announces_an_issuer_in_answers(value: object) -> None:
    told = telling(authorization_response_iss_parameter_supported=value)
    assert not (await discovery(told).endpoints()).answers_name_issuer


async def test_an_issuer_without_a_token_endpoint_is_told_as_that() -> None:
    with pytest.raises(
        SourceUnavailable,
        match=r"^credential 'shop': https://issuer.example/t does not tell its token endpoint$",
    ):
        await discovery(telling(token_endpoint=None)).endpoints()


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/token",
        "http://evil.example/token",
        "//evil.example/token",
        "/token",
        "ftp://a.example/",
        "https://",
        "https:///token",
        "https://user:word@a.example/token",
        "https://a.example:port/token",
        "https://[::1/token",
        "https://a.example/to ken",
        "https://a.example/to\r\nken",
        "https://ä.example/token",
        "",
        5,
        ["https://a.example/token"],
        {},
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["token_endpoint", "revocation_endpoint"])
async def test_an_endpoint_that_no_secret_may_go_to_is_not_used(name: str, url: object) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        await discovery(telling(**{name: url})).endpoints()
    assert str(caught.value) == (
        f"credential 'shop': https://issuer.example/t tells a '{name}' that is no https URL"
    )


async def test_an_issuer_on_http_may_tell_http_where_that_is_allowed() -> None:
    issuer = "http://issuer.test"
    told = telling(issuer=issuer)
    found = await discovery(told, issuer=issuer, allow_insecure=True).endpoints()
    assert found.token == "http://issuer.test/token"


async def test_an_issuer_on_this_machine_tells_of_no_http_beyond_it() -> None:
    issuer, beyond = "http://127.0.0.1:8", "http://issuer.test/token"
    told = telling(issuer=issuer, token_endpoint=beyond)
    with pytest.raises(SourceUnavailable, match="'token_endpoint' that is no https URL"):
        await discovery(told, issuer=issuer).endpoints()
    assert (await discovery(telling(issuer=issuer), issuer=issuer).endpoints()).token


# -- endpoints for a client with a certificate (RFC 8705 5) ----------------------------------

MTLS: dict[str, object] = {
    "client_auth": {"method": "tls_client_auth"},
    "tls": CERT,
}


@pytest.mark.parametrize(
    ("keys", "aliases", "token"),
    [
        (MTLS, {"token_endpoint": "https://mtls.example/token"}, "https://mtls.example/token"),
        (MTLS, {"revocation_endpoint": "https://m.example"}, "https://issuer.example/t/token"),
        (MTLS, ["odd"], "https://issuer.example/t/token"),
        ({}, {"token_endpoint": "https://mtls.example/token"}, "https://issuer.example/t/token"),
    ],
    ids=["alias", "another alias", "no aliases", "no certificate"],
)
async def test_an_alias_is_for_a_client_with_a_certificate(
    keys: dict[str, object], aliases: object, token: str
) -> None:
    told = telling(mtls_endpoint_aliases=aliases)
    assert (await discovery(told, **keys).endpoints()).token == token


async def test_an_alias_is_held_to_the_same() -> None:
    told = telling(mtls_endpoint_aliases={"token_endpoint": "http://mtls.example/token"})
    with pytest.raises(SourceUnavailable, match="is no https URL"):
        await discovery(told, **MTLS).endpoints()


async def test_an_alias_is_where_the_request_goes(build: Build) -> None:
    async with (
        a_public_issuer(auth_method="tls_client_auth") as issuer,
        a_public_issuer(auth_method="tls_client_auth") as other,
    ):
        issuer.metadata = {"mtls_endpoint_aliases": {"token_endpoint": other.url_of(TOKEN)}}
        assert is_accepted(other, await log_in(build(issuer, "password", **MTLS)))
    assert issuer.calls_to(TOKEN) == []


@pytest.mark.parametrize(
    "fault",
    [faults.Huge(128 << 20), faults.GzipBomb(128 << 20), faults.CutShort(), faults.deep(200_000)],
    ids=["128 MiB", "gzip bomb", "cut short", "200,000 lists"],
)
async def test_hostile_metadata_are_given_up(build: Build, fault: faults.Fault) -> None:
    async with an_issuer() as issuer:
        issuer.fail_next(1, fault, endpoint=OPENID)
        issuer.fail_next(1, fault, endpoint=METADATA)
        with pytest.raises(SourceUnavailable):
            await log_in(build(issuer, "password"))
    assert issuer.calls_to(TOKEN) == []
