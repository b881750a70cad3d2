"""The site can be built with nothing broken, and says what the program says."""

import json
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from docs.site import commands, hooks, keys, tables
from tests.deploy.metrics import METRICS
from tests.docs.pages import DOCS, PAGES, REPOSITORY, prose
from tests.e2e.conftest import program_environment
from tokenproxy.config.process import Log
from tokenproxy.events import RequestServed, TokenRenewed
from tokenproxy.proxy.answers import ErrorCode
from tokenproxy.server.log import LINES, EventLog

PATHS = {
    keys.joined(block.path, keys.key(name, field))
    for block in keys.blocks()
    for name, field in block.model.model_fields.items()
}
FETCHED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*?\ssrc="(https?:[^"]+)|"""
                     r"""<link\b[^>]*?\shref="(https?:[^"]+)""")  # fmt: skip
SCENARIOS = "testing.md"  # the keys of its tables are those of scenario files
TABLE = re.compile(r"^\| key \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages as the site has them."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder,
         "--config-file", DOCS / "site" / "mkdocs.yml"],
        cwd=REPOSITORY,
        env=program_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout
    return folder


def test_it_can_be_built_with_nothing_broken(site: Path) -> None:
    assert (site / "index.html").exists()


def test_it_asks_for_nothing_from_elsewhere(site: Path) -> None:
    asked = [found for page in site.rglob("*.html") for found in FETCHED.findall(page.read_text())]
    assert asked == []


def test_every_mark_is_filled_in(site: Path) -> None:
    assert [
        page for page in site.rglob("*.html") if "written by the program:" in page.read_text()
    ] == []


@pytest.mark.parametrize("mark", hooks.WRITERS)
def test_every_part_has_a_page(mark: str) -> None:
    asked = [
        page for page in PAGES if f"<!-- written by the program: {mark} -->" in page.read_text()
    ]
    assert len(asked) == 1


def test_every_metric_code_and_event_is_told_of() -> None:
    assert names(tables.metrics()) >= METRICS
    assert {code.value for code in ErrorCode} == names(tables.errors())
    assert {name for _, name in LINES.values()} == names(tables.events())


def test_the_fields_of_an_event_are_those_that_its_line_has() -> None:
    stream = StringIO()
    with EventLog(Log(format="json"), stream) as log:
        log(RequestServed("shop", "GET", "/", 502, 0.1, 0, 0, replayed=True, code="c",
                          complete=False, error="e"))  # fmt: skip
        log(TokenRenewed("shop", "label", 0.1, 60.0))
    for line in map(json.loads, stream.getvalue().splitlines()):
        (row,) = re.findall(
            rf"^\| `{line['event']}` \|[^|]*\|([^|]*)\|", tables.events(), re.MULTILINE
        )
        assert set(re.findall(r"`(\w+)`", row)) == line.keys() - {"event", "level", "timestamp"}


def test_every_verb_is_told_of() -> None:
    told = set(re.findall(r"^## (.+)$", commands.written(), re.MULTILINE))
    assert told == set(commands.group().commands)


def test_keys_are_found_however_deep_they_stand() -> None:
    assert {"listen", "credentials.NAME.client_auth.method", "routes[].replay.max_body"} <= PATHS
    assert {"store.url", "routes[].refresh_on[].json", "listen[].tls.client_ca"} <= PATHS


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != SCENARIOS], ids=lambda page: page.name
)
def test_a_key_that_a_table_names_is_one_that_there_is(page: Path) -> None:
    rows = "".join(TABLE.findall(prose(page)))
    known = {path.rpartition("NAME.")[2].removeprefix("routes[].") for path in PATHS} | PATHS
    for cell in re.findall(r"^\|([^|]+)\|", rows, re.MULTILINE):
        assert set(re.findall(r"`([^`]+)`", cell)) <= known


def names(table: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
