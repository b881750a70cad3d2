"""What the how-to guides say of an error is what the program says of it."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, prose
from tokenproxy.errors import SourceRefused, UpstreamError, UpstreamFault
from tokenproxy.proxy.answers import ErrorCode, for_error

GUIDES = sorted((DOCS / "how-to").glob("*.md"))
SHOWN = re.compile(r'`(\w+)`, "([A-Z][^"]+\.)"')
CODE = re.compile(r"\b([45]\d\d) `(\w+)`")
FAULTS = [UpstreamError("", kind) for kind in UpstreamFault]
SAID = {(fault.code.value, fault.detail) for fault in map(for_error, [*FAULTS, SourceRefused("")])}


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_sentence_is_one_that_callers_are_told(page: Path) -> None:
    assert set(SHOWN.findall(prose(page))) <= SAID


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_code_stands_with_its_status(page: Path) -> None:
    known = {(str(code.status), code.value) for code in ErrorCode}
    assert set(CODE.findall(prose(page))) <= known


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_each_says_what_there_is_how_it_shows_and_what_goes_wrong(page: Path) -> None:
    text = page.read_text()
    assert "**You have**" in text
    assert "**You see that it works**" in text
    assert "| what goes wrong |" in text


def test_sentences_are_found() -> None:
    assert sum(len(SHOWN.findall(prose(page))) for page in GUIDES) >= 3
