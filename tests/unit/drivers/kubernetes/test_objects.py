"""What the API server's objects say, whoever writes them: one bounded line for each text, and no defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from dayfly.clock import SystemClock
from dayfly.drivers.bounds import MalformedAnswer
from dayfly.drivers.kubernetes import objects
from dayfly.drivers.kubernetes.http import KubeHttp
from tests.support.kube_server import running_kube_server

LONG = "ready\n[     9.0s] ready: forged\x1b[2J" + "x" * 2**20


def node(**condition: object) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "no network"} | condition
    return {"metadata": {"name": "node01"}, "status": {"conditions": [ready], "nodeInfo": {"bootID": "b1"}}}


def pod(status: object) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "node01"}, "status": status}


def assert_short(text: str | None) -> None:
    assert text is not None
    assert text.isprintable()
    assert len(text) < 2100


def test_a_nodes_reason() -> None:
    found = objects.node(node())
    assert (found.name, found.reason, found.boot_id) == ("node01", "KubeletNotReady: no network", "b1")
    assert not found.ready


def test_a_nodes_texts_are_short_lines() -> None:
    item = node(reason=LONG, message=LONG)
    item["metadata"]["name"] = item["status"]["nodeInfo"]["bootID"] = LONG
    found = objects.node(item)
    for text in (found.name, found.reason, found.boot_id):
        assert_short(text)


@pytest.mark.parametrize("other", [None, 7, [], {}, [[[]]]])
def test_a_nodes_text_of_another_type_is_missing(other: object) -> None:
    item = node(reason=other, message=other)
    item["status"]["nodeInfo"] = {"bootID": other}
    found = objects.node(item)
    assert (found.reason, found.boot_id) == ("", "")


def test_a_pods_texts_are_short_lines() -> None:
    ended = {"exitCode": 3, "reason": LONG, "message": LONG}
    conditions = [{"type": "Ready", "status": "False", "reason": LONG, "message": LONG}]
    for status in ({"containerStatuses": [{"state": {"terminated": ended}}]}, {"conditions": conditions}):
        found = objects.pod(pod(status | {"phase": LONG}))
        assert_short(found.reason)
        assert_short(found.phase)
    assert_short(objects.pod(pod({"message": LONG})).reason)


def test_why_a_pod_ended() -> None:
    ended = {"exitCode": 3, "reason": "Error", "message": 7}
    found = objects.pod(pod({"phase": "Failed", "containerStatuses": [{"state": {"terminated": ended}}]}))
    assert (found.phase, found.node, found.reason) == ("Failed", "node01", "Error: exit code 3")


@pytest.mark.parametrize("year", ["9" * 20, "9999", "x"])
async def test_a_date_that_is_none_is_no_defect(tmp_path: Path, year: str) -> None:
    async with running_kube_server(tmp_path) as (_, access), KubeHttp(access, SystemClock()) as http:
        http._note_date(httpx.Response(200, headers={"date": f"Mon, 01 Jan {year} 00:00:00 GMT"}))
        with pytest.raises(MalformedAnswer):
            http.now()


def workload(kind: str, status: dict[str, int], replicas: int | None = 2, generation: int = 3) -> dict[str, Any]:
    spec = {} if replicas is None else {"replicas": replicas}
    return {"kind": kind, "metadata": {"generation": generation}, "spec": spec, "status": status}


SEEN = {"observedGeneration": 3}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (workload("Deployment", {**SEEN, "updatedReplicas": 2, "availableReplicas": 2}), None),
        (workload("Deployment", {**SEEN, "updatedReplicas": 1, "availableReplicas": 1}, replicas=None), None),
        (workload("Deployment", SEEN, replicas=0), None),
        (workload("Deployment", {**SEEN, "updatedReplicas": 2, "availableReplicas": 1}), "1 of 2 pods are available"),
        (workload("Deployment", {**SEEN, "updatedReplicas": 1, "availableReplicas": 2}), "1 of the present generation"),
        (workload("Deployment", {"observedGeneration": 2, "updatedReplicas": 2}), "its controller has not seen it yet"),
        (workload("Deployment", {}, generation=0), "its controller has not seen it yet"),
        (workload("StatefulSet", {**SEEN, "updatedReplicas": 2, "readyReplicas": 2}), None),
        (workload("StatefulSet", {**SEEN, "updatedReplicas": 2}), "0 of 2 pods are available"),
        (
            workload(
                "DaemonSet",
                {**SEEN, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3},
            ),
            None,
        ),
        (workload("DaemonSet", {**SEEN, "desiredNumberScheduled": 3}), "0 of 3 pods are available"),
        ([], "its controller has not seen it yet"),
        ({"kind": "Deployment", "status": "fine", "metadata": 3}, "its controller has not seen it yet"),
    ],
)
def test_a_workload_is_available_with_all_pods_of_its_present_generation(item: object, reason: str | None) -> None:
    found = objects.why_unavailable(item)
    assert (found is None) is (reason is None)
    assert (reason or "") in (found or "")


def test_paths_of_workloads_are_told_from_others() -> None:
    assert objects.is_workload("/apis/apps/v1/namespaces/a/deployments/b")
    for path in ("/healthz", "/apis/apps/v1/namespaces/a/deployments/b/status", "/apis/apps/v1/namespaces/a/pods/b"):
        assert not objects.is_workload(path)
