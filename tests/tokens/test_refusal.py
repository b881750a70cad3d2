import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenproxy.tokens.refusal import REFUSAL_CODES, Judgement, Ruling, judge

CONTRACT = {  # 3.3.6
    "invalid_grant",
    "invalid_client",
    "unauthorized_client",
    "invalid_scope",
    "unsupported_grant_type",
    "invalid_request",
    "token_not_valid",
    "no_active_account",
    "user_inactive",
    "password_changed",
}
PAGE = None  # what is not JSON

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def test_the_codes_are_those_of_the_contract() -> None:
    assert REFUSAL_CODES == CONTRACT


@pytest.mark.parametrize("code", sorted(CONTRACT))
@pytest.mark.parametrize("field", ["error", "code"])
@pytest.mark.parametrize("status", [200, 400, 401, 403, 500])
@pytest.mark.parametrize("certain", [True, False])
def test_a_code_that_we_know_is_a_refusal_whatever_comes_with_it(
    code: str, field: str, status: int, certain: bool
) -> None:
    body = {"detail": "no", field: code, "access_token": "abc"}
    assert judge(status, body, certain=certain) == Judgement(Ruling.REFUSED, code)


def test_the_second_field_counts_where_the_first_says_nothing_that_we_know() -> None:
    body = {"error": "Unauthorized", "code": "token_not_valid"}
    assert judge(401, body, certain=False) == Judgement(Ruling.REFUSED, "token_not_valid")


@pytest.mark.parametrize("code", ["INVALID_GRANT", "invalid_grant ", "", "invalid_grants"])
def test_a_code_is_taken_letter_for_letter(code: str) -> None:
    assert judge(400, {"error": code}, certain=True) == Judgement(Ruling.PASSING)


@pytest.mark.parametrize(
    "body",
    [["invalid_grant"], "invalid_grant", {"detail": "invalid_grant"}, {"error": ["invalid_grant"]}],
)
def test_a_code_counts_in_its_own_fields_only(body: object) -> None:
    assert judge(200, body, certain=True).ruling is not Ruling.REFUSED


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "body",
    [{}, {"detail": "No active account"}, {"error": {"message": "no"}}, [], PAGE, {"code": 7}],
)
def test_without_a_code_a_refusal_is_certain_or_doubtful_by_what_was_sent(
    status: int, body: object
) -> None:
    assert judge(status, body, certain=True) == Judgement(Ruling.REFUSED)
    assert judge(status, body, certain=False) == Judgement(Ruling.DOUBTFUL)


@pytest.mark.parametrize(
    ("status", "body", "ruling"),
    [
        (200, {"access": "abc"}, Ruling.GRANTED),
        (201, {"access_token": "abc"}, Ruling.GRANTED),
        (200, {"error": None, "access_token": "abc"}, Ruling.GRANTED),
        (200, {"error": "", "code": 0, "data": {"access_token": "abc"}}, Ruling.GRANTED),
        (200, {"code": "ok", "access_token": "abc"}, Ruling.GRANTED),
        (200, {"error": "try_again"}, Ruling.PASSING),
        (200, {"error": {"message": "odd"}}, Ruling.PASSING),
        (200, {}, Ruling.PASSING),
        (200, ["abc"], Ruling.PASSING),
        (200, "abc", Ruling.PASSING),
        (200, PAGE, Ruling.PASSING),
        (204, PAGE, Ruling.PASSING),
        *((status, PAGE, Ruling.PASSING) for status in (301, 302, 303, 307, 308)),
        (302, {"access_token": "abc"}, Ruling.PASSING),
        *((status, PAGE, Ruling.PASSING) for status in (402, 404, 405, 408, 409, 410, 422)),
        (404, {"detail": "Not found."}, Ruling.PASSING),
        (400, {"error": "authorization_pending"}, Ruling.PASSING),
        (400, {"error": "use_dpop_nonce"}, Ruling.PASSING),
        (401, {"code": "a_code_of_its_own"}, Ruling.PASSING),
        (403, {"error": "insufficient_scope"}, Ruling.PASSING),
        (403, {"error": ""}, Ruling.PASSING),
        (429, {"detail": "throttled"}, Ruling.BUSY),
        (429, PAGE, Ruling.BUSY),
        (500, PAGE, Ruling.BUSY),
        (503, {"error": "temporarily_unavailable"}, Ruling.BUSY),
        (599, PAGE, Ruling.BUSY),
    ],
)
@pytest.mark.parametrize("certain", [True, False])
def test_all_else_is_a_token_or_passes(
    status: int, body: object, ruling: Ruling, certain: bool
) -> None:
    assert judge(status, body, certain=certain) == Judgement(ruling)


@settings(deadline=None)  # a machine may be busy
@given(st.integers(100, 999), json, st.booleans())
def test_no_answer_is_beyond_judging_and_only_an_object_grants(
    status: int, body: object, certain: bool
) -> None:
    judgement = judge(status, body, certain=certain)
    if judgement.ruling is Ruling.GRANTED:
        assert isinstance(body, dict)
        assert 200 <= status < 300
