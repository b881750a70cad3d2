"""git and pip, which know nothing of tokens, at servers that want one.

The git server is git's own `http-backend`; the package index is a folder of two pages.
"""

import gzip
import hashlib
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Program, ProxyFactory
from tests.e2e.guarded_server import Asked, Guarded, Told, guarded
from tests.e2e.test_failing_well import config, until
from tokenproxy.environment import variables
from tokenproxy.testing import Issuer, running

pytestmark = pytest.mark.timeout(180)  # git starts many processes, and a machine may be loaded
MIB = 1 << 20
LARGE = 6 * MIB  # more than git keeps before it sends chunks (http.postBuffer, 1 MiB)
TOO_LARGE = 12 * MIB  # for the proxy to keep (replay.max_body, 10 MiB)


# -- git -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def git() -> str:
    """The path of git with its smart HTTP server; without it these tests are skipped."""
    found = shutil.which("git")
    if found is not None:
        folder = subprocess.run([found, "--exec-path"], capture_output=True, text=True, check=True)
        if (Path(folder.stdout.strip()) / "git-http-backend").exists():
            return found
    if variables().get("CI") == "true":
        pytest.fail("no git is installed: run tests/install.sh as root", pytrace=False)
    pytest.skip("no git is installed")


class Git:
    """git as a user has it who has set nothing, and knows no password."""

    def __init__(self, folder: Path) -> None:
        home = folder / "git-home"
        home.mkdir()
        who = {"NAME": "Anna", "EMAIL": "anna@example.com"}
        self.env = {
            "PATH": variables()["PATH"],
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "false",
            **{f"GIT_AUTHOR_{name}": value for name, value in who.items()},
            **{f"GIT_COMMITTER_{name}": value for name, value in who.items()},
        }

    def __call__(self, *arguments: str, cwd: Path) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"git {' '.join(arguments)}\n{done.stderr}"
        return done.stdout.strip()

    def commit(self, where: Path, name: str, content: bytes) -> None:
        (where / name).write_bytes(content)
        self("add", name, cwd=where)
        self("commit", "-q", "-m", f"Add {name}", cwd=where)


class GitServer:
    """`git http-backend` by CGI (RFC 3875), for one bare repository."""

    def __init__(self, git: Git, folder: Path) -> None:
        self.root = folder / "served"
        self.root.mkdir()
        self.repository = self.root / "project.git"
        self._env = {**git.env, "GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1"}
        git("init", "-q", "--bare", "-b", "main", str(self.repository), cwd=folder)
        git("config", "http.receivepack", "true", cwd=self.repository)

    def __call__(self, asked: Asked) -> Told:
        done = subprocess.run(
            ["git", "http-backend"],
            env={**self._env, **_cgi(asked)},
            input=asked.body,
            capture_output=True,
            timeout=120,
            check=True,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((int(value[:3]) for name, value in fields if name == "Status"), 200)
        return Told(status, [(name, value) for name, value in fields if name != "Status"], body)


def _cgi(asked: Asked) -> Mapping[str, str]:
    named = {
        "CONTENT_TYPE": asked.headers.get("content-type"),
        "HTTP_CONTENT_ENCODING": asked.headers.get("content-encoding"),
        "HTTP_GIT_PROTOCOL": asked.headers.get("git-protocol"),
    }
    return {
        "REQUEST_METHOD": asked.method,
        "PATH_INFO": asked.path,
        "QUERY_STRING": asked.query,
        "CONTENT_LENGTH": str(len(asked.body)),
        "REMOTE_USER": "anna",
        "REMOTE_ADDR": "127.0.0.1",
        **{name: value for name, value in named.items() if value is not None},
    }


@dataclass(frozen=True, slots=True)
class Place:
    """Where a test works: a git, a repository, the server of it that wants a token, a proxy."""

    folder: Path
    git: Git
    repository: Path
    site: Guarded
    issuer: Issuer
    program: Program

    @property
    def url(self) -> str:
        """The repository's, through the proxy."""
        return f"{self.program.url}/project.git"

    def clone(self, name: str) -> Path:
        self.git("clone", "-q", self.url, name, cwd=self.folder)
        return self.folder / name

    def fill(self, commits: int = 3) -> Path:
        """The repository's first content, put there past the proxy."""
        work = self.folder / "first"
        self.git("init", "-q", "-b", "main", str(work), cwd=self.folder)
        for number in range(commits):
            self.git.commit(work, f"{number}.txt", b"%d\n" % number)
        self.git("push", "-q", str(self.repository), "main", cwd=work)
        return work

    def head(self, where: Path) -> str:
        return self.git("rev-parse", "main", cwd=where)

    def expire_before(self, number: int, method: str, ending: str) -> None:
        """Let all tokens expire as the nth such request comes."""
        left = number

        def before(came: str, path: str) -> None:
            nonlocal left
            if came == method and path.endswith(ending):
                left -= 1
                if left == 0:
                    self.issuer.expire_now()

        self.site.before = before

    def statuses(self, method: str, ending: str) -> list[int]:
        found = (line.split(" ") for line in self.site.seen)
        return [int(code) for came, path, code in found if came == method and path.endswith(ending)]


@pytest.fixture
def place(tmp_path: Path, proxy: ProxyFactory) -> Iterator[Place]:
    mine = Git(tmp_path)
    server = GitServer(mine, tmp_path)
    with running(Issuer()) as issuer, guarded(issuer, server) as site:
        program = proxy(config(issuer, site.url))
        yield Place(tmp_path, mine, server.repository, site, issuer, program)


def test_git_alone_is_not_let_in(place: Place) -> None:
    place.fill()
    with pytest.raises(AssertionError, match=r"could not read Username|Authentication failed"):
        place.git("clone", "-q", f"{place.site.url}/project.git", "alone", cwd=place.folder)


def test_a_clone_and_a_push_by_a_git_without_credentials(place: Place) -> None:
    first = place.fill()
    work = place.clone("work")
    assert place.head(work) == place.head(first)

    place.git.commit(work, "new.txt", b"new\n")
    place.git("push", "-q", cwd=work)

    assert place.head(place.repository) == place.head(work) != place.head(first)
    assert {line.rpartition(" ")[2] for line in place.site.seen} == {"200"}
    assert place.git("fsck", "--strict", cwd=place.repository) == ""


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_each_version_of_the_protocol_fetches_and_pushes(place: Place, version: str) -> None:
    place.fill()
    place.git.env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.version"}
    place.git.env |= {"GIT_CONFIG_VALUE_0": version}
    work = place.clone("work")
    place.git.commit(work, "new.txt", b"new\n")
    place.git("push", "-q", cwd=work)
    place.git("pull", "-q", cwd=work)
    assert place.head(place.repository) == place.head(work)


def test_a_large_clone_comes_whole(place: Place) -> None:
    first = place.fill()
    place.git.commit(first, "large.bin", random.Random(1).randbytes(LARGE))
    place.git("push", "-q", str(place.repository), "main", cwd=first)
    work = place.clone("work")
    assert (work / "large.bin").read_bytes() == (first / "large.bin").read_bytes()


def test_a_request_that_git_compresses_arrives_as_it_was(place: Place) -> None:
    """Many branches make a long list of wants, which git sends with gzip."""
    first = place.fill()
    for number in range(60):
        place.git("checkout", "-q", "-b", f"branch-{number}", "main", cwd=first)
        place.git("commit", "-q", "--allow-empty", "-m", f"{number}", cwd=first)
    place.git("push", "-q", "--all", str(place.repository), cwd=first)
    work = place.clone("work")
    assert len(place.git("branch", "-r", cwd=work).splitlines()) >= 60
    compressed = [a for a in place.site.asked if a.headers.get("content-encoding") == "gzip"]
    assert compressed
    assert all(gzip.decompress(asked.body) for asked in compressed)


def large_push(place: Place, size: int = LARGE) -> Path:
    place.fill()
    work = place.clone("work")
    place.git.commit(work, "large.bin", random.Random(2).randbytes(size))
    return work


def chunked_pushes(place: Place) -> list[Asked]:
    return [
        asked
        for asked in place.site.asked
        if asked.path.endswith("git-receive-pack") and asked.headers.get("transfer-encoding")
    ]


def test_a_large_push_in_chunks_arrives_whole(place: Place) -> None:
    work = large_push(place)
    place.git("push", "-q", cwd=work)
    assert place.head(place.repository) == place.head(work)
    [pushed] = chunked_pushes(place)
    assert len(pushed.body) > LARGE
    assert place.git("fsck", "--strict", cwd=place.repository) == ""


@pytest.mark.parametrize(
    ("number", "method", "ending"),
    [
        pytest.param(1, "GET", "service=git-receive-pack", id="before the refs"),
        pytest.param(1, "POST", "git-receive-pack", id="before the probe"),
        pytest.param(2, "POST", "git-receive-pack", id="before the pack"),
    ],
)
def test_a_token_that_expires_within_a_large_push_is_renewed(
    place: Place, number: int, method: str, ending: str
) -> None:
    work = large_push(place)
    renewals = place.issuer.refreshes
    place.expire_before(number, method, ending)

    place.git("push", "-q", cwd=work)

    assert place.head(place.repository) == place.head(work)
    assert place.issuer.refreshes == renewals + 1
    assert place.statuses(method, ending).count(401) == 1
    assert len(chunked_pushes(place)) == 1  # the pack was taken once
    assert place.git("fsck", "--strict", cwd=place.repository) == ""


def test_a_pack_that_was_taken_before_the_rejection_is_sent_again(place: Place) -> None:
    """By a server that knows no 100: the pack is kept while it goes out (contract 3.3.3)."""
    place.site.says_continue = False
    work = large_push(place)
    place.expire_before(2, "POST", "git-receive-pack")
    place.git("push", "-q", cwd=work)
    assert place.head(place.repository) == place.head(work)
    assert place.statuses("POST", "git-receive-pack") == [200, 401, 200]


def test_a_pack_too_large_to_keep_is_rejected_and_pushed_by_the_next_try(place: Place) -> None:
    place.site.says_continue = False
    work = large_push(place, TOO_LARGE)
    place.expire_before(2, "POST", "git-receive-pack")
    with pytest.raises(AssertionError, match="hung up unexpectedly"):  # git's words for a 401 here
        place.git("push", "-q", cwd=work)
    assert place.head(place.repository) != place.head(work)
    until(lambda: place.program.stderr_text().count('"status": 401') == 1)

    place.git("push", "-q", cwd=work)
    assert place.head(place.repository) == place.head(work)


@pytest.mark.parametrize("ending", ["service=git-upload-pack", "git-upload-pack"])
def test_a_token_that_expires_within_a_clone_is_renewed(place: Place, ending: str) -> None:
    first = place.fill()
    place.git("ls-remote", place.url, cwd=place.folder)  # it brings the first token
    place.expire_before(1, "GET" if "=" in ending else "POST", ending)
    work = place.clone("work")
    assert place.head(work) == place.head(first)
    assert 401 in [int(line.rpartition(" ")[2]) for line in place.site.seen]


# -- pip -----------------------------------------------------------------------------------------


def wheel(size: int) -> bytes:
    """A small package with one large file in it."""
    content = random.Random(3).randbytes(size)
    meta = "demo_tool-1.0.dist-info"
    files = {
        "demo_tool/__init__.py": b"",
        "demo_tool/data.bin": content,
        f"{meta}/METADATA": b"Metadata-Version: 2.1\nName: demo-tool\nVersion: 1.0\n",
        f"{meta}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{meta}/RECORD": b"",
    }
    made = BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


WHEEL = wheel(3 * MIB)
NAME = "demo_tool-1.0-py3-none-any.whl"
LINK = f'<a href="../../files/{NAME}#sha256={hashlib.sha256(WHEEL).hexdigest()}">{NAME}</a>'
HTML = [("Content-Type", "text/html")]


def index(asked: Asked) -> Told:
    """A simple index (PEP 503) that redirects to the names it likes."""
    match asked.path:
        case "/simple/demo-tool/":
            return Told(301, [("Location", "/simple/demo_tool/")], b"")
        case "/simple/demo_tool/":
            return Told(200, HTML, f"<!DOCTYPE html><html><body>{LINK}</body></html>".encode())
        case path if path == f"/files/{NAME}":
            return Told(200, [("Content-Type", "application/octet-stream")], WHEEL)
        case _:
            return Told(404, [], b"")


@contextmanager
def indexed(proxy: ProxyFactory) -> Iterator[tuple[Issuer, Guarded, Program]]:
    with running(Issuer()) as issuer, guarded(issuer, index) as site:
        told: dict[str, Any] = config(issuer, site.url)
        told["routes"][0]["path"] = "/pypi"
        yield issuer, site, proxy(told)


def download(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--index-url", f"{url}/simple/", "demo-tool"]
    env = {"PATH": variables()["PATH"], "HOME": str(folder), "PIP_CONFIG_FILE": "/dev/null"}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("expires_before", [None, "/simple/demo_tool/", f"/files/{NAME}"])
def test_pip_downloads_from_an_index_that_wants_a_token(
    tmp_path: Path, proxy: ProxyFactory, expires_before: str | None
) -> None:
    with indexed(proxy) as (issuer, site, program):
        warmed = download(f"{program.url}/pypi", tmp_path)
        assert warmed.returncode == 0, warmed.stderr
        (tmp_path / NAME).unlink()
        site.seen.clear()
        waiting = {expires_before}

        def before(_: str, path: str) -> None:
            if path in waiting:
                waiting.clear()
                issuer.expire_now()

        site.before = before
        done = download(f"{program.url}/pypi", tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / NAME).read_bytes() == WHEEL
    assert issuer.refreshes == (0 if expires_before is None else 1)
    assert sum(line.endswith(" 401") for line in site.seen) == issuer.refreshes


def test_pip_alone_is_not_let_in(tmp_path: Path, proxy: ProxyFactory) -> None:
    with indexed(proxy) as (_, site, _):
        assert download(site.url, tmp_path).returncode != 0
    assert {line.rpartition(" ")[2] for line in site.seen} == {"401"}
