import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tokenproxy.errors import StoreError
from tokenproxy.secret import Secret
from tokenproxy.tokens.codec import LATEST, Unreadable, decode, encode, is_sealed
from tokenproxy.tokens.token import SENDABLE, Record, Setback, Token

times = st.floats(0, LATEST)
sendable = st.text(st.sampled_from(sorted(SENDABLE)), min_size=1)
secrets = st.text(min_size=1).map(Secret)
tokens = st.builds(Token, sendable.map(Secret), times, st.none() | times)
texts = st.text(min_size=1)
setbacks = st.builds(
    Setback,
    texts,
    texts,
    st.integers(0),
    st.integers(0),
    times,
    times,
    times,
    st.none() | texts,
    st.none() | texts,
    st.none() | texts,
)
several = st.lists(setbacks, max_size=3)
records = st.builds(
    lambda record, found, spent: replace(
        record, setback=found[0] if found else None, others=tuple(found[1:]), spent=tuple(spent)
    ),
    st.builds(
        Record,
        st.integers(1),
        st.none() | tokens,
        st.none() | secrets,
        st.none() | st.text(min_size=1),
        st.none() | times,
        dpop_key=st.none() | secrets,
    ),
    several,
    st.lists(texts, max_size=3),
)
FULL = Record(
    7,
    Token(Secret("access"), 1.0, 2.5),
    Secret("refresh"),
    "0a1b2c3d",
    1.0,
    Setback("it was down", "4e5f", 2, 1, 3.5, 1.5, 4.5, "no", "0a1b2c3d", ":0a1b2c3d"),
    Secret("a key"),
    spent=("4e5f6a7b",),
    others=(Setback("refused", "6a7b"),),
)
SETBACK = asdict(FULL.setback or Setback("", ""))


def edited(**changes: Any) -> bytes:
    return json.dumps(json.loads(encode(FULL)) | changes).encode()


@given(records)
@example(FULL)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert decode(encode(record)) == record


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        encode(FULL)[:-10],
        b"[" * 100_000,
        b"{}",
        edited(version=0),
        edited(version="1"),
        edited(version=None),
        edited(generation=None),
        edited(generation=0),
        edited(generation=-1),
        edited(generation=1.0),
        edited(generation=True),
        edited(generation="7"),
        edited(access_token=["a"]),
        edited(access_token="with space"),
        edited(access_token="line\nbreak"),
        edited(access_token="\u00e9"),
        edited(refresh_token=5),
        edited(seed={}),
        edited(setbacks=1),
        edited(setbacks=[1]),
        edited(setbacks=[{**SETBACK, "failures": -1}]),
        edited(setbacks=[{**SETBACK, "not_before": "soon"}]),
        edited(setbacks=[SETBACK, {**SETBACK, "error": 1}]),
        edited(spent="4e5f6a7b"),
        edited(spent=[1]),
        edited(issued_at="yesterday"),
        edited(issued_at=True),
        edited(issued_at=-1),
        edited(expires_at=float("nan")),
        edited(expires_at=float("inf")),
        edited(expires_at=10**400),
        edited(renewed_at=[]),
    ],
)
def test_what_is_no_record_is_unreadable(content: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(content)


def test_a_sealed_record_needs_a_key() -> None:
    with pytest.raises(StoreError, match="encryption_key"):
        decode(b"tokenproxy-sealed:1:")


@given(st.binary() | st.text().map(str.encode))
def test_no_content_raises_anything_else(content: bytes) -> None:
    assume(not is_sealed(content))
    with pytest.raises(Unreadable):
        decode(content)


@pytest.mark.parametrize(
    ("changes", "record"),
    [
        ({"access_token": None}, replace(FULL, token=None)),
        ({"access_token": ""}, replace(FULL, token=None)),
        ({"issued_at": None}, replace(FULL, token=None)),
        ({"expires_at": None}, replace(FULL, token=Token(Secret("access"), 1.0))),
        ({"refresh_token": ""}, replace(FULL, refresh=None)),
        ({"refresh_token": "pasted by hand"}, replace(FULL, refresh=Secret("pasted by hand"))),
        ({"of a later minor version": 1}, FULL),
    ],
)
def test_what_a_person_may_edit_is_read(changes: dict[str, Any], record: Record) -> None:
    assert decode(edited(**changes)) == record


@pytest.mark.parametrize("version", [2, 99])
def test_a_record_of_a_newer_program_is_neither_read_nor_unreadable(version: int) -> None:
    with pytest.raises(StoreError, match="newer tokenproxy"):
        decode(edited(version=version))


@pytest.mark.parametrize("setback", [{}, {"error": "down"}, {"config": "4e5f"}])
def test_a_setback_that_tells_nothing_is_none(setback: dict[str, Any]) -> None:
    assert decode(edited(setbacks=[setback])) == replace(FULL, setback=None, others=())
    assert decode(edited(setbacks=[setback, SETBACK])) == replace(FULL, others=())


def test_fields_that_are_left_out_are_empty() -> None:
    assert decode(b'{"version": 1, "generation": 3}') == Record(3)
