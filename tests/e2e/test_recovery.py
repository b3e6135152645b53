"""A Kubernetes cluster recovers after a kill of its engine, with its workloads and its volumes' content.

Only with `--long`: its nodes boot again, some five minutes under emulation. tests/integration/test_engine_restarts.py
tests clusters without Kubernetes in each run.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.claims import POD_SECONDS, REPLICAS, apply, in_pod, nodes_of_replicas, started, volume_of
from tests.e2e.lab import NODES, PATIENCE_SECONDS, Lab
from tests.e2e.lookups import assert_followed
from tests.support.guest import until
from tests.support.host import Host

pytestmark = [pytest.mark.kubernetes, pytest.mark.long]

PODS_SECONDS = 300


def test_a_cluster_comes_back_with_its_deployment_when_its_engine_was_killed(
    host: Host, lab: Lab, web: dict[str, str]
) -> None:
    apply(lab, "keeper")
    until("the StatefulSet's replicas have started", lambda: started(lab, 1), seconds=3 * POD_SECONDS, pause=2)
    volumes = {claim: volume_of(lab, claim)["metadata"]["name"] for claim in REPLICAS.values()}
    places = nodes_of_replicas(lab)
    created = lab.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.uid}")
    boots = boot_ids(lab)

    began = time.monotonic()
    host.kill_engine()
    host.start_engine()
    after_recovery(lab)
    print(f"ready again {time.monotonic() - began:.0f} s after the engine was killed")

    back = lab.client.get(lab.cluster.id)
    assert (back.endpoints, back.ready_at) == (lab.cluster.endpoints, lab.cluster.ready_at)
    fresh = boot_ids(lab)
    assert all(fresh[node] != boots[node] for node in NODES)
    # By the kubeconfig of before.
    assert lab.kubectl("get", "deployment", "web", "-o", "jsonpath={.metadata.uid}") == created
    until_restarted(lab)
    back_again = lab.web_pods()
    assert back_again.keys() == web.keys() == set(NODES)
    for here, there in (NODES, NODES[::-1]):
        assert lab.fetch(here, f"{back_again[there]}:8080") == f"served on {there}"
    assert_followed(lab)
    until("the replicas have started again", lambda: started(lab, 2), seconds=3 * POD_SECONDS, pause=2)
    assert nodes_of_replicas(lab) == places
    for pod, claim in REPLICAS.items():
        assert in_pod(lab, pod, "cat /data/name").strip() == pod
        assert volume_of(lab, claim)["metadata"]["name"] == volumes[claim]
    print(
        f"its Deployment and its StatefulSet serve again {time.monotonic() - began:.0f} s after the engine was killed"
    )


def after_recovery(lab: Lab) -> None:
    """Returns when the cluster is ready again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "cluster.recovered" not in (types := [event.type for event in lab.client.all_events(lab.cluster.id)]):
        cluster = lab.client.get(lab.cluster.id)
        assert cluster.phase != "failed", cluster.error
        assert time.monotonic() < deadline, types
        time.sleep(1)
    lab.client.wait_ready(lab.cluster.id)
    began = next(event for event in lab.client.all_events(lab.cluster.id) if event.type == "cluster.recovering")
    for event in lab.client.all_events(lab.cluster.id):
        if event.id >= began.id and event.type not in {"step.started", "step.progress"}:
            print(f"{(event.at - began.at).total_seconds():6.1f} s  {event.type} {event.message}")


def until_restarted(lab: Lab) -> None:
    """Until a kubelet has seen to a pod after its boot, the pod looks as it did before."""
    deadline = time.monotonic() + PODS_SECONDS
    while True:
        pods = json.loads(lab.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
        states = [status for pod in pods for status in pod["status"].get("containerStatuses", ())]
        if len(states) == len(NODES) and all(state["ready"] and state["restartCount"] for state in states):
            return
        assert time.monotonic() < deadline, states
        time.sleep(2)


def boot_ids(lab: Lab) -> dict[str, str]:
    """Node → the boot that its kubelet last reported from."""
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    return {node["metadata"]["name"]: node["status"]["nodeInfo"]["bootID"] for node in nodes}
