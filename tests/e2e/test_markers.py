"""One marker in every secret, and all that the program says searched for each of them.

The issuer, the egress proxy and the API here are one server that says back all it was sent,
wherever it can: in error fields, pages, and answers that are no HTTP. Nothing of that may come
through. What is written is searched for `***` too: that would be a secret which only the last
line of defence has held back.
"""

import json
import socket
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from tests.cli.shell import Shell
from tests.e2e.conftest import Program, ProxyFactory
from tests.e2e.oidc import SigningKey
from tests.e2e.test_failing_well import free_port
from tokenproxy.redaction import MASK, forms

pytestmark = pytest.mark.timeout(240)  # twenty verbs, of half a second each where nothing else runs
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="command lines are read from /proc")


@dataclass(frozen=True, slots=True)
class Markers:
    """A secret of each kind; those that an issuer gives are given by `Echo`."""

    made: dict[str, str] = field(default_factory=dict)
    key: SigningKey = field(default_factory=lambda: SigningKey.new("k", "ES256"))
    encryption_key: str = field(default_factory=lambda: b64encode(uuid4().bytes * 2).decode())

    def __getitem__(self, name: str) -> str:
        return self.made.setdefault(name, f"mark-{name}-{uuid4().hex}")

    def found(self, text: str) -> list[str]:
        """The names of those that show in a text, in whatever form; and `***`."""
        known = {**self.made, "encryption_key": self.encryption_key}
        known |= {f"key {at}": line for at, line in enumerate(self.key.pem.splitlines()[1:-1])}
        shown = [name for name, value in known.items() if any(one in text for one in forms(value))]
        return [*shown, *([MASK] if MASK in text else [])]


class Echo(BaseHTTPRequestHandler):
    """Says back what it was sent; what an issuer gives are markers."""

    protocol_version = "HTTP/1.1"
    markers: Markers

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        told = f"{self.path} {self.headers.as_string()} {body}"
        path = self.path.removeprefix("http://api.example")
        if path.startswith("/no-http"):
            self.wfile.write(b"HTTP/1.1 " + told.replace("\n", " ").encode() + b"\r\n\r\n")
            self.close_connection = True
        elif path.startswith("/good"):
            given = {
                name: self.markers[name] for name in ("access_token", "refresh_token", "id_token")
            }
            self._send(200, "application/json", json.dumps({**given, "expires_in": 600}))
        elif path.startswith("/refused"):
            said = {"error": "invalid_grant", "error_description": told, "error_uri": told}
            self._send(400, "application/json", json.dumps(said))
        elif path.startswith("/odd"):
            self._send(200, "application/json", json.dumps({"error": told, "detail": told}))
        elif path.startswith("/page"):
            self._send(500, "text/html", f"<h1>{told}</h1>")
        else:
            self._send(200, "text/plain", "ok")

    def _send(self, status: int, kind: str, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        """What the program writes is looked at, not what this server does."""


@pytest.fixture
def markers() -> Markers:
    return Markers()


@pytest.fixture
def echo(markers: Markers) -> Iterator[str]:
    handler = type("Handler", (Echo,), {"markers": markers})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = Thread(target=server.serve_forever, name="echo")
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def oauth2(url: str, grant: str, **more: Any) -> dict[str, Any]:
    known = {"type": "oauth2", "grant": grant, "token_url": url, "client_id": "us"}
    return {**known, "refresh": {"retries": 0, "wait": "3s"}, **more}


def credentials(markers: Markers, echo: str, folder: Path) -> dict[str, Any]:
    """One of each kind; all but `good`, `static` and `command` fail."""
    secret = {"client_auth": {"secret": markers["client_secret"]}}
    post = {"method": "client_secret_post", "secret": markers["client_secret_post"]}
    of_jwt = {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
    key = {"key": markers.key.pem, "key_id": "k", "algorithm": "ES256"}
    print_all = "import json, os, sys; out = open(sys.argv[1], 'a'); out.write(json.dumps(dict("
    print_all += "os.environ)) + ' '.join(sys.orig_argv)); "
    environment = str(folder / "environment")
    fail = "sys.exit(str(os.environ))"
    return {
        "good": oauth2(f"{echo}/good", "client_credentials", **secret),
        "password": oauth2(
            f"{echo}/refused", "password", username="anna", password=markers["password"], **secret
        ),
        "refresh": oauth2(
            f"{echo}/odd",
            "refresh_token",
            refresh_token=markers["first_refresh_token"],
            client_auth=post,
        ),
        "assertion": oauth2(
            f"{echo}/page", "jwt_bearer", client_auth={"method": "private_key_jwt", **key}, **key
        ),
        "exchange": oauth2(
            f"{echo}/no-http",
            "token_exchange",
            subject_token=markers["subject_token"],
            actor_token=markers["actor_token"],
            actor_token_type=of_jwt["subject_token_type"],
            extra={"pin": markers["extra"]},
            client_auth=post,
            **of_jwt,
        ),
        "json": {
            "type": "json",
            "login": {
                "url": f"{echo}/refused",
                "headers": {"X-Api-Key": markers["login_header"]},
                "form": {"pin": markers["login_form"]},
            },
        },
        "simplejwt": {
            "type": "simplejwt",
            "base_url": f"{echo}/page",
            "username": "anna",
            "password": markers["simplejwt_password"],
        },
        "static": {"type": "static", "token": markers["static"]},
        "command": {
            "type": "command",
            "argv": [
                sys.executable,
                "-c",
                f"{print_all}print('{markers['printed']}')",
                environment,
            ],
        },
        "failing": {
            "type": "command",
            "argv": [sys.executable, "-c", f"import os, sys; {fail}"],
            "env": {"PIN": markers["command_env"]},
        },
    }


def config(markers: Markers, echo: str, folder: Path) -> dict[str, Any]:
    known = credentials(markers, echo, folder)
    port = echo.rpartition(":")[2]
    routes = [{"path": f"/{name}", "upstream": echo, "credential": name} for name in known]
    more = [
        {"path": "/no-http", "upstream": f"{echo}/no-http", "credential": "static"},
        {"path": "/gone", "upstream": f"http://127.0.0.1:{free_port()}", "credential": "static"},
        {
            "path": "/proxied",
            "upstream": "http://api.example/no-http",
            "allow_insecure": True,
            "egress_proxy": f"http://us:{markers['egress']}@127.0.0.1:{port}",
            "headers": {"set": {"X-Key": markers["header"]}},
        },
    ]
    return {
        "client_key": "${CLIENT_KEY}",
        "credentials": known,
        "routes": [*routes, *more],
        "store": {"type": "file", "encryption_key": markers.encryption_key},
    }


def ask(program: Program, head: str) -> str:
    """All that comes back for these lines; each `HOST` is the right one."""
    authority = program.url.removeprefix("http://")
    host, port = authority.split(":")
    told = head.replace("HOST", authority).replace("\n", "\r\n") + "\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as caller:
        caller.sendall(told.encode())
        with caller.makefile("rb") as answer:
            return answer.read().decode()


def requests_of(markers: Markers) -> Iterator[str]:
    """What callers ask, well and badly; each a connection of its own."""
    key = f"X-Tokenproxy-Key: {markers['client_key']}\nConnection: close"
    query = markers["query"]
    paths = ["good", "password", "refresh", "assertion", "exchange", "json", "simplejwt", "static"]
    for name in [*paths, "command", "failing", "no-http", "gone", "proxied", "nowhere"]:
        yield f"GET /{name}/items?token={query} HTTP/1.1\nHost: HOST\n{key}"
    yield f"GET http://us:{query}@evil.example/?x={query} HTTP/1.1\nHost: HOST\n{key}"
    yield f"GET http://us:{query}@HOST/good?x={query} HTTP/1.1\nHost: HOST\n{key}"
    yield f"GET /good HTTP/1.1\nHost: {query}\n{key}"
    yield f"GET /good HTTP/1.1\nHost: HOST\nConnection: close\nX-Tokenproxy-Key: {query}"
    yield f"GET /good HTTP/1.1\nHost: HOST\nConnection: close\nAuthorization: Basic {query}"
    yield f"GET /good HTTP/1.1\nHost: HOST\nAuthorization : Bearer {query}\n{key}"
    yield f"GET /good?{query} HTTP/3.{query}\nHost: HOST\n{key}"
    yield f"{query} / HTTP/1.1\nHost: HOST\n{key}"
    yield f"CONNECT us:{query}@a.example:1 HTTP/1.1\nHost: HOST\n{key}"
    yield f"GET /good HTTP/1.1\nHost: HOST\nOrigin: https://{query}.example\n{key}"
    yield f"GET /good HTTP/1.1\nHost: HOST\nX: {query * 2000}\n{key}"


def children(pid: int) -> Iterator[Path]:
    """The folders in /proc of a process and those that it started."""
    yield Path(f"/proc/{pid}")
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from children(int(child))


PROCESSES: dict[str, dict[str, Any]] = {
    "json": {"log": {"level": "debug", "format": "json"}},
    "console": {"log": {"level": "debug", "format": "console"}},
    "two": {"log": {"level": "debug"}, "workers": 2},
}


@LINUX
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())
def test_a_running_proxy_shows_no_secret(
    proxy: ProxyFactory, markers: Markers, echo: str, tmp_path: Path, process: dict[str, Any]
) -> None:
    told = {**config(markers, echo, tmp_path), **process}
    program = proxy(told, CLIENT_KEY=markers["client_key"])

    answers = [ask(program, head) for head in requests_of(markers)]
    lines = [(one / "cmdline").read_text() for one in children(program.pid)]
    assert program.terminate() == 0

    assert {answer[:12] for answer in answers} >= {
        f"HTTP/1.1 {status}" for status in (200, 400, 401, 403, 404, 405, 421, 431, 502, 503)
    }
    for answer in answers:
        assert markers.found(answer) == [], answer
    assert markers.found(program.stderr_text()) == []
    assert markers.found("".join(lines)) == []
    environment = (tmp_path / "environment").read_text().partition("import")[0]
    assert markers.found(environment) == []


@contextmanager
def everything_said(shell: Shell, markers: Markers) -> Iterator[Any]:
    """Runs verbs in here; none shows a secret."""

    def run(verb: str, *words: str) -> int:
        said = shell(verb, *words, CLIENT_KEY=markers["client_key"])
        assert markers.found(said.out + said.err) == [], (verb, words)
        assert "Traceback" not in said.err
        return said.code

    yield run


def test_no_verb_shows_a_secret(
    proxy: ProxyFactory, markers: Markers, echo: str, tmp_path: Path
) -> None:
    told = config(markers, echo, tmp_path)
    failing = ["password", "refresh", "assertion", "exchange", "json", "simplejwt", "failing"]
    with everything_said(Shell(tmp_path, told), markers) as run:
        assert run("check") == 0
        assert run("check", "--online") != 0
        for name in failing:
            assert run("token", name) != 0
        for verb in ("refresh", "login", "logout"):
            assert run(verb, "good") == 0
            assert run(verb, "password") != 0 or verb == "logout"
        assert run("status") == 0
        assert run("status", "--json") == 0


Change = dict[str, Any]


def mistakes(markers: Markers, echo: str) -> dict[str, Change]:
    """Configs in which something is wrong with, or beside, a secret."""
    secret = markers["mistaken"]
    route = {"upstream": echo, "credential": "static"}
    return {
        "a key that is none": {"store": {"type": "file", "encryption_key": secret}},
        "a short key": {"client_key": secret[:12]},
        "a list": {"client_key": [secret]},
        "userinfo": {"routes": [{"upstream": f"https://us:{secret}@a.example"}]},
        "a proxy": {"routes": [{**route, "egress_proxy": f"socks5://us:{secret}@a.example"}]},
        "a header": {"routes": [{**route, "headers": {"set": {"X": f"{secret}\n"}}}]},
        "a mapping": {"credentials": {"static": {"type": "static", "token": {secret: secret}}}},
        "a space": {"credentials": {"static": {"type": "static", "token": f"{secret} {secret}"}}},
        "a type": {"credentials": {"static": {"type": secret, "token": secret}}},
        "no PEM": {
            "credentials": {
                "static": oauth2(f"https://us:{secret}@a.example", "jwt_bearer", key=secret)
            }
        },
    }


KINDS = list(mistakes(Markers(), "http://a.example"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_config_shows_no_secret(
    proxy: ProxyFactory, markers: Markers, echo: str, tmp_path: Path, kind: str
) -> None:
    told = {**config(markers, echo, tmp_path), **mistakes(markers, echo)[kind]}
    with everything_said(Shell(tmp_path, told), markers) as run:
        assert run("check") == 2


def test_a_redis_that_is_not_there_shows_no_secret(
    proxy: ProxyFactory, markers: Markers, echo: str, tmp_path: Path
) -> None:
    url = f"redis://us:{markers['redis']}@127.0.0.1:{free_port()}/0"
    told = {**config(markers, echo, tmp_path), "store": {"type": "redis", "url": url}}
    with everything_said(Shell(tmp_path, told), markers) as run:
        assert run("token", "good") != 0
        assert run("status") != 0
