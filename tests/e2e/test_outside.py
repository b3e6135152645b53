"""Access from the host to a Kubernetes cluster: images by the host's names, and a NodePort."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
import yaml

from tests.e2e.lab import NODE_PORT, NODES, Lab, fetched
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes

PATIENCE_SECONDS = 240
_POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  restartPolicy: Never
  containers:
    - {{name: one, image: "{image}", imagePullPolicy: Always, command: [/bin/sh, -c, ":"]}}
"""
_NODE_PORT = f"""\
apiVersion: v1
kind: Service
metadata: {{name: outside}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080, nodePort: {NODE_PORT.port}}}]
"""


def test_tools_find_the_registry(lab: Lab) -> None:
    found = json.loads(lab.kubectl("-n", "kube-public", "get", "configmap", "local-registry-hosting", "-o", "json"))
    assert yaml.safe_load(found["data"]["localRegistryHosting.v1"]) == {
        "host": lab.client.registry(lab.cluster.id).push,
        "hostFromClusterNetwork": "registry:5000",
        "hostFromContainerRuntime": "registry:5000",
    }


def test_an_image_is_named_inside_as_it_was_pushed(lab: Lab, web: dict[str, str]) -> None:
    pushed = lab.client.registry(lab.cluster.id).push
    names = (pushed, f"localhost:{pushed.rpartition(':')[2]}")
    pods = {f"pulled-on-{node}": (node, f"{host}/web:1") for node, host in zip(NODES, names, strict=True)}
    manifests = [_POD.format(name=pod, node=node, image=image) for pod, (node, image) in pods.items()]
    lab.kubectl_with("---\n".join(manifests), "apply", "-f", "-")
    try:
        until("both pods have run", lambda: have_run(lab, pods), seconds=PATIENCE_SECONDS)
    finally:
        # At once: other tests compare the pods that they find.
        lab.kubectl("delete", "pod", *pods, "--grace-period=0", "--force")


def have_run(lab: Lab, pods: Iterable[str]) -> bool | None:
    found = json.loads(lab.kubectl("get", "pods", *pods, "-o", "json"))["items"]
    phases = {pod["metadata"]["name"]: pod["status"]["phase"] for pod in found}
    assert "Failed" not in phases.values(), [pod["status"] for pod in found]
    return True if set(phases.values()) == {"Succeeded"} else None


def test_a_node_port_is_reached_from_the_host(lab: Lab, web: dict[str, str]) -> None:
    endpoint = lab.client.get(lab.cluster.id).endpoints[f"ports/{NODE_PORT.name}"]
    lab.kubectl_with(_NODE_PORT, "apply", "-f", "-")
    try:
        text = until("the NodePort answers", lambda: fetched(f"http://{endpoint}/index.html"), seconds=PATIENCE_SECONDS)
        assert text in {f"served on {node}" for node in web}
    finally:
        lab.kubectl("delete", "service", "outside")
