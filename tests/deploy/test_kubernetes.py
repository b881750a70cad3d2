"""The manifests: against the published schemas, and whether they mean one another."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import tokenproxy
from tests.deploy.programs import DEPLOY, judged
from tests.deploy.test_configs import longest_shutdown, secret_files

KUBERNETES = DEPLOY / "kubernetes"
FOLDERS = [pytest.param(KUBERNETES / name, id=name) for name in ("sidecar", "replicas")]
OLDEST, NEWEST = "1.29", "1.34"  # sidecars are on by default from 1.29 on
NO_MANIFESTS = {"kustomization.yaml", "tokenproxy.yaml"}
WORKLOADS = {"Deployment", "StatefulSet"}

each_folder = pytest.mark.parametrize("folder", FOLDERS)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.yaml") if path.name not in NO_MANIFESTS)


def resources(folder: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    for path in files(folder):
        yield from (each for each in yaml.safe_load_all(path.read_text()) if each["kind"] in kinds)


def pods(folder: Path) -> Iterator[dict[str, Any]]:
    for workload in resources(folder, *WORKLOADS):
        yield workload["spec"]["template"]


def containers(folder: Path) -> Iterator[dict[str, Any]]:
    for pod in pods(folder):
        yield from pod["spec"].get("initContainers", [])
        yield from pod["spec"]["containers"]


def proxy(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The proxy's container, and the spec of the pod that it is in."""
    return next(
        (container, pod["spec"])
        for pod in pods(folder)
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
        if container["name"] == "tokenproxy"
    )


def kustomization(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@each_folder
def test_every_manifest_is_valid(folder: Path, version: str) -> None:
    said = judged("kubernetes-validate", "-k", version, "--strict", *files(folder))
    assert [line for line in said.splitlines() if not line.startswith("INFO")] == []


@each_folder
def test_every_manifest_is_applied(folder: Path) -> None:
    assert set(kustomization(folder)["resources"]) == {path.name for path in files(folder)}


@each_folder
def test_the_image_is_of_this_version(folder: Path) -> None:
    (image,) = kustomization(folder)["images"]
    assert (image["name"], image["newTag"]) == ("tokenproxy", tokenproxy.__version__)
    assert proxy(folder)[0]["image"] == image["name"]


@each_folder
def test_containers_can_change_nothing_and_gain_nothing(folder: Path) -> None:
    for container in containers(folder):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    for pod in pods(folder):
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert not pod["spec"]["automountServiceAccountToken"]


@each_folder
def test_containers_say_what_they_need(folder: Path) -> None:
    for container in containers(folder):
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}


def test_the_sidecar_is_there_before_the_client_and_until_it_has_ended() -> None:
    (deployment,) = resources(KUBERNETES / "sidecar", "Deployment")
    (first,) = deployment["spec"]["template"]["spec"]["initContainers"]
    assert (first["name"], first["restartPolicy"]) == ("tokenproxy", "Always")


@each_folder
def test_a_probe_that_can_end_the_proxy_asks_for_its_life_alone(folder: Path) -> None:
    container, _ = proxy(folder)
    asked = {
        probe: container[f"{probe}Probe"]["httpGet"]["path"]
        for probe in ("startup", "readiness", "liveness")
    }
    assert asked == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}


@each_folder
def test_ports_are_those_of_the_config(folder: Path) -> None:
    container, _ = proxy(folder)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    config = yaml.safe_load((folder / "tokenproxy.yaml").read_text())
    assert config["admin"].endswith(f":{ports['admin']}")
    if "http" in ports:
        assert config["listen"].endswith(f":{ports['http']}")


@each_folder
def test_the_proxy_has_time_for_its_drain(folder: Path) -> None:
    _, pod = proxy(folder)
    assert pod["terminationGracePeriodSeconds"] > longest_shutdown(folder / "tokenproxy.yaml")


@each_folder
def test_the_proxy_has_each_secret_of_its_config(folder: Path) -> None:
    container, _ = proxy(folder)
    secret = next(
        each for each in resources(folder, "Secret") if each["metadata"]["name"] == "tokenproxy"
    )
    mounted = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    given = {mounted["secrets"] / key for key in secret["stringData"]}
    assert secret_files(folder / "tokenproxy.yaml") == given


@each_folder
def test_no_secret_is_in_the_manifests(folder: Path) -> None:
    for secret in resources(folder, "Secret"):
        assert set(secret["stringData"].values()) <= {"", "user default off"}


@each_folder
def test_volumes_that_are_mounted_are_there(folder: Path) -> None:
    for workload in resources(folder, *WORKLOADS):
        spec = workload["spec"]["template"]["spec"]
        claims = workload["spec"].get("volumeClaimTemplates", [])
        there = {each["name"] for each in spec["volumes"]}
        there |= {each["metadata"]["name"] for each in claims}
        mounted = {
            mount["name"]
            for container in spec.get("initContainers", []) + spec["containers"]
            for mount in container.get("volumeMounts", [])
        }
        assert mounted == there


@each_folder
def test_selectors_find_pods(folder: Path) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods(folder)]
    for resource in resources(folder, "Service", "NetworkPolicy", "PodDisruptionBudget"):
        spec = resource["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        assert selector.get("matchLabels", selector) in labels, resource["metadata"]["name"]


@each_folder
def test_the_listeners_beyond_loopback_are_behind_a_policy(folder: Path) -> None:
    policies = [each["spec"] for each in resources(folder, "NetworkPolicy")]
    for pod in pods(folder):
        behind = [
            policy
            for policy in policies
            if policy["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
        ]
        assert any("Ingress" in policy["policyTypes"] for policy in behind)
