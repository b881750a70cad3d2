"""A thousand replicas on one rotating token, over a real Redis: `python -m bench.replicas`.

Each replica is a keeper with connections of its own, as another machine would be; some hundred
share a process. Two things are counted: what the issuer is asked while the replicas are busy, and
what Redis is asked while they are idle.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.redis_server import RedisServer
from tokenproxy.clock import SystemClock
from tokenproxy.runtime import Runtime, World
from tokenproxy.testing import Issuer, running

REPLICAS = 1000
PROCESSES = 4
DESCRIPTORS = 16_384
PASSWORD = "demo-password"  # noqa: S105 - the double's
CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Result:
    """What was counted; `commands` are those that Redis has carried out."""

    replicas: int
    seconds: float
    access_life: float
    token_calls: int
    refused: int
    failures: int
    commands: int

    @property
    def per_hour(self) -> float:
        """Redis commands of one replica in an hour."""
        return self.commands / self.replicas / self.seconds * 3600


def simulate(
    *, replicas: int = REPLICAS, seconds: float, access_life: float, processes: int = PROCESSES
) -> Result:
    """Run that many replicas for that long, each asking for the token every half second."""
    _allow_descriptors()
    with (
        RedisServer("--maxclients", "9000") as redis,
        running(Issuer(access_life=access_life)) as issuer,
        ExitStack() as stack,
    ):
        workers = [
            stack.enter_context(_worker(redis.url, issuer.url, replicas // processes, seconds))
            for _ in range(processes)
        ]
        for worker in workers:
            _read(worker)  # it is ready
        calls, before, began = issuer.logins + issuer.refreshes, _commands(redis), _now()
        for worker in workers:
            _write(worker, "go")
        failures = sum(int(_read(worker)) for worker in workers)
        took, commands = _now() - began, _commands(redis) - before
        token_calls = issuer.logins + issuer.refreshes - calls
        for worker in workers:
            _write(worker, "end")
        return Result(
            replicas=replicas,
            seconds=took,
            access_life=access_life,
            token_calls=token_calls,
            refused=issuer.refused_refreshes,
            failures=failures,
            commands=commands,
        )


def _now() -> float:
    return CLOCK.now().steady


def _allow_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(DESCRIPTORS, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _commands(redis: RedisServer) -> int:
    """All that have been carried out, but for our own questions."""
    stats: dict[str, dict[str, int]] = redis.ask("INFO", "commandstats")
    return sum(stat["calls"] for name, stat in stats.items() if name != "cmdstat_info")


def _worker(redis: str, issuer: str, replicas: int, seconds: float) -> subprocess.Popen[str]:
    told = json.dumps([redis, issuer, replicas, seconds])
    return subprocess.Popen(
        [sys.executable, "-m", "bench.replicas", "--worker", told],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )


def _read(worker: subprocess.Popen[str]) -> str:
    line = worker.stdout.readline() if worker.stdout else ""
    if not line:
        raise RuntimeError(f"a worker ended with {worker.wait()}")
    return line.strip()


def _write(worker: subprocess.Popen[str], word: str) -> None:
    if worker.stdin:
        worker.stdin.write(word + "\n")
        worker.stdin.flush()


# -- in a worker ---------------------------------------------------------------------------------


async def _work(redis: str, issuer: str, replicas: int, seconds: float) -> None:
    """Start so many replicas, wait for the word, ask for so long, and tell how often in vain."""
    _allow_descriptors()
    async with AsyncExitStack() as stack:
        runtimes = [_replica(redis, issuer, number) for number in range(replicas)]
        for runtime in runtimes:
            await stack.enter_async_context(runtime)
            await runtime.keepers["shop"].get()
        _say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        failures = await asyncio.gather(*(_ask(runtime, seconds) for runtime in runtimes))
        _say(str(sum(failures)))
        await asyncio.to_thread(sys.stdin.readline)


async def _ask(runtime: Runtime, seconds: float) -> int:
    random, failures = Random(id(runtime)), 0  # noqa: S311 - spreads load
    end = _now() + seconds
    while _now() < end:
        try:
            await runtime.keepers["shop"].get()
        except Exception:  # noqa: BLE001 - counted, whatever it was
            failures += 1
        await asyncio.sleep(0.25 + random.random() / 2)
    return failures


def _replica(redis: str, issuer: str, number: int) -> Runtime:
    from tokenproxy import load_config  # noqa: PLC0415 - only a worker needs it

    config = load_config(
        {
            "store": {"type": "redis", "url": redis},
            "credentials": {
                "shop": {
                    "type": "simplejwt",
                    "base_url": issuer,
                    "username": "demo",
                    "password": PASSWORD,
                }
            },
            "routes": [{"upstream": issuer, "credential": "shop"}],
        }
    )
    return Runtime(config, World(random=Random(number)))  # noqa: S311 - jitter


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    worker = parser.parse_args().worker
    if worker is not None:
        asyncio.run(_work(*json.loads(worker)))
        return
    busy = simulate(seconds=30, access_life=6)
    lives = busy.seconds / busy.access_life
    _say(
        f"busy  {busy.replicas} replicas, {busy.seconds:.0f} s, tokens of {busy.access_life:.0f} s "
        f"({lives:.1f} lives): {busy.token_calls} token calls, {busy.refused} refused, "
        f"{busy.failures} failures, {busy.per_hour:.0f} Redis commands a replica and hour"
    )
    idle = simulate(seconds=60, access_life=3600)
    _say(
        f"idle  {idle.replicas} replicas, {idle.seconds:.0f} s, one token: "
        f"{idle.token_calls} token calls, {idle.commands} Redis commands, "
        f"{idle.per_hour:.1f} a replica and hour"
    )


if __name__ == "__main__":
    main()
