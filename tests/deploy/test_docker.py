"""The container: what it is built from, and how compose.yaml runs it."""

import re
import shlex
from typing import Any

import pytest
import yaml

import tokenproxy
from tests.deploy.programs import DEPLOY, REPOSITORY, judged
from tests.deploy.test_configs import longest_shutdown, secret_files
from tokenproxy.units import parse_duration

DOCKER = DEPLOY / "docker"
DOCKERFILE = re.sub(r"\\\n", " ", (DOCKER / "Dockerfile").read_text())
CONFIG = DOCKER / "tokenproxy.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def instructions(word: str) -> list[str]:
    return re.findall(rf"^{word} +(.*)$", DOCKERFILE, re.MULTILINE)


def test_the_dockerfile_has_nothing_that_hadolint_minds() -> None:
    assert judged("hadolint", "--no-color", DOCKER / "Dockerfile") == ""


def test_all_that_is_copied_is_let_in_and_there() -> None:
    let_in = re.findall(r"^!(.*)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    copied = {
        source
        for line in instructions("COPY")
        if "--from" not in line
        for source in shlex.split(line)[:-1]
    }
    assert copied == set(let_in)
    assert [each for each in copied if not (REPOSITORY / each).exists()] == []


def test_the_image_runs_as_a_user_of_its_own_and_needs_no_shell() -> None:
    assert instructions("USER") == ["65532:65532"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert instructions("ENTRYPOINT") == ['["tokenproxy"]']
    assert instructions("CMD") == ['["run"]']
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["tokenproxy", "health"]')


def test_the_image_is_labelled_with_the_version_that_it_holds() -> None:
    assert f"VERSION={tokenproxy.__version__}" in instructions("ARG")


def test_the_compose_file_is_one() -> None:
    judged("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml")


@pytest.mark.parametrize("service", SERVICES)
def test_containers_can_change_nothing_and_gain_nothing(service: str) -> None:
    settings = SERVICES[service]
    assert settings["read_only"]
    assert settings["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in settings["security_opt"]


def test_the_client_is_on_the_same_loopback() -> None:
    assert SERVICES["client"]["network_mode"] == "service:tokenproxy"


def test_the_container_has_each_secret_of_its_config() -> None:
    given = {f"/run/secrets/{name}" for name in SERVICES["tokenproxy"]["secrets"]}
    assert {str(path) for path in secret_files(CONFIG)} == given
    assert set(COMPOSE["secrets"]) == set(SERVICES["tokenproxy"]["secrets"])


def test_the_container_has_time_for_its_drain() -> None:
    patience = parse_duration(SERVICES["tokenproxy"]["stop_grace_period"])
    assert patience > longest_shutdown(CONFIG)
