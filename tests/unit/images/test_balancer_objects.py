"""The objects of k8s-debian's balancer match each other, the recipe, the program, and the addresses of the service."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dayfly.domain.cluster import network
from dayfly.domain.cluster.naming import node_name
from dayfly.images.recipe import load_recipe
from tests.support.program_objects import PROGRAMS, ROLE, objects_of

PROGRAM = PROGRAMS / "balancer"


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The objects by kind."""
    return objects_of("balancer")


@pytest.fixture(scope="module")
def program() -> str:
    return "".join(path.read_text() for path in PROGRAM.glob("*.go") if not path.name.endswith("_test.go"))


def test_the_role_is_what_the_program_does_and_no_more(objects: dict[str, Any], program: str) -> None:
    pods = objects["DaemonSet"]["spec"]["template"]
    assert objects["DaemonSet"]["spec"]["selector"]["matchLabels"] == pods["metadata"]["labels"]
    assert pods["spec"]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    (subject,) = objects["ClusterRoleBinding"]["subjects"]
    assert (subject["name"], subject["namespace"]) == (pods["spec"]["serviceAccountName"], "kube-system")
    assert objects["ClusterRoleBinding"]["roleRef"]["name"] == objects["ClusterRole"]["metadata"]["name"]

    verbs = {"Get": "list", "Put": "update", "Post": "create"}
    request = r'\.client\.(\w+)\(\)[^\n]*?\.Resource\("(\w+)"\)(?:[^\n]*?\.SubResource\("(\w+)"\))?'
    done = {
        (f"{resource}/{part}" if part else resource, verbs[verb])
        for verb, resource, part in re.findall(request, program)
    }
    assert len(done) == 3
    for followed in re.findall(r'shared\.ListWatch\(client, "(\w+)"', program):
        done |= {(followed, "list"), (followed, "watch")}
    rules = objects["ClusterRole"]["rules"]
    assert done == {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def test_every_node_has_one_with_no_more_rights_than_addresses_need(objects: dict[str, Any]) -> None:
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    assert pod["hostNetwork"]
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    security = container(objects)["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert "privileged" not in security
    assert not security["allowPrivilegeEscalation"]
    assert security["readOnlyRootFilesystem"]


def test_the_image_the_flags_and_the_allocator_are_known(objects: dict[str, Any], program: str) -> None:
    recipe = load_recipe("k8s-debian")
    image = container(objects)["image"]
    assert recipe.artifacts["images"].environment["BALANCER_IMAGE"] == image
    assert any(image in command for command in recipe.verify)
    for flag in container(objects)["args"]:
        assert f'("{flag.removeprefix("-").partition("=")[0]}", ' in program
    assert f"-allocator={node_name(1)}" in container(objects)["args"]


def test_the_addresses_are_those_of_the_service(program: str) -> None:
    assert f'addressRange = "{network.LOAD_BALANCERS}"' in program
    assert f'nodeSubnet = "{network.SUBNET}"' in program
    kubeadm = (ROLE / "templates/kubeadm.yaml.j2").read_text()
    assert f"serviceSubnet: {network.SERVICES}\n" in kubeadm


def container(objects: dict[str, Any]) -> dict[str, Any]:
    (one,) = objects["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(one, dict)
    return one
