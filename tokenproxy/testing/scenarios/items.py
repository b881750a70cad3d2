"""Scenario files as pytest collects them: each file is one test, named as it says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tokenproxy.errors import ConfigError
from tokenproxy.testing.plugin import named_config
from tokenproxy.testing.scenarios.playing import ScenarioFailed, ScenarioSkipped, play
from tokenproxy.testing.scenarios.reading import Script, read_scenario


class ScenarioFile(pytest.File):
    """A file that holds one scenario."""

    def collect(self) -> Iterator[pytest.Item]:
        """Its one test; every mistake in the file is told at once."""
        try:
            script = read_scenario(self.path, _shown(self.path, self.config))
        except ConfigError as error:
            wrong = str(error)
        else:
            yield ScenarioItem.from_parent(self, name=script.scenario.name, script=script)
            return
        raise self.CollectError(wrong)


class ScenarioItem(pytest.Item):
    """A scenario."""

    def __init__(self, *, script: Script, **more: Any) -> None:
        super().__init__(**more)
        self.script = script

    def runtest(self) -> None:
        """Play it; the config that the option names goes before its own."""
        option = self.config.getoption("tokenproxy_config")
        named = named_config(self.config)
        try:
            play(self.script, pointed=named if option else None, usual=named)
        except ScenarioSkipped as reason:
            pytest.skip(str(reason))
        except ScenarioFailed as failed:
            if failed.told:
                self.add_report_section("call", "tokenproxy", failed.told)
            raise

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any) -> Any:
        """What was expected and what came; a fault of our own as pytest shows any."""
        if isinstance(excinfo.value, ScenarioFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the test is."""
        return self.path, 0, self.name


def _shown(path: Path, config: pytest.Config) -> Path:
    """As a person in the folder of the call would name it."""
    folder = config.invocation_params.dir
    return path.relative_to(folder) if path.is_relative_to(folder) else path
