"""`tokenproxy run --upstream`: one upstream and its token, with no file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import Program, program_environment
from tests.e2e.test_exec import TOKEN, Api, api
from tests.e2e.test_failing_well import until

__all__ = ["api"]


@pytest.fixture
def started(tmp_path: Path, api: Api) -> Iterator[list[Program]]:
    running: list[Program] = []
    yield running
    for program in running:
        assert program.terminate() == 0
        assert program.printed == []  # nothing but the line of its listener: no admin
        assert "another-token" not in program.stderr_text()


def run(folder: Path, api: Api, *words: str) -> Program:
    command = ["-m", "tokenproxy", "run", "--upstream", f"{api.url}/v2"]
    env = {**program_environment(folder), "API_TOKEN": TOKEN}
    return Program([*command, "--listen", "127.0.0.1:0", *words], folder, env)


@pytest.mark.parametrize(
    "words",
    [
        ("--token-env", "API_TOKEN"),
        ("--token-file", "token"),
        ("--token-command", 'sh -c \'printf "%s" "$(cat token)"\''),
    ],
)
def test_the_token_is_put_in(
    tmp_path: Path, api: Api, started: list[Program], words: tuple[str, ...]
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    started.append(run(tmp_path, api, *words))
    assert requests.get(f"{started[0].url}/items", timeout=30).text == "fine"
    assert api.seen == [("/v2/items", f"Bearer {TOKEN}")]


def test_a_token_file_is_read_again_when_it_changes(
    tmp_path: Path, api: Api, started: list[Program]
) -> None:
    file = tmp_path / "token"
    file.write_text("another-token")
    started.append(run(tmp_path, api, "--token-file", "token"))

    def sends(token: str) -> bool:
        requests.get(f"{started[0].url}/items", timeout=30)
        return api.seen[-1][1] == f"Bearer {token}"

    assert sends("another-token")
    file.write_text(TOKEN)
    until(lambda: sends(TOKEN))
