"""Each sentence that a config can bring, with its line: what is wrong, and what to write."""

import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.config.load import MAX_FILE, Loaded, load_config
from tokenproxy.errors import ConfigError, Problem

QUOTE_IT = "put the value in quotes"
RESERVED = f"begins a value with a character that YAML keeps for itself (@, ` or %): {QUOTE_IT}"
COLON = (
    f"has a ':' where none may stand: {QUOTE_IT}, or check the indentation here and the space "
    "after the ':' on the line before"
)
UNCLOSED = (
    "opens a '{' or '[' that is not closed, or that holds a value which needs quotes: \"${NAME}\""
)
ALIAS = f"begins a value with '*', which YAML takes for an alias: {QUOTE_IT}"
ANCHOR = f"begins a value with '&', which YAML takes for an anchor: {QUOTE_IT}"
TAG = f"begins a value with '!', which YAML takes for a tag: {QUOTE_IT}"
TAGGED = f"begins with '!', which YAML takes for a tag: {QUOTE_IT}"
BLOCK = f"begins a value with '|' or '>', which YAML takes for a block of text: {QUOTE_IT}"
DIRECTIVE = "begins with '%', which YAML takes for a directive"
NOTHING = "is empty: see config.example.yaml for what belongs here"
NO_KEYS = "holds no 'key: value' lines: is the space after a ':' missing?"
NO_START = f"has a character that cannot begin a value: {QUOTE_IT}"
TOO_DEEP = "nests deeper than 64 levels"
TEXT_KEYS = "has a key that is not plain text"
CONTROL = "holds a control character, which YAML does not allow"
TAB = "holds a tab where YAML wants spaces: indent and align with spaces"
MERGE = "must name a mapping, as in '<<: *name'"
FINITE = "must be a finite number (or put it in quotes to make it text)"
ADDRESS = "must be 'host:port' (port 0 picks a free one) or 'unix:/path'"
OTHERS = (
    "would let other machines use your tokens: listen on 127.0.0.1, [::1], localhost or a unix "
    "socket, or say 'allow_remote: [listen]'"
)
A_MAPPING = "must be a mapping ('key: value' lines)"
A_LIST = "must be a list (lines that begin with '- ', or [one, two])"
TYPES = "must be one of static, file, command, simplejwt, json, oauth2"
DURATION = "must be a duration such as 500ms, 30s, 5m or 24h"
UP = "upstream: 'https://api.example'"
STATIC = "{type: static, token: t}"


def load(text: str | bytes, folder: Path) -> Loaded:
    file = folder / "c.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(file, environment={})


def told(text: str | bytes, folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, folder)
    return [str(problem).removeprefix(f"{folder}/c.yaml:") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen: @x", f"1: {RESERVED}"),
        ("listen: `x", f"1: {RESERVED}"),
        ("listen: %x", f"1: {RESERVED}"),
        ("log: {}\nlisten: a: b", f"2: {COLON}"),
        ("listen\nlog: {}", f"2: {COLON}"),
        ("listen: x\n log: y", f"2: {COLON}"),
        (
            "log: {}\nlisten\n\nstore: {}",
            "2: is not 'key: value': is the ':' or the space after it missing?",
        ),
        (
            "listen: - x",
            "1: has a '- ' where no list can begin: start the list on a line of its own",
        ),
        ("listen: 'x\nlog: {}\n", "1: opens a quote that is never closed"),
        ('log: {}\nlisten: "x\n', "2: opens a quote that is never closed"),
        (
            'listen: "\\q"',
            "1: has a '\\' in double quotes that begins no escape: use single quotes, or write "
            "'\\\\'",
        ),
        ("log: {level: info\nlisten: x", f"1: {UNCLOSED}"),
        ("listen: [a, b\nlog: {}", f"1: {UNCLOSED}"),
        ("listen: *x", f"1: {ALIAS}"),
        ("listen: *", f"1: {ALIAS}"),
        ("listen: &", f"1: {ANCHOR}"),
        ("listen: & x", f"1: {ANCHOR}"),
        ("listen: !<", f"1: {TAG}"),
        ("listen: |x\n y", f"1: {BLOCK}"),
        ("listen: >x\n y", f"1: {BLOCK}"),
        (
            "listen: x\n---\nlisten: y",
            "2: begins a second document: a config is one, without '---'",
        ),
        ("%YAML 9.9\n---\nlog: {}", f"1: {DIRECTIVE}"),
        ("%YAML 1.x\n---\nlog: {}", f"1: {DIRECTIVE}"),
        (
            "- x\nlisten: y",
            "2: does not fit what stands above it: check the indentation and the quotes",
        ),
        ("listen: ]", f"1: {NO_START}"),
        ("log: {}\nlisten: x\x07", f"2: {CONTROL}"),
        ("listen: \0", f"1: {CONTROL}"),
        ("listen:\n\t- x", f"2: {TAB}"),
        ("\tlisten: x", f"1: {TAB}"),
    ],
)
def test_what_is_no_yaml_is_told_where_it_begins(text: str, problem: str, tmp_path: Path) -> None:
    assert told(text, tmp_path) == [problem]


def test_an_escape_that_stands_for_no_character_has_no_line(tmp_path: Path) -> None:
    (problem,) = told('listen: "\\UFFFFFFFF"', tmp_path)

    assert problem.strip() == "is not valid YAML: a '\\U' escape or a '%YAML' line is wrong"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", NOTHING),
        ("# only\n", NOTHING),
        ("---", NOTHING),
        ("null", NOTHING),
        ("- listen: x", "is a list: it must begin with a key such as 'routes:', without '- '"),
        ("listen:x", f"1: {NO_KEYS}"),
        ("\n\n7", f"3: {NO_KEYS}"),
        (b"listen: \xff", "1: is not UTF-8 text: save it as UTF-8"),
        (b"log: {}\n# \xe4\n", "2: is not UTF-8 text: save it as UTF-8"),
        (b"#" * (MAX_FILE + 1), "is larger than 4 MiB: that is no config"),
        ("log: " + "[" * 70 + "]" * 70, f"1: {TOO_DEEP}"),
        ("log: &a [*a]", f"1: {TOO_DEEP}"),
        ("log: &a {<<: *a}", f"1: {TOO_DEEP}"),
    ],
    ids=[
        "empty",
        "comment",
        "only a mark",
        "null",
        "list",
        "text",
        "number",
        "byte",
        "latin-1",
        "large",
        "deep",
        "endless",
        "endless merge",
    ],
)
def test_what_holds_no_config_is_told_in_one_sentence(
    text: str | bytes, problem: str, tmp_path: Path
) -> None:
    (only,) = told(text, tmp_path)

    assert only.removeprefix(f"{tmp_path}/c.yaml: ").strip() == problem


def test_aliases_that_multiply_are_told_and_not_followed(tmp_path: Path) -> None:
    laughs = ["a0: &a0 [x]"]
    laughs += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    (problem,) = told("\n".join(laughs), tmp_path)

    assert problem.endswith("holds more than 200000 values (do its aliases multiply?)")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("missing.yaml", "does not exist"),
        (".", "is a folder: name the file in it"),
        ("file/c.yaml", "cannot be read: Not a directory"),
        ("c\0.yaml", "cannot be a file's name"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_its_name(
    name: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / name, environment={})

    assert str(caught.value) == f"{tmp_path / name}: {sentence}"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        # -- keys
        ("? [a]\n: b", [f"1: {TEXT_KEYS}"]),
        ("log: {}\n? {a: 1}\n: b", [f"2: {TEXT_KEYS}"]),
        ("!x a: b", [f"1: {TEXT_KEYS}"]),
        (
            "log: {}\nlog: {}\nlog: {}",
            [f"{n}: log: is given twice: the first is on line 1" for n in (2, 3)],
        ),
        (
            "log:\n  level: info\n  level: info",
            ["3: log.level: is given twice: the first is on line 2"],
        ),
        ("1: x", ["1: 1: is not a known key"]),
        ("lisen: []", ["1: lisen: is not a known key (did you mean 'listen'?)"]),
        ("LISTEN: []", ["1: LISTEN: is not a known key (did you mean 'listen'?)"]),
        ('"list en": 1', ["1: \"list…\": is not a known key (did you mean 'listen'?)"]),
        ("{password:hunter2}", ['1: "password…": is not a known key']),
        # -- tags
        ("listen: !x y", [f"1: listen: {TAGGED}"]),
        ("listen: !!int 5", [f"1: listen: {TAGGED}"]),
        ("listen: !!binary aa", [f"1: listen: {TAGGED}"]),
        ("log: !!python/object:os.system {}", [f"1: log: {TAGGED}"]),
        ("listen: !!seq [x]", [f"1: listen.0: {ADDRESS}"]),
        # -- numbers
        ("shutdown_grace: .inf", [f"1: shutdown_grace: {FINITE}"]),
        ("shutdown_grace: -.INF", [f"1: shutdown_grace: {FINITE}"]),
        ("shutdown_grace: .NaN", [f"1: shutdown_grace: {FINITE}"]),
        (
            "shutdown_grace: 1e999",
            ["1: shutdown_grace: is too large for a number: put it in quotes to make it text"],
        ),
        (
            f"shutdown_grace: 1{'0' * 400}",
            ["1: shutdown_grace: is too long for a number: put it in quotes to make it text"],
        ),
        (f"shutdown_grace: 1{'0' * 200}", [f"1: shutdown_grace: {DURATION}"]),
        # -- merges
        ("<<: 7", [f'1: "…": {MERGE}']),
        ("<<: [{log: {}}, 7]", [f'1: "…": {MERGE}']),
        # -- addresses
        ("listen: []", ["1: listen: must not be empty"]),
        ("listen: ", [f"1: listen: is empty: {A_LIST}"]),
        (
            "listen: 8080",
            ["1: listen: is a port alone: write it with its address, as in 127.0.0.1:8080"],
        ),
        ("listen: localhost", [f"1: listen: {ADDRESS}"]),
        (
            "listen: localhost:65536",
            ["1: listen: has a port out of range: 0 (picks a free one) to 65535"],
        ),
        ("listen: '::1:80'", [f"1: listen: {ADDRESS}"]),
        ("listen: true", ["1: listen: must be text: put it in quotes"]),
        (
            "listen: unix:run.sock",
            ["1: listen: must be an absolute path, as in unix:/run/tokenproxy.sock"],
        ),
        ("listen: 0.0.0.0:80", [f"1: listen: {OTHERS}"]),
        ("listen: '[::]:80'", [f"1: listen: {OTHERS}"]),
        ("listen: shop.example:80", [f"1: listen: {OTHERS}"]),
        ("listen:\n  - localhost:80\n  - 10.0.0.1:80", [f"3: listen.1: {OTHERS}"]),
        ("listen: [localhost:80, localhost:80]", ["1: listen: names the same address twice"]),
        # -- shapes
        ("routes: {a: 1}", [f"1: routes: {A_LIST}, not a mapping"]),
        ("routes: text", [f"1: routes: {A_LIST}, not text"]),
        ("routes: 7", [f"1: routes: {A_LIST}, not a number or true or false"]),
        ("routes:", [f"1: routes: is empty: {A_LIST}"]),
        ("routes: [7]", [f"1: routes.0: {A_MAPPING}, not a number or true or false"]),
        (
            "routes:\n  -\n  - text",
            [f"2: routes.0: is empty: {A_MAPPING}", f"3: routes.1: {A_MAPPING}, not text"],
        ),
        ("credentials:", [f"1: credentials: is empty: {A_MAPPING}"]),
        ("credentials: [a]", [f"1: credentials: {A_MAPPING}, not a list"]),
        ("credentials: {a: 7}", [f"1: credentials.a: {A_MAPPING}, not a number or true or false"]),
        ("log: text", [f"1: log: {A_MAPPING}, not text"]),
        ("log: {format: xml}", ["1: log.format: must be 'auto', 'console' or 'json'"]),
        ("allowed_hosts: x", [f"1: allowed_hosts: {A_LIST}, not text"]),
        ("allowed_hosts: ['']", ["1: allowed_hosts.0: must not be empty"]),
        (
            "admin: 8081",
            ["1: admin: is a port alone: write it with its address, as in 127.0.0.1:8080"],
        ),
        (
            "admin: here",
            ["1: admin: must be 'host:port' (port 0 picks a free one) or 'unix:/path'"],
        ),
        (
            "admin: 0.0.0.0:8081",
            [
                "1: admin: would let other machines see how your credentials stand, and renew "
                "them: use 127.0.0.1, [::1], localhost or a unix socket, or say 'allow_remote: "
                "[admin]'"
            ],
        ),
        (
            "admin: 127.0.0.1:8080",
            [
                "1: admin: is an address that 'listen' names too: choose another one, or null for "
                "none"
            ],
        ),
        ("readiness: some", ["1: readiness: must be 'all', 'any' or 'none'"]),
        # -- types
        ("credentials: {a: {}}", [f"1: credentials.a.type: is missing: {TYPES}"]),
        ("credentials: {a: {type: }}", [f"1: credentials.a.type: is missing: {TYPES}"]),
        (
            "credentials:\n  a:\n    type: statc\n    tken: x",
            [
                f"3: credentials.a.type: {TYPES} (did you mean 'static'?)",
                "4: credentials.a.tken: is not a known key (did you mean 'token'?)",
            ],
        ),
        ("credentials: {a: {type: 7}}", [f"1: credentials.a.type: {TYPES}"]),
        # -- what is missing
        ("credentials:\n  a:\n    type: static", ["2: credentials.a.token: is missing"]),
        ("routes:\n  - path: /", ["2: routes.0.upstream: is missing"]),
        (
            "routes:\n  - upstrem: x",
            ["2: routes.0.upstrem: is not a known key (did you mean 'upstream'?)"],
        ),
        (
            "credentials: {a: {type: command, argv: []}}",
            ["1: credentials.a.argv: must not be empty"],
        ),
        (
            "credentials: {a: {type: command, argv: ls -l}}",
            [f"1: credentials.a.argv: {A_LIST}, not text"],
        ),
        # -- a misspelt key is told once, and what only follows from it is not told
        (
            "credentials:\n  a:\n    type: simplejwt\n    base_url: https://a\n"
            "    username: a\n    pasword: b",
            ["6: credentials.a.pasword: is not a known key (did you mean 'password'?)"],
        ),
        (
            "credentials:\n  a:\n    type: file\n    path: /t\n    field: a.\n    format: text",
            [
                "5: credentials.a.field: must be names with dots between them, as in "
                "data.accessToken"
            ],
        ),
        # -- what parts say about each other
        (
            f"routes: [{{{UP}, credential: x}}]",
            ["1: routes.0.credential: names no credential: this file has none under 'credentials'"],
        ),
        (
            f"credentials: {{b: {STATIC}}}\nroutes: [{{{UP}, credential: shop}}]",
            ["2: routes.0.credential: names no credential of this file"],
        ),
        (
            f"credentials: {{shop: {STATIC}}}\nroutes: [{{{UP}, credential: Shpo}}]",
            [
                "2: routes.0.credential: is no name for a credential: use lower-case letters, "
                "digits, '_' and '-', 64 at most",
                "2: routes.0.credential: names no credential of this file (did you mean 'shop'?)",
            ],
        ),
        (
            f"routes:\n- {{{UP}, name: a}}\n- {{{UP}, name: a, path: /x}}",
            ["3: routes.1.name: is also the name of routes.0"],
        ),
        (
            f"routes:\n- {{{UP}, path: /a, host: A}}\n- {{{UP}, path: /b}}\n"
            f"- {{{UP}, path: /a/, host: a}}",
            ["4: routes.2.path: has the same host and path as routes.0"],
        ),
        (
            f"routes:\n- {{{UP}, path: 7}}\n- {{{UP}, path: 7}}",
            [f"{n}: routes.{n - 2}.path: must be text: put it in quotes" for n in (2, 3)],
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_key(
    text: str, problems: list[str], tmp_path: Path
) -> None:
    assert told(text, tmp_path) == problems


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("log: {}", ["1: routes: there are none: no request can be forwarded"]),
        ("log: {}\nroutes: []", ["2: routes: there are none: no request can be forwarded"]),
        (f"routes: [{{{UP}}}]", []),
        (
            f"credentials:\n  a: {STATIC}\n  b: {STATIC}\nroutes: [{{{UP}, credential: a}}]",
            ["3: credentials.b: is used by no route"],
        ),
    ],
)
def test_what_is_allowed_and_hardly_meant_is_a_warning(
    text: str, warnings: list[str], tmp_path: Path
) -> None:
    given_warnings = [str(warning) for warning in load(text, tmp_path).warnings]

    assert [one.removeprefix(f"{tmp_path}/c.yaml:") for one in given_warnings] == warnings


def test_routes_that_differ_in_host_or_path_are_not_the_same(tmp_path: Path) -> None:
    rows = ["path: /a", "path: /b", "path: /a, host: x", "path: /a, host: y", "host: x", "path: /A"]
    text = "routes:\n" + "".join(f"- {{{UP}, {row}}}\n" for row in rows)

    assert len(load(text, tmp_path).config.routes) == len(rows)


@pytest.mark.parametrize(
    ("text", "grace"),
    [
        ("shutdown_grace: 0x10", 16),
        ("shutdown_grace: 0o17", 15),
        ("shutdown_grace: 010", 10),
        ("shutdown_grace: +1e1", 10),
        ("shutdown_grace: .5", 0.5),
        ("shutdown_grace: '30'", 30),
        ("shutdown_grace: !!str 30", 30),
        ("\ufeffshutdown_grace: 5", 5),
        ("--- {shutdown_grace: 5}", 5),
        ("!!map {shutdown_grace: 5}", 5),
        ("log: &l {}\n<<: {shutdown_grace: 5}", 5),
        ("<<: {shutdown_grace: 5}\nshutdown_grace: 6", 6),
        ("shutdown_grace: 6\n<<: {shutdown_grace: 5}", 6),
        ("<<: [{shutdown_grace: 5}, {shutdown_grace: 6}]", 5),
        ("<<: {<<: {shutdown_grace: 5}}", 5),
    ],
)
def test_yaml_means_what_its_newer_version_says(text: str, grace: float, tmp_path: Path) -> None:
    assert load(text, tmp_path).config.shutdown_grace == grace


@pytest.mark.parametrize("word", ["yes", "No", "on", "12:30", "2024-01-01", "1_000", "0b1", "="])
def test_what_older_yaml_took_for_something_else_is_text(word: str, tmp_path: Path) -> None:
    assert load(f"allowed_hosts: [{word}]", tmp_path).config.allowed_hosts == (word,)


def test_what_is_wrong_in_a_merged_mapping_is_told_once_where_it_is_written(
    tmp_path: Path,
) -> None:
    shared = "log: &log\n  level: info\n  level: info\nstore:\n  <<: *log\n  type: memory\n"

    assert told(shared, tmp_path) == [
        "2: store.level: is not a known key",
        "3: log.level: is given twice: the first is on line 2",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "listen: {password: s3cr3t",
        "listen: 's3cr3t",
        "password:s3cr3t\nlisten: x",
        'listen: "s3cr3t\\q"',
        "listen: *s3cr3t",
        "listen: !s3cr3t x",
        "listen: s3cr3t\x07",
        "s3cr3t",
        "- s3cr3t",
        '"password s3cr3t": x',
        "listen: s3cr3t",
        "listen: &s3cr3t",
        "listen: ${s3cr3t",
        "listen: ${a s3cr3t}",
        "shutdown_grace: s3cr3t",
        "log: {level: s3cr3t}",
        "store: {type: s3cr3t}",
        "admin: [s3cr3t]",
    ],
)
def test_neither_a_sentence_nor_its_traceback_quotes_a_value(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path)

    shown = "".join(traceback.format_exception(caught.value))
    assert "s3cr3t" not in shown


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.floats()))
def test_any_mapping_is_a_config_or_a_list_of_its_mistakes(mapping: dict[str, object]) -> None:
    problems: list[Problem] = []
    try:
        load_config(mapping, environment={})
    except ConfigError as error:
        problems = error.problems
    assert all(problem.what and problem.line is None for problem in problems)


def test_a_mapping_is_held_to_the_same_limits() -> None:
    endless: dict[str, object] = {}
    endless["log"] = endless
    wrong: dict[object, object] = {1: "x", "shutdown_grace": float("inf")}

    problems = []
    for mapping in (endless, wrong):
        with pytest.raises(ConfigError) as caught:
            load_config(mapping, environment={})  # type: ignore[arg-type]
        problems.append([str(problem) for problem in caught.value.problems])

    assert problems == [
        [TOO_DEEP],
        ["has a key that is not text", "shutdown_grace: must be a finite number"],
    ]


def test_tuples_are_lists_and_other_values_stay_as_they_are() -> None:
    folder = Path("/state")

    loaded = load_config(
        {"allowed_hosts": ("a", "b"), "store": {"path": folder}}, environment={}
    ).config

    assert loaded.allowed_hosts == ("a", "b")
    assert loaded.store.model_dump()["path"] == folder


def test_lone_surrogates_are_told_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"log": {"level": "\ud800"}, "allowed_hosts": ["\ud800"]}, environment={})

    assert "allowed_hosts.0: must be text without lone surrogates" in str(caught.value)
