"""tokenproxy beside other proxies: `python -m bench.http`, with `--help` for more.

By default the small GET, in short rounds; `--full` takes all workloads, and about half an hour.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from bench.peer import Missing, Peer
from bench.peers.caddy import Caddy
from bench.peers.envoy import Envoy
from bench.peers.go_oauth2 import GoOAuth2
from bench.peers.haproxy import HAProxy
from bench.peers.mitmproxy import Mitmproxy
from bench.peers.nginx import Nginx
from bench.peers.plain_aiohttp import PlainAiohttp
from bench.peers.tokenproxy import Tokenproxy
from bench.processes import allow_descriptors
from bench.report import report
from bench.rounds import Length, Outcome, carry_out
from bench.site import OTHERS_CORE, PEERS_CORE, site
from bench.workloads import WORKLOADS, Workload

PEERS: tuple[Peer, ...] = (
    Tokenproxy(),
    PlainAiohttp(),
    Mitmproxy(),
    Envoy(),
    Nginx(),
    HAProxy(),
    Caddy(),
    GoOAuth2(),
)
SHORT, FULL = Length(rounds=3, seconds=1.5), Length(rounds=5, seconds=2.0)
DESCRIPTORS = 65_536


def main() -> None:
    """Measure, and print or write the report."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, _ended)
    allow_descriptors(DESCRIPTORS)
    if not {PEERS_CORE, OTHERS_CORE} <= os.sched_getaffinity(0):
        sys.exit("the bench needs two cores")
    os.sched_setaffinity(0, {OTHERS_CORE})
    peers = [peer for peer in PEERS if not asked.peers or peer.name in asked.peers]
    versions, missing = _versions(peers)
    usual = FULL if asked.full else SHORT
    length = Length(asked.rounds or usual.rounds, asked.seconds or usual.seconds)
    here = [peer for peer in peers if peer.name in versions]
    text = report(_measure(here, _workloads(asked), length), versions, missing, length)
    if asked.report:
        Path(asked.report).write_text(text)
    else:
        sys.stdout.write(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all workloads, and longer rounds")
    parser.add_argument("--report", metavar="FILE", help="write it there instead of printing it")
    parser.add_argument("--rounds", type=int, help="instead of 3, or 5 of the full run")
    parser.add_argument("--seconds", type=float, help="of one measurement, instead of 1.5 or 2")
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("--workloads", nargs="+", choices=names, help="only these")
    parser.add_argument(
        "--peers", nargs="+", choices=[peer.name for peer in PEERS], help="only these"
    )
    return parser.parse_args()


def _workloads(asked: argparse.Namespace) -> list[Workload]:
    if asked.workloads:
        return [workload for workload in WORKLOADS if workload.name in asked.workloads]
    return list(WORKLOADS if asked.full else WORKLOADS[:1])


def _versions(peers: Sequence[Peer]) -> tuple[dict[str, str], dict[str, str]]:
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for peer in peers:
        try:
            versions[peer.name] = peer.version()
        except Missing as why:
            missing[peer.name] = str(why)
    return versions, missing


def _measure(peers: Sequence[Peer], workloads: Sequence[Workload], length: Length) -> list[Outcome]:
    outcomes = []
    with site() as here:
        for workload in workloads:
            _tell(f"{workload.title} ...")
            outcome = carry_out(here, peers, workload, length)
            for name, why in outcome.broken.items():
                _tell(f"  {name}: {why}")
            outcomes.append(outcome)
    return outcomes


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def _ended(number: int, frame: FrameType | None) -> None:
    """What was started ends as with Ctrl-C."""
    del frame
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
