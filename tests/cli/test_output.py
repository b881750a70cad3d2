"""Standard streams that are full or closed: a sentence and an exit code, or nothing at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import program_environment
from tests.e2e.test_failing_well import free_port, until

FULL = Path("/dev/full")
NO_ROOM = "error: cannot write to standard output (No space left on device)\n"
CONFIG = """\
listen: 127.0.0.1:{port}
admin: null
store: {{type: memory}}
routes: [{{upstream: "http://127.0.0.1:1"}}]
"""
VERBS = [["--version"], ["--help"], ["check", "-c", "c.yaml"], ["run", "-c", "c.yaml"]]

needs_full = pytest.mark.skipif(not FULL.exists(), reason="Linux has such a device")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "c.yaml").write_text(CONFIG.format(port=0))
    return tmp_path


def shell(folder: Path, redirection: str, *words: str, **env: str) -> subprocess.Popen[str]:
    """The program as a shell starts it."""
    line = f'exec "$0" -m tokenproxy "$@" {redirection}'
    return subprocess.Popen(
        ["sh", "-c", line, sys.executable, *words],
        cwd=folder,
        env={**program_environment(folder), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(folder: Path, redirection: str, *words: str, **env: str) -> tuple[int, str, str]:
    with shell(folder, redirection, *words, **env) as process:
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err


@needs_full
@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[0])
def test_a_full_standard_output_is_one_sentence(folder: Path, words: list[str]) -> None:
    assert said(folder, f"> {FULL}", *words) == (1, "", NO_ROOM)


@needs_full
def test_a_full_standard_output_without_a_buffer_is_one_sentence(folder: Path) -> None:
    assert said(folder, f"> {FULL}", "--version", PYTHONUNBUFFERED="1") == (1, "", NO_ROOM)


def test_a_reader_that_has_gone_is_one_sentence(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tokenproxy", "check", "-c", "c.yaml"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=program_environment(folder),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(write)
    sentence = "error: cannot write to standard output (Broken pipe)\n"
    assert (done.returncode, done.stderr) == (1, sentence)


@needs_full
def test_a_full_standard_error_leaves_the_exit_code_alone(folder: Path) -> None:
    assert said(folder, f"2> {FULL}", "check", "-c", "missing.yaml") == (2, "", "")
    assert said(folder, f"2> {FULL}", "--version")[0] == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_written_to_nowhere(folder: Path, closed: str) -> None:
    code, out, err = said(folder, closed, "check", "-c", "c.yaml")
    assert (code, err) == (0, "")
    assert bool(out) is (">&-" not in closed.split())


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_an_error_without_a_stream_is_an_exit_code(folder: Path, closed: str) -> None:
    code, out, err = said(folder, closed, "check", "-c", "missing.yaml")
    assert (code, out) == (2, "")
    assert err == ("" if "2>&-" in closed else "error: missing.yaml: does not exist\n")


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_proxy_with_closed_streams_serves_and_writes_into_no_connection(
    folder: Path, closed: str
) -> None:
    port = free_port()
    (folder / "c.yaml").write_text(CONFIG.format(port=port))

    def answers() -> bool:
        try:
            return client.get(f"http://127.0.0.1:{port}/", timeout=5).status_code == 502
        except requests.ConnectionError:
            return False

    with shell(folder, closed, "run", "-c", "c.yaml") as process, requests.Session() as client:
        client.trust_env = False
        try:
            until(answers)
            assert [answers() for _ in range(3)] == [True] * 3
        finally:
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in err
