"""What is asked of each peer."""

from dataclasses import dataclass

from bench.load.order import Kind, Order

HUGE_MB = 100


@dataclass(frozen=True, slots=True)
class Workload:
    """An order for all peers, each started anew for it.

    What the order counts is so many of `unit`. With `paced` latencies are measured too, at a
    steady rate that the peer can well keep up with; `once` says that one round is enough. `tls`
    and `renewing` are as in `Place`.
    """

    name: str
    title: str
    order: Order
    unit: str = "request"
    units: int = 1
    paced: bool = False
    once: bool = False
    tls: bool = False
    renewing: bool = False


WORKLOADS = (
    Workload("small", "GET of 95 bytes", Order(), paced=True),
    Workload("unique", "GET of 95 bytes, no request like another", Order(unique=True)),
    Workload("post", "POST of 10 KiB", Order(body=10 << 10)),
    Workload("large", "GET of 64 KiB", Order(path="/large")),
    Workload(
        "download",
        "GET of 100 MB, one at a time",
        Order(path="/huge", connections=1),
        unit="MB",
        units=HUGE_MB,
    ),
    Workload(
        "upload",
        "POST of 100 MB, one at a time",
        Order(body=HUGE_MB * 1_000_000, connections=1),
        unit="MB",
        units=HUGE_MB,
    ),
    Workload(
        "events",
        "1,000 streams of 10 server-sent events a second",
        Order(Kind.EVENTS, path="/events", connections=1000),
        unit="event",
    ),
    Workload(
        "messages",
        "WebSocket echo of 32 bytes",
        Order(Kind.MESSAGES, path="/echo"),
        unit="message",
    ),
    Workload("tls", "GET of 95 bytes over TLS", Order(), paced=True, tls=True),
    Workload("renewing", "GET of 95 bytes, a renewal a second", Order(), paced=True, renewing=True),
    Workload(
        "idle",
        "10,000 idle connections that have asked once",
        Order(Kind.IDLE, connections=10_000),
        unit="connection",
        once=True,
    ),
)
