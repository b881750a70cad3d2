"""One workload over all peers, in rounds: each peer has its turn in each of them."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bench.load.order import Kind, Measured, Order, median
from bench.peer import Peer
from bench.site import Broken, Running, Site, started
from bench.workloads import Workload

PACE = 2000.0  # requests a second at which latencies are measured
SHARE = 0.5  # of what a peer can do, where that is less
OPENING = 40.0  # seconds for all idle connections to be opened


@dataclass(frozen=True, slots=True)
class Length:
    """How many rounds, and how many seconds each measurement of them."""

    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one workload: of each peer what was measured, or why nothing was."""

    workload: Workload
    measured: dict[str, Measured]
    paced: dict[str, Measured]
    broken: dict[str, str]


def carry_out(site: Site, peers: Sequence[Peer], workload: Workload, length: Length) -> Outcome:
    """Start all peers that can do it, measure them, and end them."""
    able = [peer for peer in peers if peer.renews or not workload.renewing]
    with ExitStack() as stack:
        running, broken = started(site, able, workload, stack)
        if not (workload.tls or workload.renewing or workload.once):
            running.append(site.direct)
        rounds = _Rounds(site, 1 if workload.once else length.rounds, running, broken)
        measured = rounds.measure(lambda _: _order(workload, length))
        paced: dict[str, Measured] = {}
        if workload.paced:
            paced = rounds.measure(lambda peer: _paced(workload, length, measured[peer.name]))
    return Outcome(workload, measured, paced, broken)


def _order(workload: Workload, length: Length) -> Order:
    seconds = OPENING if workload.order.kind is Kind.IDLE else length.seconds
    return replace(workload.order, seconds=seconds)


def _paced(workload: Workload, length: Length, measured: Measured) -> Order:
    rate = min(PACE, SHARE * measured.rate)
    return replace(workload.order, kind=Kind.PACED, seconds=length.seconds, rate=rate)


class _Rounds:
    """A peer that has failed once is asked no more."""

    def __init__(
        self, site: Site, times: int, running: Sequence[Running], broken: dict[str, str]
    ) -> None:
        self._site = site
        self._times = times
        self._running = running
        self._broken = broken

    def measure(self, order: Callable[[Running], Order]) -> dict[str, Measured]:
        """The medians of those that failed in no round."""
        rounds: dict[str, list[Measured]] = {peer.name: [] for peer in self._running}
        turns = deque(self._running)
        for _ in range(self._times):
            for peer in turns:
                if peer.name not in self._broken:
                    self._measure_one(peer, order(peer), rounds)
            turns.rotate(-1)
        return {name: median(of) for name, of in rounds.items() if name not in self._broken}

    def _measure_one(self, peer: Running, order: Order, rounds: dict[str, list[Measured]]) -> None:
        try:
            rounds[peer.name].append(self._site.generator.measure(order, peer))
        except Broken as error:
            self._broken[peer.name] = str(error)
