"""The objects of k8s-debian's DNS server match each other, the recipe, and the server's program."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest

from dayfly.images.recipe import load_recipe
from tests.support.program_objects import COLLECTIONS, PROGRAMS, ROLE, container, followed, objects_of

SERVER = PROGRAMS / "dns"


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The objects by kind."""
    return objects_of("dns")


def test_the_service_has_the_address_that_kubeadm_tells_the_kubelets(objects: dict[str, Any]) -> None:
    kubeadm = (ROLE / "templates/kubeadm.yaml.j2").read_text()
    subnet = re.search(r"serviceSubnet: (\S+)", kubeadm)
    assert subnet is not None
    assert objects["Service"]["spec"]["clusterIP"] == str(ipaddress.ip_network(subnet[1])[10])
    assert "clusterDNS" not in kubeadm, "kubeadm's default is the tenth address of the subnet"


def test_the_ranges_of_the_server_are_those_of_the_cluster(objects: dict[str, Any]) -> None:
    kubeadm = (ROLE / "templates/kubeadm.yaml.j2").read_text()
    ranges = re.findall(r"(?:podSubnet|serviceSubnet): (\S+)", kubeadm)
    default = re.search(r'"ranges", "([^"]+)"', (SERVER / "main.go").read_text())
    assert default is not None
    assert sorted(default[1].split(",")) == sorted(ranges)
    assert not [one for one in container(objects)["args"] if one.startswith("-ranges")]


def test_the_service_is_that_of_the_pods(objects: dict[str, Any]) -> None:
    pods = objects["Deployment"]["spec"]["template"]
    service = objects["Service"]["spec"]
    assert pods["metadata"]["labels"] == service["selector"]
    assert objects["Service"]["metadata"]["labels"]["k8s-app"] == "kube-dns"
    ports = {(port["containerPort"], port["protocol"]) for port in container(objects)["ports"]}
    assert {(port["port"], port["protocol"]) for port in service["ports"]} == ports


def test_the_role_has_what_the_server_follows(objects: dict[str, Any]) -> None:
    (rule,) = objects["ClusterRole"]["rules"]
    assert sorted(rule["resources"]) == sorted(followed("dns"))
    assert rule["verbs"] == ["list", "watch"]


def test_a_cluster_is_ready_when_the_server_says_so(objects: dict[str, Any]) -> None:
    recipe = load_recipe("k8s-debian")
    assert recipe.kubernetes is not None
    (path,) = recipe.kubernetes.ready_paths
    service = objects["Service"]
    (port,) = (port["name"] for port in service["spec"]["ports"] if port["port"] == 8181)
    probe = container(objects)["readinessProbe"]["httpGet"]
    assert path == f"{COLLECTIONS['Service']}/{service['metadata']['name']}:{port}/proxy{probe['path']}"
