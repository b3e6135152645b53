"""A Kubernetes cluster is pristine after each reset, after any change."""

from __future__ import annotations

import time

import pytest

from tests.e2e.claims import apply, folders, in_pod, start_writer
from tests.e2e.lab import NODES, Lab, assert_undisturbed
from tests.support.guest import FINGERPRINT, JUNK, until

pytestmark = pytest.mark.kubernetes

RESETS = {False: 2, True: 20}
"""In a row: without and with `--long`."""
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


def test_it_is_pristine_after_each_reset(lab: Lab, long: bool) -> None:
    objects, looks, names = lab.service.objects(), set[str](), set(lab.generated_names())
    for number in range(1, RESETS[long] + 1):
        # The second time where the API server does not serve the new kind at once.
        until("there is junk", lambda: lab.applies(_CRD + _OBJECTS) or None, seconds=120)
        if number % 2:  # with a volume: its pod takes an emulated node longer than all the rest
            apply(lab, "one")
            start_writer(lab)
            in_pod(lab, "writer", "echo junk > /data/junk")
            assert folders(lab, "node02")
        for node in NODES:
            assert "not full" not in lab.on_node(node, JUNK)
        began = time.monotonic()
        lab.reset()
        print(f"reset {number}: ready again {time.monotonic() - began:.0f} s after it was asked for")
        # By the kubeconfig of before, which is that of now.
        assert lab.client.kubeconfig(lab.cluster.id) == lab.kubeconfig.read_text()
        for kind in ("crds", "pods", "deployments", "pvc", "pv"):
            assert lab.kubectl("get", kind, "-o", "name") == "", kind
        assert not folders(lab, "node02")
        assert "standard" in lab.kubectl("get", "storageclasses", "-o", "name")
        found = "".join(lab.on_node(node, FINGERPRINT) for node in NODES)
        found += lab.kubectl("get", "namespaces,serviceaccounts,configmaps,services", "-A", "-o", "name")
        assert "junk" not in found
        looks.add(found)
        assert_undisturbed(lab)
        # All clusters continue from the same memory, the API server's included.
        again = lab.generated_names()
        assert not names & again
        names |= again
    assert len(looks) == 1, looks
    assert lab.service.objects() == objects
