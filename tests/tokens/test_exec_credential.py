import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenproxy.tokens.exec_credential import ExecCredential, exec_info, read


def _printed(**changes: Any) -> str:
    return json.dumps(
        {
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "status": {"token": "k8s-aws-v1.abc"},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("stamp", "ends"),
    [
        ("2027-01-15T08:00:00Z", 1_800_000_000.0),
        ("2027-01-15T09:00:00+01:00", 1_800_000_000.0),
        ("2027-01-15T08:00:00.5Z", 1_800_000_000.5),
        ("2027-01-15T08:00:00", 1_800_000_000.0),
        (None, None),
    ],
)
def test_a_credential_names_its_token_and_its_end(stamp: str | None, ends: float | None) -> None:
    printed = _printed(status={"token": "t", "expirationTimestamp": stamp})
    assert read(printed) == ExecCredential("t", ends)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_every_version_of_the_group_is_read(version: str) -> None:
    printed = _printed(apiVersion=f"client.authentication.k8s.io/{version}")
    assert read(printed) == ExecCredential("k8s-aws-v1.abc", None)


def test_a_client_certificate_alone_is_no_token() -> None:
    assert read(_printed(status={"clientCertificateData": "x"})).token is None


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "{",
        "[]",
        "null",
        _printed(kind="Pod"),
        _printed(apiVersion="v1"),
        _printed(apiVersion=None),
        _printed(status=None),
        _printed(status=[]),
        _printed(status={"token": "t", "expirationTimestamp": "soon"}),
        _printed(status={"token": "t", "expirationTimestamp": 5}),
    ],
)
def test_what_is_no_credential_is_an_error(printed: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read(printed)


strange = st.none() | st.text() | st.floats() | st.booleans() | st.lists(st.integers())


@given(strange, strange)
def test_no_status_is_too_strange(token: Any, stamp: Any) -> None:
    with suppress(ValueError):
        read(_printed(status={"token": token, "expirationTimestamp": stamp}))


def test_a_plugin_is_told_that_it_can_ask_nobody() -> None:
    info = json.loads(exec_info())
    assert info["spec"] == {"interactive": False}
    assert info["kind"] == "ExecCredential"
    assert info["apiVersion"] == "client.authentication.k8s.io/v1"
