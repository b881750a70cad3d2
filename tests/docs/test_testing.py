"""`docs/testing.md`: its examples run, and it knows all that there is."""

import re
import subprocess
import sys

import pytest

from tests.deploy.programs import REPOSITORY
from tokenproxy.settings.base import Settings
from tokenproxy.testing import plugin
from tokenproxy.testing.faults import NAMED
from tokenproxy.testing.scenarios import script, stage

pytest_plugins = ["pytester"]

EXAMPLE = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = (REPOSITORY / "docs" / "testing.md").read_text()
EXAMPLES = dict(EXAMPLE.findall(TEXT))
OF_README = dict(EXAMPLE.findall((REPOSITORY / "README.md").read_text()))
ASYNCIO = ["-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"]
KEYS = {
    field.alias or name
    for module in (script, stage)
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, Settings)
    for name, field in model.model_fields.items()
}
FIXTURES = [
    name
    for name, value in vars(plugin).items()
    if type(value).__name__ == "FixtureFunctionDefinition"
]


@pytest.fixture
def written(pytester: pytest.Pytester) -> pytest.Pytester:
    for name, text in EXAMPLES.items():
        (pytester.path / name).write_text(text)
    return pytester


@pytest.mark.parametrize("args", [[], ["--tokenproxy-config", "doubles.yaml"]])
def test_the_tests_in_it_pass(written: pytest.Pytester, args: list[str]) -> None:
    result = written.runpytest_inprocess("-p", "no:cacheprovider", *ASYNCIO, *args)
    result.assert_outcomes(passed=4)


def test_the_tests_in_readme_pass(pytester: pytest.Pytester) -> None:
    for name in ("test_shop.py", "expired.scenario.yaml"):
        (pytester.path / name).write_text(OF_README[name])
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *ASYNCIO)
    result.assert_outcomes(passed=2)


def test_the_program_in_it_does_as_it_says(written: pytest.Pytester) -> None:
    done = subprocess.run(
        [sys.executable, "plain.py"], cwd=written.path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[{'id': 1, 'name': 'teapot'}]\n"


@pytest.mark.parametrize("name", [*FIXTURES, *NAMED])
def test_it_names_each_fixture_and_each_fault(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("key", sorted(KEYS))
def test_it_names_each_key_of_a_scenario(key: str) -> None:
    assert re.search(rf"`[^`]*\b{key}\b[^`]*`", TEXT)


def test_each_marker_option_and_matcher_is_told() -> None:
    wanted = [*(marker.partition("(")[0] for marker in plugin.MARKERS), "--tokenproxy-config"]
    assert [
        each for each in [*wanted, "tokenproxy_scope", "$any", "$regex"] if each not in TEXT
    ] == []


@pytest.mark.parametrize("heading", re.findall(r"\]\(#([^)]+)\)", TEXT))
def test_a_link_leads_somewhere(heading: str) -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    assert heading in {each.lower().replace(" ", "-") for each in headings}
