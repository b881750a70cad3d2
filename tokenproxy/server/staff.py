"""What the workers have counted, as their supervisor knows it.

Each is asked when somebody wants to know, and has a moment to answer; else its last word counts.
What one had counted when it ended stays, so that no counter ever goes back; of one that was killed
that is what it had said by then.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from tokenproxy.admin.figures import Figures, merged
from tokenproxy.admin.parts import Count, WorkerState
from tokenproxy.server.channel import Report
from tokenproxy.tasks import Bell

PATIENCE = 1.0  # seconds: whoever scrapes waits for ten, mostly


@dataclass(slots=True)
class Member:
    """A worker that serves; `ask` has it report."""

    index: int
    pid: int
    ask: Callable[[], None]
    last: Report = field(default_factory=Report)
    heard: Bell = field(default_factory=Bell)


class Workers:
    """Those of one supervisor, by their process: two of one index may overlap."""

    def __init__(self) -> None:
        self._members: dict[int, Member] = {}
        self._past = Figures()

    def joined(self, index: int, pid: int, ask: Callable[[], None]) -> None:
        """One serves."""
        self._members[pid] = Member(index, pid, ask)

    def heard(self, pid: int, report: Report) -> None:
        """One has said what it has counted."""
        member = self._members.get(pid)
        if member is not None:
            member.last = report
            member.heard.ring()

    def left(self, pid: int) -> None:
        """One is over."""
        member = self._members.pop(pid, None)
        if member is not None:
            self._past.add(member.last.figures.at_rest())
            member.heard.ring()

    def serves(self) -> bool:
        """Whether any of them does, at this moment."""
        return bool(self._members)

    async def count(self, ours: Figures) -> Count:
        """Ask all, and add up what they say, `ours`, and what those before them have said."""
        rings = [member.heard.next_ring for member in self._members.values()]
        for member in self._members.values():
            member.ask()
        if rings:
            await asyncio.wait(rings, timeout=PATIENCE)
        present = sorted(self._members.values(), key=lambda member: (member.index, member.pid))
        said = [member.last.figures for member in present]
        states = [WorkerState(each.index, each.pid, each.last.connections) for each in present]
        return Count(merged([ours, self._past, *said]), states)
