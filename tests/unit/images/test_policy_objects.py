"""The objects of k8s-debian's NetworkPolicies match each other, the recipe, and the controller's program."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dayfly.images.recipe import load_recipe
from tests.support.program_objects import PROGRAMS, PROVISIONING, objects_of

PROGRAM = PROGRAMS / "policies"


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The objects by kind."""
    return objects_of("policies")


def test_the_role_is_that_of_the_pods_and_has_what_the_program_follows(objects: dict[str, Any]) -> None:
    pods = objects["DaemonSet"]["spec"]["template"]
    assert objects["DaemonSet"]["spec"]["selector"]["matchLabels"] == pods["metadata"]["labels"]
    assert pods["spec"]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    (subject,) = objects["ClusterRoleBinding"]["subjects"]
    assert (subject["name"], subject["namespace"]) == (pods["spec"]["serviceAccountName"], "kube-system")
    assert objects["ClusterRoleBinding"]["roleRef"]["name"] == objects["ClusterRole"]["metadata"]["name"]
    rules = objects["ClusterRole"]["rules"]
    followed = re.findall(r'shared\.ListWatch\(\w+, "(\w+)"', (PROGRAM / "cluster.go").read_text())
    assert sorted(one for rule in rules for one in rule["resources"]) == sorted(followed)
    assert {tuple(rule["verbs"]) for rule in rules} == {("list", "watch")}


def test_every_node_has_one_with_no_more_rights_than_rules_need(objects: dict[str, Any]) -> None:
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    assert pod["hostNetwork"]
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    security = container(objects)["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert "privileged" not in security
    assert not security["allowPrivilegeEscalation"]


def test_the_image_and_the_flags_are_known(objects: dict[str, Any]) -> None:
    recipe = load_recipe("k8s-debian")
    image = container(objects)["image"]
    images = recipe.artifacts["images"]
    assert images.environment["POLICIES_IMAGE"] == image
    assert "nftables" in images.packages
    assert any(image in command for command in recipe.verify)
    main = (PROGRAM / "main.go").read_text()
    for flag in container(objects)["args"]:
        assert f'("{flag.removeprefix("-").partition("=")[0]}", ' in main


def test_what_is_bridged_meets_the_rules() -> None:
    """Pods of a node communicate over its bridge; netfilter sees these packets only if configured."""
    network = (PROVISIONING / "ansible/roles/cni/tasks/main.yml").read_text()
    assert "br_netfilter" in network
    assert "net.bridge.bridge-nf-call-iptables = 1" in network
    assert "net.bridge.bridge-nf-call-ip6tables = 1" in network


def container(objects: dict[str, Any]) -> dict[str, Any]:
    (one,) = objects["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(one, dict)
    return one
