"""The add-on metrics-server: `kubectl top`, and a HorizontalPodAutoscaler that reads a current value.

Not here: the program's own tests (kubernetes/programs/metrics); clusters that have add-ons from the start
(tests/scenarios/test_addons.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.e2e.lab import NODES, Lab
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes

METRICS: Final = "/apis/metrics.k8s.io/v1beta1"
FIGURES_SECONDS: Final = 180
"""An emulated kubelet samples a container every 30 to 60 seconds; a rate needs two samples."""
ADDON: Final = "metrics-server"
AUTOSCALER_SECONDS: Final = 240
"""The controller reads metrics every 15 seconds, but not those of a container's first minute."""
_AUTOSCALER: Final = {
    "apiVersion": "autoscaling/v2beta2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "web"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        # The Deployment stays as it is: other tests use it.
        "minReplicas": 2,
        "maxReplicas": 2,
        "metrics": [
            {
                "type": "Resource",
                "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "64Mi"}},
            },
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"}}},
        ],
    },
}


@pytest.fixture
def autoscaler(lab: Lab, web: dict[str, str]) -> Iterator[str]:
    """An autoscaler of the Deployment `web`."""
    lab.kubectl_with(json.dumps(_AUTOSCALER), "apply", "-f", "-")
    yield "web"
    lab.kubectl("delete", "horizontalpodautoscaler", "web")


def test_nodes_have_figures(lab: Lab) -> None:
    rows = until("all nodes have figures", lambda: top(lab, "nodes", at_least=len(NODES)), seconds=FIGURES_SECONDS)
    assert set(rows) == set(NODES)
    for cpu, _, memory, _ in rows.values():
        assert int(cpu.removesuffix("m")) > 0
        assert int(memory.removesuffix("Mi")) > 100


def test_pods_have_figures_by_namespace_and_label(lab: Lab, web: dict[str, str]) -> None:
    rows = until(
        "both pods have figures",
        lambda: top(lab, "pods", "-n", "default", "-l", "app=web", at_least=len(web)),
        seconds=FIGURES_SECONDS,
    )
    assert len(rows) == len(web)
    for cpu, memory in rows.values():
        assert re.fullmatch(r"\d+m", cpu)
        assert re.fullmatch(r"\d+Mi", memory)
    servers = ("-n", "kube-system", "-l", "component=kube-apiserver")
    (server,) = until(
        "a static pod has figures", lambda: top(lab, "pods", *servers, at_least=1), seconds=FIGURES_SECONDS
    ).values()
    assert int(server[1].removesuffix("Mi")) > 100


def test_samples_are_of_now(lab: Lab) -> None:
    """A fork's kubelets have the samples of the template in their memory."""
    until("all nodes have figures", lambda: top(lab, "nodes", at_least=len(NODES)), seconds=FIGURES_SECONDS)
    now = lab.on_node(NODES[0], "date +%s")
    clock = datetime.fromtimestamp(int(now), UTC)
    for node in read(lab, "/nodes"):
        age = clock - datetime.fromisoformat(node["timestamp"])
        assert abs(age) < timedelta(minutes=3), node


def test_an_autoscaler_reads_current_values(lab: Lab, autoscaler: str) -> None:
    found = until("the autoscaler has values", lambda: current_values(lab, autoscaler), seconds=AUTOSCALER_SECONDS)
    assert set(found) == {"cpu", "memory"}
    assert found["memory"] != "0"


def test_a_user_who_may_view_may_read_metrics(lab: Lab) -> None:
    """Roles aggregate: kubectl asks as a user who has the role `view` only."""
    lab.kubectl("create", "rolebinding", "viewer", "--clusterrole=view", "--user=viewer")
    try:
        until("`view` has the right", lambda: may_list_pod_metrics(lab, "viewer"), seconds=60)
        lab.kubectl("--as=viewer", "get", "--raw", f"{METRICS}/namespaces/default/pods")
        refused = lab.try_kubectl("--as=viewer", "get", "--raw", f"{METRICS}/nodes")
        assert refused.returncode != 0
        assert "forbidden" in refused.stderr.lower()
    finally:
        lab.kubectl("delete", "rolebinding", "viewer")


def top(lab: Lab, *arguments: str, at_least: int) -> dict[str, list[str]] | None:
    """The figures of `kubectl top` by name, once there are as many."""
    result = lab.try_kubectl("top", *arguments, "--no-headers")
    rows = {row[0]: row[1:] for row in map(str.split, result.stdout.splitlines())}
    return rows if result.returncode == 0 and len(rows) >= at_least else None


def read(lab: Lab, path: str) -> list[dict[str, Any]]:
    items = json.loads(lab.kubectl("get", "--raw", METRICS + path))["items"]
    assert isinstance(items, list)
    return items


def current_values(lab: Lab, name: str) -> dict[str, str] | None:
    """The autoscaler's values by resource, once it has all."""
    found = json.loads(lab.kubectl("get", "horizontalpodautoscalers.v2beta2.autoscaling", name, "-o", "json"))
    metrics = found.get("status", {}).get("currentMetrics") or []
    values = {
        one["resource"]["name"]: one["resource"]["current"]["averageValue"] for one in metrics if one.get("resource")
    }
    return values if len(values) == len(found["spec"]["metrics"]) else None


def may_list_pod_metrics(lab: Lab, user: str) -> bool | None:
    asked = lab.try_kubectl("auth", "can-i", "list", "pods.metrics.k8s.io", f"--as={user}", "-n", "default")
    return True if asked.returncode == 0 else None
