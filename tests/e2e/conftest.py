"""One real Kubernetes cluster for all end-to-end tests: a cluster takes minutes to make under emulation."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dayfly.client import Client
from tests.e2e.lab import PATIENCE_SECONDS, Lab, engine_lists
from tests.support.service import running_service


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A control plane and a worker, ready; and at the end not a trace of them."""
    before = engine_lists()
    folder = tmp_path_factory.mktemp("e2e")
    with running_service(folder) as service, Client(service.url) as client:
        asked = client.create("e2e", image="k8s-debian", workers=1)
        try:
            cluster = client.wait_ready(asked.id, timeout_seconds=PATIENCE_SECONDS)
            kubeconfig = folder / "kubeconfig"
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(client.kubeconfig(cluster.id))
            yield Lab(service, client, cluster, kubeconfig)
        finally:
            client.delete(asked.id)
            client.wait_deleted(asked.id)
        assert service.objects() == set()
    assert engine_lists() == before


@pytest.fixture(scope="session")
def web(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A Deployment of an image that the host pushed to the cluster, a pod on each node: node → pod's address."""
    lab.push_web_image(tmp_path_factory.mktemp("web"))
    subprocess.run(
        lab.kubectl_argv("apply", "-f", "-"),
        input=(Path(__file__).parent / "web.yaml").read_bytes(),
        check=True,
        timeout=120,
    )
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=400s", timeout=420)
    lines = lab.kubectl(
        "get", "pods", "-l", "app=web", "-o", r"jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{'\n'}{end}"
    )
    return dict(line.split() for line in lines.splitlines())
