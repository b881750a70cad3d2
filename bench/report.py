"""What was measured, as Markdown."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.load.order import Kind
from bench.rounds import Length, Outcome

US = "tokenproxy"
NOTHING = "-"
HUNDRED = 100  # from there on, digits after the point say nothing
MIB = 1 << 20
KIB = 1 << 10

HEAD = """# tokenproxy beside other proxies

Written by `python -m bench.http --full --report bench/README.md`; `make bench` prints its first
tables after shorter rounds. Only the ratios say something: they are of one run, in which the peers
take turns. Whatever else the machine has to do shows in requests a second and in latencies, and
less in processor time.

All peers run side by side on core 0, each with one worker or thread; the upstream and the load
generator run on core 1, which bounds the fastest ones: for those, look at the processor time.
That is user and system time of all of a peer's processes. The load is 32 connections with a
browser's eight request headers, unless told otherwise. {rounds} rounds of {seconds:g} s, and the
medians of these; the worst latency is that of all rounds. Latencies are those at a steady rate
of requests, counted from when a request was due. Memory is what is resident at the end, and what
processes share counts twice. tokenproxy and nginx write their access logs, as by default; the
others have none by default. tokenproxy, Envoy and Go get their tokens from an issuer; the others
put in a header that never changes. "tokenproxy/peer" is above 1 where tokenproxy has more. A
peer that can't do something has a "-" there.
"""


def report(
    outcomes: Sequence[Outcome],
    versions: Mapping[str, str],
    missing: Mapping[str, str],
    length: Length,
) -> str:
    """All of it."""
    parts = [HEAD.format(rounds=length.rounds, seconds=length.seconds), _machine()]
    parts.append("\n".join(f"- {version}" for version in versions.values()))
    parts += [f"Not here: {name} ({why})." for name, why in missing.items()]
    parts += [_outcome(outcome) for outcome in outcomes]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    kernel = ".".join(platform.release().split(".")[:2])
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, Linux {kernel}; load average at the end {load:.1f}."


def _outcome(outcome: Outcome) -> str:
    parts = [f"## {outcome.workload.title}"]
    match outcome.workload.order.kind:
        case Kind.IDLE:
            parts.append(_memory(outcome))
        case Kind.CLOSED | Kind.PACED | Kind.EVENTS | Kind.MESSAGES:
            parts.append(_speeds(outcome))
    if outcome.paced:
        parts.append(_latencies(outcome))
    lost = {name: of.lost for name, of in outcome.measured.items() if of.lost}
    parts += [f"{name} closed {count} of its connections." for name, count in lost.items()]
    return "\n\n".join(parts)


def _names(outcome: Outcome) -> list[str]:
    """The cheapest first, and last those that failed."""
    by_cost = sorted(outcome.measured, key=lambda name: outcome.measured[name].cost)
    return [*by_cost, *outcome.broken]


def _speeds(outcome: Outcome) -> str:
    unit, units = outcome.workload.unit, outcome.workload.units
    columns = (
        "peer",
        f"{unit}{'' if unit.isupper() else 's'}/s",
        "tokenproxy/peer",
        f"processor µs/{unit}",
        "tokenproxy/peer",
        "MiB",
    )
    ours = outcome.measured.get(US)
    rows = []
    for name in _names(outcome):
        if not (of := outcome.measured.get(name)):
            rows.append((name, *[NOTHING] * 5))
            continue
        speed, cost = of.rate * units, of.cost / units * 1e6
        rows.append(
            (
                name,
                _number(speed),
                _ratio(ours.rate, of.rate) if ours else NOTHING,
                _number(cost) if of.resident else NOTHING,
                _ratio(ours.cost, of.cost) if ours else NOTHING,
                _number(of.resident / MIB) if of.resident else NOTHING,
            )
        )
    return _table(columns, rows)


def _latencies(outcome: Outcome) -> str:
    columns = ("peer", "at requests/s", "p50 ms", "p99 ms", "tokenproxy/peer", "worst ms")
    ours = outcome.paced.get(US)
    rows = []
    for name in sorted(outcome.paced, key=lambda name: outcome.paced[name].p50):
        of = outcome.paced[name]
        rows.append(
            (
                name,
                _number(of.rate),
                f"{of.p50 * 1e3:.2f}",
                f"{of.p99 * 1e3:.2f}",
                _ratio(ours.p99, of.p99) if ours else NOTHING,
                f"{of.worst * 1e3:.1f}",
            )
        )
    return _table(columns, rows)


def _memory(outcome: Outcome) -> str:
    columns = ("peer", "MiB before", "MiB with them", "KiB/connection", "tokenproxy/peer")
    ours = outcome.measured.get(US)
    connections = outcome.workload.order.connections
    rows = []
    for name in _names(outcome):
        of = outcome.measured.get(name)
        if of is None:
            rows.append((name, *[NOTHING] * 4))
        elif of.resident:
            rows.append(
                (
                    name,
                    _number((of.resident - of.grown) / MIB),
                    _number(of.resident / MIB),
                    _number(of.grown / connections / KIB),
                    _ratio(ours.grown, of.grown) if ours else NOTHING,
                )
            )
    return _table(columns, rows)


def _ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}" if theirs > 0 else NOTHING


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= HUNDRED else f"{value:.1f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
