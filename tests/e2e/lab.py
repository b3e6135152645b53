"""What the end-to-end tests work with: a ready cluster, and an ordinary kubectl."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.client import Client, Cluster
from tests.support.engine import pack_busybox
from tests.support.service import Service, docker

PATIENCE_SECONDS: Final = 1200
"""For a cold cluster of two nodes without KVM. How long it takes is for tests/bench to say."""
REQUEST_TIMEOUT: Final = "--request-timeout=60s"


@dataclass(frozen=True)
class Lab:
    """A ready cluster of two nodes, its service, and a caller's kubeconfig on disk."""

    service: Service
    client: Client
    cluster: Cluster
    kubeconfig: Path

    def kubectl_argv(self, *arguments: str) -> list[str]:
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", REQUEST_TIMEOUT, *arguments]

    def kubectl(self, *arguments: str, timeout: float = 120) -> str:
        """kubectl's output; the test fails with its message where kubectl does."""
        result = self.try_kubectl(*arguments, timeout=timeout)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def try_kubectl(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.kubectl_argv(*arguments), capture_output=True, text=True, timeout=timeout, check=False
        )

    def applies(self, manifests: str) -> bool:
        """Whether all of it was accepted."""
        argv = self.kubectl_argv("apply", "-f", "-")
        return (
            subprocess.run(argv, input=manifests.encode(), capture_output=True, timeout=120, check=False).returncode
            == 0
        )

    def in_pod_on(self, node: str, command: str) -> str:
        """What `command` prints in the pod of `web` on `node`."""
        selector = ("-l", "app=web", f"--field-selector=spec.nodeName={node}")
        pod = self.kubectl("get", "pods", *selector, "-o", "jsonpath={.items[0].metadata.name}")
        return self.kubectl("exec", pod, "--", "/bin/sh", "-c", command, timeout=180)

    def on_node(self, node: str, command: str) -> str:
        """What `command` prints on `node`, over SSH."""
        return self.service.on_node(self.cluster.name, node, command, timeout=120)

    def container(self, part: str) -> str:
        """The name of the container `part`: net, registry or a node."""
        return f"dayfly-{self.cluster.id}-{part}"

    def deploy_web(self, folder: Path) -> dict[str, str]:
        """A Deployment of an image that the host pushes to the cluster, a pod on each node: node → pod's address."""
        self._push_web_image(folder)
        manifest = (Path(__file__).parent / "web.yaml").read_bytes()
        subprocess.run(self.kubectl_argv("apply", "-f", "-"), input=manifest, check=True, timeout=120)
        return self.web_pods()

    def web_pods(self) -> dict[str, str]:
        """Where the pods of the Deployment are, once all are there: node → pod's address."""
        self.kubectl("rollout", "status", "deployment/web", "--timeout=400s", timeout=420)
        row = r"{range .items[*]}{.spec.nodeName} {.status.podIP}{'\n'}{end}"
        lines = self.kubectl("get", "pods", "-l", "app=web", "-o", f"jsonpath={row}")
        return dict(line.split() for line in lines.splitlines())

    def fetch(self, node: str, address: str) -> str:
        """What a web server at `address` says to the pod on `node`."""
        host, port = address.split(":")
        request = f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | /bin/busybox nc -w 60 {host} {port}"
        return self.in_pod_on(node, request).strip().splitlines()[-1]

    def _push_web_image(self, folder: Path) -> None:
        """Make a small web server's image on the host and push it to the cluster's registry."""
        archive = folder / "web.tar"
        pack_busybox(archive)
        name = f"{self.client.registry(self.cluster.id).push}/web:1"
        docker("import", str(archive), name, engine=self.service.engine)
        try:
            docker("push", name, engine=self.service.engine)
        finally:
            docker("image", "rm", name, engine=self.service.engine)


@contextmanager
def lab_of(service: Service, name: str) -> Iterator[Lab]:
    """A cluster of two nodes, ready; at the end deleted, and nothing of it is left."""
    with living(service, name) as lab:
        yield lab
    assert service.objects() == set()


@contextmanager
def living(service: Service, name: str) -> Iterator[Lab]:
    """A cluster of two nodes, ready; a fork where there is a template. At the end deleted."""
    with Client(service.url) as client:
        asked = client.create(name, image="k8s-debian", workers=1)
        try:
            cluster = client.wait_ready(asked.id, timeout_seconds=PATIENCE_SECONDS)
            kubeconfig = service.folder / f"{name}.kubeconfig"
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(client.kubeconfig(cluster.id))
            yield Lab(service, client, cluster, kubeconfig)
        finally:
            client.delete(asked.id)
            client.wait_deleted(asked.id)


def engine_lists() -> dict[str, set[str]]:
    """All there is on the engine: containers, volumes and networks, whoever owns them."""
    return {
        "containers": set(docker("ps", "--all", "--quiet", "--no-trunc").split()),
        "volumes": set(docker("volume", "ls", "--quiet").split()),
        "networks": set(docker("network", "ls", "--quiet", "--no-trunc").split()),
    }
