"""`--upstream` and its token: what the options stand for, and every way in which they can clash."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from tokenproxy.cli.app import app
from tokenproxy.cli.direct import Direct, direct_of, load_direct
from tokenproxy.errors import ConfigError

UPSTREAM = "https://api.example/v2"
TOKENS = "--token-env NAME, --token-file PATH or --token-command 'CMD …'"
NO_TOKEN = f"--upstream needs a token: add {TOKENS}"
ONE_TOKEN = f"there is more than one token: give only one of {TOKENS}"
OTHERWISE = "is for --upstream: give that as well, or say it in the config file"
REMOTE = (
    "--listen: would let other machines use your tokens: listen on 127.0.0.1, [::1], localhost or "
    "a unix socket, or say 'allow_remote: [listen]' in a config file"
)


def context_of(verb: str, *words: str) -> typer.Context:
    command = get_command(app).commands[verb]  # type: ignore[attr-defined]
    context: typer.Context = command.make_context(verb, list(words))
    return context


def told(words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(words)
    [problem] = caught.value.problems
    return str(problem)


def loaded(words: str) -> Direct | None:
    direct = direct_of(context_of("run", *words.split()))
    if direct is not None:
        load_direct(direct)
    return direct


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    monkeypatch.setenv("GOOD", "the-token-in-the-variable")
    monkeypatch.setenv("SPACED", "two words")
    return monkeypatch.setenv


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (f"--upstream {UPSTREAM}", NO_TOKEN),
        (f"--upstream {UPSTREAM} --token-env GOOD --token-file t", ONE_TOKEN),
        (f"--upstream {UPSTREAM} --token-command t --token-file t", ONE_TOKEN),
        (
            f"-c c.yaml --upstream {UPSTREAM} --token-env GOOD",
            "-c and --upstream exclude each other: give one of them",
        ),
        ("--token-env GOOD", f"--token-env {OTHERWISE}"),
        ("-c c.yaml --listen 127.0.0.1:0", f"--listen {OTHERWISE}"),
        (
            "--upstream ftp://x --token-env GOOD",
            "--upstream: must be a full URL such as https://shop.example",
        ),
        (
            "--upstream http://api.example --token-env GOOD",
            "--upstream: would send its token unencrypted: use an https 'upstream', or say "
            "'allow_insecure: true' in a config file",
        ),
        (
            f"--upstream {UPSTREAM} --token-env NONE",
            "--token-env: names an environment variable that is not set: set it, or name another",
        ),
        (
            f"--upstream {UPSTREAM} --token-env SPACED",
            "--token-env: holds a character that no token may have (a space or line break?)",
        ),
        (
            f"--upstream {UPSTREAM} --token-command 'x",
            "--token-command: has a quote or backslash that nothing follows: close it",
        ),
        (
            f"--upstream {UPSTREAM} --token-file .",
            "--token-file: is a folder: name the file in it that holds the token",
        ),
        (f"--upstream {UPSTREAM} --token-env GOOD --listen 0.0.0.0:1", REMOTE),
    ],
)
def test_what_does_not_go_together_is_one_sentence(words: str, sentence: str) -> None:
    assert told(words) == sentence


def test_what_is_typed_wins_over_the_environment(variables: Callable[[str, str], None]) -> None:
    variables("TOKENPROXY_CONFIG", "none.yaml")
    variables("TOKENPROXY_TOKEN_FILE", "none")
    assert loaded(f"--upstream {UPSTREAM} --token-env GOOD") == Direct(
        UPSTREAM, "token_env", "GOOD"
    )


def test_a_config_that_is_typed_wins_over_an_upstream_in_the_environment(
    variables: Callable[[str, str], None],
) -> None:
    variables("TOKENPROXY_UPSTREAM", UPSTREAM)
    variables("TOKENPROXY_TOKEN_ENV", "GOOD")
    assert loaded("-c c.yaml") is None
    assert loaded("") == Direct(UPSTREAM, "token_env", "GOOD")


def test_a_command_is_split_as_a_shell_would_and_nothing_is_replaced_in_it() -> None:
    direct = Direct(UPSTREAM, "token_command", "tool --name 'two words' '${NAME}' $$")

    config = load_direct(direct).config

    credential = config.credentials["token"]
    assert credential.type == "command"
    assert credential.argv == ("tool", "--name", "two words", "${NAME}", "$$")
    assert (config.admin, config.store.type) == (None, "memory")


def test_a_file_is_named_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    credential = load_direct(Direct(UPSTREAM, "token_file", "token")).config.credentials["token"]
    assert credential.type == "file"
    assert credential.path == tmp_path / "token"
