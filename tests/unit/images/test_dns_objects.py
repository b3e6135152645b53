"""The objects of k8s-debian's DNS server match each other, the recipe, and the server's program."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest

from dayfly.images.recipe import load_recipe
from tests.support.program_objects import COLLECTIONS, PROGRAMS, ROLE, objects_of

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


def test_the_service_and_the_role_are_those_of_the_pods(objects: dict[str, Any]) -> None:
    pods = objects["Deployment"]["spec"]["template"]
    service = objects["Service"]["spec"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == pods["metadata"]["labels"] == service["selector"]
    assert objects["Service"]["metadata"]["labels"]["k8s-app"] == "kube-dns"
    ports = {(port["containerPort"], port["protocol"]) for port in container(objects)["ports"]}
    assert {(port["port"], port["protocol"]) for port in service["ports"]} == ports

    assert pods["spec"]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    (subject,) = objects["ClusterRoleBinding"]["subjects"]
    assert (subject["name"], subject["namespace"]) == (pods["spec"]["serviceAccountName"], "kube-system")
    assert objects["ClusterRoleBinding"]["roleRef"]["name"] == objects["ClusterRole"]["metadata"]["name"]
    (rule,) = objects["ClusterRole"]["rules"]
    followed = re.findall(r'shared\.ListWatch\(client, "(\w+)"', (SERVER / "follow.go").read_text())
    assert sorted(rule["resources"]) == sorted(followed)
    assert rule["verbs"] == ["list", "watch"]


def test_the_image_and_the_flags_are_known(objects: dict[str, Any]) -> None:
    recipe = load_recipe("k8s-debian")
    image = container(objects)["image"]
    assert recipe.artifacts["images"].environment["DNS_IMAGE"] == image
    assert any(image in command for command in recipe.verify)
    main = (SERVER / "main.go").read_text()
    for flag in container(objects)["args"]:
        assert f'("{flag.removeprefix("-").partition("=")[0]}", ' in main


def test_a_cluster_is_ready_when_the_server_says_so(objects: dict[str, Any]) -> None:
    recipe = load_recipe("k8s-debian")
    assert recipe.kubernetes is not None
    (path,) = recipe.kubernetes.ready_paths
    service = objects["Service"]
    (port,) = (port["name"] for port in service["spec"]["ports"] if port["port"] == 8181)
    probe = container(objects)["readinessProbe"]["httpGet"]
    assert path == f"{COLLECTIONS['Service']}/{service['metadata']['name']}:{port}/proxy{probe['path']}"


def container(objects: dict[str, Any]) -> dict[str, Any]:
    (one,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(one, dict)
    return one
