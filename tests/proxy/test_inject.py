from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from tokenproxy.errors import ConfigError
from tokenproxy.proxy.headers import Caller, Header, RequestRules
from tokenproxy.proxy.inject import Injector
from tokenproxy.settings.injection import Injection

TOKEN = "t0k/en+=&"
QUOTED = b"t0k%2Fen%2B%3D%26"
_SETTINGS: TypeAdapter[tuple[Injection, ...]] = TypeAdapter(tuple[Injection, ...])


def injector(*settings: Mapping[str, object]) -> Injector:
    return Injector(_SETTINGS.validate_python(settings))


BEARER = {"header": "Authorization", "value": "Bearer {token}"}
QUERY = {"query": "access_token"}
COOKIE = {"cookie": "session"}
BASIC = {"basic": {"username": "oauth2accesstoken"}}


def test_a_header_holds_the_token_in_its_words() -> None:
    headers, target = injector(BEARER).apply([(b"A", b"1")], b"/x?y", TOKEN)
    assert headers == [(b"A", b"1"), (b"Authorization", f"Bearer {TOKEN}".encode())]
    assert target == b"/x?y"


@pytest.mark.parametrize(
    ("value", "sent"),
    [("{token}", b"T"), ("JWT {token}", b"JWT T"), ('a="{token}", b="{token}"', b'a="T", b="T"')],
)
def test_every_token_in_the_value_is_filled_in(value: str, sent: bytes) -> None:
    headers, _ = injector({"header": "X-Key", "value": value}).apply([], b"/", "T")
    assert headers == [(b"X-Key", sent)]


@pytest.mark.parametrize("name", [b"X-Api-Key", b"x-api-key", b"X_API_KEY", b"x-api_key"])
@pytest.mark.parametrize("ours", ["X-Api-Key", "X_Api_Key"])
def test_a_callers_own_header_of_that_name_or_its_twin_is_gone(name: bytes, ours: str) -> None:
    place = injector({"header": ours, "value": "{token}"})
    headers, _ = place.apply([(name, b"evil"), (b"A", b"1"), (name, b"evil")], b"/", "T")
    assert headers == [(b"A", b"1"), (ours.encode(), b"T")]


def test_basic_holds_the_user_and_the_token_in_utf_8() -> None:
    headers, _ = injector({"basic": {"username": "jürgen"}}).apply([], b"/", TOKEN)
    [(name, value)] = headers
    scheme, _, words = value.partition(b" ")
    assert (name, scheme) == (b"Authorization", b"Basic")
    assert b64decode(words).decode() == f"jürgen:{TOKEN}"


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"/x", b"/x?access_token=%b"),
        (b"/x?", b"/x?access_token=%b"),
        (b"/x?a=%7e", b"/x?a=%7e&access_token=%b"),
        (b"/x?a&", b"/x?a&&access_token=%b"),
        (b"/x?&&", b"/x?&&&access_token=%b"),
        (b"/x?access_token=evil", b"/x?access_token=%b"),
        (b"/x?access_token", b"/x?access_token=%b"),
        (b"/x?access_token=1&a=b&access_token=2", b"/x?a=b&access_token=%b"),
        (b"/x?%61ccess_token=1&b=%2f+&c", b"/x?b=%2f+&c&access_token=%b"),
        (b"/x?ACCESS_TOKEN=1", b"/x?ACCESS_TOKEN=1&access_token=%b"),
        (b"/x?my_access_token=1", b"/x?my_access_token=1&access_token=%b"),
        (b"/x?a=access_token", b"/x?a=access_token&access_token=%b"),
        (b"/x?a=1;access_token=2", b"/x?a=1;access_token=2&access_token=%b"),
        (b"/x?access_token;b=2", b"/x?access_token;b=2&access_token=%b"),
        (b"/access_token=1?b", b"/access_token=1?b&access_token=%b"),
        (b"/x??access_token=1", b"/x??access_token=1&access_token=%b"),
    ],
)
def test_a_query_parameter_is_replaced_and_the_rest_stays(target: bytes, sent: bytes) -> None:
    headers, injected = injector(QUERY).apply([(b"A", b"1")], target, TOKEN)
    assert injected == sent.replace(b"%b", QUOTED)
    assert headers == [(b"A", b"1")]


@pytest.mark.parametrize("pair", [b"a+b=1", b"a%20b=1", b"%61+%62", b"a+b"])
def test_a_plus_is_a_space_in_a_parameters_name(pair: bytes) -> None:
    _, target = injector({"query": "a b"}).apply([], b"/?" + pair + b"&c", "T")
    assert target == b"/?c&a%20b=T"


def test_a_parameters_name_may_be_any_text() -> None:
    place = injector({"query": "schlüssel&"})
    _, target = place.apply([], b"/?schl%C3%BCssel%26=1&schl=2", "T")
    assert target == b"/?schl=2&schl%C3%BCssel%26=T"


@pytest.mark.parametrize(
    ("cookies", "sent"),
    [
        ([], ["session=T"]),
        (["a=1"], ["a=1; session=T"]),
        (["session=evil"], ["session=T"]),
        (["a=1; session=evil; b=2"], ["a=1; b=2; session=T"]),
        (["session=evil; b=2"], ["b=2; session=T"]),
        (["a=1;session=evil;b=2"], ["a=1;b=2; session=T"]),
        (["a=1; session = evil"], ["a=1; session=T"]),
        (["a=1; session"], ["a=1; session=T"]),
        (["Session=1; xsession=2; a=session"], ["Session=1; xsession=2; a=session; session=T"]),
        (["a=1", "session=evil", "b=2"], ["a=1", "b=2; session=T"]),
        (["a=1", "session=evil"], ["a=1; session=T"]),
        (['a="x"; b==;; c'], ['a="x"; b==;; c; session=T']),
        ([""], ["session=T"]),
    ],
)
@pytest.mark.parametrize("name", [b"Cookie", b"cookie"])
def test_a_cookie_is_replaced_and_the_rest_stays(
    cookies: list[str], sent: list[str], name: bytes
) -> None:
    headers = [(name, value.encode()) for value in cookies]
    injected, target = injector(COOKIE).apply([(b"A", b"1"), *headers], b"/?session=1", "T")
    assert [value.decode() for _, value in injected[1:]] == sent
    assert target == b"/?session=1"


def test_a_cookie_field_keeps_its_spelling() -> None:
    headers, _ = injector(COOKIE).apply([(b"COOKIE", b"session=1; a=b"), (b"A", b"1")], b"/", "T")
    assert headers == [(b"COOKIE", b"a=b; session=T"), (b"A", b"1")]


def test_a_cookie_field_left_empty_is_removed() -> None:
    headers, _ = injector(COOKIE).strip([(b"Cookie", b"session=1; session=2"), (b"A", b"")], b"/")
    assert headers == [(b"A", b"")]


def test_several_places_are_filled_at_once() -> None:
    place = injector(BEARER, QUERY, COOKIE, {"query": "t"}, {"cookie": "u"})
    headers, target = place.apply(
        [(b"authorization", b"evil"), (b"Cookie", b"u=1; a=b")], b"/?t=1&b", "T"
    )
    assert headers == [(b"Cookie", b"a=b; session=T; u=T"), (b"Authorization", b"Bearer T")]
    assert target == b"/?b&access_token=T&t=T"


def test_a_whole_cookie_header_may_be_ours() -> None:
    place = injector({"header": "Cookie", "value": "a={token}"})
    assert place.apply([(b"cookie", b"a=evil; b=2")], b"/", "T")[0] == [(b"Cookie", b"a=T")]


def test_stripping_alone_leaves_nothing_of_the_callers() -> None:
    place = injector(BEARER, QUERY, COOKIE)
    headers = [(b"AUTHORIZATION", b"evil"), (b"Cookie", b"a=b; session=evil"), (b"B", b"2")]
    assert place.strip(headers, b"/?access_token=evil") == (
        [(b"Cookie", b"a=b"), (b"B", b"2")],
        b"/",
    )


@pytest.mark.parametrize(
    ("place", "headers", "target", "found"),
    [
        (BEARER, [(b"A", b"1"), (b"authorization", b"")], b"/", True),
        (BEARER, [(b"AUTHORIZATION", b"Basic YTpi")], b"/", True),
        (BASIC, [(b"Authorization", b"Bearer x")], b"/", True),
        (BEARER, [(b"Proxy-Authorization", b"x"), (b"Cookie", b"session=1")], b"/?a", False),
        ({"header": "X-Key", "value": "{token}"}, [(b"x_key", b"1")], b"/", True),
        (QUERY, [], b"/?a&%61ccess_token", True),
        (QUERY, [(b"Authorization", b"x")], b"/access_token?a=access_token", False),
        (COOKIE, [(b"cookie", b"a=b; session=1")], b"/", True),
        (COOKIE, [(b"Cookie", b"a=session;  b"), (b"session", b"1")], b"/?session", False),
        (BEARER, [], b"/", False),
    ],
)
def test_a_callers_own_credential_is_found_where_ours_would_go(
    place: Mapping[str, object], headers: list[Header], target: bytes, found: bool
) -> None:
    assert injector(place).finds_own(headers, target) is found
    assert injector({"cookie": "other"}, place).finds_own(tuple(headers), target) is found
    assert Injector(()).finds_own(headers, target) is False


@pytest.mark.parametrize(
    "token", ["", " ", "a b", "a\n", "a\r\nX: y", "a\x00", "a\x7f", "tökén", "a\t"]
)
@pytest.mark.parametrize("place", [BEARER, QUERY, COOKIE, BASIC])
def test_a_token_that_may_not_be_sent_is_refused_without_being_shown(
    token: str, place: Mapping[str, object]
) -> None:
    with pytest.raises(ValueError, match="no token may have") as raised:
        injector(place).apply([], b"/", token)
    assert not token.strip() or token not in str(raised.value)


def test_a_token_that_would_end_its_cookie_is_refused() -> None:
    assert injector(BEARER).apply([], b"/", "a;b")[0] == [(b"Authorization", b"Bearer a;b")]
    with pytest.raises(ValueError, match="would end its cookie"):
        injector(COOKIE).apply([], b"/", "a;b")


def test_a_newer_token_takes_the_place_of_the_older() -> None:
    place = injector(BEARER)
    sent = [place.apply([], b"/", token)[0][0][1] for token in ("one", "one", "two", "one")]
    assert sent == [b"Bearer one", b"Bearer one", b"Bearer two", b"Bearer one"]


def test_the_same_head_can_be_sent_twice_with_two_tokens() -> None:
    base: list[Header] = [(b"Cookie", b"a=b")]
    place = injector(BEARER, COOKIE)
    first = place.apply(base, b"/", "one")
    assert place.apply(base, b"/", "two") != first
    assert base == [(b"Cookie", b"a=b")]
    assert first == place.apply(base, b"/", "one")


def test_an_injector_shows_no_token() -> None:
    place = injector(BEARER)
    place.apply([], b"/", "marker")
    shown = [repr(place)] + [repr(getattr(place, name)) for name in Injector.__slots__]
    assert "marker" not in " ".join(shown)


def test_header_names_are_told_in_lower_case() -> None:
    names = injector(BASIC, {"header": "X-Api-Key", "value": "{token}"}, QUERY).header_names
    assert names == {b"authorization", b"x-api-key"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BEARER, BASIC),
        (BEARER, {"header": "authorization"}),
        ({"header": "X_A"}, {"header": "x-a"}),
    ],
)
def test_the_same_header_cannot_hold_two_credentials(
    one: Mapping[str, object], other: Mapping[str, object]
) -> None:
    with pytest.raises(ConfigError, match="names the same header twice"):
        injector(one, other)


def test_no_places_change_nothing() -> None:
    headers = [(b"Authorization", b"own"), (b"Cookie", b"session=own")]
    assert Injector(()).strip(headers, b"/?access_token=own") == (
        headers,
        b"/?access_token=own",
    )


# Properties.

NAMES = ["Authorization", "authorization", "AUTHORIZATION", "Connection", "Cookie", "Accept"]
NAMES += ["X-Api-Key", "x_api_key", "X-Api_Key", "Content_Length", "X-A"]
names = st.sampled_from(NAMES)
values = st.sampled_from(
    [
        "evil",
        "authorization",
        "close, Authorization",
        "x-api-key",
        "X_API_KEY, host",
        "session=evil",
    ]
)
heads = st.lists(st.tuples(names, values), max_size=10).map(
    lambda pairs: [(name.encode(), value.encode()) for name, value in pairs]
)


@given(heads, st.sampled_from(["Authorization", "X-Api-Key", "X_Api_Key"]))
def test_exactly_one_header_of_the_injected_name_leaves_whatever_the_caller_sends(
    headers: list[Header], ours: str
) -> None:
    rules = RequestRules(authority=b"api.example", forwarded="drop", via=True)
    kept = rules.to_upstream(headers, version="1.1", caller=Caller("127.0.0.1"))
    place = injector({"header": ours, "value": "Bearer {token}"})
    sent, _ = place.apply(kept, b"/", "T")
    merged = ours.lower().replace("_", "-").encode()
    credentials = [field for field in sent if field[0].lower().replace(b"_", b"-") == merged]
    assert credentials == [(ours.encode(), b"Bearer T")]
    others = [field for field in kept if field[0].lower().replace(b"_", b"-") != merged]
    assert sent[:-1] == others


PIECES = ["access_token", "%61ccess_token", "access%5Ftoken", "access+token", "a", "evil", "~%7e"]
PIECES += ["%", "%zz", "=", "&", "+", "%26", "%3D", ";", "?", "/"]
queries = st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(str.encode)


@given(queries)
def test_all_other_pairs_of_a_query_stay_byte_for_byte(query: bytes) -> None:
    _, target = injector(QUERY).apply([], b"/p?" + query, TOKEN)

    def is_ours(pair: bytes) -> bool:
        return unquote_to_bytes(pair.split(b"=")[0].replace(b"+", b" ")) == b"access_token"

    others = [pair for pair in query.split(b"&") if not is_ours(pair)]
    rest, _, last = target.removeprefix(b"/p?").rpartition(b"access_token=")
    assert last == QUOTED
    assert rest == (b"" if others in ([], [b""]) else b"&".join(others) + b"&")
    decoded = parse_qsl(target.decode().partition("?")[2], keep_blank_values=True)
    assert [value for name, value in decoded if name == "access_token"] == [TOKEN]


crumbs = st.sampled_from(["session=evil", "session", " session =x", "a=1", "b", "", "a=session"])
jars = st.lists(st.lists(crumbs, max_size=4).map(";".join).map(str.encode), max_size=3)


@given(jars)
def test_exactly_one_cookie_of_the_name_leaves_and_the_others_stay(jar: list[bytes]) -> None:
    headers, _ = injector(COOKIE).apply([(b"Cookie", value) for value in jar], b"/", "T")

    def all_crumbs(values: list[bytes]) -> list[bytes]:
        return [crumb.strip() for value in values for crumb in value.split(b";") if crumb.strip()]

    sent = all_crumbs([value for _, value in headers])
    others = [crumb for crumb in all_crumbs(jar) if crumb.split(b"=")[0].strip() != b"session"]
    assert sent == [*others, b"session=T"]
