"""The subject of end-to-end tests: a ready cluster, and an ordinary kubectl."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx

from dayfly.client import Client, Cluster, PortRequest, Template
from tests.support.guest import on_guest
from tests.support.service import Service, docker
from tests.support.steps import pack_busybox

PATIENCE_SECONDS: Final = 1200
"""For a cold cluster of two nodes without KVM. Not here: its duration (tests/bench)."""
MANIFESTS: Final = Path(__file__).parent
NODES: Final = ("node01", "node02")
NODE_PORT: Final = PortRequest(name="web", node="node02", port=30080)
BALANCED: Final = PortRequest(name="balanced", address="192.168.67.10", port=80)
CLUSTER_IP: Final = PortRequest(name="cluster-ip", address="10.96.0.77", port=80)
INGRESS: Final = PortRequest(name="ingress", address="192.168.67.80", port=80)
INGRESS_TLS: Final = PortRequest(name="ingress-tls", address="192.168.67.80", port=443)
PORTS: Final = (NODE_PORT, BALANCED, CLUSTER_IP, INGRESS, INGRESS_TLS)
"""Published on the host."""
PROCESSES: Final = ("api", "worker", "worker")
"""The processes of the service."""
REQUEST_TIMEOUT: Final = "--request-timeout=60s"
_UNNAMED: Final = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: name-}\n" * 5


@dataclass(frozen=True)
class Lab:
    """A ready cluster of two nodes, its service, and a caller's kubeconfig on disk."""

    service: Service
    client: Client
    cluster: Cluster
    kubeconfig: Path
    first_names: frozenset[str] = frozenset()
    """The first names that its API server made after it was ready."""

    def kubectl_argv(self, *arguments: str) -> list[str]:
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", REQUEST_TIMEOUT, *arguments]

    def kubectl(self, *arguments: str, timeout: float = 120) -> str:
        """kubectl's output; the test fails with its message where kubectl does."""
        result = self.try_kubectl(*arguments, timeout=timeout)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def try_kubectl(
        self, *arguments: str, manifests: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        argv = self.kubectl_argv(*arguments)
        return subprocess.run(argv, input=manifests, capture_output=True, text=True, timeout=timeout, check=False)

    def kubectl_with(self, manifests: str, *arguments: str) -> str:
        """kubectl's output, given `manifests` as its input; the test fails with its message where kubectl does."""
        result = self.try_kubectl(*arguments, manifests=manifests)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def generated_names(self) -> frozenset[str]:
        """Names that the API server makes; nothing is created."""
        made = self.kubectl_with(_UNNAMED, "create", "--dry-run=server", "-o", "name", "-f", "-").split()
        assert len(set(made)) == 5, made
        return frozenset(made)

    def applies(self, manifests: str) -> bool:
        """Whether all of it was accepted."""
        return self.try_kubectl("apply", "-f", "-", manifests=manifests).returncode == 0

    def in_pod_on(self, node: str, command: str) -> str:
        """The output of `command` in the pod of `web` on `node`."""
        selector = ("-l", "app=web", f"--field-selector=spec.nodeName={node}")
        pod = self.kubectl("get", "pods", *selector, "-o", "jsonpath={.items[0].metadata.name}")
        return self.kubectl("exec", pod, "--", "/bin/sh", "-c", command, timeout=180)

    def on_node(self, node: str, command: str) -> str:
        """The output of `command` on `node`, over SSH."""
        return self.service.on_node(self.cluster.name, node, command, timeout=120)

    def container(self, part: str) -> str:
        """The name of the container `part`: net, registry or a node."""
        return f"dayfly-{self.cluster.id}-{part}"

    def docker(self, *arguments: str) -> str:
        """The docker command's output, of the service's engine."""
        return docker(*arguments, engine=self.service.engine)

    def booted_again(self) -> bool:
        """Whether the nodes have booted since the cluster was made, or last reset."""
        kinds = {"cluster.recovered", "cluster.reset"}
        types = [event.type for event in self.client.all_events(self.cluster.id) if event.type in kinds]
        return types[-1:] == ["cluster.recovered"]

    def reset(self) -> None:
        """Returns when the cluster is ready again."""
        self.client.reset(self.cluster.id)
        self.client.wait_ready(self.cluster.id, timeout_seconds=PATIENCE_SECONDS)

    def deploy_web(self, folder: Path) -> None:
        """A Deployment of an image that the host pushes to the cluster, a pod on each node: see `web_pods`."""
        self._push_web_image(folder)
        self.kubectl("apply", "-f", str(MANIFESTS / "web.yaml"))

    def web_pods(self) -> dict[str, str]:
        """Where the pods of the Deployment are, once all are there: node → pod's address."""
        self.kubectl("rollout", "status", "deployment/web", "--timeout=400s", timeout=420)
        row = r"{range .items[*]}{.spec.nodeName} {.status.podIP}{'\n'}{end}"
        lines = self.kubectl("get", "pods", "-l", "app=web", "-o", f"jsonpath={row}")
        return dict(line.split() for line in lines.splitlines())

    def fetch(self, node: str, address: str) -> str:
        """The answer of a web server at `address` to the pod on `node`."""
        host, port = address.split(":")
        request = f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | /bin/busybox nc -w 60 {host} {port}"
        return self.in_pod_on(node, request).strip().splitlines()[-1]

    def _push_web_image(self, folder: Path) -> None:
        """Make a small web server's image on the host and push it to the cluster's registry."""
        archive = folder / "web.tar"
        pack_busybox(archive)
        name = f"{self.client.registry(self.cluster.id).push}/web:1"
        self.docker("import", str(archive), name)
        try:
            self.docker("push", name)
        finally:
            self.docker("image", "rm", name)


def fetched(url: str) -> str | None:
    """None while nothing answers: the node's rules follow the Service."""
    try:
        return httpx.get(url, trust_env=False, timeout=10).text.strip()
    except httpx.TransportError:
        return None


@contextmanager
def living(service: Service, name: str, *, ports: Sequence[PortRequest] = PORTS) -> Iterator[Lab]:
    """A ready cluster of two nodes, a fork where there is a template. At the end nothing of it is left.

    Without `ports` it is a member of a pool, where one waits.
    """
    with Client(service.url) as client:
        asked = client.create(name, image="k8s-debian", workers=1, ports=list(ports))
        try:
            cluster = client.wait_ready(asked.id, timeout_seconds=PATIENCE_SECONDS)
            kubeconfig = service.folder / f"{name}.kubeconfig"
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(client.kubeconfig(cluster.id))
            lab = Lab(service, client, cluster, kubeconfig)
            yield replace(lab, first_names=lab.generated_names())
        finally:
            client.delete(asked.id)
            client.wait_deleted(asked.id)
            assert {name for name in service.objects() if asked.id in name} == set()


@contextmanager
def others_hibernate(service: Service) -> Iterator[None]:
    """All ready clusters hibernate meanwhile: two idle ones already need all of two emulated cores."""
    with Client(service.url) as client:
        ready = [one.id for one in client.list(phases=["ready"])]
        for cluster in ready:
            began = time.monotonic()
            client.hibernate(cluster)
            client.wait_hibernated(cluster, timeout_seconds=PATIENCE_SECONDS)
            print(f"hibernated after {time.monotonic() - began:.0f} s")
        try:
            yield
        finally:
            for cluster in ready:
                began = time.monotonic()
                client.resume(cluster)
                client.wait_ready(cluster, timeout_seconds=PATIENCE_SECONDS)
                print(f"ready again {time.monotonic() - began:.0f} s after it was resumed")


def engine_lists(engine: str) -> dict[str, set[str]]:
    """All objects of the engine: containers, volumes and networks of any owner."""
    return {
        "containers": set(docker("ps", "--all", "--quiet", "--no-trunc", engine=engine).split()),
        "volumes": set(docker("volume", "ls", "--quiet", engine=engine).split()),
        # By name: a restarted engine recreates its default networks.
        "networks": set(docker("network", "ls", "--format", "{{.Name}}", engine=engine).split()),
    }


def assert_forked(lab: Lab, template: Template) -> None:
    events = lab.client.all_events(lab.cluster.id)
    assert lab.cluster.template == template.id, [(event.type, event.message) for event in events]
    assert "cluster.fallback" not in {event.type for event in events}


def assert_undisturbed(lab: Lab) -> None:
    """All nodes are Ready, and the template's pods run: none was evicted or recreated.

    Processes that were stopped for the save run again.
    """
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    conditions = {
        node["metadata"]["name"]: {one["type"]: one["status"] for one in node["status"]["conditions"]} for node in nodes
    }
    assert {name: found["Ready"] for name, found in conditions.items()} == dict.fromkeys(NODES, "True")
    pods = json.loads(lab.kubectl("-n", "kube-system", "get", "pods", "-o", "json"))["items"]
    assert pods
    for pod in pods:
        made = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        assert made < lab.cluster.created_at, pod["metadata"]["name"]
        assert pod["status"]["phase"] == "Running", pod["status"]
    told = json.loads(lab.kubectl("get", "events", "--all-namespaces", "-o", "json"))["items"]
    assert not [one["message"] for one in told if one["reason"] in {"Evicted", "TaintManagerEviction"}]
    for node in NODES:
        stopped = "grep -l '^State:.T' /proc/[0-9]*/status || true"
        assert on_guest(lab.client, lab.cluster.id, stopped, node=node) == ""
