import base64

import pytest

from tokenproxy.testing import (
    ErrorInBody,
    Forbidden,
    InBasic,
    InCookie,
    InHeader,
    InQuery,
    Unauthorized,
    Verdict,
)
from tokenproxy.testing.places import Place, Rejection, refusal, token_in

NOT_VALID = "Given token not valid for any token type"


def basic(text: bytes) -> str:
    return f"Authorization: Basic {base64.b64encode(text).decode()}"


@pytest.mark.parametrize(
    ("place", "header", "token"),
    [
        (InHeader(), "Authorization: Bearer t", "t"),
        (InHeader(), "aUTHORIZATION: Bearer t", "t"),
        (InHeader(), "Authorization: bearer t", None),
        (InHeader(), "Authorization: JWT t", None),
        (InHeader(), "Authorization: Bearer", None),
        (InHeader(), "Authorization: Bearer t u", None),
        (InHeader(), "X-Api-Key: t", None),
        (InHeader(word="JWT"), "Authorization: JWT t", "t"),
        (InHeader("X-Api-Key", ""), "X-Api-Key: t", "t"),
        (InCookie("sid"), "Cookie: sid=t", "t"),
        (InCookie("sid"), "Cookie: a=1; sid=t; b=2", "t"),
        (InCookie("sid"), "Cookie: SID=t", None),
        (InCookie("sid"), "Cookie: sid=t; sid=u", None),
        (InBasic(), basic(b"oauth2accesstoken:t"), "t"),
        (InBasic(), basic(b"oauth2accesstoken:t:u"), "t:u"),
        (InBasic(), basic(b"other:t"), None),
        (InBasic(), basic(b"oauth2accesstoken"), None),
        (InBasic(""), basic(b":t"), "t"),
        (InBasic(), basic(b"\xff:t"), None),
        (InBasic(), "Authorization: Basic !!!", None),
        (InBasic(), "Authorization: Bearer t", None),
    ],
)
def test_a_token_is_found_where_it_is_wanted(place: Place, header: str, token: str | None) -> None:
    name, _, value = header.partition(": ")
    assert token_in(place, [(b"Host", b"x"), (name.encode(), value.encode())], "/") == token


@pytest.mark.parametrize(
    ("target", "token"),
    [
        ("/?access_token=t", "t"),
        ("/?a=1&access_token=t%2B&b", "t+"),
        ("/?access%5Ftoken=t", "t"),
        ("/?access_token=t&access_token=u", None),
        ("/", None),
    ],
)
def test_a_token_is_found_in_a_query(target: str, token: str | None) -> None:
    assert token_in(InQuery(), [], target) == token


@pytest.mark.parametrize("place", [InHeader(), InBasic()])
def test_two_headers_are_as_bad_as_none(place: Place) -> None:
    pair = (b"Authorization", b"Bearer t")
    assert token_in(place, [pair, pair], "/") is None


@pytest.mark.parametrize(
    ("how", "place", "status", "headers"),
    [
        (Unauthorized(), InHeader(), 401, {"WWW-Authenticate": 'Bearer realm="api"'}),
        (Unauthorized(), InHeader(word="JWT"), 401, {"WWW-Authenticate": 'JWT realm="api"'}),
        (Unauthorized(), InHeader(word=""), 401, {"WWW-Authenticate": 'Bearer realm="api"'}),
        (Unauthorized(), InQuery(), 401, {"WWW-Authenticate": 'Bearer realm="api"'}),
        (Forbidden(), InHeader(), 403, {}),
        (ErrorInBody(), InHeader(), 200, {}),
    ],
)
def test_a_rejection_has_the_head_of_its_kind(
    how: Rejection, place: Place, status: int, headers: dict[str, str]
) -> None:
    no = refusal(how, place, Verdict.EXPIRED)
    assert (no.status, no.headers) == (status, headers)


@pytest.mark.parametrize("how", [Unauthorized(), Forbidden()])
@pytest.mark.parametrize(
    ("verdict", "detail", "code"),
    [
        (None, "Authentication credentials were not provided.", None),
        (Verdict.EXPIRED, NOT_VALID, "token_not_valid"),
        (Verdict.INVALID, NOT_VALID, "token_not_valid"),
        (Verdict.INACTIVE, "User is inactive", "user_inactive"),
        (Verdict.DELETED, "User not found", "user_not_found"),
    ],
)
def test_a_rejection_tells_what_simplejwt_tells(
    how: Rejection, verdict: Verdict | None, detail: str, code: str | None
) -> None:
    fields = refusal(how, InHeader(), verdict).fields
    assert (fields["detail"], fields.get("code")) == (detail, code)


def test_an_error_in_the_body_has_the_number_that_was_chosen() -> None:
    fields = refusal(ErrorInBody(errcode=42001), InHeader(), Verdict.EXPIRED).fields
    assert fields == {"errcode": 42001, "errmsg": "invalid credential"}
