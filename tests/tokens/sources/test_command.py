import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tokenproxy.errors import SourceUnavailable
from tokenproxy.secret import Secret
from tokenproxy.settings.command import Command
from tokenproxy.tasks import cancelled, spawn
from tokenproxy.testing import ManualClock
from tokenproxy.tokens.exec_credential import exec_info
from tokenproxy.tokens.source import Attempt
from tokenproxy.tokens.sources.command import CommandSource
from tokenproxy.tokens.token import Granted, Record, Token

NOW = 1_800_000_000.0
ENVIRONMENT = {"PATH": os.defpath, "HOME": "/nowhere"}


def _source(*argv: str, **keys: object) -> CommandSource:
    settings = Command.model_validate({"type": "command", "argv": argv, **keys})
    return CommandSource("shop", settings, ENVIRONMENT, ManualClock(wall=NOW))


def _shell(script: str, **keys: object) -> CommandSource:
    return _source("/bin/sh", "-c", script, **keys)


async def _fetched(source: CommandSource) -> Granted:
    async with asyncio.timeout(10):
        return await source.fetch(Attempt.LOGIN, Record())


async def _printed(source: CommandSource) -> str:
    return (await _fetched(source)).token.access.reveal()


async def _failure(source: CommandSource) -> str:
    with pytest.raises(SourceUnavailable) as caught:
        await _fetched(source)
    assert not caught.value.retriable
    return str(caught.value)


def _is_running(pid: int) -> bool:
    """A zombie is not: of grandchildren that were killed only init can make an end."""
    ps = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return ps.stdout.strip()[:1] not in {b"", b"Z"}


async def _all_end(*pids: int) -> None:
    async with asyncio.timeout(5):
        while any(map(_is_running, pids)):  # noqa: ASYNC110 - they are nobody's children here
            await asyncio.sleep(0.01)


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def _children() -> set[str]:
    """All there are, be it as zombies; a fixture of another test may have some of its own."""
    ps = subprocess.run(
        ["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=False,
    )
    return {line.strip() for line in ps.stdout.splitlines() if not line.strip().endswith("ps")}


# -- what it prints --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script", ["printf tok", "echo tok", r"printf 'tok\r\n'", r"printf '\357\273\277tok\n'"]
)
async def test_a_command_that_prints_text_prints_the_token(script: str) -> None:
    assert await _fetched(_shell(script)) == Granted(Token(Secret("tok"), NOW, None))


@pytest.mark.parametrize(
    ("keys", "output", "expires_at"),
    [
        ({}, '{"access_token": "tok", "expires_in": 60}', NOW + 60),
        ({}, '{"access_token": "tok", "expires_in": "60"}', NOW + 60),
        ({}, '{"access_token": "tok", "expires_in": -1}', None),
        ({}, '{"access_token": "tok"}', None),
        ({"refresh": {"default_ttl": "5m"}}, '{"access_token": "tok"}', NOW + 300),
        (
            {"fields": {"access_token": "a.t", "expires_in": "a.ttl"}},
            '{"a": {"t": "tok", "ttl": 9}}',
            NOW + 9,
        ),
    ],
)
async def test_a_command_that_prints_json_prints_the_token_in_a_field(
    keys: dict[str, Any], output: str, expires_at: float | None
) -> None:
    source = _source("printf", "%s", output, format="json", **keys)
    assert await _fetched(source) == Granted(Token(Secret("tok"), NOW, expires_at))


@pytest.mark.parametrize(
    ("keys", "output", "what"),
    [
        ({}, "\\n", "printed no token that a request can carry"),
        ({}, "two tokens", "printed no token that a request can carry"),
        ({}, r"\377\376", "printed something that is not text"),
        ({"format": "json"}, "\\n", "printed something that is not json"),
        ({"format": "json"}, "tok", "printed something that is not json"),
        ({"format": "json"}, "[1]", "printed no token that a request can carry"),
        ({"format": "json"}, '{"access_token": null}', "printed no token that a request can carry"),
    ],
)
async def test_what_is_no_token_is_told_in_a_sentence(
    keys: dict[str, Any], output: str, what: str
) -> None:
    said = await _failure(_source("printf", output, **keys))
    assert said == f"credential 'shop': the command 'printf' {what}"


async def test_a_credential_plugin_prints_the_token_and_its_end() -> None:
    printed = (
        '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
        '"status": {"token": "tok", "expirationTimestamp": "2033-05-18T03:33:20Z"}}'
    )
    source = _source("printf", "%s", printed, format="exec_credential")
    token = (await _fetched(source)).token
    assert (token.access.reveal(), token.expires_at) == ("tok", 2_000_000_000.0)


async def test_a_credential_plugin_is_told_what_it_is_asked_for() -> None:
    script = (
        'printf \'{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '
        '"status": {"token": "%s"}}\' "$(printf %s "$KUBERNETES_EXEC_INFO" | wc -c | tr -d " ")"'
    )
    source = _shell(script, format="exec_credential")
    assert (await _fetched(source)).token.access.reveal() == str(len(exec_info()))


@pytest.mark.parametrize("printed", ["tok", "{}", '{"kind": "ExecCredential"}'])
async def test_what_is_no_exec_credential_is_told_in_a_sentence(printed: str) -> None:
    source = _source("printf", "%s", printed, format="exec_credential")
    assert "printed something that is not exec_credential" in await _failure(source)


async def test_json_that_is_nested_without_end_is_no_token() -> None:
    script = "head -c 200000 /dev/zero | tr '\\0' '['"
    assert "is not json" in await _failure(_shell(script, format="json"))


# -- how it is run ---------------------------------------------------------------------------


async def test_argv_is_run_as_it_is_and_by_no_shell() -> None:
    assert await _printed(_source("printf", "%s", "$HOME;`id`|*&&'\"")) == "$HOME;`id`|*&&'\""


async def test_the_configured_environment_is_added_to_ours() -> None:
    script = 'printf "%s,%s,%s" "$HOME" "$ACCOUNT" "${PYTEST_CURRENT_TEST:-none}"'
    source = _shell(script, env={"ACCOUNT": "a-1", "HOME": "/else"})
    assert await _printed(source) == "/else,a-1,none"


async def test_a_command_gets_no_input() -> None:
    assert await _printed(_shell("cat; echo nothing")) == "nothing"


async def test_a_command_inherits_no_descriptor(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        names = await _printed(_shell("ls -l /proc/self/fd | grep -c secret; true"))
    assert names == "0"


async def test_only_what_is_said_on_standard_output_counts() -> None:
    assert await _printed(_shell("echo noise >&2; echo tok")) == "tok"


@pytest.mark.parametrize("output", [">/dev/null", ""], ids=["lets go of it", "holds the output"])
async def test_a_process_that_goes_on_in_the_background_is_left_alone(
    tmp_path: Path, output: str
) -> None:
    """Some commands start a helper that keeps credentials."""
    script = f"sleep 60 {output} & echo $! > {tmp_path}/pid; echo tok"
    assert await _printed(_shell(script)) == "tok"
    pid = int((tmp_path / "pid").read_text())
    assert _is_running(pid)
    os.kill(pid, signal.SIGKILL)


async def test_a_command_can_be_run_again() -> None:
    source = _source("echo", "tok")
    assert source.attempts(Record()) == (Attempt.LOGIN,)
    assert [await _printed(source) for _ in range(2)] == ["tok", "tok"]


# -- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("echo tok; exit 1", "ended with exit code 1; run it by hand to see why"),
        ("exit 127", "ended with exit code 127; run it by hand to see why"),
        ("echo tok; kill -TERM $$", "was ended by signal 15; run it by hand to see why"),
    ],
)
async def test_a_command_that_fails_gives_no_token(script: str, what: str) -> None:
    assert await _failure(_shell(script)) == f"credential 'shop': the command '/bin/sh' {what}"


async def test_nothing_that_it_says_is_ever_shown() -> None:
    script = "echo MARKER; echo MARKER >&2; echo MARKER space; exit 3"
    source = _shell(script, env={"PASSWORD": "MARKER"})
    with pytest.raises(SourceUnavailable) as caught:
        await _fetched(source)
    assert "MARKER" not in str(caught.value)
    assert "MARKER" not in repr(source)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("no-such-command-here",), "No such file or directory"),
        (("/no/such/command",), "No such file or directory"),
        (("{folder}/plain",), "Permission denied"),
        (("{folder}",), "Permission denied"),
        (("{folder}/odd",), "Exec format error"),
        (("echo", "a\x00b"), "it is not a valid command"),
    ],
)
async def test_what_cannot_be_run_is_told_with_the_reason(
    tmp_path: Path, argv: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "plain").write_text("echo tok")
    (tmp_path / "odd").write_bytes(b"\x00\x01\x02\x03")
    (tmp_path / "odd").chmod(0o755)
    words = [word.replace("{folder}", str(tmp_path)) for word in argv]
    said = await _failure(_source(*words))
    assert said == f"credential 'shop': the command '{words[0]}' could not be run ({reason})"


def _family(tmp_path: Path, *, escapes: bool = False) -> str:
    """Python that starts a child, notes both pids, and hangs with its output open."""
    program = f"""
        import os, subprocess, time
        child = subprocess.Popen(["sleep", "60"], start_new_session={escapes})
        with open({str(tmp_path / "new")!r}, "w") as file:
            file.write(f"{{os.getpid()}} {{child.pid}}")
        os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "pids")!r})
        time.sleep(60)
    """
    return textwrap.dedent(program)


async def _pids(tmp_path: Path) -> list[int]:
    async with asyncio.timeout(5):
        while not (tmp_path / "pids").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.005)
    return [int(pid) for pid in (tmp_path / "pids").read_text().split()]


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    program = _family(tmp_path)
    source = _source(sys.executable, "-S", "-c", program, refresh={"timeout": "1500ms"})
    assert (await _failure(source)).endswith("did not end in time")
    await _all_end(*await _pids(tmp_path))


async def test_a_child_that_left_the_group_holds_nobody_up(tmp_path: Path) -> None:
    program = _family(tmp_path, escapes=True)
    source = _source(sys.executable, "-S", "-c", program, refresh={"timeout": "1500ms"})
    assert (await _failure(source)).endswith("did not end in time")
    command, child = await _pids(tmp_path)
    await _all_end(command)
    os.kill(child, signal.SIGKILL)


async def test_a_command_that_is_cancelled_is_killed_with_its_children(tmp_path: Path) -> None:
    source = _source(sys.executable, "-S", "-c", _family(tmp_path))
    fetching = spawn(_fetched(source), name="fetching")
    pids = await _pids(tmp_path)
    assert all(map(_is_running, pids))
    await cancelled(fetching)
    assert fetching.cancelled()
    await _all_end(*pids)


async def test_a_command_that_is_cancelled_as_it_starts_leaves_nothing(tmp_path: Path) -> None:
    for turns in range(6):
        fetching = spawn(_fetched(_shell(f"echo $$ >> {tmp_path}/pids; exec sleep 60")), name="x")
        for _ in range(turns):
            await asyncio.sleep(0)
        await cancelled(fetching)
        assert fetching.cancelled()
    pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []
    await _all_end(*map(int, pids))


@pytest.mark.parametrize(
    "script", ["exec yes MARKER", "yes MARKER", "yes MARKER | cat", "yes MARKER &"]
)
async def test_a_command_that_prints_without_end_is_stopped(script: str) -> None:
    assert (await _failure(_shell(script))).endswith("printed too much to be a token")


async def test_as_much_as_a_token_may_have_is_still_one() -> None:
    script = "head -c 1048576 /dev/zero | tr '\\0' x"
    assert len(await _printed(_shell(script))) == 1 << 20
    assert "printed too much" in await _failure(_shell(script + "; echo"))


async def test_nothing_is_left_behind_whatever_came_of_it(tmp_path: Path) -> None:
    await _printed(_source("echo", "tok"))  # the first one starts what all share
    await asyncio.sleep(0.01)
    descriptors, tasks, children = _descriptors(), asyncio.all_tasks(), _children()
    for source in (
        _source("echo", "tok"),
        _shell("exit 1"),
        _shell("exec sleep 60", refresh={"timeout": "50ms"}),
        _shell("exec yes"),
        _shell("sleep 1 & echo tok"),
        _source("no-such-command-here"),
    ):
        with suppress(SourceUnavailable):
            await _fetched(source)
    assert asyncio.all_tasks() == tasks
    assert _children() == children
    async with asyncio.timeout(5):
        while _descriptors() > descriptors:  # noqa: ASYNC110 - uvloop closes them a turn later
            await asyncio.sleep(0.001)


UNDER_UVLOOP: dict[str, Callable[[Path], Coroutine[Any, Any, None]]] = {
    "prints": lambda _: test_a_command_that_prints_text_prints_the_token("echo tok"),
    "fails": lambda _: test_a_command_that_fails_gives_no_token(
        "echo tok; kill -TERM $$", "was ended by signal 15; run it by hand to see why"
    ),
    "cannot be run": lambda path: test_what_cannot_be_run_is_told_with_the_reason(
        path, ("/no/such/command",), "No such file or directory"
    ),
    "hangs": test_a_command_that_hangs_is_killed_with_its_children,
    "leaves a process": lambda path: test_a_process_that_goes_on_in_the_background_is_left_alone(
        path, ">/dev/null 2>&1"
    ),
    "a child escapes": test_a_child_that_left_the_group_holds_nobody_up,
    "is cancelled": test_a_command_that_is_cancelled_is_killed_with_its_children,
    "is cancelled early": test_a_command_that_is_cancelled_as_it_starts_leaves_nothing,
    "prints without end": lambda _: test_a_command_that_prints_without_end_is_stopped("yes x"),
    "leaves nothing": test_nothing_is_left_behind_whatever_came_of_it,
}


@pytest.mark.parametrize("promise", UNDER_UVLOOP.values(), ids=UNDER_UVLOOP)
def test_the_same_holds_under_uvloop(
    tmp_path: Path, promise: Callable[[Path], Coroutine[Any, Any, None]]
) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(promise(tmp_path))
