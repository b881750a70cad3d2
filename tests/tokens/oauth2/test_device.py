import json
from typing import Any

import pytest

from tests.tokens.oauth2.asking import TOKEN, Build, a_public_issuer, a_stranger, is_accepted, last
from tokenproxy.errors import SourceRefused, SourceUnavailable
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import ManualClock, OAuth2Endpoint, OAuth2Issuer, Person, faults
from tokenproxy.tokens.oauth2.device import DeviceCode, DeviceFlow

DEVICE, OPENID = OAuth2Endpoint.DEVICE, OAuth2Endpoint.OPENID
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
PENDING, SLOW_DOWN = "authorization_pending", "slow_down"
CODE = {
    "device_code": "MARKER",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://issuer.example/activate",
    "expires_in": 1800,
    "interval": 5,
}
AGAIN = "run 'tokenproxy login shop' again"


class Passing(ManualClock):
    """A clock on which whoever sleeps has slept already."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.jump(wall=seconds, steady=seconds)


@pytest.fixture
def clock() -> Passing:
    return Passing()


def an_issuer(clock: ManualClock, **keys: Any) -> OAuth2Issuer:
    return a_public_issuer(clock=clock, **keys)


def flow(build: Build, issuer: OAuth2Issuer, **keys: object) -> DeviceFlow:
    sign_in = build(issuer, "device_code", **{"client_auth": None, **keys}).sign_in
    assert isinstance(sign_in, DeviceFlow)
    return sign_in


def tell(issuer: OAuth2Issuer, **fields: object) -> None:
    """The next device code is this one."""
    told = {name: value for name, value in {**CODE, **fields}.items() if value is not None}
    issuer.fail_next(1, faults.Status(200, json.dumps(told).encode()), endpoint=DEVICE)


async def begun(build: Build, issuer: OAuth2Issuer, **fields: object) -> DeviceCode:
    tell(issuer, **fields)
    return await flow(build, issuer).begin()


# -- the code --------------------------------------------------------------------------------


async def test_a_code_is_asked_for_with_what_it_is_to_be_good_for(
    build: Build, clock: Passing
) -> None:
    async with an_issuer(clock) as issuer:
        wants = {"scope": "a b", "audience": "api", "extra": {"tenant": "t"}}
        code = await flow(build, issuer, **wants).begin()
    assert last(issuer, DEVICE).form == (
        ("scope", "a b"),
        ("audience", "api"),
        ("tenant", "t"),
        ("client_id", "demo-client"),
    )
    assert code.user_code == "WDJB-MJHT"
    assert code.verification_uri == f"{issuer.url}/activate"
    assert code.verification_uri_complete == f"{issuer.url}/activate?user_code=WDJB-MJHT"
    assert code.interval == 5
    assert code.expires == clock.now().after(600)
    assert code.device_code not in repr(code)


@pytest.mark.parametrize(
    ("told", "interval"),
    [
        (None, 5),
        (5, 5),
        ("7", 7),
        (7.5, 7.5),
        (0, 5),
        (-1, 5),
        ("soon", 5),
        (0.001, 1),
        (300, 300),
    ],
    ids=str,
)
async def test_an_odd_interval_is_one_that_hurts_nobody(
    build: Build, clock: Passing, told: object, interval: float
) -> None:
    async with an_issuer(clock) as issuer:
        assert (await begun(build, issuer, interval=told)).interval == interval


@pytest.mark.parametrize(
    ("told", "life"),
    [(None, 3600), (60, 60), ("60", 60), (0, 3600), (-1, 3600), (1e18, 3600)],
    ids=str,
)
async def test_an_odd_life_is_an_hour_at_most(
    build: Build, clock: Passing, told: object, life: float
) -> None:
    async with an_issuer(clock) as issuer:
        code = await begun(build, issuer, expires_in=told)
    assert code.expires == clock.now().after(life)


async def test_googles_word_for_the_address_is_understood(build: Build, clock: Passing) -> None:
    async with an_issuer(clock) as issuer:
        google = {"verification_uri": None, "verification_url": "https://google.example/device"}
        code = await begun(build, issuer, **google)
    assert code.verification_uri == "https://google.example/device"


HOSTILE = [
    "\x1b[2J\x1b]0;MARKER\x07",
    "AB\r\nCD",
    "AB\x00",
    "AB\x9b31m",
    "AB\u202eCD",
    "A" * 2049,
    "",
    5,
    ["AB"],
    None,
]
IDS = ["escape", "CR LF", "NUL", "C1", "bidi", "long", "empty", "number", "list", "absent"]


@pytest.mark.parametrize("user_code", HOSTILE, ids=IDS)
async def test_a_code_that_a_terminal_would_obey_is_not_shown(
    build: Build, clock: Passing, user_code: object
) -> None:
    async with an_issuer(clock) as issuer:
        with pytest.raises(SourceRefused) as caught:
            await begun(build, issuer, user_code=user_code)
    assert str(caught.value) == (f"credential 'shop' got an answer that is no device code; {AGAIN}")


@pytest.mark.parametrize(
    "uri",
    [
        "https://issuer.example/\x1b[2J",
        "https://issuer.example/\r\n",
        "https://issuer.example/" + "a" * 2048,
        "javascript:alert(1)",
        "file:///etc/passwd",
        "issuer.example/activate",
        "",
        5,
        None,
    ],
    ids=["escape", "CR LF", "long", "script", "file", "no scheme", "empty", "number", "absent"],
)
async def test_an_address_that_is_none_is_not_shown(
    build: Build, clock: Passing, uri: object
) -> None:
    async with an_issuer(clock) as issuer:
        with pytest.raises(SourceRefused) as caught:
            await begun(build, issuer, verification_uri=uri)
        assert str(caught.value) == (
            f"credential 'shop' got a device code with no address to type it at; {AGAIN}"
        )
        assert (await begun(build, issuer, verification_uri_complete=uri)) == (
            await begun(build, issuer)
        )


async def test_an_answer_without_a_device_code_is_none(build: Build, clock: Passing) -> None:
    async with an_issuer(clock) as issuer:
        with pytest.raises(SourceRefused, match="got an answer that is no device code"):
            await begun(build, issuer, device_code=None)


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        (faults.Status(400, b'{"error":"invalid_scope"}'), True),
        (faults.Status(200, b'{"error":"invalid_client"}'), True),
        (faults.EMPTY_403, True),
        (faults.UNAVAILABLE, False),
        (faults.HTML_PAGE, False),
        (faults.DropBeforeAnswer(), False),
        (faults.Huge(2 << 20), False),
    ],
    ids=["code", "code in a 200", "403", "503", "page", "dropped", "huge"],
)
async def test_a_no_is_a_no_and_a_bad_day_passes(
    build: Build, clock: Passing, fault: faults.Fault, refused: bool
) -> None:
    async with an_issuer(clock) as issuer:
        issuer.fail_next(1, fault, endpoint=DEVICE)
        with pytest.raises(SourceRefused if refused else SourceUnavailable):
            await flow(build, issuer).begin()


async def test_an_issuer_without_the_endpoint_is_told_as_that(build: Build, clock: Passing) -> None:
    async with an_issuer(clock) as issuer:
        issuer.metadata = {"device_authorization_endpoint": faults.ABSENT}
        with pytest.raises(SourceRefused, match="tells no 'device_authorization_endpoint'"):
            await flow(build, issuer).begin()


async def test_no_redirect_is_followed(build: Build, clock: Passing) -> None:
    async with a_stranger() as (url, heard), an_issuer(clock) as issuer:
        issuer.fail_next(1, faults.redirect(f"{url}/device", status=307), endpoint=DEVICE)
        with pytest.raises(SourceUnavailable):
            await flow(build, issuer).begin()
        assert heard == []


# -- polling ---------------------------------------------------------------------------------


async def polled(build: Build, issuer: OAuth2Issuer) -> None:
    """A whole sign-in; the token that it brings is good."""
    device = flow(build, issuer)
    granted = await device.wait(await device.begin())
    assert is_accepted(issuer, granted)
    assert granted.refresh is not None


async def refusal(build: Build, issuer: OAuth2Issuer) -> str:
    with pytest.raises(SourceRefused) as caught:
        await polled(build, issuer)
    return str(caught.value)


@pytest.mark.parametrize("word", ["access_denied", "authorization_declined"])
async def test_who_says_no_is_not_asked_again(build: Build, clock: Passing, word: str) -> None:
    async with an_issuer(clock) as issuer:
        issuer.polls.append(word)
        with pytest.raises(SourceRefused, match="said no"):
            await polled(build, issuer)
    assert len(issuer.calls_to(TOKEN)) == 1


async def test_a_poll_sends_this_form(build: Build, clock: Passing) -> None:
    async with an_issuer(clock) as issuer:
        device = flow(build, issuer, scope="a b")
        code = await device.begin()
        await device.wait(code)
    assert last(issuer).form == (
        ("grant_type", GRANT),
        ("device_code", code.device_code),
        ("client_id", "demo-client"),
    )


@pytest.mark.parametrize(
    ("polls", "slept"),
    [
        ([], [5]),
        ([PENDING] * 3, [5, 5, 5, 5]),
        ([SLOW_DOWN, PENDING, SLOW_DOWN], [5, 10, 10, 15]),
        ([SLOW_DOWN] * 13, [*range(5, 71, 5)]),
    ],
    ids=["at once", "pending", "slow down", "slow down for long"],
)
async def test_it_is_asked_again_as_slowly_as_the_issuer_wants(
    build: Build, clock: Passing, polls: list[str], slept: list[float]
) -> None:
    """RFC 8628 3.5."""
    async with an_issuer(clock) as issuer:
        issuer.polls.extend(polls)
        await polled(build, issuer)
    assert clock.slept == slept
    assert len(issuer.calls_to(TOKEN)) == len(slept)


@pytest.mark.parametrize(
    "fault",
    [
        faults.DropBeforeAnswer(carried_out=False),
        faults.UNAVAILABLE,
        faults.TOO_MANY,
        faults.BAD_GATEWAY,
        faults.Status(200, b" " * (2 << 20)),
    ],
    ids=["dropped", "503", "429", "502", "2 MiB"],
)
async def test_without_an_answer_the_interval_doubles(
    build: Build, clock: Passing, fault: faults.Fault
) -> None:
    """RFC 8628 3.5."""
    async with an_issuer(clock) as issuer:
        issuer.fail_next(5, fault, endpoint=TOKEN)
        await polled(build, issuer)
    assert clock.slept == [5, 10, 20, 40, 60, 60]


async def test_metadata_that_cannot_be_had_meanwhile_count_as_no_answer(
    build: Build, clock: Passing
) -> None:
    async with an_issuer(clock) as issuer:
        device = flow(build, issuer)
        code = await device.begin()
        issuer.fail_next(1, faults.DropBeforeAnswer(carried_out=False), endpoint=TOKEN)
        issuer.fail_next(2, faults.UNAVAILABLE, endpoint=OPENID)
        assert is_accepted(issuer, await device.wait(code))
    assert clock.slept == [5, 10, 20, 40]


async def test_a_person_who_says_no_ends_it(build: Build, clock: Passing) -> None:
    async with an_issuer(clock) as issuer:
        issuer.polls.append(PENDING)
        issuer.person = Person.DECLINES
        assert await refusal(build, issuer) == (
            f"credential 'shop' was not let in: whoever was asked said no; {AGAIN}"
        )
    assert len(issuer.calls_to(TOKEN)) == 2


async def test_a_code_that_the_issuer_calls_expired_ends_it(build: Build, clock: Passing) -> None:
    async with an_issuer(clock) as issuer:
        issuer.polls.extend([PENDING, "expired_token"])
        assert await refusal(build, issuer) == (
            f"credential 'shop' was not let in in time: the code is no longer good; {AGAIN}"
        )
    assert len(issuer.calls_to(TOKEN)) == 2


async def test_a_code_is_given_up_when_its_time_is_over(build: Build, clock: Passing) -> None:
    pending = faults.Status(400, b'{"error":"authorization_pending"}')
    async with an_issuer(clock) as issuer:
        code = await begun(build, issuer, expires_in=23)
        issuer.fail_next(1000, pending, endpoint=TOKEN)
        with pytest.raises(SourceRefused, match="the code is no longer good"):
            await flow(build, issuer).wait(code)
    assert clock.slept == [5] * 5


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "invalid_request"])
async def test_any_other_refusal_ends_it(build: Build, clock: Passing, code: str) -> None:
    async with an_issuer(clock) as issuer:
        issuer.polls.append(code)
        assert f"/token refused (400 {code})" in await refusal(build, issuer)


async def test_an_error_that_is_not_known_ends_it_too(build: Build, clock: Passing) -> None:
    async with an_issuer(clock) as issuer:
        issuer.polls.append("MARKER")
        with pytest.raises(SourceUnavailable) as caught:
            await polled(build, issuer)
    assert "MARKER" not in str(caught.value)


async def test_whoever_stops_waiting_asks_no_more(build: Build) -> None:
    clock = ManualClock()
    async with a_public_issuer(clock=clock) as issuer:
        issuer.polls.extend([PENDING] * 9)
        device = flow(build, issuer)
        waiting = spawn(device.wait(await device.begin()), name="waiting")
        await clock.until_sleepers(1)
        await clock.advance(4)
        assert issuer.calls_to(TOKEN) == []
        await clock.advance(1)
        await clock.until_sleepers(1)
        await cancelled(waiting)
        await clock.advance(60)
    assert len(issuer.calls_to(TOKEN)) == 1
