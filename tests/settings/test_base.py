"""The kinds of values that many keys share, each through a key that has it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.settings.written import (
    SIMPLEJWT,
    STATIC,
    read,
    read_credential,
    told,
    told_of_credential,
    told_of_route,
)
from tokenproxy.config.model import Config
from tokenproxy.settings.base import (
    CredentialName,
    Duration,
    FieldPath,
    HeaderName,
    HttpUrl,
    PositiveDuration,
    Settings,
    Size,
    TokenText,
)
from tokenproxy.settings.file import File
from tokenproxy.settings.json_login import JsonLogin
from tokenproxy.settings.simplejwt import SimpleJwt
from tokenproxy.settings.static import Static

NO_URL = "must be a full URL such as https://shop.example"
INVALID_URL = "is not a valid URL"
USERINFO = "must not hold a user name or password"
FRAGMENT = "must not hold a fragment ('#')"
NOT_ASCII = "must be plain ASCII without spaces: percent-encode the rest"
NO_TOKEN = "holds a character that no token may have (a space or line break?)"
NO_FIELD_VALUE = "holds a line break or control character, which no header may have"
NO_HEADER = "is no name: use letters, digits, '-' and '_'"
NO_PATH = "must be names with dots between them, as in data.accessToken"
NO_CREDENTIAL = (
    "is no name for a credential: use lower-case letters, digits, '_' and '-', 64 at most"
)
NO_DURATION = "must be a duration such as 500ms, 30s, 5m or 24h"
NO_SIZE = "must be a size such as 512, 64KiB or 10MiB"


def sentences(kind: Any, value: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    return [error["msg"].removeprefix("Value error, ") for error in caught.value.errors()]


# -- URLs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "https://shop.example/",
        "https://shop.example:8443/v2/",
        "HTTPS://Shop.Example",
        "http://[::1]:8000",
        "http://127.0.0.1",
        "https://shop.example/%C3%A4",
    ],
)
def test_a_url_stays_as_it_is_written(url: str) -> None:
    assert read_credential(SimpleJwt, {**SIMPLEJWT, "base_url": url}).base_url == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", NO_URL),
        ("shop.example", NO_URL),
        ("//shop.example", NO_URL),
        ("/v2", NO_URL),
        ("https://", NO_URL),
        ("https://:443", NO_URL),
        ("https:shop.example", NO_URL),
        ("ftp://shop.example", NO_URL),
        ("localhost:8000", NO_URL),
        ("https://[::1", INVALID_URL),
        ("https://[shop]", INVALID_URL),
        ("https://shop.example:port", INVALID_URL),
        ("https://shop.example:65536", INVALID_URL),
        ("https://anna:pw@shop.example", USERINFO),
        ("https://anna@shop.example", USERINFO),
        ("https://@shop.example", USERINFO),
        ("https://shop.example\\@evil.example", INVALID_URL),
        ("https://shop.example/#top", FRAGMENT),
        ("https://shop.example/#", FRAGMENT),
        ("https://shop.example/a b", NOT_ASCII),
        (" https://shop.example", NOT_ASCII),
        ("https://shop.example\n", NOT_ASCII),
        ("https://shop.exa\tmple", NOT_ASCII),
        ("https://shöp.example", NOT_ASCII),
    ],
)
def test_what_is_no_url_of_a_server_is_told_as_that(url: str, sentence: str) -> None:
    assert told_of_credential({**SIMPLEJWT, "base_url": url}) == [f"base_url: {sentence}"]


@given(st.text())
def test_whatever_is_taken_for_a_url_stays_as_it_is(text: str) -> None:
    with suppress(ValidationError):
        assert TypeAdapter[str](HttpUrl).validate_python(text) == text


# -- durations and sizes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("30s", 30), ("24h", 86400), (7, 7), ("0", 0)]
)
def test_a_duration_is_read_as_seconds(written: Any, seconds: float) -> None:
    assert read({"shutdown_grace": written}).shutdown_grace == seconds


@pytest.mark.parametrize("written", ["soon", "", "-1s", -1, True, [30], {"s": 30}, "1s 2s"])
def test_what_is_no_duration_is_told_what_one_looks_like(written: Any) -> None:
    assert told({"shutdown_grace": written}) == [f"shutdown_grace: {NO_DURATION}"]


def test_an_empty_duration_is_told_what_one_looks_like() -> None:
    assert NO_DURATION in told({"shutdown_grace": None})[0]


@pytest.mark.parametrize("written", [0, "0s", "0ms"])
def test_a_timeout_of_nothing_is_refused_where_it_would_stop_everything(written: Any) -> None:
    problems = told_of_route(timeouts={"connect": written})

    assert problems == ["timeouts.connect: must be more than 0"]


@pytest.mark.parametrize("kind", [Duration, PositiveDuration])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")], ids=str)
def test_no_duration_is_endless(kind: Any, number: float) -> None:
    assert sentences(kind, number) == [NO_DURATION]


@pytest.mark.parametrize("written", ["much", "10XB", -5, False, ["1MiB"], "1.5.2MiB"])
def test_what_is_no_size_is_told_what_one_looks_like(written: Any) -> None:
    assert told_of_route(replay={"memory": written}) == [f"replay.memory: {NO_SIZE}"]
    assert sentences(Size, written) == [NO_SIZE]


@pytest.mark.parametrize("written", [True, False])
def test_true_is_no_number(written: bool) -> None:
    settings = {**STATIC, "refresh": {"retries": written, "jitter": written}}

    assert told_of_credential(settings) == [
        "refresh.retries: must be a number",
        "refresh.jitter: must be a number",
    ]


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("retries", -1, "must be at least 0"),
        ("retries", 21, "must be at most 20"),
        ("retries", 1.5, "must be a whole number"),
        ("retries", "many", "must be a whole number"),
        ("jitter", -0.1, "must be at least 0"),
        ("jitter", 1.1, "must be at most 1"),
        ("jitter", "some", "must be a number"),
        ("background", "perhaps", "must be true or false"),
        ("default_ttl", 0, "must be more than 0"),
        ("timeout", "0s", "must be more than 0"),
    ],
)
def test_a_number_has_its_limits(key: str, value: Any, sentence: str) -> None:
    problems = told_of_credential({**STATIC, "refresh": {key: value}})

    assert problems == [f"refresh.{key}: {sentence}"]


# -- paths -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "path"),
    [("/run/token", Path("/run/token")), ("token", Path("here/token")), ("~/t", Path("home/t"))],
)
def test_a_path_is_relative_to_the_config_and_a_tilde_is_the_home_folder(
    written: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    file = File.model_validate(
        {"type": "file", "path": written}, context={"folder": tmp_path / "here"}
    )

    assert file.path == tmp_path / path


def test_without_a_config_file_a_path_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert read_credential(File, {"type": "file", "path": "token"}).path == tmp_path / "token"


def test_a_home_folder_that_nobody_knows_is_told() -> None:
    problems = told_of_credential({"type": "file", "path": "~nobody-of-that-name/token"})

    assert problems == ["path: has a '~' for which no home folder is known"]


# -- secrets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["a", "a.b-c_d~e+f/g=", "!\"#$%&'()*", "x" * 10_000])
def test_a_token_may_hold_whatever_can_be_seen(token: str) -> None:
    read_token = read_credential(Static, {"type": "static", "token": token.replace("$", "$$")})

    assert read_token.token.get_secret_value() == token


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ("", "must not be empty"),
        ("two words", NO_TOKEN),
        (" t", NO_TOKEN),
        ("t\n", NO_TOKEN),
        ("t\r\nX-Evil: 1", NO_TOKEN),
        ("t\0", NO_TOKEN),
        ("t\x7f", NO_TOKEN),
        ("tökén", NO_TOKEN),
    ],
)
def test_what_no_header_can_carry_is_no_token(token: str, sentence: str) -> None:
    assert told_of_credential({"type": "static", "token": token}) == [f"token: {sentence}"]
    assert sentences(TokenText, token) == [sentence]


def test_an_empty_password_is_refused_but_one_of_spaces_is_not() -> None:
    login = {**SIMPLEJWT, "username": "anna"}

    assert told_of_credential({**login, "password": ""}) == ["password: must not be empty"]
    assert read_credential(SimpleJwt, {**login, "password": " ä\n"}).login is not None


def test_settings_do_not_show_their_secrets() -> None:
    marker = "s3cr3t-marker"
    credential = read_credential(
        SimpleJwt, {**SIMPLEJWT, "username": "a", "password": marker, "refresh_token": marker}
    )

    assert marker not in f"{credential!r} {credential} {credential.model_dump()}"


def test_an_error_of_pydantics_own_does_not_show_what_was_written() -> None:
    class Closed(Settings):
        token: TokenText

    with pytest.raises(ValidationError) as caught:
        Closed.model_validate({"token": "s3cr3t marker"})

    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "plain", "with\ttab", "ümlaut", "{refresh_token} x"])
def test_a_header_value_may_be_any_text_without_controls(value: str) -> None:
    login = {"url": "https://shop.example", "headers": {"X-Key": value}}
    renew = {"type": "json", "login": {"url": "https://shop.example"}, "renew": login}

    credential = read_credential(JsonLogin, renew)

    assert credential.renew is not None
    assert credential.renew.headers["X-Key"].get_secret_value() == value


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", "a\r", "a\0", "a\x1b[2J", "a\x7f"])
def test_a_header_value_never_holds_a_line_break(value: str) -> None:
    login = {"url": "https://shop.example", "headers": {"X-Key": value}}

    problems = told_of_credential({"type": "json", "login": login})

    assert problems == [f"login.headers.X-Key: {NO_FIELD_VALUE}"]


# -- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (HeaderName, "X-Token"),
        (HeaderName, "x_token"),
        (HeaderName, "!#$%&'*+-.^_`|~09"),
        (FieldPath, "token"),
        (FieldPath, "data.access token.0"),
        (CredentialName, "shop-2_b"),
    ],
)
def test_a_name_stays_as_it_is_written(kind: Any, text: str) -> None:
    assert TypeAdapter[str](kind).validate_python(text) == text


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        (HeaderName, "", NO_HEADER),
        (HeaderName, "X Token", NO_HEADER),
        (HeaderName, "X-Token:", NO_HEADER),
        (HeaderName, "X-Token\n", NO_HEADER),
        (HeaderName, "X-Tökén", NO_HEADER),
        (FieldPath, "", NO_PATH),
        (FieldPath, ".", NO_PATH),
        (FieldPath, ".token", NO_PATH),
        (FieldPath, "data.", NO_PATH),
        (FieldPath, "data..token", NO_PATH),
        (CredentialName, "", NO_CREDENTIAL),
        (CredentialName, "Shop", NO_CREDENTIAL),
        (CredentialName, "my shop", NO_CREDENTIAL),
        (CredentialName, "../shop", NO_CREDENTIAL),
        (CredentialName, "shop\n", NO_CREDENTIAL),
    ],
)
def test_what_is_no_name_is_told_what_names_are_made_of(
    kind: Any, text: str, sentence: str
) -> None:
    assert sentences(kind, text) == [sentence]


def test_a_credential_of_a_bad_name_is_told_with_that_name() -> None:
    assert told({"credentials": {"Shop": STATIC}}) == [f"credentials.Shop: {NO_CREDENTIAL}"]


# -- all of them -----------------------------------------------------------------------------


def test_the_schema_has_the_patterns_and_the_units() -> None:
    schema = Config.model_json_schema()

    route = schema["$defs"]["Route"]["properties"]
    assert {"type": "string", "pattern": "^(?:[a-z0-9_-]{1,64})$"} in route["credential"]["anyOf"]
    assert schema["properties"]["shutdown_grace"]["type"] == ["string", "number"]


def test_settings_do_not_change_and_know_all_their_keys() -> None:
    static = read_credential(Static, STATIC)

    with pytest.raises(ValidationError):
        static.type = "static"  # type: ignore[misc]
    assert told_of_credential({**STATIC, "x": 1}) == ["x: is not a known key"]
