"""An engine is killed, or its host loses power: clusters return with their disks, at their ports.

All on a host for tests (tests/support/host.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dayfly.client import Client, Cluster, Event
from tests.support.host import Host, own_host
from tests.support.service import Service, running_service

pytestmark = pytest.mark.vm

IMAGE = "dayfly/bare:latest"
BACK_SECONDS = 240


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with own_host(IMAGE) as host:
        yield host


@pytest.fixture
def service(host: Host, tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path, **host.settings) as service:
        try:
            yield service
        finally:
            host.revive()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def test_the_engine_is_killed_while_a_cluster_is_made(host: Host, service: Service, client: Client) -> None:
    cluster = client.create("early", image="bare")
    until(client, cluster, lambda event: event.type == "step.started" and event.step == "boot")
    host.kill_engine()
    waiting = until(client, cluster, lambda event: event.type == "step.waiting")
    assert "engine" in waiting.message
    assert client.get("early").phase == "provisioning"
    host.start_engine()
    assert client.wait_ready("early", timeout_seconds=BACK_SECONDS).error is None
    assert service.on_node("early", "node01", "hostname") == "node01"
    delete(client, service, "early")


def test_the_engine_is_killed_while_a_cluster_is_removed(host: Host, service: Service, client: Client) -> None:
    cluster = client.create("late", image="bare")
    until_all_is_started(client, cluster)
    client.delete("late")
    until(client, cluster, lambda event: event.message.endswith("→ deleting"))
    host.kill_engine()
    assert client.get("late").phase == "deleting"
    host.start_engine()
    client.wait_deleted("late", timeout_seconds=120)
    assert service.objects() == set()


def test_an_engine_that_was_killed_and_a_host_without_power_cost_a_ready_cluster_nothing(
    host: Host, service: Service, client: Client
) -> None:
    client.create("always", image="bare")
    client.create("never", image="bare", restart="never")
    made = {name: client.wait_ready(name, timeout_seconds=BACK_SECONDS) for name in ("always", "never")}
    service.on_node("always", "node01", "echo kept > /root/mark && sync")
    boot = boot_id(service)

    began = time.monotonic()
    host.kill_engine()
    host.start_engine()
    after = recovered(client, "always", 1)
    print(f"after the engine's death: ready again in {time.monotonic() - began:.0f} s")
    boot = assert_back(service, made["always"], after, boot)
    lost = client.get("never", wait="settled", timeout_seconds=60)
    assert lost.phase == "failed"
    assert lost.error is not None
    assert lost.error.code == "engine_restarted"
    assert {name for name in service.objects() if lost.id in name} == set(), "a failed cluster holds nothing"

    began = time.monotonic()
    host.pull_the_plug()
    host.switch_on()
    after = recovered(client, "always", 2)
    print(f"after the power cut: ready again in {time.monotonic() - began:.0f} s")
    assert_back(service, made["always"], after, boot)
    for name in ("always", "never"):
        delete(client, service, name)


def test_what_hibernates_sleeps_through_a_power_cut(host: Host, service: Service, client: Client) -> None:
    made = client.wait_ready(client.create("sleeper", image="bare").id, timeout_seconds=BACK_SECONDS)
    mark = "/run/mark"  # in its memory, and nowhere else
    service.on_node("sleeper", "node01", f"echo awake > {mark}")
    client.hibernate("sleeper")
    client.wait_hibernated("sleeper", timeout_seconds=BACK_SECONDS)
    host.pull_the_plug()
    host.switch_on()
    began = time.monotonic()
    client.resume("sleeper")
    after = client.wait_ready("sleeper", timeout_seconds=BACK_SECONDS)
    print(f"after the power cut: resumed in {time.monotonic() - began:.0f} s")
    assert (after.id, after.endpoints) == (made.id, made.endpoints)
    assert service.on_node("sleeper", "node01", f"cat {mark}") == "awake"
    delete(client, service, "sleeper")


def assert_back(service: Service, before: Cluster, after: Cluster, boot: str) -> str:
    """The same cluster in another boot, whose id is returned."""
    assert after.id == before.id
    assert after.endpoints == before.endpoints
    assert after.ready_at == before.ready_at
    assert after.restarts == 0, "no machine ended by itself"
    assert service.on_node(before.name, "node01", "cat /root/mark") == "kept"
    fresh = boot_id(service)
    assert fresh != boot
    return fresh


def boot_id(service: Service) -> str:
    return service.on_node("always", "node01", "cat /proc/sys/kernel/random/boot_id")


def recovered(client: Client, name: str, times: int) -> Cluster:
    """The cluster, ready once it has recovered so often."""
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        events = client.all_events(name)
        cluster = client.get(name)
        if [event.type for event in events].count("cluster.recovered") == times and cluster.phase == "ready":
            return cluster
        assert cluster.phase != "failed", cluster.error
        assert time.monotonic() < deadline, events[-10:]
        time.sleep(0.2)


def until(client: Client, cluster: Cluster, wanted: Callable[[Event], bool]) -> Event:
    return next(event for event in client.follow(cluster.id) if wanted(event))


def until_all_is_started(client: Client, cluster: Cluster) -> None:
    """Wait until its last container runs.

    A container that the engine was starting when it was killed, and must remove after its restart, is forgotten but not
    ended. The container's network namespace keeps its address, which the engine gives to another container: one of the
    two cannot be reached.
    """
    started = {("step.progress", "boot"), ("step.done", "registry")}
    seen: set[tuple[str, str | None]] = set()
    for event in client.follow(cluster.id):
        seen.add((event.type, event.step))
        if started <= seen:
            return
    raise AssertionError(f"not all of it was started: {seen}")


def delete(client: Client, service: Service, name: str) -> None:
    cluster = client.get(name)
    client.delete(cluster.id)
    client.wait_deleted(cluster.id)
    assert {one for one in service.objects() if cluster.id in one} == set()
