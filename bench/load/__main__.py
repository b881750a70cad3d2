"""The load generator: orders on standard input, a line each; what was measured on its output.

A peer that fails is no reason to end: the line is a `Failure` then.
"""

import sys

import uvloop

from bench.load.caller import Failed
from bench.load.kinds import crowd
from bench.load.order import Failure, Measured, Order


async def _measure(order: Order) -> Measured:
    return await crowd(order).run()


def _answer(line: str) -> str:
    try:
        return uvloop.run(_measure(Order.loads(line))).dumps()
    except Failed as failure:
        return Failure(str(failure)).dumps()


def main() -> None:
    """Carry out one order after the other."""
    for line in sys.stdin:
        sys.stdout.write(_answer(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
