"""Claims of k8s-debian's default StorageClass.

Not here: the provisioner's own tests (kubernetes/programs/volumes).
"""

from __future__ import annotations

import time

import pytest

from tests.e2e.claims import (
    FOLDER,
    POD_SECONDS,
    REPLICAS,
    apply,
    folders,
    in_pod,
    nodes_of_replicas,
    phase,
    recovered,
    start_writer,
    started,
    until_event,
    until_gone,
    volume_of,
)
from tests.e2e.lab import PATIENCE_SECONDS, Lab
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes


def test_a_claim_is_kept_with_its_pod_and_goes_when_it_is_deleted(lab: Lab, long: bool) -> None:
    """With `--long` it is hibernated, too: tests/e2e/test_forks.py hibernates the disk that has all claims."""
    apply(lab, "one")
    until_event(lab, "data", "WaitForFirstConsumer", "")
    assert phase(lab, "pvc/data") == "Pending"

    start_writer(lab)
    volume = volume_of(lab, "data")
    assert phase(lab, "pvc/data") == "Bound"
    assert phase(lab, f"pv/{volume['metadata']['name']}") == "Bound"
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    expected = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node02"]}
    assert term["matchExpressions"] == [expected]
    folder = volume["spec"]["local"]["path"]
    assert folder == f"{FOLDER}/{volume['metadata']['name']}"
    in_pod(lab, "writer", "mkdir -m 0700 /data/deep && echo kept > /data/deep/file && sync")
    assert lab.on_node("node02", f"cat {folder}/deep/file") == "kept"

    lab.kubectl("delete", "pod", "writer", "--wait=false")
    until_gone(lab, "pod/writer")
    start_writer(lab)
    assert in_pod(lab, "writer", "cat /data/deep/file").strip() == "kept"

    larger = '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}'
    refused = lab.try_kubectl("patch", "pvc", "data", "-p", larger)
    assert refused.returncode != 0
    assert "only dynamically provisioned pvc can be resized" in refused.stderr
    assert "must support resize" in refused.stderr

    if long:
        lab.client.hibernate(lab.cluster.id)
        lab.client.wait_hibernated(lab.cluster.id)
        lab.client.resume(lab.cluster.id)
        lab.client.wait_ready(lab.cluster.id, timeout_seconds=PATIENCE_SECONDS)
        assert in_pod(lab, "writer", "cat /data/deep/file").strip() == "kept"

    began = time.monotonic()
    lab.kubectl("delete", "pod/writer", "pvc/data", "--wait=false")
    until_gone(lab, f"pv/{volume['metadata']['name']}")
    print(f"the volume is deleted {time.monotonic() - began:.0f} s after its pod and its claim")
    assert folders(lab, "node02") == set()


def test_read_write_many_is_refused_by_an_event(lab: Lab) -> None:
    apply(lab, "refused")
    until_event(lab, "shared", "ProvisioningFailed", "ReadWriteMany")
    assert phase(lab, "pvc/shared") == "Pending"
    lab.kubectl("delete", "pod/refused", "pvc/shared", "--wait=false")
    until_gone(lab, "pvc/shared")


@pytest.mark.long
def test_a_stateful_set_survives_a_reboot_of_a_node(lab: Lab) -> None:
    """All nodes boot again in test_recovery.py."""
    apply(lab, "keeper")
    until("the replicas have started", lambda: started(lab, 1), seconds=3 * POD_SECONDS, pause=2)
    volumes = {claim: volume_of(lab, claim)["metadata"]["name"] for claim in REPLICAS.values()}
    before = nodes_of_replicas(lab)
    assert "node02" in before.values()

    recoveries = recovered(lab)
    began = time.monotonic()
    # Later: a connection that the reboot ends has no exit code.
    lab.on_node("node02", "setsid sh -c 'sleep 2; systemctl reboot' > /dev/null 2>&1 < /dev/null &")
    until(
        "the cluster has recovered",
        lambda: recovered(lab) > recoveries or None,
        seconds=PATIENCE_SECONDS,
        pause=1,
    )
    lab.client.wait_ready(lab.cluster.id, timeout_seconds=PATIENCE_SECONDS)
    print(f"ready again {time.monotonic() - began:.0f} s after a node was told to reboot")
    rebooted = {pod for pod, node in before.items() if node == "node02"}
    until(
        "the replicas of that node have started again",
        lambda: started(lab, 2, rebooted),
        seconds=3 * POD_SECONDS,
        pause=2,
    )
    until("all replicas run", lambda: started(lab, 1), seconds=POD_SECONDS, pause=2)
    print(f"all replicas run again after {time.monotonic() - began:.0f} s")
    for pod, claim in REPLICAS.items():
        assert in_pod(lab, pod, "cat /data/name").strip() == pod
        assert volume_of(lab, claim)["metadata"]["name"] == volumes[claim]
    assert nodes_of_replicas(lab) == before
