"""What the end-to-end tests work with: a ready cluster, and an ordinary kubectl."""

from __future__ import annotations

import subprocess
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

    def in_pod_on(self, node: str, command: str) -> str:
        """What `command` prints in the pod of `web` on `node`."""
        selector = ("-l", "app=web", f"--field-selector=spec.nodeName={node}")
        pod = self.kubectl("get", "pods", *selector, "-o", "jsonpath={.items[0].metadata.name}")
        return self.kubectl("exec", pod, "--", "/bin/sh", "-c", command, timeout=180)

    def on_node(self, node: str, command: str) -> str:
        """What `command` prints on `node`, over SSH."""
        result = self.service.cli("cluster", "ssh", self.cluster.name, node, "--", command, timeout=120)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def container(self, part: str) -> str:
        """The name of the container `part`: net, registry or a node."""
        return f"dayfly-{self.cluster.id}-{part}"

    def push_web_image(self, folder: Path) -> None:
        """Make a small web server's image on the host and push it to the cluster's registry."""
        archive = folder / "web.tar"
        pack_busybox(archive)
        name = f"{self.client.registry(self.cluster.id).push}/web:1"
        docker("import", str(archive), name)
        try:
            docker("push", name)
        finally:
            docker("image", "rm", name)


def engine_lists() -> dict[str, set[str]]:
    """All there is on the engine: containers, volumes and networks, whoever owns them."""
    return {
        "containers": set(docker("ps", "--all", "--quiet", "--no-trunc").split()),
        "volumes": set(docker("volume", "ls", "--quiet").split()),
        "networks": set(docker("network", "ls", "--quiet", "--no-trunc").split()),
    }
