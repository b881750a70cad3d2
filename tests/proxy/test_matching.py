import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tokenproxy.proxy.headers import Header
from tokenproxy.proxy.matching import MAX_BODY, RefreshRules, Verdict
from tokenproxy.settings.matchers import RefreshOn

_SETTINGS: TypeAdapter[RefreshOn] = TypeAdapter(RefreshOn)

INVALID = {"status": 403, "header": {"WWW-Authenticate": "invalid_token"}}
EXPIRED = {"status": 403, "body_contains": "token_expired"}
ERRCODE = {"status": 200, "json": {"errcode": [40001, 42001]}}
SSE = (b"Content-Type", b"Text/Event-Stream; charset=utf-8")
GZIP = (b"Content-Encoding", b"gzip")
DEFLATE = (b"content-encoding", b"Deflate")


def rules(*refresh_on: Any) -> RefreshRules:
    return RefreshRules(_SETTINGS.validate_python(refresh_on))


def rejects(matcher: Any, body: bytes, *headers: Header, complete: bool = True) -> bool:
    return rules(matcher).by_body(matcher["status"], headers, body, complete=complete)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(401, Verdict.REJECTED), (403, Verdict.ACCEPTED), (200, Verdict.ACCEPTED)],
)
def test_a_status_decides_alone(status: int, verdict: Verdict) -> None:
    assert rules(401).by_head(status, []) is verdict


def test_without_rules_nothing_is_rejected() -> None:
    assert rules().by_head(401, []) is Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ([(b"WWW-Authenticate", b'Bearer error="invalid_token"')], Verdict.REJECTED),
        ([(b"www-authenticate", b"INVALID_TOKEN")], Verdict.REJECTED),
        (
            [(b"WWW-Authenticate", b"Basic"), (b"WWW-Authenticate", b"Bearer invalid_token")],
            Verdict.REJECTED,
        ),
        ([(b"WWW-Authenticate", b"Bearer insufficient_scope")], Verdict.ACCEPTED),
        ([(b"X-WWW-Authenticate", b"invalid_token")], Verdict.ACCEPTED),
        ([], Verdict.ACCEPTED),
    ],
)
def test_a_header_is_looked_for_in_every_field_of_its_name(
    headers: list[Header], verdict: Verdict
) -> None:
    assert rules(INVALID).by_head(403, headers) is verdict
    assert rules(INVALID).by_head(401, headers) is Verdict.ACCEPTED


def test_all_headers_of_a_matcher_must_match() -> None:
    both = rules({"status": 403, "header": {"A": "1", "B": "2"}})
    assert both.by_head(403, [(b"a", b"1"), (b"b", b"2")]) is Verdict.REJECTED
    assert both.by_head(403, [(b"a", b"1"), (b"b", b"1")]) is Verdict.ACCEPTED


def test_a_bare_mapping_with_a_status_is_that_status() -> None:
    assert rules({"status": 419}).by_head(419, []) is Verdict.REJECTED


def test_the_body_is_asked_for_only_where_it_decides() -> None:
    both = rules(401, {**EXPIRED, **INVALID}, ERRCODE)
    fitting = [(b"WWW-Authenticate", b"invalid_token")]
    assert both.by_head(403, fitting) is Verdict.NEEDS_BODY
    assert both.by_head(403, []) is Verdict.ACCEPTED
    assert both.by_head(200, []) is Verdict.NEEDS_BODY
    assert both.by_head(500, []) is Verdict.ACCEPTED
    assert rules(200, ERRCODE).by_head(200, []) is Verdict.REJECTED
    assert rules(EXPIRED, INVALID).by_head(403, fitting) is Verdict.REJECTED
    assert rules(EXPIRED, INVALID).by_head(403, []) is Verdict.NEEDS_BODY


def test_an_event_stream_is_never_held_back() -> None:
    assert rules(ERRCODE).by_head(200, [SSE]) is Verdict.ACCEPTED
    assert rules(ERRCODE, 200).by_head(200, [SSE]) is Verdict.REJECTED
    other = (b"Content-Type", b"application/json; note=text/event-stream")
    assert rules(ERRCODE).by_head(200, [other]) is Verdict.NEEDS_BODY


def test_a_head_that_does_not_fit_is_not_saved_by_the_body() -> None:
    both = {**EXPIRED, **INVALID}
    assert rejects(both, b"token_expired", (b"WWW-Authenticate", b"invalid_token"))
    assert not rejects(both, b"token_expired")
    assert not rules(EXPIRED).by_body(200, [], b"token_expired", complete=True)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"token_expired", True),
        (b'{"code": "token_expired"}', True),
        (b"TOKEN_EXPIRED", False),
        (b"token expired", False),
        (b"", False),
        (b"\xff\xfetoken_expired\xff", True),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_a_text_is_looked_for_as_it_stands(body: bytes, found: bool, complete: bool) -> None:
    assert rejects(EXPIRED, body, complete=complete) is found


def test_a_text_may_have_any_letters() -> None:
    assert rejects({"status": 403, "body_contains": "läuft"}, "abgeläuft".encode())


def test_a_text_is_looked_for_in_the_first_part_of_a_long_body() -> None:
    end = b"x" * (MAX_BODY - len(b"token_expired")) + b"token_expired"
    assert rejects(EXPIRED, end + b"x" * 9)
    assert not rejects(EXPIRED, b"x" + end)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"errcode": 40001}', True),
        ('{"errcode": 42001, "x": [1]}', True),
        ('{"errcode": "40001"}', True),
        ('{"errcode": 40001.0}', True),
        ('\ufeff{"errcode": 40001}', True),
        ('{"errcode": 0}', False),
        ('{"errcode": null}', False),
        ('{"errcode": [40001]}', False),
        ('{"errcode": true}', False),
        ('{"x": {"errcode": 40001}}', False),
        ('[{"errcode": 40001}]', False),
        ("40001", False),
        ('{"errcode": 40001', False),
        ("<html>", False),
        ("", False),
        ("[" * 50_000, False),
        ("9" * 10_000, False),
    ],
)
def test_a_json_field_is_compared_by_value(body: str, found: bool) -> None:
    assert rejects(ERRCODE, body.encode()) is found


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ("40001", 40001, True),
        (40001, "40001", True),
        (1.5, "1.5", True),
        ("1.5", 1.5, True),
        (1, 1.0, True),
        (True, True, True),
        (True, 1, False),
        (1, True, False),
        ("True", True, False),
        ("true", True, False),
        (None, None, True),
        (None, "None", False),
        ("None", None, False),
        (0, None, False),
        ("", None, False),
        (0, False, False),
        ("a", "a", True),
        ("a", "A", False),
        ("[]", [], False),
        (None, [], False),
    ],
)
def test_only_a_number_and_its_string_are_equal_across_types(
    wanted: Any, found: Any, same: bool
) -> None:
    matcher = {"status": 200, "json": {"code": wanted}}
    assert rejects(matcher, json.dumps({"code": found}).encode()) is same


@pytest.mark.parametrize(
    ("path", "document", "found"),
    [
        ("error.code", {"error": {"code": 1}}, True),
        ("errors.0.code", {"errors": [{"code": 1}, {"code": 2}]}, True),
        ("errors.1.code", {"errors": [{"code": 2}, {"code": 1}]}, True),
        ("errors.0.code", {"errors": {"0": {"code": 1}}}, True),
        ("errors.1.code", {"errors": [{"code": 1}]}, False),
        ("errors.code", {"errors": [{"code": 1}]}, False),
        ("errors.-1.code", {"errors": [{"code": 1}]}, False),
        ("0", [1], True),
        ("error.code", {"error": "code"}, False),
        ("error.code", {}, False),
    ],
)
def test_a_dotted_path_goes_through_objects_and_lists(
    path: str, document: Any, found: bool
) -> None:
    matcher = {"status": 200, "json": {path: 1}}
    assert rejects(matcher, json.dumps(document).encode()) is found


def test_all_fields_of_a_matcher_must_match() -> None:
    matcher = {"status": 200, "json": {"a": 1, "b": [2, 3]}}
    assert rejects(matcher, b'{"a": 1, "b": 3}')
    assert not rejects(matcher, b'{"a": 1, "b": 4}')
    assert not rejects(matcher, b'{"a": 1}')
    assert not rejects({**matcher, "body_contains": "x"}, b'{"a": 1, "b": 3}')


def test_a_body_with_wrong_letters_is_read_as_far_as_it_can_be() -> None:
    assert rejects(ERRCODE, b'{"errcode": 40001, "message": "\xff\xfe"}')


def test_json_needs_the_whole_body() -> None:
    body = b'{"errcode": 40001}'
    assert not rejects(ERRCODE, body, complete=False)
    assert rejects(ERRCODE, body + b" " * (MAX_BODY - len(body)))
    assert not rejects(ERRCODE, body + b" " * (MAX_BODY - len(body) + 1))


@pytest.mark.parametrize(
    ("pack", "coding"),
    [
        (gzip.compress, GZIP),
        (gzip.compress, (b"Content-Encoding", b" X-GZIP ")),
        (zlib.compress, DEFLATE),
        (raw_deflate, DEFLATE),
        (bytes, (b"Content-Encoding", b"identity")),
    ],
)
def test_packed_bodies_are_read(pack: Any, coding: Header) -> None:
    assert rejects(ERRCODE, pack(b'{"errcode": 40001}'), coding)
    assert rejects(EXPIRED, pack(b"the token_expired"), coding)
    assert not rejects(EXPIRED, pack(b"all is well"), coding)
    assert not rejects(ERRCODE, pack(b'{"errcode": 40001}'), coding, complete=False)
    assert not rejects(ERRCODE, pack(b'{"errcode": 40001}' + b" " * MAX_BODY), coding)


@pytest.mark.parametrize("coding", [GZIP, DEFLATE])
@pytest.mark.parametrize("body", [b"", b"token_expired", b"\x78\x9ctoken_expired", b"\x1f\x8b"])
def test_a_body_that_is_not_what_it_says_matches_nothing(coding: Header, body: bytes) -> None:
    assert not rejects(EXPIRED, body, coding)


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"x"])
def test_other_codings_match_nothing(coding: bytes) -> None:
    assert not rejects(EXPIRED, b"token_expired", (b"Content-Encoding", coding))


def test_a_packed_body_that_was_cut_off_is_read_as_far_as_it_goes() -> None:
    noise = bytes(range(256)) * 40
    packed = zlib.compress(b"token_expired" + noise)
    assert rejects(EXPIRED, packed[: len(packed) // 2], DEFLATE, complete=False)
    assert not rejects(ERRCODE, gzip.compress(b'{"errcode": 40001}')[:-4], GZIP)


def test_what_follows_a_packed_body_is_not_taken_for_nothing() -> None:
    packed = gzip.compress(b'{"errcode": 40001}')
    assert not rejects(ERRCODE, packed + packed, GZIP)


def test_a_bomb_is_unpacked_no_further_than_the_bound() -> None:
    bomb = gzip.compress(b"x" * (50 << 20))
    assert len(bomb) < MAX_BODY
    tracemalloc.start()
    try:
        assert not rejects(EXPIRED, bomb, GZIP)
        assert tracemalloc.get_traced_memory()[1] < 10 * MAX_BODY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("before", "found"), [(MAX_BODY - 13, True), (MAX_BODY - 12, False)])
def test_a_packed_body_is_read_up_to_the_bound(before: int, found: bool) -> None:
    assert rejects(EXPIRED, gzip.compress(b"x" * before + b"token_expired"), GZIP) is found


@given(st.binary(max_size=200), st.sampled_from([GZIP, DEFLATE, SSE, (b"a", b"b")]))
def test_no_body_is_an_error(body: bytes, header: Header) -> None:
    assert not rejects({"status": 200, "json": {"a.b": "nothing has this"}}, body, header)
