"""`${…}` is replaced as contract 1 says, and each reference that cannot be is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.config.document import Mistake, read_mapping
from tokenproxy.config.interpolate import MAX_FILE, Outside, interpolate, interpolated

UNCLOSED = "has a '${' that is never closed by '}': write '$$' for a dollar sign"
NO_REFERENCE = (
    "has a '${…}' that is none of ${NAME}, ${NAME:-fallback} and ${file:/path}: "
    "write '$$' for a dollar sign"
)
INSIDE = "has a '${' inside of a fallback, which must be plain text"
NO_NAME = "has a '${file:…}' whose name cannot be a file's"
ENVIRONMENT = {"A": "one", "_B2": "two", "EMPTY": "", "DOLLAR": "${A} $$ $"}


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(ENVIRONMENT, tmp_path)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", ""),
        ("plain", "plain"),
        ("${A}${_B2}", "onetwo"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NOPE:-}", ""),
        ("${NOPE:-a:-b}", "a:-b"),
        ("${NOPE:-$$5}", "$5"),
        ("${NOPE:-$$$$}", "$$"),
        ("${NOPE:-$5}", "$5"),
        ("${NOPE:-two\nlines}", "two\nlines"),
        ("${A:-x}", "one"),
        ("$${A}", "${A}"),
        ("$$${A}", "$one"),
        ("$$$$", "$$"),
        ("$", "$"),
        ("a$b $ {A} $(A) 5$", "a$b $ {A} $(A) 5$"),
        ("{A}}", "{A}}"),
        ("${A}}", "one}"),
        ("${DOLLAR}", "${A} $$ $"),
    ],
)
def test_a_reference_is_replaced_once(written: str, read: str, outside: Outside) -> None:
    assert interpolate(written, outside) == (read, [])


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("${", [UNCLOSED]),
        ("x ${A", [UNCLOSED]),
        ("${file:/x", [UNCLOSED]),
        ("${}", [NO_REFERENCE]),
        ("${ A }", [NO_REFERENCE]),
        ("${A-x}", [NO_REFERENCE]),
        ("${A:x}", [NO_REFERENCE]),
        ("${1A}", [NO_REFERENCE]),
        ("${A.b}", [NO_REFERENCE]),
        ("${Ä}", [NO_REFERENCE]),
        ("${env:A}", [NO_REFERENCE]),
        ("${NOPE:-${A}}", [INSIDE]),
        ("${NOPE}", ["needs the environment variable NOPE, which is not set"]),
        ("${file:}", ["has a '${file:}' that names no file"]),
        ("${file:nope}", ["names a file that does not exist: nope"]),
        ("${file:a\0b}", [NO_NAME]),
        ("${file:~nobody-of-that-name/x}", [NO_NAME]),
        ("${file:folder}", ["names a file that cannot be read: folder (Is a directory)"]),
        ("${file:good/x}", ["names a file that cannot be read: good/x (Not a directory)"]),
        ("${file:large}", ["names a file of more than 1 MiB: large"]),
        ("${file:latin}", ["names a file that is not UTF-8 text: latin"]),
        (
            "${X} ${A} ${Y} ${",
            [
                "needs the environment variable X, which is not set",
                "needs the environment variable Y, which is not set",
                UNCLOSED,
            ],
        ),
    ],
)
def test_a_reference_that_cannot_be_replaced_is_told(
    written: str, wrong: list[str], outside: Outside
) -> None:
    (outside.folder / "folder").mkdir()
    (outside.folder / "good").touch()
    (outside.folder / "large").write_bytes(b"x" * (MAX_FILE + 1))
    (outside.folder / "latin").write_bytes(b"pass\xe4word")

    assert interpolate(written, outside)[1] == wrong


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (b"", ""),
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\n\n", "secret\n"),
        (b"secret\r", "secret\r"),
        (b" secret \n", " secret "),
        (b"\xef\xbb\xbfsecret\n", "secret"),
        (b"${A} $$", "${A} $$"),
        ("gehéim".encode(), "gehéim"),
        (b"x" * MAX_FILE, "x" * MAX_FILE),
    ],
    ids=[
        "empty",
        "plain",
        "newline",
        "CRLF",
        "two newlines",
        "CR",
        "spaces",
        "BOM",
        "dollars",
        "UTF-8",
        "as large as may be",
    ],
)
def test_a_file_is_read_without_its_last_newline(
    content: bytes, read: str, outside: Outside
) -> None:
    (outside.folder / "secret").write_bytes(content)

    assert interpolate("${file:secret}", outside) == (read, [])
    assert interpolate(f"${{file:{outside.folder}/secret}}", outside) == (read, [])


def test_a_tilde_is_the_home_folder(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "secret").write_text("at home")

    assert interpolate("${file:~/secret}", outside) == ("at home", [])


def test_they_stand_in_values_anywhere_and_in_no_key(outside: Outside) -> None:
    data = {"a": ["${A}", {"b": "${A}!"}], "${A}": "x", "n": 5, "no": None, "yes": True}

    document = interpolated(read_mapping(data), outside)

    assert document.data == {**data, "a": ["one", {"b": "one!"}]}
    assert document.mistakes == ()


def test_one_that_fails_is_a_mistake_at_its_place_and_stays_as_written(outside: Outside) -> None:
    document = interpolated(read_mapping({"a": ["x", "${NOPE}"], "b": {"c": "${"}}), outside)

    assert document.data == {"a": ["x", "${NOPE}"], "b": {"c": "${"}}
    assert document.mistakes == (
        Mistake(("a", 1), "needs the environment variable NOPE, which is not set"),
        Mistake(("b", "c"), UNCLOSED),
    )


@given(st.text())
def test_doubled_dollars_make_every_text_plain(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), Outside({}, Path("/nowhere"))) == (text, [])


@given(st.text(st.characters(exclude_characters="\0")))
def test_no_value_is_read_twice(value: str) -> None:
    outside = Outside({"V": value}, Path("/nowhere"))

    assert interpolate("${V}", outside) == (value, [])
    assert interpolate("${V:-x}", outside) == (value or "x", [])
