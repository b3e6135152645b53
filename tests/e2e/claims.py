"""Claims of claims.yaml, and pods with them. Not here: assertions about them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.e2e.lab import Lab
from tests.support.guest import until

MANIFESTS: Final = Path(__file__).parent / "claims.yaml"
FOLDER: Final = "/var/lib/dayfly/volumes"
POD_SECONDS: Final = 400
GONE_SECONDS: Final = 300
"""A deleted pod goes up to a minute after its containers ended, its claim after it."""
PODS: Final = tuple(f"keeper-{number}" for number in range(3))
REPLICAS: Final = {pod: f"data-{pod}" for pod in PODS}
"""Pod of the StatefulSet → its claim."""


def apply(lab: Lab, part: str) -> None:
    """Makes the objects of claims.yaml with the label `part`."""
    lab.kubectl("apply", "-f", str(MANIFESTS), "-l", f"part={part}")


def start_writer(lab: Lab) -> None:
    apply(lab, "writer")
    until("the pod runs", lambda: is_ready(lab, "writer") or None, seconds=POD_SECONDS, pause=1)


def is_ready(lab: Lab, pod: str) -> bool:
    row = r"{.status.containerStatuses[0].ready}"
    found = lab.try_kubectl("get", "pod", pod, "-o", f"jsonpath={row}")
    return found.stdout == "true"


def started(lab: Lab, times: int, pods: Iterable[str] = PODS) -> Mapping[str, int] | None:
    """How often each of the pods has started with its volume, once each runs and has done so `times` times."""
    counts = dict[str, int]()
    for pod in pods:
        found = lab.try_kubectl("exec", pod, "--", "/bin/sh", "-c", "wc -l < /data/starts", timeout=180)
        if found.returncode != 0 or int(found.stdout) < times or not is_ready(lab, pod):
            return None
        counts[pod] = int(found.stdout)
    return counts


def in_pod(lab: Lab, pod: str, command: str) -> str:
    return lab.kubectl("exec", pod, "--", "/bin/sh", "-c", command, timeout=180)


def phase(lab: Lab, item: str) -> str:
    return lab.kubectl("get", item, "-o", "jsonpath={.status.phase}")


def volume_of(lab: Lab, claim: str) -> dict[str, Any]:
    name = lab.kubectl("get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}")
    volume = json.loads(lab.kubectl("get", "pv", name, "-o", "json"))
    assert isinstance(volume, dict)
    return volume


def folders(lab: Lab, node: str) -> set[str]:
    """The directories of volumes on the node, and what waits for its removal there."""
    return set(lab.on_node(node, f"cd {FOLDER} && ls -d pvc-* .trash/* 2> /dev/null || true").split())


def nodes_of_replicas(lab: Lab) -> dict[str, str]:
    """Pod → its node."""
    row = r"{range .items[*]}{.metadata.name} {.spec.nodeName}{'\n'}{end}"
    lines = lab.kubectl("get", "pods", "-l", "app=keeper", "-o", f"jsonpath={row}")
    return dict(line.split() for line in lines.splitlines())


def recovered(lab: Lab) -> int:
    """How often the cluster has recovered."""
    cluster = lab.client.get(lab.cluster.id)
    assert cluster.phase != "failed", cluster.error
    return [event.type for event in lab.client.all_events(lab.cluster.id)].count("cluster.recovered")


def until_event(lab: Lab, claim: str, reason: str, words: str) -> None:
    def look() -> bool | None:
        told = json.loads(lab.kubectl("get", "events", "-o", "json"))["items"]
        found = [one for one in told if one["involvedObject"]["name"] == claim and one["reason"] == reason]
        return any(words in one["message"] for one in found) or None

    until(f"{claim} has an event {reason}", look, seconds=GONE_SECONDS, pause=1)


def until_gone(lab: Lab, item: str) -> None:
    def look() -> bool | None:
        return lab.kubectl("get", item, "--ignore-not-found", "-o", "name") == "" or None

    until(f"{item} is gone", look, seconds=GONE_SECONDS, pause=1)
