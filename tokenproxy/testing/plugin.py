"""The pytest plugin: fixtures that run the doubles and a proxy, and scenario files as tests.

Each fixture serves in a thread of its own, so that sync and async tests alike use its URL.
Nothing but this module is imported before a fixture is used or a scenario file is found.
"""

import sys
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tokenproxy.testing.usual import SHOP

if TYPE_CHECKING:
    from tokenproxy.testing.api import Api
    from tokenproxy.testing.doubles import Doubles
    from tokenproxy.testing.issuer import Issuer
    from tokenproxy.testing.movable import MovableClock
    from tokenproxy.testing.oauth2 import OAuth2Issuer
    from tokenproxy.testing.proxy import Proxy

    Scope = Any

SCOPES = ("function", "class", "module", "package", "session")
SCENARIOS = (".scenario.yaml", ".scenario.yml")
MARKERS = (
    "tokenproxy_config(source): the config of the fixture `tokenproxy`, a file or a mapping",
    "tokenproxy_issuer(**options): arguments of the issuers' doubles, such as access_life=60",
    "tokenproxy_api(**options): arguments of the API's double, such as wanted=InQuery()",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--tokenproxy-config FILE`, and the same and the fixtures' scope in the ini file."""
    group = parser.getgroup("tokenproxy", "tokenproxy")
    group.addoption(
        "--tokenproxy-config",
        metavar="FILE",
        help="the config that the tests' proxy serves, where a test names none itself",
    )
    parser.addini("tokenproxy_config", "the same, relative to this file", default="")
    parser.addini(
        "tokenproxy_scope", f"the scope of the fixtures: {', '.join(SCOPES)}", default=SCOPES[0]
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known, and look at the scope."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if config.getini("tokenproxy_scope") not in SCOPES:
        raise pytest.UsageError(f"tokenproxy_scope must be one of {', '.join(SCOPES)}")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A scenario file is a test."""
    if not file_path.name.endswith(SCENARIOS):
        return None
    from tokenproxy.testing.scenarios.items import ScenarioFile  # noqa: PLC0415 - heavy

    return ScenarioFile.from_parent(parent, path=file_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what its proxy has told."""
    report = yield
    proxy = _proxy(item)
    if report.failed and call.when == "call" and proxy is not None:
        report.sections.append(("tokenproxy", proxy.told()))
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A marker says nothing to fixtures that were made for more than what it is on."""
    known = {marker.partition("(")[0] for marker in MARKERS}
    heard = _owner(item).listchain()
    for node, marker in item.iter_markers_with_node():
        if marker.name in known and node not in heard:
            _failed(f"the marker {marker.name} needs 'tokenproxy_scope = function'")


def _owner(item: pytest.Item) -> pytest.Item | pytest.Collector:
    """What the fixtures of a test are made for, as pytest has it for a plugin's."""
    match item.config.getini("tokenproxy_scope"):
        case "function":
            return item
        case "class":
            return item.getparent(pytest.Class) or item
        case "module":
            return item.getparent(pytest.Module) or item
        case _:
            return item.session


def _proxy(item: pytest.Item) -> "Proxy | None":
    """The one that a test has used; a project's own fixture of that name is none of ours."""
    found = getattr(item, "funcargs", {}).get("tokenproxy")
    ours = getattr(sys.modules.get("tokenproxy.testing.proxy"), "Proxy", ())
    return cast("Proxy", found) if issubclass(type(found), ours) else None


def _scope(fixture_name: str, config: pytest.Config) -> "Scope":
    """Of all fixtures here, as pytest asks for it."""
    del fixture_name
    return config.getini("tokenproxy_scope")


@pytest.fixture(scope=_scope)
def tokenproxy_clock() -> "MovableClock":
    """The clock of the doubles and the proxy: `.advance(seconds)` takes no time."""
    from tokenproxy.testing.movable import MovableClock  # noqa: PLC0415 - heavy

    return MovableClock()


@pytest.fixture(scope=_scope)
def tokenproxy_doubles(
    request: pytest.FixtureRequest, tokenproxy_clock: "MovableClock"
) -> Iterator["Doubles"]:
    """All doubles; each is started when it is asked for first."""
    from tokenproxy.testing.doubles import Doubles  # noqa: PLC0415 - heavy

    issuer, api = _options(request, "tokenproxy_issuer"), _options(request, "tokenproxy_api")
    with Doubles(tokenproxy_clock, issuer=issuer, oauth2_issuer=issuer, api=api) as doubles:
        yield doubles


@pytest.fixture(scope=_scope)
def issuer(tokenproxy_doubles: "Doubles") -> "Issuer":
    """A double of an issuer of simplejwt's kind, running."""
    return tokenproxy_doubles.issuer


@pytest.fixture(scope=_scope)
def oauth2_issuer(tokenproxy_doubles: "Doubles") -> "OAuth2Issuer":
    """A double of an OAuth 2 issuer, running."""
    return tokenproxy_doubles.oauth2_issuer


@pytest.fixture(scope=_scope)
def api(tokenproxy_doubles: "Doubles") -> "Api":
    """A double of an API that takes the tokens of the issuers, running."""
    return tokenproxy_doubles.api


@pytest.fixture(scope=_scope)
def tokenproxy_config() -> Path | str | Mapping[str, Any]:
    """The config where no marker, option or ini file names one; a conftest may have its own."""
    return SHOP


@pytest.fixture(scope=_scope)
def tokenproxy(
    request: pytest.FixtureRequest,
    tokenproxy_doubles: "Doubles",
    tokenproxy_config: Path | str | Mapping[str, Any],
) -> Iterator["Proxy"]:
    """A proxy that serves the config: `.url`, `.url_of(route)`, `.requests`, `.renewals(name)`."""
    from tokenproxy.testing.pointing import serving  # noqa: PLC0415 - heavy

    sources = (_marked(request), named_config(request.config), tokenproxy_config)
    source = next(each for each in sources if each is not None)
    with serving(source, tokenproxy_doubles, failed=_failed) as proxy:
        yield proxy


def named_config(config: pytest.Config) -> Path | None:
    """The file that the option names, else that of the ini file."""
    option = config.getoption("tokenproxy_config")
    if option:
        return Path(config.invocation_params.dir, option)
    ini = config.getini("tokenproxy_config")
    return Path((config.inipath or config.rootpath / "ini").parent, ini) if ini else None


def _marked(request: pytest.FixtureRequest) -> Path | Mapping[str, Any] | None:
    """The config of the test's marker; a file is relative to the test's own."""
    marker = _marker(request, "tokenproxy_config")
    if marker is None:
        return None
    if len(marker.args) != 1 or marker.kwargs:
        _failed("the marker tokenproxy_config takes one thing: a file's name or a mapping")
    source: Any = marker.args[0]
    if isinstance(source, Mapping):
        return source
    return Path(request.node.path.parent, source)


def _options(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    marker = _marker(request, name)
    return {} if marker is None else dict(marker.kwargs)


def _marker(request: pytest.FixtureRequest, name: str) -> pytest.Mark | None:
    return cast("pytest.Mark | None", request.node.get_closest_marker(name))


def _failed(sentence: str) -> None:
    pytest.fail(sentence, pytrace=False)
