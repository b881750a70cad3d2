import hashlib
from textwrap import dedent

import pytest

pytest_plugins = ["pytester"]

HALLO = hashlib.sha256(b"hallo").hexdigest()
QUIET = ["-p", "no:cacheprovider", "-q", "-rs"]
STRICT = ["-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"]


def play(pytester: pytest.Pytester, text: str, *args: str) -> pytest.RunResult:
    (pytester.path / "a.scenario.yaml").write_text(dedent(text).lstrip())
    return pytester.runpytest_inprocess(*QUIET, *STRICT, *args)


def told(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("a.scenario.yaml:")]


def test_a_scenario_is_a_test_with_the_name_that_it_has(pytester: pytest.Pytester) -> None:
    result = play(pytester, "name: it works\nsteps: [{request: GET /items/}]", "-rA")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["PASSED a.scenario.yaml::it works"])


def test_it_can_be_chosen_by_its_name(pytester: pytest.Pytester) -> None:
    result = play(pytester, "name: it works\nsteps: [{request: GET /items/}]", "-k", "other")
    result.assert_outcomes(deselected=1)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        (
            "name: x\nsteps:\n  - requst: GET /\n",
            ["a.scenario.yaml:3: steps.0.requst: is not a known key (did you mean 'request'?)"],
        ),
        (
            "nam: x\nsteps:\n  - request: GET items\n  - advance: soon\n",
            [
                "a.scenario.yaml:1: nam: is not a known key (did you mean 'name'?)",
                "a.scenario.yaml:3: steps.0.request.path: must begin with '/', as in GET /items",
                "a.scenario.yaml:4: steps.1.advance: must be a duration such as 500ms, 30s, 5m "
                "or 24h",
            ],
        ),
        (
            "name: x\nissuer: {type: saml}\nsteps: [{advance: 1s}]\n",
            ["a.scenario.yaml:2: issuer.type: must be one of simplejwt, oauth2"],
        ),
        (
            "name: x\nsteps:\n  - 7\n  - GET /\n",
            [
                "a.scenario.yaml:3: steps.0: must be a mapping ('key: value' lines), not a number",
                "a.scenario.yaml:4: steps.1: must be a mapping ('key: value' lines), not text",
            ],
        ),
        (
            "name: x\nissuer: 5\napi: 5\nsteps: [{advance: 1s}]\n",
            [
                "a.scenario.yaml:2: issuer: must be a mapping ('key: value' lines), not a number",
                "a.scenario.yaml:3: api: must be a mapping ('key: value' lines), not a number",
            ],
        ),
        (
            "name: x\nsteps:\n  - request: GET /\n    expect:\n      body: {$regex: '('}\n"
            "      json: [{a: {$subset: {b: {$regex: 'x{99999999999}'}}}}]\n"
            "      headers: {X-A: {$regex: '*'}}\n",
            [
                "a.scenario.yaml:5: steps.0.expect.body: has a '$regex' that is no pattern: miss",
                "a.scenario.yaml:6: steps.0.expect.json: has a '$regex' that is no pattern: the ",
                "a.scenario.yaml:7: steps.0.expect.headers.X-A: has a '$regex' that is no pattern",
            ],
        ),
        (
            'name: x\nsteps:\n  - request: {method: "G ET", path: "/a\\nb"}\n',
            [
                "a.scenario.yaml:3: steps.0.request.method: must be a method such as GET",
                "a.scenario.yaml:3: steps.0.request.path: holds a control character",
            ],
        ),
        (
            'name: x\nsteps:\n  - request: {path: /, headers: {X-A: "x\\ny", "X B": z}}\n',
            [
                "a.scenario.yaml:3: steps.0.request.headers.X-A: holds a line break or control",
                'a.scenario.yaml:3: steps.0.request.headers."X…": is no name: use letters',
            ],
        ),
        (
            'name: x\napi: {answers: {GET /: {headers: {X-A: "x\\ny"}}}}\nsteps: [{advance: 1s}]\n',
            ['a.scenario.yaml:2: api.answers."GET…".headers.X-A: holds a line break or control'],
        ),
        ("- name: x\n", ["a.scenario.yaml: is a list: it must begin with a key such as"]),
        ("", ["a.scenario.yaml: is empty: a scenario has a 'name' and 'steps'"]),
        ("name: x\nsteps: []\n", ["a.scenario.yaml:2: steps: must not be empty"]),
        (
            "name: x\nconfig: 5\nsteps: [{advance: 1s}]\n",
            [
                "a.scenario.yaml:2: config: must be a config, or the name of a file that holds one",
            ],
        ),
        (
            "name: x\napi: {token: {query: a, cookie: b}}\nsteps: [{advance: 1s}]\n",
            [
                "a.scenario.yaml:2: api.token: must name one of 'header', 'query', 'cookie' "
                "and 'basic'",
            ],
        ),
        (
            "name: x\nissuer: {type: oauth2}\nsteps:\n  - issuer: {password: y}\n",
            [
                "a.scenario.yaml:3: steps: must leave 'password' and 'to' out: an oauth2 issuer "
                "has neither",
            ],
        ),
    ],
)
def test_every_mistake_is_told_with_its_line(
    pytester: pytest.Pytester, text: str, mistakes: list[str]
) -> None:
    result = play(pytester, text)
    result.assert_outcomes(errors=1)
    assert [
        line[: len(wanted)] for line, wanted in zip(told(result), mistakes, strict=True)
    ] == mistakes


def test_a_file_that_is_too_large_is_not_read(pytester: pytest.Pytester) -> None:
    result = play(pytester, "name: [\n" + "#" * (1 << 20))
    result.assert_outcomes(errors=1)
    assert told(result) == ["a.scenario.yaml: is larger than 1 MiB: that is no scenario"]


def test_a_fault_without_a_name_is_told_with_a_guess(pytester: pytest.Pytester) -> None:
    result = play(pytester, "name: x\nsteps:\n  - issuer: {fail_next: {with: too_mny}}\n")
    [line] = told(result)
    assert line.startswith(
        "a.scenario.yaml:3: steps.0.issuer.fail_next.with: must be one of server"
    )
    assert line.endswith("(did you mean 'too_many'?)")


@pytest.mark.parametrize(
    ("step", "lines"),
    [
        (
            "request: GET /items/\n    expect: {status: 404}",
            ["a.scenario.yaml:4: steps.0.expect.status: expected 404, got 200"],
        ),
        (
            "request: GET /items/\n    expect:\n      status: 404\n      renewals: 2",
            [
                "a.scenario.yaml:5: steps.0.expect.status: expected 404, got 200",
                "a.scenario.yaml:6: steps.0.expect.renewals: expected 2, got 1",
            ],
        ),
        (
            "request: GET /items/\n    expect: {headers: {Content-Type: null, X-A: b}}",
            [
                "a.scenario.yaml:4: steps.0.expect.headers.Content-Type: expected no such field, "
                "got application/json; charset=utf-8",
                "a.scenario.yaml:4: steps.0.expect.headers.X-A: expected b, got no such field",
            ],
        ),
        (
            "request: GET /items/\n    expect:\n      json: [{id: 2, name: teapot}]",
            ["a.scenario.yaml:5: steps.0.expect.json: is not what was expected (-) but (+)"],
        ),
        (
            "request: GET /items/\n    expect: {body: nothing}",
            ["a.scenario.yaml:4: steps.0.expect.body: is not what was expected (-) but (+)"],
        ),
        (
            "request: GET /items/\n    expect: {replayed: true, api: {authorized: false}}",
            [
                "a.scenario.yaml:4: steps.0.expect.replayed: expected true, got false",
                "a.scenario.yaml:4: steps.0.expect.api.authorized: expected false, got true",
            ],
        ),
        (
            "request: {method: POST, path: /echo, body: hello}\n    expect: {api: {body: hallo}}",
            [f"a.scenario.yaml:4: steps.0.expect.api.body: expected 5 bytes (sha256 {HALLO}), "],
        ),
        (
            "advance: 1s\n    expect: {api: {body: hello}}",
            ["a.scenario.yaml:4: steps.0.expect.api: no request reached the API"],
        ),
        (
            "advance: 1s\n    expect: {api: {authorized: true}, credentials: {shop: fresh}}",
            [
                "a.scenario.yaml:4: steps.0.expect.credentials.shop: expected fresh, got empty",
                "a.scenario.yaml:4: steps.0.expect.api: no request reached the API",
            ],
        ),
        (
            "refresh: shp",
            ["a.scenario.yaml:3: steps.0.refresh: the config has no credential 'shp': it has shop"],
        ),
        (
            "issuer: {password: other}\n  - refresh: shop",
            ["a.scenario.yaml:4: steps.1.refresh: credential 'shop': "],
        ),
        (
            "parallel:\n      times: 3\n      request: GET /items/\n"
            "      expect: {status: 201, issuer: {logins: 2}}",
            [
                "a.scenario.yaml:6: steps.0.parallel.expect.status: expected 201, got 200",
                "a.scenario.yaml:6: steps.0.parallel.expect.issuer.logins: expected 2, got 1",
            ],
        ),
        (
            "parallel: {times: 2, request: GET /items/}\n    expect: {status: 201, renewals: 99}",
            [
                "a.scenario.yaml:4: steps.0.expect.status: expected 201, got 200",
                "a.scenario.yaml:4: steps.0.expect.renewals: expected 99, got 1",
            ],
        ),
        (
            "parallel: {times: 2, request: GET /items/, expect: {renewals: 2}}\n"
            "    expect: {status: 201}",
            [
                "a.scenario.yaml:3: steps.0.parallel.expect.renewals: expected 2, got 1",
                "a.scenario.yaml:4: steps.0.expect.status: expected 201, got 200",
            ],
        ),
        (
            "request: {method: POST, path: /echo, body: x, headers: {Content-Length: x}}\n"
            "    expect: {status: 200}",
            ["a.scenario.yaml:4: steps.0.expect: no answer came (cannot be sent: "],
        ),
        (
            "request: {path: /items/, as: shp}",
            ["a.scenario.yaml:3: steps.0.request: the config has no route 'shp': it has shop"],
        ),
    ],
)
def test_what_does_not_come_as_expected_is_told_with_its_line(
    pytester: pytest.Pytester, step: str, lines: list[str]
) -> None:
    result = play(pytester, f"name: x\nsteps:\n  - {step}\n")
    result.assert_outcomes(failed=1)
    assert [line[: len(wanted)] for line, wanted in zip(told(result), lines, strict=True)] == lines
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*/tokenproxy/*")


def test_a_difference_is_shown_below_its_line(pytester: pytest.Pytester) -> None:
    text = """
    name: x
    steps:
      - request: GET /items/
        expect: {json: [{id: 2, name: $any}]}
    """
    result = play(pytester, text)
    result.stdout.fnmatch_lines(['-    "id": 2,', '+    "id": 1,'])
    result.stdout.fnmatch_lines(["*- Captured tokenproxy call -*", "RequestServed(*"])


@pytest.mark.parametrize(
    ("config", "mistake"),
    [
        (
            "{routes: [{upstrem: x}]}",
            "a.scenario.yaml:2: config.routes.0.upstrem: is not a known key (did you mean "
            "'upstream'?)",
        ),
        ("./no.yaml", "*no.yaml: does not exist"),
        (
            "{routes: [{upstream: http://127.0.0.1:9}], listen: unix:/no/such/folder/x}",
            "a.scenario.yaml:2: config: cannot listen on unix:/no/such/folder/x*",
        ),
    ],
)
def test_a_config_that_cannot_be_served_fails_with_a_sentence(
    pytester: pytest.Pytester, config: str, mistake: str
) -> None:
    result = play(pytester, f"name: x\nconfig: {config}\nsteps: [{{request: GET /}}]\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([mistake])


SHOP = """
credentials:
  shop: {type: simplejwt, base_url: "%s", username: demo, password: demo-password}
routes:
  - {upstream: "%s", credential: shop}
"""
DOUBLES = SHOP % ("${TOKENPROXY_ISSUER_URL}", "${TOKENPROXY_API_URL}")
NOBODY = SHOP % ("http://127.0.0.1:9", "http://127.0.0.1:9")


def test_a_config_of_its_own_is_found_beside_it(pytester: pytest.Pytester) -> None:
    (pytester.path / "own.yaml").write_text(DOUBLES)
    text = "name: x\nconfig: own.yaml\nsteps: [{request: GET /items/, expect: {status: 200}}]\n"
    play(pytester, text).assert_outcomes(passed=1)


@pytest.mark.parametrize(("sent", "written"), [("5", "5"), ("0.5", "0.5"), ("true", "true")])
def test_a_header_may_be_expected_as_a_number_or_true_or_false(
    pytester: pytest.Pytester, sent: str, written: str
) -> None:
    text = f"""
    name: x
    api: {{answers: {{GET /x: {{headers: {{X-A: "{sent}"}}, body: "0123456789"}}}}}}
    steps:
      - request: {{path: /x, headers: {{X-B: "{sent}"}}}}
        expect:
          headers: {{X-A: {written}, Content-Length: 10}}
          api: {{headers: {{X-B: {written}}}}}
    """
    play(pytester, text).assert_outcomes(passed=1)


@pytest.mark.parametrize("name", ["issuer", "api"])
def test_a_double_that_runs_can_be_told_to(pytester: pytest.Pytester, name: str) -> None:
    text = f"""
    name: x
    steps:
      - {name}: {{down: false}}
      - request: GET /items/
        expect: {{status: 200}}
    """
    play(pytester, text).assert_outcomes(passed=1)


def test_the_option_goes_before_its_own_config_and_the_ini_does_not(
    pytester: pytest.Pytester,
) -> None:
    (pytester.path / "doubles.yaml").write_text(DOUBLES)
    (pytester.path / "nobody.yaml").write_text(NOBODY)
    pytester.makeini("[pytest]\ntokenproxy_config = nobody.yaml")
    own = "name: x\nconfig: doubles.yaml\nsteps: [{request: GET /items/, expect: {status: 200}}]\n"
    play(pytester, own).assert_outcomes(passed=1)
    none = "name: x\nsteps: [{request: GET /items/, expect: {status: 503}}]\n"
    play(pytester, none).assert_outcomes(passed=1)
    play(pytester, own, "--tokenproxy-config", "nobody.yaml").assert_outcomes(failed=1)
    play(pytester, none, "--tokenproxy-config", "doubles.yaml").assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("{issuer: {expire: true}}", "issuer"),
        ("{api: {rejects_all: true}}", "api"),
        ("{request: GET /, expect: {issuer: {logins: 1}}}", "issuer"),
        ("{request: GET /, expect: {api: {requests: 1}}}", "api"),
        ("{parallel: {times: 1, request: GET /}, expect: {api: {requests: 1}}}", "api"),
    ],
)
def test_one_that_needs_a_double_is_skipped_where_it_is_pointed_elsewhere(
    pytester: pytest.Pytester, step: str, name: str
) -> None:
    (pytester.path / "staging.yaml").write_text(NOBODY)
    text = f"name: x\nsteps:\n  - {step}\n"
    result = play(pytester, text, "--tokenproxy-config", "staging.yaml")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        [f"SKIPPED*a.scenario.yaml:3: steps.0: needs the {name}'s double, and *staging.yaml*"]
    )


def test_one_whose_own_config_names_no_double_is_told_to(pytester: pytest.Pytester) -> None:
    text = "name: x\nconfig: own.yaml\nsteps:\n  - issuer: {expire: true}\n"
    (pytester.path / "own.yaml").write_text(NOBODY)
    result = play(pytester, text)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["a.scenario.yaml:4: steps.0: needs the issuer's double, and*"])


@pytest.mark.parametrize("place", ["query: key", "cookie: key", "header: X-Key, word: ''"])
def test_the_api_wants_its_token_where_the_scenario_says(
    pytester: pytest.Pytester, place: str
) -> None:
    inject = place.replace(", word: ''", ", value: '{token}'")
    text = f"""
    name: x
    config:
      credentials:
        c: {{type: simplejwt, base_url: "${{issuer}}", username: demo, password: demo-password}}
      routes:
        - {{upstream: "${{api}}", credential: c, inject: {{{inject}}}}}
    api:
      token: {{{place}}}
      rejection: forbidden
      answers: {{PUT /x: {{status: 202, headers: {{X-A: b}}, body: done}}}}
    steps:
      - request: {{method: PUT, path: /x, body: hello}}
        expect:
          status: 202
          headers: {{X-A: b}}
          body: done
          api: {{authorized: true, body: hello}}
      - api: {{down: true, rejects_early: true}}
      - request: GET /items/
        expect: {{status: 502, json: {{$subset: {{code: upstream_unreachable}}}}}}
      - api: {{down: false}}
      - issuer: {{user: inactive, access_life: 10s, delay: 0}}
      - issuer: {{fail_next: {{with: too_many, to: login, retry_after: 7}}}}
      - request: GET /items/
        expect: {{status: 403}}
    """
    play(pytester, text).assert_outcomes(passed=1)
