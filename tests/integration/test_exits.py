"""Machines that exit are restarted, a bounded number of times; removed containers are named."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dayfly.client import Client, Cluster
from tests.support.service import Service, docker, running_service

pytestmark = pytest.mark.vm

RESTARTS = 2
BACK_SECONDS = 240


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("exits")
    with running_service(folder, restart_limit=str(RESTARTS), restart_backoff_seconds="0.2") as service:
        yield service
        assert "Traceback" not in service.logs()


@pytest.fixture(scope="module")
def clusters(service: Service) -> Iterator[tuple[Cluster, Cluster]]:
    """Two, made at once."""
    with Client(service.url) as client:
        made = [client.create(name, image="bare") for name in ("steady", "shaky")]
        steady, shaky = (client.wait_ready(cluster.id, timeout_seconds=300) for cluster in made)
        yield steady, shaky
        for cluster in made:
            client.delete(cluster.id)
            client.wait_deleted(cluster.id)
    assert service.objects() == set()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def test_a_machine_that_ends_comes_back_with_its_disk_where_it_was(
    service: Service, client: Client, clusters: tuple[Cluster, Cluster]
) -> None:
    steady = clusters[0]
    service.on_node("steady", "node01", "echo kept > /root/mark && sync")
    began = time.monotonic()
    docker("kill", node_of(steady))
    deadline = began + BACK_SECONDS
    while "cluster.recovered" not in (types := [event.type for event in client.all_events(steady.id)]):
        assert time.monotonic() < deadline, types
        time.sleep(0.2)
    back = client.wait_ready(steady.id)
    print(f"ready again after {time.monotonic() - began:.0f} s")
    assert (back.endpoints, back.restarts, back.ready_at) == (steady.endpoints, 1, steady.ready_at)
    assert service.on_node("steady", "node01", "cat /root/mark") == "kept"
    (story,) = (event for event in client.all_events(steady.id) if event.type == "cluster.recovering")
    assert (story.node, "ended by itself" in story.message) == ("node01", True)


def test_a_container_that_somebody_removes_is_named(
    service: Service, client: Client, clusters: tuple[Cluster, Cluster]
) -> None:
    steady = clusters[0]
    docker("rm", "-f", "-v", f"dayfly-{steady.id}-registry")
    failed = client.get(steady.id, wait="settled", timeout_seconds=10)
    deadline = time.monotonic() + 60
    while failed.phase != "failed":
        assert time.monotonic() < deadline
        time.sleep(0.1)
        failed = client.get(steady.id)
    assert failed.error is not None
    assert failed.error.code == "container_removed"
    assert "registry" in failed.error.message
    assert client.evidence(steady.id, "node01/console")
    assert {name for name in service.objects() if steady.id in name} == set()


def test_a_machine_that_ends_again_and_again_is_given_up(
    service: Service, client: Client, clusters: tuple[Cluster, Cluster]
) -> None:
    shaky = clusters[1]
    deadline = time.monotonic() + BACK_SECONDS
    while client.get(shaky.id).phase != "failed":
        # As soon as it runs, so that it never gets far.
        if running(node_of(shaky)):
            docker("kill", node_of(shaky))
        assert time.monotonic() < deadline, client.all_events(shaky.id)[-10:]
        time.sleep(0.1)
    failed = client.get(shaky.id)
    assert failed.error is not None
    assert (failed.error.code, failed.error.node) == ("vm_exited", "node01")
    assert failed.restarts <= RESTARTS
    assert client.evidence(shaky.id, "node01/console")
    assert {name for name in service.objects() if shaky.id in name} == set()


def node_of(cluster: Cluster) -> str:
    return f"dayfly-{cluster.id}-node01"


def running(container: str) -> bool:
    return bool(docker("ps", "--quiet", "--filter", f"name=^{container}$").strip())
