"""`tokenproxy health`: an exit code and one sentence, whatever answers there."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from tokenproxy.cli.health import health
from tokenproxy.errors import ConfigError

READY = b'{"ready": true, "reasons": [], "warnings": []}'
STOPPING = b'{"ready": false, "reasons": ["stopping", "shop: unavailable"], "warnings": []}'


Said = tuple[bytes, int, str]  # what is answered, the exit code, and the sentence


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@contextmanager
def answering(listener: socket.socket, said: bytes) -> Iterator[list[bytes]]:
    """One that answers one request."""
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(4096))
            connection.sendall(said)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        thread.join(10)
        listener.close()


def written(folder: Path, admin: object) -> Path:
    file = folder / "c.yaml"
    file.write_text(f"admin: {admin}\nroutes: [{{upstream: https://shop.example}}]\n")
    return file


@pytest.mark.parametrize("host", ["127.0.0.1", "unix"])
@pytest.mark.parametrize(
    "said",
    [
        (answer(READY), 0, "ready"),
        (
            answer(STOPPING, b"503 No"),
            1,
            "error: not ready: stopping, shop: unavailable",
        ),
        (answer(b"{}"), 1, "error: nothing answers on the admin listener, WHERE: is it running?"),
        (answer(b"<html>"), 1, "error: nothing answers on the admin listener, WHERE: is it "),
        (answer(b"[1]"), 1, "error: nothing answers on the admin listener, WHERE: is it running?"),
        (b"SSH-2.0-x\r\n", 1, "error: nothing answers on the admin listener, WHERE: is it "),
        (b"", 1, "error: nothing answers on the admin listener, WHERE: is it running?"),
    ],
)
def test_what_readyz_says_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, said: Said
) -> None:
    answered, code, sentence = said
    family = socket.AF_UNIX if host == "unix" else socket.AF_INET
    listener = socket.socket(family)
    listener.bind(str(tmp_path / "s") if host == "unix" else (host, 0))
    listener.listen()
    where = f"unix:{tmp_path}/s" if host == "unix" else f"{host}:{listener.getsockname()[1]}"

    with answering(listener, answered) as asked:
        found = _code(written(tmp_path, where))

    assert found == code
    assert asked[0].startswith(b"GET /readyz HTTP/1.1\r\n")
    shown = capsys.readouterr()
    assert (shown.out + shown.err).startswith(sentence.replace("WHERE", where))
    assert (shown.out + shown.err).count("\n") == 1


def _code(file: Path, admin: str | None = None) -> int:
    try:
        health(file, admin)
    except typer.Exit as end:
        return end.exit_code
    return 0


def test_where_nobody_listens_that_is_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _code(written(tmp_path, f"unix:{tmp_path}/nobody")) == 1
    assert "is it running?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("admin", "sentence"),
    [
        ("null", "has no 'admin' listener that could be asked: give it one"),
        ("127.0.0.1:0", "has its 'admin' listener on a port that the system picks: name one"),
    ],
)
def test_what_cannot_be_asked_is_a_mistake_in_the_config(
    tmp_path: Path, admin: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        health(written(tmp_path, admin))


def test_a_file_with_mistakes_elsewhere_still_tells_where_to_ask(tmp_path: Path) -> None:
    file = written(tmp_path, f"unix:{tmp_path}/s")
    file.write_text(file.read_text() + "wrokers: 3\nclient_key: ${NOBODY_SETS_THIS}\n")
    assert _asked_there(tmp_path, file, None) == 0


def test_an_address_that_is_named_needs_no_config(tmp_path: Path) -> None:
    assert _asked_there(tmp_path, tmp_path / "none.yaml", f"unix:{tmp_path}/s") == 0


def _asked_there(folder: Path, file: Path, admin: str | None) -> int:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "s"))
    listener.listen()
    with answering(listener, answer(READY)):
        return _code(file, admin)


@pytest.mark.parametrize("text", ["admin: 8081", "admin: [", "", "admin: ${NOBODY_SETS_THIS}"])
def test_a_file_that_does_not_tell_where_is_told_as_such(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        health(file)


def test_what_is_no_address_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--admin must be 'host:port' or 'unix:/path'"):
        health(tmp_path / "none.yaml", "8081")
