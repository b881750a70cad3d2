"""Processes of the bench: pinned to a core, ended with all that they started, and counted."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tokenproxy.environment import variables

PROC = Path("/proc")
TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
START_SECONDS = 20.0
END_SECONDS = 3.0
LOOPBACK = "127.0.0.1"


@contextmanager
def pinned(
    argv: Sequence[str],
    *,
    core: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    pipes: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Run `argv` on that core; it ends with the block, and with this process, however that ends."""
    pipe = subprocess.PIPE if pipes else subprocess.DEVNULL
    with log.open("ab") as errors:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", str(core), *argv],  # noqa: S607
            stdin=pipe,
            stdout=pipe if pipes else errors,
            stderr=errors,
            env={**variables(), **(environment or {})},
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """SIGTERM to it, then SIGKILL to what is left of its group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_SECONDS)
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def allow_descriptors(wanted: int) -> None:
    """For this process and all that it starts, as many as root or the hard limit allow."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, most)))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[str], log: Path) -> None:
    """Until something listens there.

    Raises:
        RuntimeError: the process has ended, or took too long.
    """
    deadline = time.perf_counter() + START_SECONDS
    while time.perf_counter() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
            return
        time.sleep(0.02)
    told = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"it does not listen: {told}")


def tree(pid: int) -> list[int]:
    """That process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    family = [pid]
    for member in family:
        family.extend(children.get(member, ()))
    return family


def cpu_seconds(family: Sequence[int]) -> float:
    """Processor time that these have used so far, in user space and in the kernel."""
    fields = (_stat(pid) for pid in family)
    return sum((int(stat[11]) + int(stat[12])) * TICK for stat in fields if stat)


def resident(family: Sequence[int]) -> int:
    """Bytes of memory that these have resident; what two share counts twice."""
    fields = (_stat(pid) for pid in family)
    return sum(int(stat[21]) * PAGE for stat in fields if stat)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on, nothing if it has gone: see proc(5)."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
