from pathlib import Path

import pytest
from pydantic import ValidationError

from tokenproxy.config.process import Process, TlsListener, address_of


@pytest.mark.parametrize("port", ["65536", "99999", "100000", "1" * 5000])
def test_a_port_that_no_machine_has_is_told_as_such(port: str) -> None:
    with pytest.raises(ValidationError, match=r"has a port out of range: 0 \(picks a free one\)"):
        Process.model_validate({"listen": f"127.0.0.1:{port}"})


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:\u0661"])
def test_what_is_no_address_is_told_with_what_one_looks_like(address: str) -> None:
    with pytest.raises(ValidationError, match="must be 'host:port'"):
        Process.model_validate({"listen": address})


def test_the_last_port_is_one() -> None:
    assert Process.model_validate({"listen": "127.0.0.1:65535"}).listen == ("127.0.0.1:65535",)


KEY = "a-key-that-nobody-guesses"
TLS = {"cert": "/cert.pem", "key": "/key.pem"}
HERE_ONLY = "would let other machines use your tokens.* or say 'allow_remote: \\[listen\\]'"
FOR_ALL = "would let everybody on the network use your tokens: set a 'client_key', or 'tls'"
BEYOND = ["0.0.0.0:80", "[::]:80", "10.0.0.1:0", "shop.example:80"]


@pytest.mark.parametrize("address", BEYOND)
def test_a_listener_beyond_this_machine_needs_leave_and_tls_or_a_key(address: str) -> None:
    spoken = {"address": address, "tls": TLS}
    leave = {"allow_remote": ["listen"]}
    told: list[tuple[dict[str, object], str | None]] = [
        ({"listen": address, "client_key": KEY}, HERE_ONLY),
        ({"listen": spoken, "client_key": KEY}, HERE_ONLY),
        ({"listen": address, "client_key": KEY, "allow_remote": ["admin"]}, HERE_ONLY),
        ({"listen": address, **leave}, FOR_ALL),
        ({"listen": ["127.0.0.1:1", spoken, address], **leave}, FOR_ALL),
        ({"listen": address, "client_key": KEY, **leave}, None),
        ({"listen": spoken, **leave}, None),
        ({"listen": [spoken, "unix:/run/s"], **leave}, None),
    ]
    for settings, sentence in told:
        if sentence is None:
            Process.model_validate(settings)
        else:
            with pytest.raises(ValidationError, match=sentence):
                Process.model_validate(settings)


def test_a_list_mixes_both_forms_of_a_listener() -> None:
    mixed = ["127.0.0.1:1", {"address": "[::1]:2", "tls": {**TLS, "client_ca": "/ca.pem"}}]
    plain, spoken = Process.model_validate({"listen": mixed}).listen
    assert (plain, address_of(plain)) == ("127.0.0.1:1", "127.0.0.1:1")
    assert isinstance(spoken, TlsListener)
    assert (address_of(spoken), spoken.tls.client_ca) == ("[::1]:2", Path("/ca.pem"))


@pytest.mark.parametrize(
    ("listen", "sentence"),
    [
        ({"address": "unix:/run/s", "tls": TLS}, "is a unix socket, which has no use for 'tls'"),
        ({"address": 8443, "tls": TLS}, "is a port alone"),
        ({"address": "127.0.0.1:1"}, "Field required"),
        ({"address": "127.0.0.1:1", "tls": {"key": "/key.pem"}}, "Field required"),
        ({"address": "127.0.0.1:1", "tls": TLS, "ssl": True}, "Extra inputs"),
        (["127.0.0.1:1", {"address": "127.0.0.1:1", "tls": TLS}], "names the same address twice"),
    ],
)
def test_what_is_wrong_with_a_listener_is_told(listen: object, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Process.model_validate({"listen": listen})


def test_a_client_key_is_long_and_can_stand_in_a_header() -> None:
    assert KEY not in repr(Process.model_validate({"client_key": KEY}))
    for key, sentence in (
        ("x" * 15, "is too short to keep anybody out: use 16 characters or more"),
        ("", "must not be empty"),
        ("a key with spaces in it", "holds a character that no token may have"),
    ):
        with pytest.raises(ValidationError, match=sentence):
            Process.model_validate({"client_key": key})


def test_a_key_that_is_none_is_told_of_once() -> None:
    remote = {"listen": "0.0.0.0:80", "allow_remote": ["listen"], "client_key": "short"}
    with pytest.raises(ValidationError) as caught:
        Process.model_validate(remote)
    assert [error["loc"] for error in caught.value.errors()] == [("client_key",)]


@pytest.mark.parametrize(
    ("told", "means"), [(1, 1), (4, 4), ("4", 4), ("auto", "auto"), (256, 256)]
)
def test_workers_are_a_number_or_auto(told: object, means: object) -> None:
    assert Process.model_validate({"workers": told}).workers == means


@pytest.mark.parametrize("told", [0, -1, 257, 1.5, True, None, "many", "1 ", "\u0664", "1" * 5000])
def test_what_is_no_number_of_workers_is_told_with_what_one_is(told: object) -> None:
    with pytest.raises(ValidationError, match="must be a whole number from 1 to 256, or auto"):
        Process.model_validate({"workers": told})


def test_callers_have_limits() -> None:
    usual = Process()
    assert usual.max_connections == 10_000
    assert usual.timeouts.model_dump() == {
        "request_head": 30.0,
        "keep_alive": 75.0,
        "request_body_idle": 60.0,
    }


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_connections": 0}, "greater than or equal to 1"),
        ({"max_connections": True}, "must be a number"),
        ({"timeouts": {"keep_alive": 0}}, "greater than 0"),
        ({"timeouts": {"request_head": "soon"}}, "must be a duration"),
        ({"timeouts": {"idle": "5s"}}, "Extra inputs"),
    ],
)
def test_limits_on_callers_are_checked(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Process.model_validate(settings)


# -- the admin listener ------------------------------------------------------------------------


@pytest.mark.parametrize("address", BEYOND)
def test_an_admin_listener_beyond_this_machine_needs_leave_of_its_own(address: str) -> None:
    sentence = r"or say 'allow_remote: \[admin\]'"
    for leave in ([], ["listen"]):
        with pytest.raises(ValidationError, match=sentence):
            Process.model_validate({"admin": address, "allow_remote": leave})
    assert Process.model_validate({"admin": address, "allow_remote": ["admin"]}).admin == address


@pytest.mark.parametrize(
    ("told", "clashes"),
    [
        ({"listen": "127.0.0.1:8081"}, True),  # where it is unless something else is said
        ({"listen": "127.0.0.1:8081", "admin": None}, False),
        ({"listen": ["127.0.0.1:1", "unix:/run/s"], "admin": "unix:/run/s"}, True),
        ({"listen": {"address": "127.0.0.1:1", "tls": TLS}, "admin": "127.0.0.1:1"}, True),
        ({"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"}, False),
    ],
)
def test_callers_and_people_do_not_share_a_listener(told: dict[str, object], clashes: bool) -> None:
    if clashes:
        with pytest.raises(ValidationError, match="is an address that 'listen' names too"):
            Process.model_validate(told)
    else:
        Process.model_validate(told)
