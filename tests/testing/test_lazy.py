import subprocess
import sys

import pytest

import tokenproxy.testing

HEAVY = "[name for name in ('aiohttp', 'jwt') if name in sys.modules]"


def loaded_after(statement: str) -> str:
    code = f"import sys; {statement}; print({HEAVY})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_nothing_heavy_is_imported_before_a_double_is_used() -> None:
    assert loaded_after("from tokenproxy.testing import ManualClock, faults") == "[]"
    assert loaded_after("import tokenproxy.testing as t; t.faults.Hang(1)") == "[]"


def test_using_a_double_imports_what_it_needs() -> None:
    assert loaded_after("from tokenproxy.testing import Issuer") == "['aiohttp', 'jwt']"


@pytest.mark.parametrize("name", tokenproxy.testing.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(tokenproxy.testing, name).__name__.rpartition(".")[2] == name


def test_the_public_names_are_listed() -> None:
    assert set(tokenproxy.testing.__all__) <= set(dir(tokenproxy.testing))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Isuer'"):
        _ = tokenproxy.testing.Isuer
