"""A fork of a Kubernetes cluster: ready much sooner, undisturbed, hibernated, reset."""

from __future__ import annotations

import json
import time

import pytest

from dayfly.client import Client, Template
from tests.e2e.lab import NODES, PATIENCE_SECONDS, PROCESSES, Lab, assert_forked, assert_undisturbed
from tests.support.guest import FINGERPRINT, JUNK, until
from tests.support.service import Service

pytestmark = pytest.mark.kubernetes

RESETS = {False: 3, True: 20}
"""In a row: without and with `--long`."""
SOONER = 3.0
"""At least; how much sooner in fact is for tests/bench/template.py to say."""
_CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: junks.test.dayfly}
spec:
  group: test.dayfly
  scope: Namespaced
  names: {plural: junks, singular: junk, kind: Junk}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
_OBJECTS = """\
---
apiVersion: test.dayfly/v1
kind: Junk
metadata: {name: junk}
---
apiVersion: v1
kind: Namespace
metadata: {name: junk}
---
apiVersion: v1
kind: Pod
metadata: {name: junk}
spec:
  containers: [{name: junk, image: "dayfly.local/smoke:1", command: [/bin/sh, -c, ":"]}]
"""


def test_it_is_ready_much_sooner(lab: Lab, template: Template) -> None:
    assert_forked(lab, template)
    cold, sooner = nodes_ready(lab.client, template.parents.builder), nodes_ready(lab.client, lab.cluster.id)
    print(f"all nodes Ready after {sooner:.1f} s, from nothing {cold:.0f} s: {cold / sooner:.1f} times sooner")
    assert cold / sooner > SOONER


def test_its_kubernetes_is_undisturbed(lab: Lab, web: dict[str, str]) -> None:
    assert web.keys() == set(NODES)
    for here, there in (NODES, NODES[::-1]):
        assert lab.fetch(here, f"{web[there]}:8080") == f"served on {there}"
    assert_undisturbed(lab)


def test_it_goes_on_after_hibernation_and_a_restart_of_the_service(
    service: Service, lab: Lab, web: dict[str, str]
) -> None:
    before = containers_of(lab, "default")
    began = time.monotonic()
    lab.client.hibernate(lab.cluster.id)
    lab.client.wait_hibernated(lab.cluster.id)
    print(f"hibernated after {time.monotonic() - began:.0f} s")
    service.restart(*PROCESSES)
    began = time.monotonic()
    lab.client.resume(lab.cluster.id)
    lab.client.wait_ready(lab.cluster.id, timeout_seconds=PATIENCE_SECONDS)
    print(f"ready again {time.monotonic() - began:.0f} s after it was resumed")
    for here, there in (NODES, NODES[::-1]):
        assert lab.fetch(here, f"{web[there]}:8080") == f"served on {there}"
    assert containers_of(lab, "default") == before, "the same, and none was started again"
    assert_undisturbed(lab)


def test_it_is_pristine_after_each_reset(lab: Lab, web: dict[str, str], long: bool) -> None:
    objects, looks = lab.service.objects(), set[str]()
    for number in range(1, RESETS[long] + 1):
        # The second time where the API server does not serve the new kind at once.
        until("there is junk", lambda: lab.applies(_CRD + _OBJECTS) or None, seconds=120)
        for node in NODES:
            assert "not full" not in lab.on_node(node, JUNK)
        began = time.monotonic()
        lab.client.reset(lab.cluster.id)
        lab.client.wait_ready(lab.cluster.id, timeout_seconds=PATIENCE_SECONDS)
        print(f"reset {number}: ready again {time.monotonic() - began:.0f} s after it was asked for")
        # By the kubeconfig of before, which is that of now.
        assert lab.client.kubeconfig(lab.cluster.id) == lab.kubeconfig.read_text()
        for kind in ("crds", "pods", "deployments"):
            assert lab.kubectl("get", kind, "-o", "name") == "", kind
        found = "".join(lab.on_node(node, FINGERPRINT) for node in NODES)
        found += lab.kubectl("get", "namespaces,serviceaccounts,configmaps,services", "-A", "-o", "name")
        assert "junk" not in found
        looks.add(found)
        assert_undisturbed(lab)
    assert len(looks) == 1, looks
    assert lab.service.objects() == objects


def containers_of(lab: Lab, namespace: str) -> set[tuple[str, str, int]]:
    """Of each pod's containers: the pod, its id, and how often it was started again."""
    pods = json.loads(lab.kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    return {
        (pod["metadata"]["uid"], status["containerID"], status["restartCount"])
        for pod in pods
        for status in pod["status"]["containerStatuses"]
    }


def nodes_ready(client: Client, cluster: str) -> float:
    """Seconds from the request until all nodes were Ready for the first time."""
    found = next(e for e in client.all_events(cluster) if e.type == "step.done" and e.step == "ready")
    return (found.at - client.get(cluster).created_at).total_seconds()
