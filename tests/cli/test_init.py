"""`tokenproxy init`: whatever is asked, what it writes is a config that `check` passes."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.conftest import program_environment
from tokenproxy.cli.blocks import GRANTS, KINDS, Answers, block_of
from tokenproxy.cli.check import check
from tokenproxy.cli.starter import next_step, written
from tokenproxy.config.load import load_config

ALL = [
    *(Answers(kind) for kind in KINDS if kind != "oauth2"),
    *(Answers("oauth2", grant=grant) for grant in GRANTS),
    Answers("simplejwt", name="9-shop", username="it's $HOME: #1", base_url="https://a.example/b"),
    Answers("json", username='"quoted" \\ null'),
    Answers("oauth2", client_id="true", grant="password", username="0x1f"),
    Answers("gcloud", upstream="https://api.example/$base/{x}"),
]


def pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()


@pytest.mark.parametrize("answers", ALL, ids=lambda it: f"{it.kind}-{it.grant}-{it.name}")
def test_what_is_written_passes_check(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: Answers,
) -> None:
    block, text = block_of(answers), written(answers)
    for variable in block.variables:
        monkeypatch.setenv(variable, "a-secret-of-the-test")
    for path in block.files:
        here = tmp_path / Path(path).name
        here.write_text(pem())
        text = text.replace(path, str(here))
    file = tmp_path / "tokenproxy.yaml"
    file.write_text(text)

    check(file)

    assert capsys.readouterr().out.startswith(f"{file} is fine.")
    config = load_config(file, environment=dict.fromkeys(block.variables, "a-secret")).config
    [(name, credential)] = config.credentials.items()
    assert name == answers.name
    assert config.routes[0].upstream == answers.upstream
    if answers.username and answers.kind != "oauth2":
        assert repr(answers.username) in repr(credential.model_dump())
    assert next_step(answers, "tokenproxy.yaml").endswith("'tokenproxy run'")


def init(folder: Path, *words: str, **env: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tokenproxy", "init", *words],
        cwd=folder,
        env={**program_environment(folder), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_file_is_its_owners_and_is_not_overwritten_by_mistake(tmp_path: Path) -> None:
    file = tmp_path / "tokenproxy.yaml"
    step = "next: 'export SHOP_PASSWORD=…', then 'tokenproxy run'\n"
    words = ("--type", "simplejwt", "--name", "shop", "--username", "anna")
    assert init(tmp_path, *words) == (0, "", f"wrote tokenproxy.yaml\n{step}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_text()

    code, out, err = init(tmp_path, "--type", "gh")
    there = "error: tokenproxy.yaml is there already: name another file, or add --force\n"
    assert (code, out, err, file.read_text()) == (2, "", there, before)

    assert init(tmp_path, "--force", TOKENPROXY_TYPE="gh")[0] == 0
    assert "argv: [gh, auth, token]" in file.read_text()


def test_standard_output_has_the_config_and_nothing_else(tmp_path: Path) -> None:
    code, out, err = init(tmp_path, "-", "--type", "az")
    assert (code, out, err) == (0, written(Answers("az")), "next: 'tokenproxy run'\n")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "--type is missing: it is one of simplejwt, json, "),
        (["--type", "oauth2", "--issuer", "ftp://x"], "--issuer: must be a full URL such as"),
        (["--type", "gh", "--name", "A B"], "--name: is no name for a credential: use lower-"),
        (["--type", "gh", "--upstream", "x"], "--upstream: must be a full URL such as https"),
        (["/none/x.yaml", "--type", "gh"], "/none/x.yaml cannot be written (No such file or"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    code, out, err = init(tmp_path, *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1


def test_a_person_is_asked_on_a_terminal_and_never_for_a_secret(tmp_path: Path) -> None:
    terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    done = subprocess.run(
        [sys.executable, "-c", terminal, sys.executable, "-m", "tokenproxy", "init"],
        cwd=tmp_path,
        env={**program_environment(tmp_path), "TERM": "xterm", "COLUMNS": "100"},
        input="oauth2\nhttps://shop.example/api\n\npassword\nshop-client\nanna\n",
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    answers = Answers(
        "oauth2",
        upstream="https://shop.example/api",
        grant="password",
        client_id="shop-client",
        username="anna",
    )
    assert (tmp_path / "tokenproxy.yaml").read_text() == written(answers)
    assert "assword" not in done.stdout.split("next: ")[0].replace("password", "", 3)
