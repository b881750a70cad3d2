"""What the callbacks of one request cost, without kernel and loop: `python -m bench.callbacks`.

Requests go into a `Downstream` and answers into an `Upstream` over transports that do nothing, so
what is left is this program's own work: everything from the bytes of a request to those of its
answer, guard, route, token, access line, figures and all. `--profile` says where the time goes.
"""

import argparse
import asyncio
import cProfile
import io
import pstats
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

from tokenproxy.admin.figures import Figures
from tokenproxy.config.model import Config
from tokenproxy.config.process import Log
from tokenproxy.events import to_all
from tokenproxy.proxy.wire.downstream import Downstream
from tokenproxy.proxy.wire.server import Wire
from tokenproxy.proxy.wire.upstream import Upstream
from tokenproxy.runtime import Runtime, World
from tokenproxy.server.log import EventLog

COUNT, ROUNDS = 20_000, 5
MOST_SHOWN = 30
FIELDS = (
    b"Host: 127.0.0.1:8080\r\nConnection: keep-alive\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: application/json, text/plain, */*\r\nSec-Fetch-Site: same-origin\r\n"
    b"Referer: http://127.0.0.1:8080/shop/index.html\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: de,en-US;q=0.7,en;q=0.3\r\n"
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 95\r\n"
    b"Date: Tue, 24 Nov 2026 13:00:00 GMT\r\nServer: bench\r\n\r\n" + b"x" * 95
)
POSTED = b"Content-Type: application/octet-stream\r\nContent-Length: 10240\r\n\r\n" + bytes(10_240)
KINDS: dict[str, Callable[[int], bytes]] = {
    "GET, the same again": lambda _: b"GET /shop/1 HTTP/1.1\r\n" + FIELDS + b"\r\n",
    "GET, another target": lambda n: b"GET /shop/%d HTTP/1.1\r\n" % n + FIELDS + b"\r\n",
    "GET, another field": lambda n: (
        b"GET /shop/1 HTTP/1.1\r\n" + FIELDS + b"X-Request-Id: %d\r\n\r\n" % n
    ),
    "POST of 10 KiB": lambda _: b"POST /shop/1 HTTP/1.1\r\n" + FIELDS + POSTED,
}


class Nothing(asyncio.Transport):
    """A transport to nowhere."""

    def __init__(self, extra: dict[str, Any]) -> None:
        super().__init__(extra)

    def write(self, data: object) -> None:
        """Send nothing."""

    def pause_reading(self) -> None:
        """There is nothing to read."""

    def resume_reading(self) -> None:
        """Nor now."""

    def is_closing(self) -> bool:
        """Never."""
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def abort(self) -> None:
        """It goes on."""


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="say where the time goes")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Path("/dev/null").open("w") as nowhere:
        asyncio.run(_measure(Path(folder), EventLog(Log(format="json"), nowhere), asked.profile))


async def _measure(folder: Path, log: EventLog, profile: bool) -> None:  # noqa: FBT001 - an option
    config = Config.model_validate(
        {
            "store": {"type": "memory"},
            "credentials": {"shop": {"type": "static", "token": "t" * 220}},
            "routes": [{"path": "/shop", "upstream": "http://127.0.0.1:9", "credential": "shop"}],
        },
        context={"folder": folder},
    )
    async with Runtime(config, World(observe=to_all(log, Figures()))) as runtime:
        await runtime.keepers["shop"].get()
        wire = Wire(runtime.parts, runtime.connectors)
        pool = wire.pools["shop"]
        upstream = Upstream(pool)
        upstream.connection_made(Nothing({}))
        pool.release(upstream)
        caller = wire()
        caller.connection_made(
            Nothing({"sockname": ("127.0.0.1", 8080), "peername": ("127.0.0.1", 9)})
        )
        for name, request in KINDS.items():
            requests = [request(number) for number in range(COUNT)]
            sys.stdout.write(f"{name:22} {_microseconds(caller, upstream, requests):5.1f} us\n")
            if profile:
                sys.stdout.write(_profile(caller, upstream, requests))
        await wire.close()


def _serve(caller: Downstream, upstream: Upstream, requests: list[bytes]) -> None:
    for request in requests:
        caller.data_received(request)
        upstream.data_received(ANSWER)


def _microseconds(caller: Downstream, upstream: Upstream, requests: list[bytes]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = process_time()
        _serve(caller, upstream, requests)
        best = min(best, process_time() - began)
    return best / len(requests) * 1e6


def _profile(caller: Downstream, upstream: Upstream, requests: list[bytes]) -> str:
    profiler = cProfile.Profile()
    profiler.runcall(_serve, caller, upstream, requests)
    text = io.StringIO()
    stats = pstats.Stats(profiler, stream=text)
    stats.strip_dirs().sort_stats("tottime").print_stats(MOST_SHOWN)
    return text.getvalue()


if __name__ == "__main__":
    main()
