"""Reads a scenario file, and tells every mistake in it with its line."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tokenproxy.config.document import Where, dotted, problems
from tokenproxy.config.load import read_document
from tokenproxy.config.validate import validate
from tokenproxy.errors import ConfigError, Problem
from tokenproxy.testing.scenarios.script import Scenario

MAX_FILE = 1 << 20  # bytes; thousands of steps

_CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Script:
    """A valid scenario, and the lines of its file; `shown` is the file's name for people."""

    scenario: Scenario
    shown: Path
    lines: Mapping[Where, int | None]

    def problem(self, where: Where, what: str) -> Problem:
        """What is wrong at a node, or at the innermost one around it that is written."""
        written = where
        while written and written not in self.lines:
            written = written[:-1]
        return Problem(dotted(where), what, self.lines.get(written), self.shown)

    def of_config(self, error: ConfigError) -> ConfigError:
        """Mistakes in a config that the scenario itself holds, with their lines."""
        lines = {dotted(where): line for where, line in self.lines.items()}
        return ConfigError([self._placed(each, lines) for each in error.problems])

    def _placed(self, problem: Problem, lines: Mapping[str, int | None]) -> Problem:
        if problem.file is not None:
            return problem
        path = f"{_CONFIG}.{problem.path}" if problem.path else _CONFIG
        written = path
        while written not in lines and "." in written:
            written = written.rpartition(".")[0]
        return replace(problem, path=path, line=lines.get(written), file=self.shown)


def read_scenario(file: Path, shown: Path | None = None) -> Script:
    """The scenario in a file.

    Raises:
        ConfigError: every mistake that it has, in the order of the file.
    """
    shown = shown or file
    if file.is_file() and file.stat().st_size > MAX_FILE:
        raise ConfigError([Problem("", "is larger than 1 MiB: that is no scenario", None, shown)])
    try:
        document = read_document(file)
    except ConfigError as error:
        raise ConfigError([_unreadable(each, shown) for each in error.problems]) from None
    scenario, wrong = validate(document, file.absolute().parent, Scenario)
    found = [*document.mistakes, *wrong]
    if scenario is None or found:
        raise ConfigError(problems(document, found, shown))
    return Script(scenario, shown, document.lines)


def _unreadable(problem: Problem, shown: Path) -> Problem:
    """What is no scenario at all, in the words for one."""
    is_empty = problem.what.startswith("is empty")
    what = "is empty: a scenario has a 'name' and 'steps'" if is_empty else problem.what
    return replace(problem, what=what, file=shown)
