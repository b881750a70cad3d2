"""A test that shows a secret fails: else nothing would be known of those that pass."""

import pytest

from tests import secrecy
from tokenproxy.secret import Secret


def report(*sections: tuple[str, str]) -> pytest.TestReport:
    return pytest.TestReport(
        "a test", ("a test", 1, "a test"), {}, "passed", None, "call", sections=sections
    )


def test_a_secret_that_is_shown_is_found() -> None:
    Secret("of-seven")
    Secret("short")
    text = "short\nsent of-seven\nand on"
    found = list(secrecy.leaks(report(("stdout", "nothing"), ("log", text))))
    assert found == ["log: 'of-seven' in 'sent of-seven'"]


def test_secrets_of_earlier_tests_are_forgotten() -> None:
    assert "of-seven" not in secrecy.held()
