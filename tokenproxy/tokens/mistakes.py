"""Mistakes of a config that only show when its parts are put together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tokenproxy.errors import ConfigError, Problem


class Mistakes:
    """What was found wrong, so that one mistake hides no other."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    @contextmanager
    def noted(self, where: str) -> Iterator[None]:
        """Note a ConfigError of what is done in here, as one of that place."""
        try:
            yield
        except ConfigError as error:
            self.problems += [_placed(problem, where) for problem in error.problems]


def _placed(problem: Problem, where: str) -> Problem:
    """With its place, where it has none; its sentence may begin with one that is more exact."""
    if problem.path:
        return problem
    exact, _, what = problem.what.partition(" ")
    if exact.startswith(f"{where}."):
        return replace(problem, path=exact, what=what)
    return replace(problem, path=where)
