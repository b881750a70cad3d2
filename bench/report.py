"""What was measured, as Markdown."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.load.order import Kind, Measured
from bench.rounds import Length, Outcome

US = "tokenproxy"
NOTHING = "-"
HUNDRED = 100  # from there on, digits after the point say nothing
MIB = 1 << 20
KIB = 1 << 10
RATIO = "tokenproxy/peer"

Show = Callable[[Measured], str]
Columns = Sequence[tuple[str, Show]]

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
    parts = [f"## {outcome.workload.title}", _main_table(outcome)]
    if outcome.paced:
        parts.append(_latencies(outcome))
    lost = {name: of.lost for name, of in outcome.measured.items() if of.lost}
    parts += [f"{name} closed {count} of its connections." for name, count in lost.items()]
    return "\n\n".join(parts)


def _main_table(outcome: Outcome) -> str:
    """The cheapest first."""
    idle = outcome.workload.order.kind is Kind.IDLE
    columns = _memory(outcome) if idle else _speeds(outcome)
    by_cost = sorted(outcome.measured.items(), key=lambda pair: pair[1].cost)
    failed = [name for name in outcome.broken if name not in outcome.measured]
    return _table(columns, dict(by_cost), failed)


def _speeds(outcome: Outcome) -> Columns:
    ours, unit, units = outcome.measured.get(US), outcome.workload.unit, outcome.workload.units
    several = unit if unit.isupper() else f"{unit}s"
    return (
        (f"{several}/s", lambda of: _number(of.rate * units)),
        (RATIO, _ratio(ours, lambda of: of.rate)),
        (f"processor µs/{unit}", lambda of: _number(of.cost / units * 1e6)),
        (RATIO, _ratio(ours, lambda of: of.cost)),
        ("MiB", lambda of: _number(of.resident / MIB)),
    )


def _memory(outcome: Outcome) -> Columns:
    ours, connections = outcome.measured.get(US), outcome.workload.order.connections
    return (
        ("MiB before", lambda of: _number((of.resident - of.grown) / MIB)),
        ("MiB with them", lambda of: _number(of.resident / MIB)),
        ("KiB/connection", lambda of: _number(of.grown / connections / KIB)),
        (RATIO, _ratio(ours, lambda of: of.grown)),
    )


def _latencies(outcome: Outcome) -> str:
    """The quickest first."""
    ours = outcome.paced.get(US)
    columns: Columns = (
        ("at requests/s", lambda of: _number(of.rate)),
        ("p50 ms", lambda of: f"{of.p50 * 1e3:.2f}"),
        (RATIO, _ratio(ours, lambda of: of.p50)),
        ("p99 ms", lambda of: f"{of.p99 * 1e3:.2f}"),
        (RATIO, _ratio(ours, lambda of: of.p99)),
        ("worst ms", lambda of: _number(of.worst * 1e3)),
    )
    by_median = sorted(outcome.paced.items(), key=lambda pair: pair[1].p50)
    return _table(columns, dict(by_median), ())


def _number(value: float) -> str:
    if value <= 0:
        return NOTHING
    return f"{value:,.0f}" if value >= HUNDRED else f"{value:.1f}"


def _ratio(ours: Measured | None, value: Callable[[Measured], float]) -> Show:
    def show(theirs: Measured) -> str:
        if ours is None or value(theirs) <= 0:
            return NOTHING
        return f"{value(ours) / value(theirs):.2f}"

    return show


def _table(columns: Columns, measured: Mapping[str, Measured], failed: Sequence[str]) -> str:
    lines = [("peer", *(title for title, _ in columns)), ("---", *["---:"] * len(columns))]
    lines += [(name, *(show(of) for _, show in columns)) for name, of in measured.items()]
    lines += [(name, *[NOTHING] * len(columns)) for name in failed]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
