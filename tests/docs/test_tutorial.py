"""The tutorial does what it says, step by step, with the files and commands that stand in it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, fences
from tests.e2e.conftest import Program, program_environment

PAGE = DOCS / "tutorial.md"
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
API, PROXY = "127.0.0.1:8000", "127.0.0.1:8080"  # as the page has them
STARTING = re.compile(r"Starting development server at http://([0-9.:]+)/")
ANYTHING = "…"


@dataclass(frozen=True, slots=True)
class Step:
    section: str
    commands: str
    expected: str


def steps() -> Iterator[Step]:
    """Each block of commands, with what the block after it shows."""
    found = list(fences(PAGE))
    for fence, following in zip(found, [*found[1:], None], strict=True):
        if fence.word == "sh":
            before = "\n".join(PAGE.read_text().splitlines()[: fence.line])
            shown = following.text if following and following.word == "text" else ""
            yield Step(SECTION.findall(before)[-1], fence.text, shown)


class Terminals:
    """The folder and the terminals of somebody who follows the page."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.folder = folder
        self._running = running
        self._env = {
            **program_environment(folder),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",  # a line that is waited for comes at once
            "COLUMNS": "200",
        }
        self._exports: list[str] = []
        self._section = ""
        self._places = {API: "127.0.0.1:0"}
        self._write("shop.py", "python")
        self._write("tokenproxy.yaml", "yaml", "\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\n")

    def _write(self, name: str, word: str, more: str = "") -> None:
        (text,) = [fence.text for fence in fences(PAGE) if fence.word == word]
        (self.folder / name).write_text(self._placed(text) + more)

    def _placed(self, text: str) -> str:
        for written, real in self._places.items():
            text = text.replace(written, real)
        return text

    def start_api(self) -> None:
        self._write("shop.py", "python")
        self.api = subprocess.Popen(
            [sys.executable, "shop.py"], cwd=self.folder, env=self._env,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8",
        )  # fmt: skip
        self._running.callback(self.stop_api)
        found = next(filter(None, map(STARTING.search, self.api.stdout or ())), None)
        assert found is not None
        self._places[API] = found[1]
        more = "\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\n"
        self._write("tokenproxy.yaml", "yaml", more)

    def stop_api(self) -> None:
        with self.api as api:
            api.terminate()

    def start_proxy(self) -> None:
        env = {**self._env, "SHOP_PASSWORD": "correct horse"}
        self.proxy = Program(["-m", "tokenproxy", "run"], self.folder, env)
        self._running.callback(self.proxy.terminate)
        self._places[PROXY] = self.proxy.url.removeprefix("http://")

    def follow(self, step: Step) -> None:
        """Do what the page says here, and see what it shows."""
        if step.commands == "python shop.py\n":
            self.start_api()
        elif step.commands == "tokenproxy run\n":
            self.start_proxy()
        else:
            self._begin(step.section)
            output = self.run(step.commands)
            assert shows(output, step.expected), (step.commands, output)

    def _begin(self, section: str) -> None:
        """What the page says in words before the first command of a section."""
        if section == self._section:
            return
        self._section = section
        if "fail well" in section:
            self.stop_api()
        elif "wrong password" in section:
            self.start_api()
            self.proxy.terminate()

    def run(self, commands: str) -> str:
        """What they print; what is exported stays so for the commands to come."""
        lines = [line for line in commands.splitlines() if "activate" not in line]
        self._exports += [line for line in lines if line.startswith("export ")]
        script = "\n".join([*self._exports, self._placed("\n".join(lines))])
        return subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self._env, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
        ).stdout  # fmt: skip


def shows(output: str, expected: str) -> bool:
    """Whether its lines are there, one after another; an ellipsis stands for anything."""
    patterns = [
        ".*".join(
            re.escape(part) for part in re.sub(r":80\d\d", f":{ANYTHING}", line).split(ANYTHING)
        )
        for line in expected.splitlines()
    ]
    return re.search("[\\s\\S]*?".join(patterns), output) is not None


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    with ExitStack() as running:
        yield Terminals(tmp_path, running)


def test_each_step_does_what_the_page_says(terminals: Terminals) -> None:
    for step in steps():
        if "pip install" not in step.commands:
            terminals.follow(step)


def test_the_page_has_steps() -> None:
    assert len(list(steps())) > 8
    assert sum(bool(step.expected) for step in steps()) > 6
