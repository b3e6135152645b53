"""A pod runs to its end, and is deleted in every case."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dayfly.drivers.interfaces import KubeAccess, KubePod
from dayfly.drivers.kubernetes.client import KubeClient
from dayfly.errors import NotUsable
from tests.support.kube_server import KubeServer


def pod(name: str, phase: str, **status: object) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"metadata": metadata, "spec": {"nodeName": "node02"}, "status": {"phase": phase, **status}}


async def _run_pod(kube: KubeClient, access: KubeAccess, seen: list[KubePod], timeout: float = 20) -> None:
    await kube.run_pod(
        access,
        "smoke",
        image="registry/smoke:1",
        argv=["/bin/sh", "-c", "true"],
        timeout=timeout,
        on_change=seen.append,
    )


async def test_a_pod_runs_to_its_end_and_is_deleted(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    server.refusals = [(403, "no service account yet"), (500, "etcd"), (429, "busy")]
    seen: list[KubePod] = []
    running = asyncio.create_task(_run_pod(kube, access, seen))
    await server.watching.wait()
    server.put("pods", pod("smoke", "Running"))
    server.put("pods", pod("smoke", "Succeeded"))
    await running

    assert [change.phase for change in seen][-3:] == ["Pending", "Running", "Succeeded"]
    assert server.deleted == [("smoke", "0")]
    assert server.objects["pods"] == {}
    (asked,) = server.created
    spec = asked["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert spec["containers"][0]["command"] == ["/bin/sh", "-c", "true"]


async def test_a_pod_that_is_there_already_is_adopted(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    server.put("pods", pod("smoke", "Succeeded"))

    await _run_pod(kube, access, [])

    assert server.created == []
    assert server.objects["pods"] == {}


async def test_a_pod_that_fails_is_told_and_deleted(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    ended = {"state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "no DNS"}}}
    server.put("pods", pod("smoke", "Failed", containerStatuses=[ended]))

    with pytest.raises(NotUsable, match="exit code 3") as failed:
        await _run_pod(kube, access, [])

    assert failed.value.evidence == {"pod": "Error: exit code 3: no DNS"}
    assert server.objects["pods"] == {}


async def test_a_pod_that_never_runs_says_what_it_waits_for(
    kube: KubeClient, server: KubeServer, access: KubeAccess
) -> None:
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    server.put("pods", pod("smoke", "Pending", conditions=[unschedulable]))

    with pytest.raises(NotUsable, match="Pending") as late:
        await _run_pod(kube, access, [], timeout=0.5)

    assert late.value.evidence == {"pod": "Unschedulable: 0/1 nodes"}


async def test_a_pod_that_is_refused_or_taken_away(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    server.refusals = [(422, "Pod smoke is invalid")]
    with pytest.raises(NotUsable, match="is invalid"):
        await _run_pod(kube, access, [])

    running = asyncio.create_task(_run_pod(kube, access, []))
    await server.watching.wait()
    server.drop("pods", "smoke")
    with pytest.raises(NotUsable, match="deleted while it ran"):
        await running
