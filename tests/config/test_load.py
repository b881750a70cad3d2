"""Every mistake of a config is told in one go, in the order of the file, and no value with it."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.config.load import find_config, load_config
from tokenproxy.errors import ConfigError, Problem
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.settings.static import Static

GOOD = """\
credentials:
  shop:
    type: static
    token: "${TOKEN}"
routes:
  - {upstream: "http://127.0.0.1:9000", credential: shop}
"""


def told(text: str, folder: Path, **environment: str) -> list[str]:
    file = folder / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, environment=environment)
    return [str(problem).removeprefix(f"{file}:") for problem in caught.value.problems]


def token(written: str, folder: Path, **environment: str) -> str:
    file = folder / "c.yaml"
    file.write_text(GOOD.replace('"${TOKEN}"', written))
    credential = load_config(file, environment=environment).config.credentials["shop"]
    assert isinstance(credential, Static)
    return credential.token.get_secret_value()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"${A}"', "one"),
        ("${A}", "one"),
        ("x-${A}-${B}", "x-one-12345"),
        ("${B}", "12345"),  # as the key's own type, never as YAML
        ("${MISSING:-else}", "else"),
        ("${EMPTY:-else}", "else"),
        ("$$A", "$A"),
        ("$A", "$A"),
        ("${file:secret}", "from-a-file"),
        ("${C}", "${A}"),  # read once
    ],
)
def test_references_are_replaced(written: str, read: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    environment = {"A": "one", "B": "12345", "C": "${A}", "EMPTY": ""}

    assert token(written, tmp_path, **environment) == read


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("listn: x", "7: listn: is not a known key (did you mean 'listen'?)"),
        ("routes: []", "7: routes: is given twice: the first is on line 5"),
        ("listen: 8080", "7: listen: "),
        ("listen: 0.0.0.0:80", "7: listen"),
        ("shutdown_grace: soon", "7: shutdown_grace: must be a duration"),
        ("log: {level: loud}", "7: log.level: must be 'debug', 'info', 'warning' or 'error'"),
        ("store: {type: memry}", "7: store.type: must be one of "),
        ("allowed_hosts: ${NOPE}", "7: allowed_hosts: needs the environment variable NOPE"),
        ("admin: ${file:nope}", "7: admin: names a file that does not exist: nope"),
        ("log: [", "8"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_do(
    line: str, problem: str, tmp_path: Path
) -> None:
    problems = told(GOOD + line + "\n", tmp_path, TOKEN="t")

    assert any(one.startswith(problem) for one in problems), problems


def test_all_mistakes_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = GOOD.replace("type: static", "tokn: x").replace("shop}", "shpo}")

    problems = told(text + "listn: 1\n", tmp_path, TOKEN="t")

    assert [one.split(":")[0] for one in problems] == ["2", "6", "7"]


def test_two_routes_of_the_same_host_and_path_are_a_mistake(tmp_path: Path) -> None:
    again = GOOD + '  - {upstream: "http://127.0.0.1:9001", credential: shop}\n'

    assert "has the same host and path as routes.0" in told(again, tmp_path, TOKEN="t")[0]


def test_a_credential_that_no_route_uses_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD.replace(", credential: shop", ""))

    warnings = load_config(tmp_path / "c.yaml", environment={"TOKEN": "t"}).warnings

    assert ["credentials.shop" in str(warning) for warning in warnings] == [True]


@pytest.mark.parametrize("text", ["", "- a", "just text", "a: 1\n---\nb: 2\n", "\tlisten: x"])
def test_what_is_no_config_at_all_is_one_sentence(text: str, tmp_path: Path) -> None:
    assert len(told(text, tmp_path)) == 1


def test_a_relative_path_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD + "store: {type: file, path: state}\n")

    store = load_config(tmp_path / "c.yaml", environment={"TOKEN": "t"}).config.store

    assert store.model_dump()["path"] == tmp_path / "state"


def test_a_mapping_is_as_good_as_a_file() -> None:
    shop = {
        "type": "simplejwt",
        "base_url": "https://shop.example",
        "username": "anna",
        "password": "${PASSWORD}",
    }

    loaded = load_config({"credentials": {"shop": shop}}, environment={"PASSWORD": "p"})

    credential = loaded.config.credentials["shop"]
    assert isinstance(credential, SimpleJwt)
    assert credential.login is not None
    assert credential.login[1].get_secret_value() == "p"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8))
def test_no_value_is_ever_told(secret: str) -> None:
    config = {
        "listen": secret,
        "store": {"type": secret},
        "credentials": {"shop": {"type": "static", "token": [secret]}},
        "routes": [{"upstream": secret, "credential": "shop", "refresh_on": secret}],
    }

    with pytest.raises(ConfigError) as caught:
        load_config(config, environment={})

    sentences = [problem.what for problem in caught.value.problems]
    assert not any(secret in sentence for sentence in sentences)


@given(st.text(max_size=200))
def test_no_text_brings_anything_but_a_config_error(tmp_path_factory: object, text: str) -> None:
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    file = tmp_path_factory.mktemp("any") / "c.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")

    with suppress(ConfigError):
        load_config(file, environment={})


def test_the_usual_names_are_found_and_the_variable_wins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenproxy\.yaml"):
        find_config({}, tmp_path)
    (tmp_path / "config.yaml").touch()
    assert find_config({}, tmp_path) == tmp_path / "config.yaml"
    (tmp_path / "tokenproxy.yaml").touch()
    assert find_config({}, tmp_path) == tmp_path / "tokenproxy.yaml"
    assert find_config({"TOKENPROXY_CONFIG": "/x"}, tmp_path) == Path("/x")


def test_what_shows_later_is_told_with_its_place_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(GOOD)
    loaded = load_config(tmp_path / "c.yaml", environment={"TOKEN": "t"})
    paths = ["routes.0.tls.ca", "credentials.shop.token", "credentials.shop.refresh", ""]

    placed = loaded.placed(ConfigError([Problem(path, "is wrong") for path in paths]))

    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in placed.problems] == [
        "c.yaml: is wrong",
        "c.yaml:2: credentials.shop.refresh: is wrong",
        "c.yaml:4: credentials.shop.token: is wrong",
        "c.yaml:6: routes.0.tls.ca: is wrong",
    ]
