"""Options that exclude each other: what the command line says wins over the environment."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import typer

from tokenproxy.errors import ConfigError

ENVIRONMENT = "ENVIRONMENT"
GIVEN = ("COMMANDLINE", ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options that somebody gave, by their parameters' names; `typed` are not by variables."""

    values: Mapping[str, Any]
    typed: frozenset[str]

    @classmethod
    def of(cls, context: typer.Context) -> Self:
        """Those of a verb."""
        sources = {name: context.get_parameter_source(name) for name in context.params}
        given = {
            name: context.params[name]
            for name, source in sources.items()
            if source is not None and source.name in GIVEN
        }
        typed = {name for name in given if _name_of(sources[name]) != ENVIRONMENT}
        return cls(given, frozenset(typed))

    def one_of(self, *names: str) -> str | None:
        """Which of them is given; one that was typed where there are several."""
        return next(iter(self._in_force(names)), None)

    def both(self, *names: str) -> bool:
        """Whether more than one of them is given, and none gives way to another."""
        return len(self._in_force(names)) > 1

    def refuse(self, names: Iterable[str], what: str) -> None:
        """Raise ConfigError where one of them is given that has no use here."""
        gives_way = "config" in self.typed and "upstream" in self.values
        for name in names:
            if name in self.typed or (name in self.values and not gives_way):
                raise ConfigError(f"--{name.replace('_', '-')} {what}")

    def _in_force(self, names: Iterable[str]) -> list[str]:
        given = [name for name in names if name in self.values]
        return [name for name in given if name in self.typed] or given


def _name_of(source: Any) -> str:
    return str(source.name)
