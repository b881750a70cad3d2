import json
import traceback
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.secret import Secret

MARKER = "s3cr3t-marker"
SECRET = Secret(MARKER)


@dataclass(frozen=True)
class Holder:
    secret: Secret


@pytest.mark.parametrize(
    "shown",
    [
        repr(SECRET),
        str(SECRET),
        f"{SECRET}",
        f"{SECRET!r}",
        "%s %r" % (SECRET, SECRET),  # noqa: UP031 - one of the ways in which a log is written
        repr([SECRET]),
        repr({SECRET: SECRET}),
        repr(Holder(SECRET)),
        SECRET.label,
    ],
)
def test_it_does_not_show_itself(shown: str) -> None:
    assert MARKER not in shown


def test_it_shows_what_it_is() -> None:
    assert repr(SECRET) == str(SECRET) == "Secret('***')"


def test_it_is_not_written_by_accident() -> None:
    with pytest.raises(TypeError):
        json.dumps(SECRET)
    with pytest.raises(TypeError):
        f"{SECRET:>40}"
    assert not hasattr(SECRET, "__dict__")


def test_a_traceback_does_not_give_it_away() -> None:
    with pytest.raises(ValueError, match="Secret") as caught:
        raise ValueError(SECRET)
    assert MARKER not in "".join(traceback.format_exception(caught.value))


def test_it_must_be_asked() -> None:
    assert SECRET.reveal() == MARKER


def test_equal_texts_are_equal_secrets_and_never_equal_to_a_text() -> None:
    assert Secret(MARKER) == SECRET
    assert hash(SECRET) == hash(Secret(MARKER))
    assert Secret("another") != SECRET
    assert SECRET != MARKER


def test_the_label_is_the_beginning_of_its_sha_256() -> None:
    assert Secret("abc").label == "ba7816bf"


@given(st.text())
def test_every_text_has_a_label(text: str) -> None:
    assert len(Secret(text).label) == 8


def test_a_text_that_is_no_unicode_has_a_label_too() -> None:
    assert len(Secret("\ud800").label) == 8
