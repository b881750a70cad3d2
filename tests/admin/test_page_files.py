"""The status page's files: what is served, as what, and that nothing it asks for is missing."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import PurePosixPath

import pytest
import requests

from tests.e2e.status_double import StatusDouble
from tokenproxy.admin.page_files import page_files
from tokenproxy.testing import running

FOLDER = files("tokenproxy.admin") / "page"
NAMES = sorted(file.name for file in FOLDER.iterdir())
REFERENCES = re.compile(r"""(?:href|src)="(page/[^"]+)"|from "(\./[^"]+)";""")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(StatusDouble()) as double:
        yield double.url


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_served_as_what_it_is_and_kept_by_nobody(
    session: requests.Session, url: str, name: str
) -> None:
    answer = session.get(url if name == "index.html" else f"{url}page/{name}", timeout=30)
    assert answer.status_code == 200
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["Content-Type"] == TYPES[PurePosixPath(name).suffix]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_policy_lets_in_what_the_page_brings_and_nothing_else(
    session: requests.Session, url: str
) -> None:
    policy = session.get(url, timeout=30).headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", NAMES)
def test_what_a_file_refers_to_is_there_and_nothing_is_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text()
    for of_page, of_module in REFERENCES.findall(text):
        assert f"/page/{PurePosixPath(of_page or of_module).name}" in page_files()
    assert set(re.findall(r"https?://[^\s\"'`]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert re.findall(r"<style|style=|<script>|onclick|innerHTML|eval\(", text) == []


@pytest.mark.parametrize(
    "path", ["page/", "page/../api.py", "page/%2e%2e/api.py", "page/index.html", "page/__init__.py"]
)
def test_nothing_but_the_pages_own_files_is_served(
    session: requests.Session, url: str, path: str
) -> None:
    asked = session.prepare_request(requests.Request("GET", url))
    asked.url = url + path  # as it is: not resolved before it is sent
    answer = session.send(asked, timeout=30)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
