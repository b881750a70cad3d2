import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.errors import SourceError, SourceRefused, SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.credential import Fields
from tokenproxy.tokens.answer import Reading, look_up
from tokenproxy.tokens.endpoint import TokenAnswer, TokenRequest
from tokenproxy.tokens.lifetime import Asked
from tokenproxy.tokens.token import Granted, Token, is_sendable

SENT, RECEIVED = 1_800_000_000.0, 1_800_000_000.5
REQUEST = TokenRequest("POST", "https://shop.example/token?key=MARKER", {}, b"MARKER")
URL = "https://shop.example/token"


def _read(
    json: object,
    *,
    status: int = 200,
    certain: bool = True,
    after: float | None = None,
    fields: Fields = Fields(),  # noqa: B008 - frozen
    default_ttl: float | None = None,
) -> Granted:
    answer = TokenAnswer(status, json, after, Asked(SENT, RECEIVED))
    return Reading("shop", fields, default_ttl).granted(REQUEST, answer, certain=certain)


# -- a token ---------------------------------------------------------------------------------


def test_an_answer_with_tokens_grants_them() -> None:
    granted = _read({"access_token": "a|1", "refresh_token": "r 1", "expires_in": 60, "more": {}})
    assert granted == Granted(Token(Secret("a|1"), RECEIVED, SENT + 60), Secret("r 1"))


@pytest.mark.parametrize(
    ("expires_in", "expires_at"),
    [
        ("60", SENT + 60),
        (60.5, SENT + 60.5),
        (1e18, RECEIVED + 10 * 366 * 86400),
        (None, RECEIVED + 300),
        (0, RECEIVED + 300),
        (-1, RECEIVED + 300),
        (math.nan, RECEIVED + 300),
        (math.inf, RECEIVED + 300),
        ("soon", RECEIVED + 300),
        (True, RECEIVED + 300),
        ([60], RECEIVED + 300),
    ],
)
def test_a_life_that_cannot_be_read_is_the_configured_one(
    expires_in: object, expires_at: float
) -> None:
    granted = _read({"access_token": "a", "expires_in": expires_in}, default_ttl=300)
    assert granted.token.expires_at == pytest.approx(expires_at, abs=1)


@pytest.mark.parametrize("refresh", [None, "", 5, ["r"], {"r": 1}, False])
def test_a_refresh_token_that_is_none_leaves_the_old_one(refresh: object) -> None:
    assert _read({"access_token": "a", "refresh_token": refresh}).refresh is None


def test_fields_may_be_named_otherwise_and_lie_deeper() -> None:
    fields = Fields(access_token="data.accessToken", refresh_token="r", expires_in="data.ttl")
    json = {"data": {"accessToken": "a", "ttl": 9}, "r": "b", "access_token": "wrong"}
    assert _read(json, fields=fields) == Granted(
        Token(Secret("a"), RECEIVED, SENT + 9), Secret("b")
    )


@pytest.mark.parametrize(
    ("json", "path", "found"),
    [
        ({"a": {"b": 1}}, "a.b", 1),
        ({"a": {"b": 1}}, "a", {"b": 1}),
        ({"a.b": 1}, "a.b", None),
        ({"a": 1}, "a.b", None),
        ({"a": [{"b": 1}]}, "a.0.b", None),
        ({}, "a", None),
        ([], "a", None),
        (None, "a", None),
        ("text", "a", None),
    ],
)
def test_a_dotted_path_leads_through_objects_only(json: object, path: str, found: object) -> None:
    assert look_up(json, path) == found


# -- none ------------------------------------------------------------------------------------


def _refusal(json: object, *, status: int = 200) -> str:
    with pytest.raises(SourceRefused) as caught:
        _read(json, status=status)
    return str(caught.value)


def _trouble(
    json: object, *, status: int = 200, certain: bool = True, after: float | None = None
) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as caught:
        _read(json, status=status, certain=certain, after=after)
    return caught.value


def test_a_token_that_lies_elsewhere_is_told_with_the_field_that_is_missing() -> None:
    error = _trouble({"accessToken": "MARKER"})
    assert str(error) == (
        f"credential 'shop': {URL} answered without a field 'access_token', where its token "
        "should be: check the credential's type and 'fields' in the config"
    )
    assert not error.retriable
    assert not error.doubtful


@pytest.mark.parametrize(
    "access",
    ["", "MARK ER", "MARKER\r\n", "MARKER\nX: 1", "\x00MARKER", "MÄRKER", "\x7f", 5, True, ["a"]],
)
def test_a_token_that_no_header_can_carry_is_not_taken(access: object) -> None:
    error = _trouble({"access_token": access, "refresh_token": "MARKER"})
    assert str(error).startswith(f"credential 'shop': {URL} sent a token that no request can carry")
    assert "MARKER" not in str(error)
    assert not error.retriable


@pytest.mark.parametrize(
    ("status", "json", "shown"),
    [
        (400, {"error": "invalid_grant", "error_description": "MARKER"}, "(400 invalid_grant)"),
        (200, {"error": "invalid_grant", "access_token": "MARKER"}, "(200 invalid_grant)"),
        (401, {"detail": "MARKER", "code": "token_not_valid"}, "(401 token_not_valid)"),
        (400, {"error": "invalid_scope"}, "(400 invalid_scope): check 'scope' in the config"),
        (401, {"detail": "MARKER"}, "(401): check the login in the config"),
        (403, None, "(403): check the login in the config"),
    ],
)
def test_a_refusal_names_its_code_and_what_to_do(status: int, json: object, shown: str) -> None:
    said = _refusal(json, status=status)
    assert said.startswith(f"credential 'shop': {URL} refused {shown}")
    assert "MARKER" not in said
    assert "config" in said


def test_a_no_without_a_reason_is_doubtful_where_the_same_may_be_asked_again() -> None:
    error = _trouble(None, status=401, certain=False, after=7)
    assert str(error) == f"credential 'shop': {URL} turned us away (401)"
    assert (error.doubtful, error.retriable, error.retry_after) == (True, False, 7)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_that_is_busy_may_be_asked_again_when_it_says(status: int) -> None:
    error = _trouble(None, status=status, after=7)
    assert str(error) == f"credential 'shop': {URL} is not able to answer now ({status})"
    assert (error.doubtful, error.retriable, error.retry_after) == (False, True, 7)


@pytest.mark.parametrize(
    ("status", "json"),
    [
        (200, None),
        (200, []),
        (200, "MARKER"),
        (204, None),
        (302, None),
        (404, {"detail": "MARKER"}),
    ],
)
def test_what_is_neither_yes_nor_no_is_passing(status: int, json: object) -> None:
    error = _trouble(json, status=status, after=7)
    assert str(error) == (
        f"credential 'shop': {URL} answered with something that is no token ({status})"
    )
    assert (error.doubtful, error.retriable, error.retry_after) == (False, False, 7)


NAMES = st.sampled_from(["access_token", "refresh_token", "expires_in", "error", "code", "a"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["invalid_grant", "token_not_valid", "tok"])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=8
)


@given(JSON, st.integers(100, 599), st.booleans(), st.none() | st.floats(1, 1e6))
def test_every_answer_is_a_token_that_can_be_sent_or_an_error_of_ours(
    json: object, status: int, certain: bool, default_ttl: float | None
) -> None:
    with suppress(SourceError):
        granted = _read(json, status=status, certain=certain, default_ttl=default_ttl)
        assert 200 <= status < 300
        assert is_sendable(granted.token.access.reveal())
        expires_at = granted.token.expires_at
        assert expires_at is None or RECEIVED < expires_at < math.inf
