"""Every link of a page to another, or to a file, leads somewhere; also on GitHub."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, REPOSITORY, prose

LINK = re.compile(r"\]\(([^)\s]+)\)")
LINKS = [
    (page, link)
    for page in PAGES
    for link in LINK.findall(prose(page))
    if not link.startswith(("http://", "https://"))
]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("page", "link"), LINKS, ids=[f"{page.relative_to(REPOSITORY)}-{link}" for page, link in LINKS]
)
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists()
    assert not heading or heading in anchors(target)
