"""The wheel and the sdist: all that they need is in them, and they work by themselves."""

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import tokenproxy

ROOT = Path(tokenproxy.__file__).resolve().parents[1]
EXTRAS = {"all", "crypto", "keyring", "redis", "testing"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds both."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True)
    return folder


def wheel(built: Path) -> zipfile.ZipFile:
    [path] = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_whole_and_nothing_else(built: Path) -> None:
    with wheel(built) as found:
        names = set(found.namelist())
    package = {name for name in names if name.startswith("tokenproxy/")}
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tokenproxy").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package == ours
    assert {"tokenproxy/py.typed", "tokenproxy/admin/page/index.html"} <= package
    assert {name.split("/")[0] for name in names - package} == {
        f"tokenproxy-{tokenproxy.__version__}.dist-info"
    }


def test_the_wheel_says_what_it_needs(built: Path) -> None:
    with wheel(built) as found:
        [place] = [name for name in found.namelist() if name.endswith("/METADATA")]
        said = Parser().parsestr(found.read(place).decode())
    assert set(said.get_all("Provides-Extra", [])) == EXTRAS
    needed = [line for line in said.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert [line for line in needed if ">=" not in line] == []  # each has a lower bound
    assert said["Requires-Python"] == ">=3.11"
    assert said["Description-Content-Type"] == "text/markdown"


def test_the_wheel_works_where_nothing_of_the_repository_is(built: Path, tmp_path: Path) -> None:
    with wheel(built) as found:
        found.extractall(tmp_path / "site")
    program = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); "
    program += "from tokenproxy.cli import main; sys.argv[1:] = ['demo', '--once']; main()"
    told = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert "All as it should be" in told.stdout


def test_a_wheel_can_be_made_of_the_sdist(built: Path, tmp_path: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as found:
        found.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"],
        cwd=source,
        check=True,
    )
    with wheel(tmp_path / "dist") as again, wheel(built) as found:
        assert set(again.namelist()) == set(found.namelist())
