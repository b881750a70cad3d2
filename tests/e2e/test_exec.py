"""`tokenproxy exec`: a command beside a proxy that is there for as long as it runs."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, Signals
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.e2e.conftest import program_environment

TOKEN = "the-token-that-the-command-must-not-see"
SECONDS = 40
PROXY_FAILED = 125
ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"
# Tells each signal that it gets; at SIGTERM it ends.
TELLER = """
import signal, sys
def told(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(9)
for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH"):
    signal.signal(getattr(signal, f"SIG{name}"), told)
print("ready", flush=True)
while True:
    signal.pause()
"""
# What is sent to the proxy after a Ctrl-C comes behind it: then no second one is on its way.
COUNTER = """
import os, signal, sys
seen = 0
def pressed(number, frame):
    global seen
    seen += 1
    if seen == 1:
        os.kill(os.getppid(), signal.SIGUSR1)
def asked(number, frame):
    print("seen", seen, "foreground", os.tcgetpgrp(0) == os.getpgrp(), flush=True)
    os._exit(4)
signal.signal(signal.SIGINT, pressed)
signal.signal(signal.SIGUSR1, asked)
print("ready", flush=True)
while True:
    signal.pause()
"""
ON_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
FAILING = """
import asyncio, os, sys
from tokenproxy.cli.exec import Job, beside

async def serving(announce, stopping):
    announce("listening on http://127.0.0.1:1")
    await asyncio.to_thread(sys.stdin.readline)  # the command says that it is there
    raise RuntimeError("marker-of-an-exception")

job = Job((sys.executable, "-c", sys.argv[1]), dict(os.environ), lambda url: {"URL": url})
sys.exit(asyncio.run(beside(job, serving)))
"""


class Api:
    """Keeps the path and the Authorization of all that comes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.path, self.headers["Authorization"]))
                self.send_response(200)
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"fine")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@dataclass(frozen=True, slots=True)
class Exec:
    """Runs `tokenproxy exec` by these words, with these variables."""

    folder: Path
    words: tuple[str, ...]
    env: Mapping[str, str]

    @contextmanager
    def begun(
        self, *command: str, wrapped: tuple[str, ...] = ()
    ) -> Iterator["subprocess.Popen[str]"]:
        line = [*wrapped, sys.executable, "-m", "tokenproxy", "exec", *self.words, "--", *command]
        with subprocess.Popen(
            line,
            cwd=self.folder,
            env={**program_environment(self.folder), **self.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def __call__(self, *command: str) -> tuple[int, str, str]:
        with self.begun(*command) as process:
            out, err = process.communicate("a line for the command\n", SECONDS)
            return process.returncode, out, err

    def environment(self) -> dict[str, str]:
        """What a command gets to see."""
        code, out, err = self(sys.executable, "-c", ENVIRONMENT)
        assert (code, err) == (0, "")
        found: dict[str, str] = json.loads(out)
        return found


@pytest.fixture
def run(tmp_path: Path, api: Api) -> Exec:
    words = ("--upstream", f"{api.url}/v2", "--token-env", "API_TOKEN")
    return Exec(tmp_path, words, {"API_TOKEN": TOKEN})


def with_config(folder: Path, config: dict[str, Any], *words: str, **env: str) -> Exec:
    (folder / "tokenproxy.yaml").write_text(yaml.safe_dump({"store": {"type": "memory"}, **config}))
    return Exec(folder, words, env)


def ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        (["true"], 0, ""),
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -TERM $$"], 128 + SIGTERM, ""),
        (["sh", "-c", "kill -KILL $$"], 137, ""),
        (
            ["no-such-command"],
            127,
            "error: cannot run 'no-such-command' (there is no such command)\n",
        ),
        (["/"], 126, "error: cannot run '/' (Permission denied)\n"),
    ],
)
def test_the_exit_code_is_the_commands(
    run: Exec, command: list[str], code: int, sentence: str
) -> None:
    assert run(*command) == (code, "", sentence)


def test_the_command_reaches_the_upstream_and_has_the_streams_to_itself(
    run: Exec, api: Api
) -> None:
    line = 'cat; curl -sS "$TOKENPROXY_URL/items"; echo; echo aside >&2'
    assert run("sh", "-c", line) == (0, "a line for the command\nfine\n", "aside\n")
    assert api.seen == [("/v2/items", f"Bearer {TOKEN}")]


def test_after_the_command_nobody_is_there(run: Exec) -> None:
    url = run.environment()["TOKENPROXY_URL"]
    port = urlsplit(url).port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port or 0)) != 0


@pytest.mark.parametrize("number", [SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH])
def test_signals_are_passed_on(run: Exec, number: Signals) -> None:
    with run.begun(sys.executable, "-c", TELLER) as process:
        ready(process)
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == number.name
        process.send_signal(SIGTERM)
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out.strip(), err) == (9, "SIGTERM", "")


def test_a_ctrl_c_reaches_the_command_once_in_the_foreground(run: Exec) -> None:
    terminal = (sys.executable, "-c", ON_A_TERMINAL)
    with run.begun(sys.executable, "-c", COUNTER, wrapped=terminal) as process:
        ready(process)
        assert process.stdin is not None
        process.stdin.write("\x03")
        process.stdin.flush()
        out, _ = process.communicate(timeout=SECONDS)
    assert out.splitlines()[-1].removeprefix("^C") == "seen 1 foreground True"
    assert process.returncode == 4


def test_each_route_has_a_variable(tmp_path: Path, api: Api) -> None:
    run = with_config(
        tmp_path,
        {
            "listen": "127.0.0.1:1",  # not where it listens
            "admin": "127.0.0.1:2",
            "workers": 3,
            "routes": [
                {"name": "shop-items", "path": "/shop/v2", "upstream": api.url},
                {"name": "other", "host": "other.localhost", "upstream": api.url},
            ],
        },
    )
    found = run.environment()
    base = found["TOKENPROXY_URL"]
    port = urlsplit(base).port
    assert {name: url for name, url in found.items() if name.startswith("TOKENPROXY_")} == {
        "TOKENPROXY_URL": f"http://127.0.0.1:{port}",
        "TOKENPROXY_URL_SHOP_ITEMS": f"http://127.0.0.1:{port}/shop/v2",
        "TOKENPROXY_URL_OTHER": f"http://other.localhost:{port}",
    }
    line = 'curl -sS "$TOKENPROXY_URL_SHOP_ITEMS/a"; curl -sS "$TOKENPROXY_URL_OTHER/b"'
    assert run("sh", "-c", line) == (0, "finefine", "")
    assert api.seen == [("/a", None), ("/b", None)]


def test_one_route_is_told_with_its_prefix_by_the_name_that_one_likes(
    tmp_path: Path, api: Api
) -> None:
    routes = [{"path": "/shop", "upstream": api.url}]
    run = with_config(tmp_path, {"routes": routes}, "--env", "API_URL")
    assert run("sh", "-c", 'curl -sS "$API_URL/items"') == (0, "fine", "")
    assert api.seen == [("/items", None)]


def test_names_that_lead_elsewhere_or_are_the_same_are_told(tmp_path: Path, api: Api) -> None:
    foreign = {"name": "far", "host": "far.example", "upstream": api.url}
    run = with_config(tmp_path, {"routes": [foreign]})
    code, out, err = run("true")
    sentence = "warning: route 'far' has no variable: its 'host' does not lead to this machine\n"
    assert (code, out, err) == (0, "", sentence)

    twins = [{"name": name, "path": f"/{name}", "upstream": api.url} for name in ("a-b", "a_b")]
    code, out, err = with_config(tmp_path, {"routes": twins})("true")
    assert (code, out) == (2, "")
    assert err.startswith(
        f"error: {tmp_path}/tokenproxy.yaml: routes 'a-b' and 'a_b' would both be told as $TOKEN"
    )


SECRETS = {
    "SHOP_PASSWORD": "marker-of-the-password",
    "PROXY_PASSWORD": "marker-of-the-proxy-password",
    "COPIED": "marker-of-the-password",
}
OTHERS = {"SHOP_USER": "anna", "UNRELATED": "marker-of-something-else"}


def shop(**more: Any) -> dict[str, Any]:
    return {
        "credentials": {
            "shop": {
                "type": "simplejwt",
                "base_url": "https://shop.invalid",
                "username": "${SHOP_USER}",
                "password": "${SHOP_PASSWORD}",
                "egress_proxy": "http://someone:${PROXY_PASSWORD}@127.0.0.1:1",
                "refresh": {"background": False},
            }
        },
        "routes": [{"upstream": "https://shop.invalid", "credential": "shop"}],
        **more,
    }


def test_the_command_is_not_given_what_the_config_took_as_secrets(tmp_path: Path) -> None:
    found = with_config(tmp_path, shop(), **SECRETS, **OTHERS).environment()
    assert SECRETS.keys() & found.keys() == set()
    assert OTHERS.items() <= found.items()


def test_a_variable_can_be_handed_on_all_the_same(tmp_path: Path) -> None:
    words = ("--keep-env", "SHOP_PASSWORD")
    found = with_config(tmp_path, shop(), *words, **SECRETS, **OTHERS).environment()
    assert SECRETS.keys() & found.keys() == {"SHOP_PASSWORD"}


def test_the_token_of_a_variable_is_not_handed_on(run: Exec) -> None:
    assert TOKEN not in run.environment().values()


def test_where_callers_need_a_key_the_command_has_one_of_its_own(tmp_path: Path, api: Api) -> None:
    own = "the-key-of-the-config-itself"
    routes = [{"upstream": api.url, "credential": "it"}]
    credentials = {"it": {"type": "static", "token": TOKEN}}
    config = {"client_key": own, "credentials": credentials, "routes": routes}
    run = with_config(tmp_path, config)
    curl = 'curl -so /dev/null -w "%{http_code} "'
    bare = '"http://${TOKENPROXY_URL#*@}/a"'
    line = f'{curl} "$TOKENPROXY_URL/a"; {curl} -H "X-Tokenproxy-Key: $TOKENPROXY_KEY" {bare}'

    assert run("sh", "-c", f"{line}; {curl} {bare}") == (0, "200 200 401 ", "")
    assert api.seen == [("/a", f"Bearer {TOKEN}")] * 2
    found = run.environment()
    assert own not in str(found)
    assert found["TOKENPROXY_KEY"] in found["TOKENPROXY_URL"]


def test_where_the_proxy_fails_the_command_is_ended(tmp_path: Path) -> None:
    command = "import signal; print('ready', flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", FAILING, command],
        env=program_environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        ready(process)
        out, err = process.communicate("go\n", SECONDS)  # the pipe ends with the command
    assert (process.returncode, out) == (PROXY_FAILED, "")
    assert err == "error: the proxy has failed by RuntimeError; please report it\n"
