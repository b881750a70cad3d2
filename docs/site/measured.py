"""Figures of the bench, as its report has them."""

import re
from pathlib import Path

REPORT = Path(__file__).parents[2] / "bench" / "README.md"
_HEADINGS = ("GET of 95 bytes", "10,000 idle connections that have asked once")


def written() -> str:
    """The sections of the report that say most."""
    return "\n".join(f"## {heading}\n\n{_section(heading)}" for heading in _HEADINGS)


def _section(heading: str) -> str:
    pattern = rf"^## {re.escape(heading)}\n\n(.*?)(?=^## )"
    found = re.search(pattern, REPORT.read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"{REPORT} has no section '{heading}': name another one here")
    return found[1]
