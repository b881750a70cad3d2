"""What is true of all verbs: options by variables, help that helps, one sentence, exit codes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.e2e.conftest import program_environment
from tokenproxy.cli.app import app

VERBS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
ON_ONE = ["login", "logout", "token", "refresh"]
CONFIG = """\
store: {type: memory}
credentials: {shop: {type: static, token: a-token-of-the-test}, other: {type: file, path: none}}
routes: [{upstream: "https://shop.invalid", credential: shop}, {path: /o, upstream: \
"https://shop.invalid", credential: other}]
"""
ON_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
IN_MEMORY = (
    "error: the config keeps its tokens in memory, where no other process can see them: use "
    "'store: {type: file}' for this, or ask the proxy that runs at http://127.0.0.1:8081/api/status"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tokenproxy.yaml").write_text(CONFIG)
    return tmp_path


def said(folder: Path, *words: str, terminal: bool = False, **env: str) -> tuple[int, str, str]:
    wrapped = [sys.executable, "-c", ON_A_TERMINAL] if terminal else []
    done = subprocess.run(
        [*wrapped, sys.executable, "-m", "tokenproxy", *words],
        cwd=folder,
        env={**program_environment(folder), "COLUMNS": "100", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def options() -> Iterator[tuple[str, Any]]:
    for verb, command in VERBS.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                yield verb, parameter


def test_the_verbs_are_those_of_the_contract() -> None:
    assert set(VERBS) == {
        *("run", "exec", "demo", "check", "init", "schema", "status", "health"),
        *ON_ONE,
    }


def test_every_option_can_be_set_by_a_variable() -> None:
    for verb, option in options():
        name = max(option.opts, key=len)
        wanted = f"TOKENPROXY_{name.removeprefix('--').replace('-', '_').upper()}"
        found = [option.envvar] if isinstance(option.envvar, str) else option.envvar
        assert found == [wanted], (verb, name)
        assert option.help, (verb, name)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_examples_that_it_takes(verb: str) -> None:
    command = VERBS[verb]
    assert command.help
    assert "Examples:" in command.epilog
    assert f"tokenproxy {verb}" in command.epilog


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["check"], 0, ""),
        (["nope"], 2, "error: no such command 'nope': see 'tokenproxy --help'"),
        (["run", "--nope"], 2, "error: no such option: --nope: see 'tokenproxy run --help'"),
        (["token"], 2, "error: missing argument 'NAME': see 'tokenproxy token --help'"),
        (["exec"], 2, "error: missing argument 'CMD …': see 'tokenproxy exec --help'"),
        (["exec", "-c", "none.yaml", "true"], 2, "error: none.yaml: does not exist"),
        (["check", "-c", "none.yaml"], 2, "error: none.yaml: does not exist"),
        (["check", "--online"], 1, "error: credential 'other': "),
        (["health", "--admin", "127.0.0.1:1"], 1, "error: nothing answers on the admin listener"),
        (["status"], 2, IN_MEMORY),
        *(([verb, "shop"], 2, IN_MEMORY) for verb in ON_ONE),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_exit_codes_and_sentences(folder: Path, words: list[str], code: int, sentence: str) -> None:
    found, _, err = said(folder, *words)
    assert (found, err[: len(sentence)]) == (code, sentence)
    assert err.count("\n") == (1 if sentence else 0)


def test_without_a_verb_it_shows_its_help(folder: Path) -> None:
    code, out, err = said(folder)
    assert (code, err) == (2, "")
    assert [verb for verb in VERBS if f" {verb} " not in out] == []


@pytest.mark.parametrize(
    "env", [{"NO_COLOR": "1", "TERM": "xterm-256color"}, {"TERM": "dumb"}], ids=["plain", "dumb"]
)
@pytest.mark.parametrize("words", [["check"], ["--help"], ["run", "--help"], ["check", "--nope"]])
def test_a_terminal_that_wants_no_escape_codes_gets_none(
    folder: Path, words: list[str], env: dict[str, str]
) -> None:
    _, out, _ = said(folder, *words, terminal=True, **env)
    assert out
    assert "\x1b" not in out


def test_a_terminal_has_colours(folder: Path) -> None:
    assert "\x1b[" in said(folder, "check", terminal=True, TERM="xterm-256color")[1]


@pytest.mark.parametrize("verb", ON_ONE)
@pytest.mark.parametrize(
    ("words", "found"), [("s", ["shop"]), ("", ["other", "shop"]), ("-c none.yaml s", [])]
)
def test_names_of_credentials_are_completed(
    folder: Path, verb: str, words: str, found: list[str]
) -> None:
    line = f"tokenproxy {verb} {words}"
    count = str(len(line.split(" ")) - 1)
    env = {"_TOKENPROXY_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": count}
    program = "import sys; sys.argv = ['tokenproxy']; import tokenproxy.cli as c; c.main()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**program_environment(folder), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (found, "")


def test_completion_is_printed_for_a_shell(folder: Path) -> None:
    code, out, _ = said(
        folder, "--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert code == 0
    assert "complete " in out
    assert os.fspath(folder) not in out
