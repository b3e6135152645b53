"""The add-on nfs: one claim for pods on several nodes.

Not here: the provisioner's own tests (kubernetes/programs/volumes); claims of the default StorageClass
(test_volumes.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.addons.change import CHANGE_SECONDS
from tests.e2e.claims import FOLDER, GONE_SECONDS, POD_SECONDS, in_pod, is_ready, phase, until_gone, volume_of
from tests.e2e.lab import NODES, PATIENCE_SECONDS, Lab
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes

ADDON: Final = "nfs"
MANIFESTS: Final = Path(__file__).parent / "nfs.yaml"
PODS: Final = tuple(f"sharer-{node}" for node in NODES)
SERVER: Final = ("-n", "kube-system", "-l", "k8s-app=nfs")
GRACE_SECONDS: Final = 90
"""So long a server that began again may refuse to open files: nodes get back what they had opened."""


@pytest.fixture(scope="module", autouse=True)
def cleared(shared_lab: Lab) -> Iterator[None]:
    """Whichever test was the last: the removal of the add-on would wait for the claim."""
    yield
    stop_pods(shared_lab)
    shared_lab.kubectl("delete", "pvc", "common", "--ignore-not-found", "--wait=false")
    until_gone(shared_lab, "pvc/common")


def test_pods_on_two_nodes_share_what_outlives_them_and_the_server(lab: Lab) -> None:
    apply(lab, "claim")
    bind(lab)
    start_pods(lab)
    first, second = PODS
    in_pod(lab, first, "echo one > /data/first && mkdir -m 0777 /data/deep && sync")
    assert read(lab, second, "first") == "one"
    in_pod(lab, second, "echo two > /data/deep/second && chmod 0600 /data/deep/second && sync")
    assert read(lab, first, "deep/second") == "two"
    in_pod(lab, first, "echo more >> /data/deep/second && sync")
    assert read(lab, second, "deep/second") == "two\nmore"
    assert in_pod(lab, first, "stat -c %u /data/deep/second").strip() == "1000"

    volume = volume_of(lab, "common")
    directory = server_directory(lab)
    assert volume["spec"]["nfs"]["path"] == f"/{volume['metadata']['name']}"
    assert "nodeAffinity" not in volume["spec"]
    node, path = directory
    assert lab.on_node(node, f"cat {path}/{volume['metadata']['name']}/first").strip() == "one"

    stop_pods(lab)
    began, old = time.monotonic(), server_pod(lab)["metadata"]["uid"]
    lab.kubectl("delete", "pods", *SERVER, "--wait=false")
    until("another server is ready", lambda: is_another(lab, old), seconds=POD_SECONDS, pause=1)
    print(f"another server after {time.monotonic() - began:.0f} s")
    assert server_directory(lab) == directory
    start_pods(lab)
    assert read(lab, first, "deep/second") == "two\nmore"
    assert read(lab, second, "first") == "one"


def test_pods_work_on_after_a_restart_of_the_server(lab: Lab, long: bool) -> None:
    """A file stays open meanwhile, and the node gets it back. With `--long` the cluster is hibernated, too."""
    apply(lab, "claim")
    bind(lab)
    start_pods(lab)
    first, second = PODS
    writer = "exec 9> /data/open; while :; do date >&9; echo $? > /tmp/last; sleep 1; done"
    in_pod(lab, first, f"({writer}) > /dev/null 2>&1 < /dev/null &")
    until("a line is written", lambda: lines(lab, second, "open") > 0 or None, seconds=GONE_SECONDS, pause=1)
    old = server_pod(lab)["metadata"]["uid"]
    lab.kubectl("delete", "pods", *SERVER, "--wait=false")
    until("another server is ready", lambda: is_another(lab, old), seconds=POD_SECONDS, pause=1)
    until_written(lab, first, second)
    if long:
        lab.client.hibernate(lab.cluster.id)
        lab.client.wait_hibernated(lab.cluster.id)
        lab.client.resume(lab.cluster.id)
        lab.client.wait_ready(lab.cluster.id, timeout_seconds=PATIENCE_SECONDS)
        until_written(lab, first, second)


def test_a_deleted_claim_takes_its_directory_with_it(lab: Lab) -> None:
    apply(lab, "claim")
    bind(lab)
    larger = '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}'
    refused = lab.try_kubectl("patch", "pvc", "common", "-p", larger)
    assert refused.returncode != 0
    assert "must support resize" in refused.stderr

    name = volume_of(lab, "common")["metadata"]["name"]
    node, path = server_directory(lab)
    assert name in lab.on_node(node, f"ls {path}").split()
    stop_pods(lab)
    lab.kubectl("delete", "pvc", "common", "--wait=false")
    until_gone(lab, f"pv/{name}")
    left = lab.on_node(node, f"cd {path} && ls -d pvc-* .trash/* 2> /dev/null || true").split()
    assert name not in left
    assert f".trash/{name}" not in left


def test_removal_waits_for_claims(lab: Lab) -> None:
    """No pod loses its volume: the server goes after the last claim."""
    apply(lab, "claim")
    bind(lab)
    lab.client.change(lab.cluster.id, addons=[])
    until("the StorageClass is being deleted", lambda: is_leaving(lab, "storageclass/nfs"), seconds=CHANGE_SECONDS)
    name = volume_of(lab, "common")["metadata"]["name"]
    until("its volume, too", lambda: is_leaving(lab, f"pv/{name}"), seconds=GONE_SECONDS)
    assert phase(lab, "pvc/common") == "Bound"
    assert states(lab) == {ADDON: "removing"}
    assert server_pod(lab)["status"]["phase"] == "Running"
    lab.kubectl("delete", "pvc", "common", "--wait=false")
    until(
        "the add-on is removed",
        lambda: states(lab) == {} or None,
        seconds=CHANGE_SECONDS + GONE_SECONDS,
        pause=1,
    )


def states(lab: Lab) -> dict[str, str]:
    """The state of each add-on."""
    return {one.name: one.state for one in lab.client.get(lab.cluster.id).addons}


def apply(lab: Lab, part: str) -> None:
    """Makes the objects of nfs.yaml with the label `part`."""
    lab.kubectl("apply", "-f", str(MANIFESTS), "-l", f"part={part}")


def bind(lab: Lab) -> None:
    """Returns when the claim has its volume, without any pod."""
    until("the claim is bound", lambda: phase(lab, "pvc/common") == "Bound" or None, seconds=GONE_SECONDS, pause=1)


def start_pods(lab: Lab) -> None:
    apply(lab, "pods")
    until("both pods run", lambda: all(is_ready(lab, pod) for pod in PODS) or None, seconds=POD_SECONDS, pause=1)


def stop_pods(lab: Lab) -> None:
    lab.kubectl("delete", "pods", *PODS, "--ignore-not-found", "--wait=false")
    for pod in PODS:
        until_gone(lab, f"pod/{pod}")


def read(lab: Lab, pod: str, file: str) -> str:
    """The file's content in the pod; a node may know for a minute that it did not exist."""

    def look() -> str | None:
        found = lab.try_kubectl("exec", pod, "--", "/bin/sh", "-c", f"cat /data/{file}", timeout=180)
        return found.stdout.strip() if found.returncode == 0 else None

    return until(f"{pod} reads {file}", look, seconds=GRACE_SECONDS + 60, pause=1)


def until_written(lab: Lab, writer: str, reader: str) -> None:
    """Returns when `reader` has seen more lines of the file that `writer` has open; no write failed."""
    seconds = GONE_SECONDS + GRACE_SECONDS
    seen = until("the file is readable", lambda: lines(lab, reader, "open") or None, seconds=seconds, pause=1)
    until("more lines are written", lambda: lines(lab, reader, "open") > seen or None, seconds=seconds, pause=1)
    assert in_pod(lab, writer, "cat /tmp/last").strip() == "0"


def lines(lab: Lab, pod: str, file: str) -> int:
    found = lab.try_kubectl("exec", pod, "--", "/bin/sh", "-c", f"wc -l < /data/{file}", timeout=180)
    return int(found.stdout) if found.returncode == 0 else 0


def server_pod(lab: Lab) -> dict[str, Any]:
    """The server's pod; one that is being deleted may be listed beside it."""
    found = json.loads(lab.kubectl("get", "pods", *SERVER, "-o", "json"))["items"]
    (pod,) = (one for one in found if "deletionTimestamp" not in one["metadata"])
    assert isinstance(pod, dict)
    return pod


def is_another(lab: Lab, old: str) -> bool | None:
    """Whether a server that is not `old` is ready."""
    for pod in json.loads(lab.kubectl("get", "pods", *SERVER, "-o", "json"))["items"]:
        ready = [one["status"] for one in pod["status"].get("conditions", ()) if one["type"] == "Ready"]
        if pod["metadata"]["uid"] != old and ready == ["True"]:
            return True
    return None


def server_directory(lab: Lab) -> tuple[str, str]:
    """The node that has the server's data, and their folder there."""
    name = lab.kubectl("get", "pvc", "nfs", "-n", "kube-system", "-o", "jsonpath={.spec.volumeName}")
    return server_pod(lab)["spec"]["nodeName"], f"{FOLDER}/{name}"


def is_leaving(lab: Lab, item: str) -> bool | None:
    return lab.kubectl("get", item, "-o", "jsonpath={.metadata.deletionTimestamp}") != "" or None
