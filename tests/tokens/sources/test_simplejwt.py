import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.testing import Issuer, ManualClock, User, Verdict, faults
from tokenproxy.tokens.endpoint import Endpoint, open_session
from tokenproxy.tokens.source import Attempt, Seed, Source
from tokenproxy.tokens.sources.simplejwt import SimpleJwtSource
from tokenproxy.tokens.token import Granted, Record, Token

Build = Callable[..., SimpleJwtSource]
PASSWORD = "demo-password"


@pytest.fixture
async def build() -> AsyncIterator[Build]:
    """A source for an issuer; with `username=None` it has nothing to log in with."""
    async with open_session(tls=True) as session:

        def _build(issuer: Issuer, **keys: object) -> SimpleJwtSource:
            known = {"username": issuer.username, "password": PASSWORD, "base_url": issuer.url}
            given = {"type": "simplejwt", **known, **keys}
            settings = SimpleJwt.model_validate(
                {name: value for name, value in given.items() if value is not None}
            )
            return _source(settings, session, issuer)

        yield _build


def _source(settings: SimpleJwt, session: aiohttp.ClientSession, issuer: Issuer) -> SimpleJwtSource:
    endpoint = Endpoint("shop", session, settings.refresh.timeout, issuer.clock)
    return SimpleJwtSource("shop", settings, endpoint, issuer.clock)


async def _login(source: SimpleJwtSource) -> Granted:
    return await source.fetch(Attempt.LOGIN, Record())


async def _renewed(source: SimpleJwtSource, before: Granted) -> Granted:
    return await source.fetch(Attempt.RENEW, _record(before))


def _record(granted: Granted) -> Record:
    return Record(1, granted.token, granted.refresh)


def _seed(source: Source) -> Secret | None:
    return None if source.seed is None else source.seed.token


def _is_accepted(issuer: Issuer, granted: Granted) -> bool:
    return issuer.accepts(granted.token.access.reveal()) is Verdict.ACCEPTED


# -- what works ------------------------------------------------------------------------------


async def test_a_login_brings_both_tokens_and_their_life(build: Build) -> None:
    async with Issuer(access_life=300) as issuer:
        granted = await _login(build(issuer))
    assert _is_accepted(issuer, granted)
    assert granted.refresh is not None
    assert granted.token.expires_at == pytest.approx(time.time() + 300, abs=3)  # noqa: TID251
    assert (issuer.logins, issuer.refreshes) == (1, 0)


async def test_a_renewal_with_rotation_brings_another_refresh_token(build: Build) -> None:
    async with Issuer() as issuer:
        source = build(issuer)
        first = await _login(source)
        second = await _renewed(source, first)
        third = await _renewed(source, second)
    refreshes = {granted.refresh for granted in (first, second, third)}
    assert len(refreshes) == 3
    assert None not in refreshes
    assert _is_accepted(issuer, third)
    assert (issuer.logins, issuer.refreshes, issuer.reused) == (1, 2, 0)


async def test_a_renewal_without_rotation_leaves_the_refresh_token_as_it_was(build: Build) -> None:
    async with Issuer(rotate=False) as issuer:
        source = build(issuer)
        first = await _login(source)
        second = await _renewed(source, first)
        assert second.refresh is None
        assert _is_accepted(issuer, await _renewed(source, first))


async def test_a_first_refresh_token_from_the_config_is_renewed_with(build: Build) -> None:
    async with Issuer() as issuer:
        refresh = (await _login(build(issuer))).refresh
        assert refresh is not None
        source = build(issuer, username=None, password=None, refresh_token=refresh.reveal())
        assert source.seed == Seed(refresh)
        granted = await source.fetch(Attempt.RENEW, Record(refresh=_seed(source)))
    assert _is_accepted(issuer, granted)
    assert issuer.logins == 1


async def test_a_user_may_be_named_by_another_field(build: Build) -> None:
    async with Issuer(username_field="email", username="me@shop.example") as issuer:
        assert _is_accepted(issuer, await _login(build(issuer, username_field="email")))


async def test_urls_may_be_given_one_by_one(build: Build) -> None:
    async with Issuer() as issuer:
        source = build(
            issuer,
            base_url=None,
            login_url=f"{issuer.url}/api/token/",
            refresh_url=f"{issuer.url}/api/token/refresh/",
        )
        assert _is_accepted(issuer, await _renewed(source, await _login(source)))


async def test_a_base_url_may_end_in_a_slash(build: Build) -> None:
    async with Issuer() as issuer:
        assert _is_accepted(issuer, await _login(build(issuer, base_url=f"{issuer.url}/")))


async def test_a_password_is_sent_letter_for_letter(build: Build) -> None:
    password = 'p"ä☃\\{access_token}\n\x00 '
    async with Issuer(password=password) as issuer:
        assert _is_accepted(issuer, await _login(build(issuer, password=password)))


# -- sliding ---------------------------------------------------------------------------------


async def test_a_sliding_token_is_renewed_with_itself(build: Build) -> None:
    async with Issuer(sliding=True) as issuer:
        source = build(issuer, sliding=True)
        first = await _login(source)
        assert first.refresh is None
        assert source.attempts(_record(first)) == (Attempt.RENEW, Attempt.LOGIN)
        second = await _renewed(source, first)
        assert _is_accepted(issuer, second)
    assert (issuer.logins, issuer.refreshes) == (1, 1)


async def test_a_sliding_token_past_its_end_is_replaced_by_a_login(build: Build) -> None:
    clock = ManualClock()
    async with Issuer(sliding=True, access_life=60, clock=clock) as issuer:
        source = build(issuer, sliding=True)
        record = _record(await _login(source))
        clock.jump(wall=59)
        assert source.attempts(record) == (Attempt.RENEW, Attempt.LOGIN)
        clock.jump(wall=1)
        assert source.attempts(record) == (Attempt.LOGIN,)
        assert _is_accepted(issuer, await _login(source))
    assert issuer.refused_refreshes == 0


async def test_a_sliding_token_whose_end_nobody_knows_is_renewed(build: Build) -> None:
    async with Issuer(sliding=True) as issuer:
        source = build(issuer, sliding=True)
    assert source.attempts(Record(1, Token(Secret("opaque"), 1.0, None)))[0] is Attempt.RENEW


async def test_the_first_sliding_token_may_come_from_the_config(build: Build) -> None:
    async with Issuer(sliding=True) as issuer:
        token = (await _login(build(issuer, sliding=True))).token.access
        source = build(
            issuer, sliding=True, username=None, password=None, refresh_token=token.reveal()
        )
        seeded = Record(refresh=_seed(source))
        assert source.attempts(seeded) == (Attempt.RENEW,)
        granted = await source.fetch(Attempt.RENEW, seeded)
        assert _is_accepted(issuer, granted)
        later = Record(1, granted.token, _seed(source))
        assert _is_accepted(issuer, await source.fetch(Attempt.RENEW, later))


# -- what may be tried -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "record", "attempts"),
    [
        ({}, Record(), (Attempt.LOGIN,)),
        ({}, Record(refresh=Secret("r")), (Attempt.RENEW, Attempt.LOGIN)),
        (
            {"username": None, "password": None, "refresh_token": "r"},
            Record(refresh=Secret("r")),
            (Attempt.RENEW,),
        ),
        ({"username": None, "password": None, "refresh_token": "r"}, Record(), ()),
        ({"sliding": True}, Record(), (Attempt.LOGIN,)),
    ],
)
async def test_what_is_there_may_be_tried_renewal_first(
    build: Build, keys: dict[str, Any], record: Record, attempts: tuple[Attempt, ...]
) -> None:
    async with Issuer() as issuer:
        source = build(issuer, **keys)
    assert source.attempts(record) == attempts
    assert source.renewable
    assert source.persistent


async def test_where_nothing_is_left_a_person_is_told_what_to_do(build: Build) -> None:
    async with Issuer() as issuer:
        source = build(issuer, username=None, password=None, refresh_token="r")
    assert source.helpless == (
        "credential 'shop' has no refresh token that still works: give it a new 'refresh_token', "
        "or a 'username' and 'password'"
    )


# -- what is refused -------------------------------------------------------------------------


async def test_a_wrong_password_is_refused_after_one_call(build: Build) -> None:
    async with Issuer() as issuer:
        source = build(issuer, password="MARKER")
        with pytest.raises(SourceRefused, match=r"/api/token/ refused \(401\): ") as caught:
            await _login(source)
    assert issuer.logins == 1
    assert "MARKER" not in str(caught.value)


async def test_an_inactive_user_is_refused(build: Build) -> None:
    async with Issuer() as issuer:
        source = build(issuer)
        first = await _login(source)
        issuer.user = User.INACTIVE
        with pytest.raises(SourceRefused):
            await _login(source)
        with pytest.raises(SourceRefused):
            await _renewed(source, first)


async def test_a_refresh_token_that_was_replaced_is_refused(build: Build) -> None:
    async with Issuer() as issuer:
        source = build(issuer)
        first = await _login(source)
        await _renewed(source, first)
        with pytest.raises(SourceRefused, match=r"refused \(401 token_not_valid\): "):
            await _renewed(source, first)


async def test_a_deleted_user_at_a_renewal_is_a_server_that_fails(build: Build) -> None:
    """An HTML page with 500, as after any accident: it discards nothing."""
    async with Issuer() as issuer:
        source = build(issuer)
        first = await _login(source)
        issuer.user = User.DELETED
        with pytest.raises(SourceUnavailable, match=r"is not able to answer now \(500\)") as caught:
            await _renewed(source, first)
        assert caught.value.retriable
        with pytest.raises(SourceRefused):
            await _login(source)


@pytest.mark.parametrize(
    "fault",
    [
        faults.INVALID_GRANT,
        faults.INVALID_GRANT_IN_200,
        faults.INVALID_REQUEST,
        faults.TOKEN_NOT_VALID,
        faults.USER_INACTIVE,
        faults.EMPTY_400,
        faults.EMPTY_401,
        faults.EMPTY_403,
    ],
    ids=str,
)
async def test_a_no_is_a_no_where_a_login_is_at_hand(build: Build, fault: faults.Fault) -> None:
    async with Issuer() as issuer:
        source = build(issuer)
        first = await _login(source)
        issuer.fail_next(1, fault)
        with pytest.raises(SourceRefused):
            await _renewed(source, first)
    assert len(issuer.calls) == 2


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        (faults.TOKEN_NOT_VALID, True),
        (faults.EMPTY_400, False),
        (faults.EMPTY_401, False),
        (faults.EMPTY_403, False),
    ],
    ids=str,
)
async def test_without_a_login_a_no_that_gives_no_reason_is_doubtful(
    build: Build, fault: faults.Fault, refused: bool
) -> None:
    async with Issuer() as issuer:
        source = build(issuer, username=None, password=None, refresh_token="r")
        issuer.fail_next(1, fault)
        with pytest.raises(SourceRefused if refused else SourceUnavailable) as caught:
            await source.fetch(Attempt.RENEW, Record(refresh=_seed(source)))
    assert refused or caught.value.doubtful  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fault", "retriable", "retry_after"),
    [
        (faults.SERVER_ERROR, True, None),
        (faults.BAD_GATEWAY, True, None),
        (faults.UNAVAILABLE, True, None),
        (faults.unavailable(retry_after="7"), True, 7.0),
        (faults.too_many(retry_after="86400"), True, 86400.0),
        (faults.TOO_MANY, True, None),
        (faults.DropBeforeAnswer(), True, None),
        (faults.CutShort(), True, None),
        (faults.HTML_PAGE, False, None),
        (faults.BAD_JSON, False, None),
        (faults.EMPTY_200, False, None),
        (faults.LIST_200, False, None),
        (faults.deep(100_000), False, None),
        (faults.Huge(2 << 20), False, None),
        (faults.GzipBomb(2 << 20), False, None),
        (faults.redirect("http://127.0.0.1:9/steal", status=307), False, None),
        (faults.Hang(30), False, None),
    ],
    ids=str,
)
async def test_what_is_no_answer_is_passing(
    build: Build, fault: faults.Fault, retriable: bool, retry_after: float | None
) -> None:
    async with Issuer() as issuer:
        source = build(issuer, refresh={"timeout": "300ms"})
        issuer.fail_next(1, fault)
        with pytest.raises(SourceUnavailable) as caught:
            await _login(source)
        assert (caught.value.retriable, caught.value.retry_after) == (retriable, retry_after)
        assert not caught.value.doubtful
    assert PASSWORD not in str(caught.value)


# -- odd successes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        faults.CREATED,
        faults.AS_TEXT,
        faults.WITH_BOM,
        faults.GZIPPED,
        faults.with_field("code", 0),
        faults.with_field("error", None),
        faults.with_field("token_type", "bearer"),
    ],
    ids=str,
)
async def test_a_token_in_an_odd_dress_is_a_token(build: Build, odd: faults.Fault) -> None:
    async with Issuer() as issuer:
        issuer.fail_next(1, odd)
        assert _is_accepted(issuer, await _login(build(issuer)))


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        (60, 60),
        ("60", 60),
        (60.5, 60.5),
        (1e18, 10 * 366 * 86400),
        (None, 300),
        (0, 300),
        (-1, 300),
        (math.nan, 300),
        ("soon", 300),
        ([], 300),
        (faults.ABSENT, 300),
    ],
    ids=str,
)
async def test_an_odd_expires_in_gives_way_to_the_jwt(
    build: Build, expires_in: object, life: float
) -> None:
    async with Issuer(expires_in=expires_in, access_life=300) as issuer:
        token = (await _login(build(issuer))).token
    assert token.expires_at is not None
    assert token.expires_at - token.issued_at == pytest.approx(life, abs=2)


@pytest.mark.parametrize("access", ["to ken", "to\r\nken", "tökén", "", "\x01", 5])
async def test_a_token_that_no_header_can_carry_is_not_taken(build: Build, access: object) -> None:
    async with Issuer() as issuer:
        issuer.fail_next(1, faults.with_field("access", access))
        with pytest.raises(SourceUnavailable, match="sent a token that no request can carry"):
            await _login(build(issuer))


@pytest.mark.parametrize(("sliding", "name"), [(False, "access"), (True, "token")])
async def test_an_answer_without_a_token_is_told_with_the_field_that_is_missing(
    build: Build, sliding: bool, name: str
) -> None:
    async with Issuer(sliding=not sliding) as issuer:
        with pytest.raises(SourceUnavailable, match=f"answered without a field '{name}', where"):
            await _login(build(issuer, sliding=sliding))
