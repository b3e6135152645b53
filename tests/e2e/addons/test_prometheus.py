"""The add-on prometheus: figures of both nodes, their containers, the API server, and of what has the annotations.

Not here: the program that finds targets (kubernetes/programs/targets), and the configuration's parts
(tests/unit/images/test_prometheus_objects.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from tests.e2e.lab import NODES, Lab
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes

ADDON: Final = "prometheus"
API: Final = "/api/v1/namespaces/kube-system/services/prometheus:http/proxy/api/v1"
TARGET_SECONDS: Final = 240
"""Prometheus looks for targets every 15 seconds and scrapes them every 30; an emulated kubelet samples as often."""
_ANNOTATIONS: Final = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/path": "/figures"}
_SCRAPED: Final = [
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "scraped", "labels": {"app": "scraped"}, "annotations": _ANNOTATIONS},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "web",
                    "image": "dayfly.local/smoke:1",
                    "imagePullPolicy": "IfNotPresent",
                    "command": [
                        "/bin/sh",
                        "-c",
                        "echo 'e2e_cups_total 7' > /tmp/figures && exec httpd -f -p 8080 -h /tmp",
                    ],
                }
            ],
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "scraped", "annotations": _ANNOTATIONS},
        "spec": {"selector": {"app": "scraped"}, "ports": [{"port": 80, "targetPort": 8080}]},
    },
]


@pytest.fixture
def scraped(lab: Lab) -> Iterator[None]:
    """A Pod and a Service with the annotations; afterwards they are no targets."""
    lab.kubectl_with(json.dumps({"apiVersion": "v1", "kind": "List", "items": _SCRAPED}), "apply", "-f", "-")
    yield
    lab.kubectl("delete", "pod/scraped", "service/scraped")
    until(
        "nothing is a target by its annotations",
        lambda: (
            None if {job for job, _ in targets(lab)} & {"kubernetes-pods", "kubernetes-service-endpoints"} else True
        ),
        seconds=TARGET_SECONDS,
        pause=2,
    )


def test_all_targets_are_up(lab: Lab) -> None:
    by_node = {(job, node) for job in ("kubelet", "cadvisor", "node-exporter") for node in NODES}
    wanted = dict.fromkeys({("prometheus", ""), ("apiserver", ""), *by_node}, "up")

    def look() -> dict[tuple[str, str], str] | None:
        found = targets(lab)
        return found if found == wanted else None

    until("all targets are up", look, seconds=TARGET_SECONDS, pause=2)


def test_both_nodes_have_figures(lab: Lab) -> None:
    found = until(
        "both nodes have figures",
        lambda: values(lab, "node_memory_MemTotal_bytes", "node", at_least=len(NODES)),
        seconds=TARGET_SECONDS,
        pause=2,
    )
    assert set(found) == set(NODES)
    for node, size in found.items():
        _, kibibytes, unit = lab.on_node(node, "grep ^MemTotal: /proc/meminfo").split()
        assert (size, unit) == (int(kibibytes) * 1024, "kB")
    # The node's own devices and file systems, not those of the exporter's container.
    devices = values(lab, 'node_network_receive_bytes_total{node="node01"}', "device", at_least=1)
    assert devices is not None
    assert set(devices) <= set(lab.on_node("node01", "ls /sys/class/net").split())
    root = values(lab, 'node_filesystem_size_bytes{mountpoint="/"}', "node", at_least=len(NODES))
    assert root is not None
    for node, size in root.items():
        assert size == int(lab.on_node(node, "df --block-size=1 --output=size / | tail -n 1"))


def test_containers_have_figures(lab: Lab) -> None:
    query = 'sum by (pod) (container_cpu_usage_seconds_total{namespace="kube-system", pod!=""})'

    def look() -> dict[str, float] | None:
        found = values(lab, query, "pod", at_least=1) or {}
        return found if {"kube-apiserver-node01"} <= set(found) and any("prometheus" in one for one in found) else None

    found = until("pods have figures", look, seconds=TARGET_SECONDS, pause=2)
    assert found["kube-apiserver-node01"] > 0
    nodes = 'count by (node) (container_cpu_usage_seconds_total{pod!=""})'
    assert set(values(lab, nodes, "node", at_least=len(NODES)) or {}) == set(NODES)


def test_the_api_server_has_figures_without_buckets(lab: Lab) -> None:
    requests = "sum by (job) (apiserver_request_total)"
    found = until(
        "requests are counted", lambda: values(lab, requests, "job", at_least=1), seconds=TARGET_SECONDS, pause=2
    )
    assert found["apiserver"] > 0
    assert ask(lab, '{__name__=~".+_bucket", job=~"apiserver|kubelet"}') == []


def test_annotations_make_targets(lab: Lab, scraped: None) -> None:
    def look() -> dict[str, dict[str, Any]] | None:
        found = {one["metric"]["job"]: one for one in ask(lab, "e2e_cups_total")}
        return found if len(found) == 2 else None

    found = until("both are scraped", look, seconds=TARGET_SECONDS, pause=2)
    pod = json.loads(lab.kubectl("get", "pod", "scraped", "-o", "json"))
    place = {"instance": f"{pod['status']['podIP']}:8080", "node": pod["spec"]["nodeName"]}
    for job, more in (("kubernetes-pods", {}), ("kubernetes-service-endpoints", {"service": "scraped"})):
        assert found[job]["metric"] == {
            "__name__": "e2e_cups_total",
            "job": job,
            "namespace": "default",
            "pod": "scraped",
            **place,
            **more,
        }
        assert found[job]["value"][1] == "7"


def test_pods_reach_it_by_its_name(lab: Lab, web: dict[str, str]) -> None:
    for node in web:
        answer = lab.in_pod_on(node, "/bin/busybox wget -q -O - http://prometheus.kube-system:9090/-/ready")
        assert "Ready" in answer


def targets(lab: Lab) -> dict[tuple[str, str], str]:
    """The health of each target by job and node."""
    active = _get(lab, "/targets?state=active")["activeTargets"]
    found = {(one["labels"]["job"], one["labels"].get("node", "")): one["health"] for one in active}
    assert len(found) == len(active), active
    return found


def values(lab: Lab, query: str, label: str, *, at_least: int) -> dict[str, float] | None:
    """The values of a query by `label`, once there are as many."""
    found = {one["metric"][label]: float(one["value"][1]) for one in ask(lab, query)}
    return found if len(found) >= at_least else None


def ask(lab: Lab, query: str) -> list[dict[str, Any]]:
    result = _get(lab, f"/query?{urlencode({'query': query})}")["result"]
    assert isinstance(result, list)
    return result


def _get(lab: Lab, path: str) -> dict[str, Any]:
    answer = json.loads(lab.kubectl("get", "--raw", API + path))
    assert answer["status"] == "success", answer
    assert isinstance(answer["data"], dict)
    return answer["data"]
