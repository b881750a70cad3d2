"""The units, as systemd itself reads and rates them."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.programs import DEPLOY, judged
from tests.deploy.test_configs import longest_shutdown, secret_files

SYSTEM, USER = DEPLOY / "systemd", DEPLOY / "systemd" / "user"
FOLDERS = [pytest.param(SYSTEM, id="system"), pytest.param(USER, id="user")]
PROGRAM = re.compile(r"^ExecStart=\S+", re.MULTILINE)
MOST_EXPOSED = "15"  # of 100: what is left is the network, which is its job


def installed(folder: Path, to: Path, *, older: bool = False) -> Path:
    """The units as they would be installed here; `older`: for systemd before 253."""
    service = (folder / "tokenproxy.service").read_text()
    if older:
        service = re.sub(r"(?m)^#[|] ", "", re.sub(r"(?m)^Type=.*$", "", service))
    here = Path(sys.executable).with_name("tokenproxy")
    (to / "tokenproxy.service").write_text(PROGRAM.sub(f"ExecStart={here}", service))
    (to / "tokenproxy.socket").write_text((folder / "tokenproxy.socket").read_text())
    return to / "tokenproxy.service"


def values(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def complaints(service: Path, *manager: str) -> list[str]:
    said = judged(
        "systemd-analyze",
        *("verify", "--man=no", *manager),
        *(service, service.with_suffix(".socket")),
        XDG_RUNTIME_DIR=str(service.parent),
    )
    return said.splitlines()


@pytest.mark.parametrize("older", [False, True], ids=["as it is", "before 253"])
@pytest.mark.parametrize(
    ("folder", "manager"),
    [pytest.param(SYSTEM, (), id="system"), pytest.param(USER, ("--user",), id="user")],
)
def test_systemd_understands_every_line(
    folder: Path, manager: tuple[str, ...], tmp_path: Path, older: bool
) -> None:
    said = complaints(installed(folder, tmp_path, older=older), *manager)
    unknown = [line for line in said if not line.endswith("notify-reload")]  # it may be older
    assert unknown == []
    assert not older or said == []


def test_systemd_rates_the_service_as_well_confined(tmp_path: Path) -> None:
    service = installed(SYSTEM, tmp_path, older=True)
    judged("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", service)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_socket_is_one_that_the_config_listens_on(folder: Path) -> None:
    config = yaml.safe_load((folder / "tokenproxy.yaml").read_text())
    assert values(folder / "tokenproxy.socket", "ListenStream") == [config["listen"]]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_service_has_time_for_its_drain(folder: Path) -> None:
    patience = int(values(folder / "tokenproxy.service", "TimeoutStopSec")[0])
    assert patience > longest_shutdown(folder / "tokenproxy.yaml")


def test_the_service_has_each_secret_of_its_config() -> None:
    loaded = values(SYSTEM / "tokenproxy.service", "LoadCredential")
    given = {f"/run/credentials/tokenproxy.service/{each.partition(':')[0]}" for each in loaded}
    assert {str(path) for path in secret_files(SYSTEM / "tokenproxy.yaml")} == given
