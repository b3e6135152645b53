"""The objects of k8s-debian's balancer match the program, and the addresses of the service."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dayfly.domain.cluster import network
from dayfly.domain.cluster.naming import node_name
from tests.support.program_objects import ROLE, container, followed, objects_of, source


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The objects by kind."""
    return objects_of("balancer")


@pytest.fixture(scope="module")
def program() -> str:
    return source("balancer")


def test_the_role_is_what_the_program_does_and_no_more(objects: dict[str, Any], program: str) -> None:
    verbs = {"Get": "list", "Put": "update", "Post": "create"}
    request = r'\.client\.(\w+)\(\)[^\n]*?\.Resource\("(\w+)"\)(?:[^\n]*?\.SubResource\("(\w+)"\))?'
    done = {
        (f"{resource}/{part}" if part else resource, verbs[verb])
        for verb, resource, part in re.findall(request, program)
    }
    assert len(done) == 3
    done |= {(resource, verb) for resource in followed("balancer") for verb in ("list", "watch")}
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


def test_the_first_node_allocates(objects: dict[str, Any]) -> None:
    assert f"-allocator={node_name(1)}" in container(objects)["args"]


def test_the_addresses_are_those_of_the_service(program: str) -> None:
    assert f'addressRange = "{network.LOAD_BALANCERS}"' in program
    assert f'nodeSubnet = "{network.SUBNET}"' in program
    kubeadm = (ROLE / "templates/kubeadm.yaml.j2").read_text()
    assert f"serviceSubnet: {network.SERVICES}\n" in kubeadm
