"""The objects of k8s-debian's NetworkPolicies match the controller's program."""

from __future__ import annotations

from typing import Any

import pytest

from dayfly.images.recipe import load_recipe
from tests.support.program_objects import PROVISIONING, container, followed, objects_of


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """The objects by kind."""
    return objects_of("policies")


def test_the_role_has_what_the_program_follows(objects: dict[str, Any]) -> None:
    rules = objects["ClusterRole"]["rules"]
    assert sorted(one for rule in rules for one in rule["resources"]) == sorted(followed("policies"))
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


def test_nft_is_in_the_image() -> None:
    assert "nftables" in load_recipe("k8s-debian").artifacts["images"].packages


def test_what_is_bridged_meets_the_rules() -> None:
    """Pods of a node communicate over its bridge; netfilter sees these packets only if configured."""
    network = (PROVISIONING / "ansible/roles/cni/tasks/main.yml").read_text()
    assert "br_netfilter" in network
    assert "net.bridge.bridge-nf-call-iptables = 1" in network
    assert "net.bridge.bridge-nf-call-ip6tables = 1" in network
