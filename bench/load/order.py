"""What the load generator is asked to do, and what it has measured."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How load is made."""

    CLOSED = "closed"  # each connection sends its next request when the last is answered
    PACED = "paced"  # so many a second, however long the answers take
    EVENTS = "events"  # streams of server-sent events
    MESSAGES = "messages"  # WebSockets, each with one message under way
    IDLE = "idle"  # connections that have asked once and are kept


@dataclass(frozen=True, slots=True)
class Order:
    """One measurement of what listens on `port` and runs in `processes`; `body` is in bytes."""

    kind: Kind = Kind.CLOSED
    path: str = "/small"
    body: int | None = None
    connections: int = 32
    unique: bool = False  # each request has an id of its own, in its target and in a field
    port: int = 0
    processes: tuple[int, ...] = ()
    seconds: float = 1.0
    rate: float = 0.0

    def dumps(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, line: str) -> "Order":
        """What `dumps` gave."""
        fields = json.loads(line)
        return cls(**{**fields, "kind": Kind(fields["kind"])})


@dataclass(frozen=True, slots=True)
class Failure:
    """Nothing was measured."""

    why: str

    def dumps(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Measured:
    """What was counted in a window: `cpu` and `resident` are those of the processes.

    `p50`, `p99` and `worst` are seconds, where latencies were asked for; `lost` counts connections
    that ended, and are opened again, and `grown` the bytes of memory that came in the window.
    """

    count: int
    seconds: float
    cpu: float
    resident: int
    grown: int = 0
    lost: int = 0
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0

    def dumps(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, line: str) -> "Measured | Failure":
        """What its `dumps` gave, or that of a failure."""
        fields = json.loads(line)
        return Failure(**fields) if "why" in fields else cls(**fields)

    @property
    def rate(self) -> float:
        """Counted in a second."""
        return self.count / self.seconds

    @property
    def cost(self) -> float:
        """Processor seconds for one."""
        return self.cpu / self.count


def median(rounds: Sequence[Measured]) -> Measured:
    """Of each field by itself, but the worst latency, which is that of all rounds.

    `count` and `seconds` are scaled so that `rate` and `cost` are medians, too.
    """
    return Measured(
        count=1,
        seconds=1 / statistics.median(one.rate for one in rounds),
        cpu=statistics.median(one.cost for one in rounds),
        resident=int(statistics.median(one.resident for one in rounds)),
        grown=int(statistics.median(one.grown for one in rounds)),
        lost=sum(one.lost for one in rounds),
        p50=statistics.median(one.p50 for one in rounds),
        p99=statistics.median(one.p99 for one in rounds),
        worst=max(one.worst for one in rounds),
    )
