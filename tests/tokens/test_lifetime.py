import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.tokens.lifetime import MAX_LIFE, Asked, expiry, positive

SENT, RECEIVED = 1_800_000_000.4, 1_800_000_001.6
ASKED = Asked(SENT, RECEIVED)
KEY = "a key of thirty-two bytes or more"


def signed(**claims: Any) -> str:
    return jwt.encode(claims, KEY, algorithm="HS256")


def raw(header: object, claims: object) -> str:
    """What looks like a JWT, with anything in it."""
    parts = (json.dumps(part).encode() for part in (header, claims))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def ends(
    access: str = "opaque",
    *,
    expires_in: object = None,
    asked: Asked = ASKED,
    minted: bool = True,
    default_ttl: float | None = None,
) -> float | None:
    return expiry(
        access, expires_in=expires_in, asked=asked, minted=minted, default_ttl=default_ttl
    )


# -- expires_in ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600),
        ("3600", 3600),
        (" 3600 ", 3600),
        ("3600.5", 3600.5),
        (3600.5, 3600.5),
        ("1e3", 1000),
        (1e18, 1e18),
        (0.5, 0.5),
        (None, None),
        (0, None),
        ("0", None),
        (-1, None),
        ("-1", None),
        (float("nan"), None),
        ("NaN", None),
        (float("inf"), None),
        ("Infinity", None),
        (10**400, None),
        ("9" * 400, None),
        ("", None),
        ("abc", None),
        ("0x10", None),
        (True, None),
        (False, None),
        ([], None),
        ([3600], None),
        ({}, None),
        (b"3600", None),
    ],
)
def test_a_number_is_read_in_every_form_and_all_else_counts_as_absent(
    value: object, seconds: float | None
) -> None:
    assert positive(value) == seconds
    life = None if seconds is None else min(seconds, MAX_LIFE)
    if life is None or life < RECEIVED - SENT:
        assert ends(expires_in=value) == (None if life is None else RECEIVED + life)
    elif life < MAX_LIFE:
        assert ends(expires_in=value) == SENT + life
    else:
        assert ends(expires_in=value) == RECEIVED + MAX_LIFE


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [(1, 0.5), (2, 1.0), (8, 7.0), (9, 9.0), (3600, 3600.0), (2.5, 2.5), ("4", 3.0)],
)
def test_a_short_life_in_whole_seconds_may_have_been_rounded_up(
    expires_in: object, life: float
) -> None:
    assert ends(expires_in=expires_in) == pytest.approx(SENT + life)


def test_expires_in_comes_before_a_jwt_and_a_jwt_before_default_ttl() -> None:
    token = signed(exp=int(RECEIVED) + 500)
    assert ends(token, expires_in=100, default_ttl=7) == SENT + 100
    assert ends(token, expires_in="soon", default_ttl=7) == int(RECEIVED) + 500
    assert ends("opaque", default_ttl=7) == RECEIVED + 7
    assert ends("opaque") is None


# -- JWTs ------------------------------------------------------------------------------------

IN_BETWEEN = int(RECEIVED)
AHEAD, BEHIND = IN_BETWEEN + 300, IN_BETWEEN - 300


@pytest.mark.parametrize(
    ("iat", "exp", "end"),
    [
        # The clocks agree.
        (IN_BETWEEN, IN_BETWEEN + 60, IN_BETWEEN + 60),
        (int(SENT), int(SENT) + 5, int(SENT) + 5),
        # The issuer's clock is five minutes ahead of ours.
        (AHEAD, AHEAD + 60, SENT + 59),
        (AHEAD, AHEAD + 4000, SENT + 3999),
        (AHEAD, AHEAD + 1, RECEIVED + 0.5),  # half of so short a life may have been rounded away
        # It is five minutes behind.
        (BEHIND, BEHIND + 4000, BEHIND + 4000),
        (BEHIND, BEHIND + 60, SENT + 59),
        # The life was shorter than the request took.
        (IN_BETWEEN, IN_BETWEEN + 0.4, RECEIVED + 0.2),
        # There is no life to be had from it.
        (None, IN_BETWEEN + 60, IN_BETWEEN + 60),
        (None, BEHIND, None),
        (IN_BETWEEN, None, None),
        (AHEAD, AHEAD, AHEAD),
        (BEHIND, BEHIND, None),
        (IN_BETWEEN + 90, IN_BETWEEN + 60, IN_BETWEEN + 60),
        # Numbers in odd forms.
        (str(IN_BETWEEN), str(IN_BETWEEN + 60), IN_BETWEEN + 60),
        (IN_BETWEEN, 1e18, RECEIVED + MAX_LIFE),
        (IN_BETWEEN, "never", None),
        (IN_BETWEEN, 0, None),
        (True, IN_BETWEEN + 60, IN_BETWEEN + 60),
    ],
)
def test_the_end_of_a_jwt_that_was_minted_for_the_request(
    iat: object, exp: object, end: float | None
) -> None:
    claims = {"iat": iat, "exp": exp}
    token = raw({"alg": "none"}, {key: value for key, value in claims.items() if value is not None})
    assert ends(token) == (None if end is None else pytest.approx(end, abs=1e-6))


@pytest.mark.parametrize("exp", [BEHIND, IN_BETWEEN + 60])
@pytest.mark.parametrize("iat", [BEHIND - 60, IN_BETWEEN, AHEAD])
def test_a_jwt_that_was_handed_out_before_ends_when_it_says(iat: int, exp: int) -> None:
    assert ends(signed(iat=iat, exp=exp), minted=False) == exp


def test_a_jwt_from_whose_past_nothing_can_be_told_falls_back_to_default_ttl() -> None:
    assert ends(signed(exp=BEHIND), default_ttl=30) == RECEIVED + 30


def test_a_signature_that_is_wrong_or_missing_does_not_matter() -> None:
    token = signed(iat=IN_BETWEEN, exp=IN_BETWEEN + 60)
    head, body, _ = token.split(".")
    assert ends(f"{head}.{body}.AAAA") == ends(f"{head}.{body}.") == IN_BETWEEN + 60


@pytest.mark.parametrize(
    "access",
    [
        "",
        "opaque",
        "1|abc",
        "a.b.c",
        "...",
        "\ud800.\ud800.\ud800",
        raw([], {}),
        raw({"alg": "none"}, []),
        raw({"alg": "none"}, 5),
        raw({"alg": "none"}, None),
        raw({"alg": 5, "kid": 5, "crit": 5, "b64": False}, {"exp": IN_BETWEEN + 60}),
        raw({"alg": "none"}, {"exp": {}, "iat": []}),
        "eyJhbGciOiJub25lIn0." + base64.urlsafe_b64encode(b"[" * 100_000).decode() + ".",
    ],
)
def test_what_is_no_jwt_names_no_life(access: str) -> None:
    assert ends(access) is None


# -- properties ------------------------------------------------------------------------------

moments = st.floats(1.7e9, 1.9e9)
numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
claims = st.fixed_dictionaries(
    {}, optional={"exp": numbers | moments, "iat": numbers | moments, "sub": numbers}
)
texts = (
    st.text()
    | st.from_regex(r"\A[\w-]{0,9}\.[\w-]{0,9}\.[\w-]{0,9}\Z")
    | st.builds(raw, st.just({"alg": "none"}) | st.dictionaries(st.text(), numbers), claims)
)


asked_times = st.builds(lambda sent, took: Asked(sent, sent + took), moments, st.floats(0, 100))


@given(
    texts,
    st.one_of(numbers, st.lists(numbers)),
    asked_times,
    st.booleans(),
    st.none() | st.floats(0, 1e12, exclude_min=True),
)
def test_nothing_that_an_issuer_can_send_raises_or_kills_a_token_that_it_has_just_made(
    access: str, expires_in: object, asked: Asked, minted: bool, default_ttl: float | None
) -> None:
    end = ends(access, expires_in=expires_in, asked=asked, minted=minted, default_ttl=default_ttl)
    assert end is None or end <= asked.received + MAX_LIFE
    if minted and end is not None:
        assert end > asked.received


@given(st.floats(-300, 300), st.integers(1, 100_000), st.floats(0, 5))
def test_a_token_is_never_held_for_good_longer_than_a_second_past_its_true_end(
    off: float, life: int, took: float
) -> None:
    """Whatever the issuer's clock shows: it mints after it was asked, and rounds down."""
    minted_at = SENT + took  # at the last moment
    iat = int(minted_at + off)
    token = raw({"alg": "none"}, {"iat": iat, "exp": iat + life})
    true_end = minted_at + life
    end = ends(token, asked=Asked(SENT, SENT + took))
    assert end is not None
    assert end <= true_end + 1e-6
