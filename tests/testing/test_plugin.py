import sys

import pytest

pytest_plugins = ["pytester"]

GET = 'requests.get(tokenproxy.url + "/items/")'
QUIET = ["-p", "no:cacheprovider", "-q"]
STRICT = ["-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"]
CONFIG = """
credentials:
  shop:
    type: simplejwt
    base_url: ${TOKENPROXY_ISSUER_URL}
    username: demo
    password: demo-password
routes:
  - {name: %s, path: /a, upstream: "${TOKENPROXY_API_URL}", credential: shop}
"""
ELSEWHERE = {"routes": [{"upstream": "http://127.0.0.1:9"}]}


def suite(*tests: str) -> str:
    """A test module: each test is its signature's rest and its body."""
    head = "import pytest, requests\n"
    return head + "\n".join(f"def test_{at}{test}" for at, test in enumerate(tests))


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*QUIET, *STRICT, *args)


def apart(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """In a process of its own, which has the plugin and those that are named."""
    return pytester.run(
        sys.executable, "-m", "pytest", *QUIET, "-p", "tokenproxy.testing.plugin", *args
    )


@pytest.fixture
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # some import aiohttp, or all else


@pytest.mark.parametrize(
    "test",
    [
        f"(tokenproxy):\n assert {GET}.json()[0]['name'] == 'teapot'",
        f"(tokenproxy, api):\n {GET}\n assert api.requests[-1].authorized",
        f"(tokenproxy, issuer):\n {GET}\n assert issuer.logins == 1",
        f"(tokenproxy):\n {GET}\n assert tokenproxy.renewals('shop') == 1",
        f"(tokenproxy):\n {GET}\n {GET}\n assert tokenproxy.renewals('shop') == 1",
        f"(tokenproxy):\n {GET}\n assert tokenproxy.requests[-1].path == '/items/'",
        f"(tokenproxy):\n {GET}\n tokenproxy.clear()\n assert tokenproxy.events == ()",
        f"(tokenproxy, tokenproxy_clock):\n {GET}\n tokenproxy_clock.advance(3600)\n {GET}\n"
        " assert tokenproxy.renewals('shop') == 2",
        f"(tokenproxy, tokenproxy_clock, issuer):\n {GET}\n tokenproxy_clock.advance(2)\n"
        f" issuer.expire_now()\n assert {GET}.status_code == 200\n"
        " assert [r.replayed for r in tokenproxy.requests] == [False, True]",
        f"(tokenproxy, issuer):\n {GET}\n issuer.go_down()\n assert {GET}.status_code == 200",
        "(tokenproxy):\n tokenproxy.credentials.refresh('shop')\n"
        " assert tokenproxy.credentials.status('shop').state.value == 'fresh'",
        "(tokenproxy):\n assert tokenproxy.url_of('shop') == tokenproxy.url",
        '(tokenproxy):\n with pytest.raises(LookupError, match="it has shop"):\n'
        "  tokenproxy.url_of('shp')",
        "(tokenproxy, tokenproxy_clock):\n assert tokenproxy.clock is tokenproxy_clock",
        "(tokenproxy):\n assert tokenproxy.config.admin is None",
    ],
)
def test_what_a_test_may_ask(pytester: pytest.Pytester, test: str) -> None:
    pytester.makepyfile(suite(test))
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marker", "test"),
    [
        (
            "tokenproxy_issuer(access_life=600)",
            f"(tokenproxy):\n {GET}\n tokenproxy.clock.advance(400)\n {GET}\n"
            " assert tokenproxy.renewals('shop') == 1",
        ),
        (
            "tokenproxy_api(rejection=__import__('tokenproxy.testing').testing.Forbidden())",
            "(api):\n assert requests.get(api.url + '/items/').status_code == 403",
        ),
        (
            f"tokenproxy_config({ELSEWHERE})",
            f"(tokenproxy, tokenproxy_doubles):\n assert {GET}.status_code == 502\n"
            " assert tokenproxy_doubles.started == []",
        ),
        (
            "tokenproxy_config({'credentials': {'o': {'type': 'oauth2', 'grant': 'password',"
            " 'issuer': '${TOKENPROXY_OAUTH2_ISSUER_URL}', 'client_id': 'demo-client',"
            " 'client_auth': {'secret': 'demo-secret'}, 'username': 'demo',"
            " 'password': 'demo-password'}}, 'routes': [{'credential': 'o', 'path': '/o',"
            " 'host': 'o.localhost', 'upstream': '${TOKENPROXY_API_URL}'}]})",
            "(tokenproxy, oauth2_issuer):\n"
            " assert tokenproxy.url_of('o').startswith('http://o.localhost:')\n"
            " got = requests.get(tokenproxy.url + '/o/items/', headers={'Host': 'o.localhost:'"
            " + tokenproxy.url.rpartition(':')[2]})\n"
            " assert got.status_code == 200\n assert oauth2_issuer.logins == 1",
        ),
    ],
)
def test_what_a_marker_changes(pytester: pytest.Pytester, marker: str, test: str) -> None:
    pytester.makepyfile("import pytest, requests\n@pytest.mark." + marker + f"\ndef test_it{test}")
    run(pytester, "--strict-markers").assert_outcomes(passed=1)


def route_named(name: str, marker: str = "") -> str:
    test = f"def test_it(tokenproxy):\n assert tokenproxy.url_of('{name}').endswith('/a')"
    return f"import pytest\n{marker}\n{test}"


def test_the_marker_goes_before_the_option_before_the_ini_before_the_fixture(
    pytester: pytest.Pytester,
) -> None:
    for name in ("marked", "option", "ini", "fixture"):
        (pytester.path / f"{name}.yaml").write_text(CONFIG % name)
    pytester.makepyfile(
        test_m=route_named("marked", "@pytest.mark.tokenproxy_config('marked.yaml')")
    )
    pytester.makepyfile(test_o=route_named("option"))
    pytester.makepyfile(test_i=route_named("ini"))
    pytester.makepyfile(test_f=route_named("fixture"))
    pytester.makeconftest(
        "import pytest\n@pytest.fixture\ndef tokenproxy_config():\n return 'fixture.yaml'"
    )
    run(pytester, "test_f.py").assert_outcomes(passed=1)
    pytester.makeini("[pytest]\ntokenproxy_config = ini.yaml")
    run(pytester, "test_i.py").assert_outcomes(passed=1)
    option = ["--tokenproxy-config", "option.yaml"]
    run(pytester, "test_m.py", "test_o.py", *option).assert_outcomes(passed=2)


def test_a_variable_of_the_environment_is_not_replaced_by_a_double(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENPROXY_API_URL", "http://127.0.0.1:9")
    pytester.makepyfile(
        suite(
            f"(tokenproxy, tokenproxy_doubles):\n assert {GET}.status_code == 502\n"
            " assert [type(each).__name__ for each in tokenproxy_doubles.started] == ['Issuer']"
        )
    )
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ("{'routes': [{'upstrem': 'x'}]}", "routes.0.upstrem: is not a known key*upstream*"),
        ("'no.yaml'", "*no.yaml: does not exist"),
        ("{}", "the config has no routes*"),
        ("", "the marker tokenproxy_config takes one thing*"),
        ("{'listen': '192.0.2.1:0', **R}", "listen: would let other machines use your tokens*"),
        ("{'listen': 'unix:/no/such/folder/x', **R}", "*cannot listen on unix:/no/such/folder/x*"),
    ],
)
def test_what_keeps_the_proxy_from_starting_is_the_tests_error(
    pytester: pytest.Pytester, marker: str, told: str
) -> None:
    pytester.makepyfile(
        f"import pytest\nR = {ELSEWHERE}\n@pytest.mark.tokenproxy_config({marker})\n"
        "def test_it(tokenproxy): ..."
    )
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*/tokenproxy/*")


def test_a_failure_shows_what_the_proxy_has_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(suite(f"(tokenproxy):\n {GET}\n assert 0"))
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- tokenproxy -*", "TokenRenewed(*", "RequestServed(*"])


@pytest.mark.parametrize(
    "other", ["unittest.mock.MagicMock()", "unittest.mock.MagicMock(spec=Proxy)", "Other()", "None"]
)
def test_a_fixture_of_that_name_may_be_the_projects_own(
    pytester: pytest.Pytester, other: str
) -> None:
    pytester.makepyfile(
        "import pytest, unittest.mock\nfrom tokenproxy.testing import Proxy\n"
        "class Other:\n def told(self):\n  raise ValueError\n"
        f"@pytest.fixture\ndef tokenproxy():\n return {other}\n"
        "def test_a(tokenproxy):\n assert 0\ndef test_b():\n pass"
    )
    run(pytester).assert_outcomes(failed=1, passed=1)


def test_a_session_can_share_one_proxy(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntokenproxy_scope = session")
    asked = f"(tokenproxy):\n {GET}\n assert tokenproxy.renewals('shop') == 1"
    pytester.makepyfile(suite(asked, asked))
    run(pytester).assert_outcomes(passed=2)


MARK = "pytest.mark.tokenproxy_issuer(rotate=False)"
MARKED_TEST = f"@{MARK}\ndef test_it(issuer):\n assert not issuer.rotate"
MARKED_CLASS = f"@{MARK}\nclass TestIt:\n def test_it(self, issuer):\n  assert not issuer.rotate"
IN_CLASS = f"class TestIt:\n @{MARK}\n def test_it(self, issuer): ..."
MARKED_MODULE = f"pytestmark = {MARK}\ndef test_it(issuer):\n assert not issuer.rotate"


@pytest.mark.parametrize(
    ("scope", "module"),
    [
        ("function", MARKED_CLASS),
        ("function", MARKED_MODULE),
        ("class", MARKED_TEST),
        ("class", MARKED_CLASS),
        ("class", MARKED_MODULE),
        ("module", MARKED_MODULE),
    ],
)
def test_a_marker_on_what_the_fixtures_are_made_for_is_heard(
    pytester: pytest.Pytester, scope: str, module: str
) -> None:
    pytester.makeini(f"[pytest]\ntokenproxy_scope = {scope}")
    pytester.makepyfile(f"import pytest\n{module}")
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("scope", "module"),
    [
        ("class", IN_CLASS),
        ("module", MARKED_TEST),
        ("module", MARKED_CLASS),
        ("package", MARKED_MODULE),
        ("session", MARKED_TEST),
        ("session", MARKED_CLASS),
        ("session", MARKED_MODULE),
    ],
)
def test_a_marker_on_less_than_the_fixtures_are_made_for_is_an_error(
    pytester: pytest.Pytester, scope: str, module: str
) -> None:
    pytester.makeini(f"[pytest]\ntokenproxy_scope = {scope}")
    pytester.makepyfile(f"import pytest\n{module}")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["the marker tokenproxy_issuer needs 'tokenproxy_scope = function'"]
    )


def test_a_scope_that_there_is_not_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntokenproxy_scope = forever")
    result = run(pytester)
    result.stderr.fnmatch_lines(["*tokenproxy_scope must be one of function, class,*"])


AIOHTTP = """
import aiohttp, asyncio, pytest
{mark}
async def test_it(tokenproxy, tokenproxy_clock):
    async with aiohttp.ClientSession() as client:
        for _ in range(2):
            async with client.get(tokenproxy.url + "/items/") as answer:
                assert answer.status == 200
            tokenproxy_clock.advance(3600)
    assert tokenproxy.renewals("shop") == 2
    assert "tokenproxy" not in repr(asyncio.all_tasks())
"""


@pytest.mark.parametrize(
    ("mark", "args"),
    [
        ("", ["-p", "pytest_asyncio.plugin", *STRICT, "--asyncio-mode=auto"]),
        ("@pytest.mark.asyncio", ["-p", "pytest_asyncio.plugin", *STRICT]),
        (
            "",
            ["-p", "pytest_asyncio.plugin", "-p", "pytest_aiohttp", *STRICT, "--asyncio-mode=auto"],
        ),
        ("@pytest.mark.anyio", ["-p", "anyio.pytest_plugin"]),
    ],
    ids=["asyncio auto", "asyncio strict", "aiohttp", "anyio"],
)
def test_async_tests_use_it_in_a_loop_of_their_own(
    pytester: pytest.Pytester, no_other_plugins: None, mark: str, args: list[str]
) -> None:
    pytester.makepyfile(AIOHTTP.format(mark=mark))
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend():\n return 'asyncio'")
    apart(pytester, "-W", "error", *args).assert_outcomes(passed=1)


def test_workers_of_xdist_have_a_proxy_each(
    pytester: pytest.Pytester, no_other_plugins: None
) -> None:
    pytester.makepyfile(suite(*[f"(tokenproxy):\n assert {GET}.status_code == 200"] * 4))
    apart(pytester, "-p", "xdist.plugin", "-n", "2").assert_outcomes(passed=4)


HEAVY = ["aiohttp", "pydantic", "yaml", "jwt", "tokenproxy.runtime", "tokenproxy.config.load"]


@pytest.mark.parametrize("args", [["--help"], ["--collect-only"], []])
def test_nothing_heavy_is_imported_before_a_fixture_is_used(
    pytester: pytest.Pytester, no_other_plugins: None, args: list[str]
) -> None:
    pytester.makepyfile(suite("():\n pass"))
    pytester.makeconftest(
        f"import sys\ndef pytest_unconfigure():\n print([n for n in {HEAVY} if n in sys.modules])"
    )
    apart(pytester, "-s", *args).stdout.fnmatch_lines(["[[]]"])


def test_the_plugin_is_an_entry_point_of_pytest(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--fixtures")
    assert "tokenproxy_clock" in result.stdout.str()
