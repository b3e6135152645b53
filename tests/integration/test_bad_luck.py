"""Faults of the environment end in a named state with evidence: no traceback, no endless wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dayfly.client import Client, Cluster, Event
from tests.support.images import variant
from tests.support.service import Service, running_service
from tests.support.socket_proxy import cuttable_engine

pytestmark = pytest.mark.vm

EVENT_SECONDS = 120


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Service]:
    """A service that gives up soon."""
    with running_service(
        tmp_path,
        boot_limit_seconds="15",
        step_attempts="2",
        retry_backoff_seconds="0.5",
    ) as service:
        yield service
        assert "Traceback" not in service.logs()


def failure(service: Service, image: str) -> tuple[Cluster, dict[str, str]]:
    """A failed cluster with its evidence, looked at before it is deleted."""
    with Client(service.url) as client:
        cluster = client.get(client.create(image=image).id, wait="settled", timeout_seconds=120)
        assert cluster.phase == "failed"
        assert cluster.error is not None
        left = {name for name in service.objects() if cluster.id in name}
        assert not left, "a failed cluster holds no running VM"
        evidence = {name: client.evidence(cluster.id, name) for name in cluster.error.evidence}
        client.delete(cluster.id)
        client.wait_deleted(cluster.id)
        return cluster, evidence


def test_qemu_that_exits_at_once(impatient: Service) -> None:
    with variant("dayfly/bare:latest", kernel="/dayfly/no-such-kernel") as image:
        cluster, evidence = failure(impatient, image)
    assert cluster.error is not None
    assert (cluster.error.code, cluster.error.step, cluster.error.node) == ("vm_exited", "boot", "node01")
    assert "no-such-kernel" in evidence["boot/log"]
    with Client(impatient.url) as client:
        events = client.all_events(cluster.id)
    assert [e.type for e in events].count("step.retry") == 1


def test_guests_that_never_answer(tmp_path: Path) -> None:
    with (
        running_service(tmp_path, boot_limit_seconds="20", step_attempts="1") as service,
        # The first image's initrd requests an address; the second image has no initrd program.
        variant("dayfly/bare:latest", kernel_arguments=["systemd.mask=ssh.service"]) as silent,
        variant("dayfly/bare:latest", kernel_arguments=["rdinit=/bin/none"]) as dead,
        ThreadPoolExecutor() as both,
    ):
        mute, corpse = both.map(failure, [service, service], [silent, dead])
    for (cluster, evidence), code in ((mute, "ssh_timeout"), (corpse, "dhcp_timeout")):
        assert cluster.error is not None
        assert (cluster.error.code, cluster.error.node) == (code, "node01")
        assert ("192.168.66.101" in evidence["boot/leases"]) == (code == "ssh_timeout")
        assert ("Kernel panic" in evidence["node01/console"]) == (code == "dhcp_timeout")


def test_an_image_that_was_removed_half_way(tmp_path: Path) -> None:
    with (
        running_service(tmp_path, worker_concurrency="1", boot_limit_seconds="8", step_attempts="1") as service,
        Client(service.url) as client,
    ):
        with variant("dayfly/bare:latest", kernel_arguments=["rdinit=/bin/none", "init=/bin/none"]) as slow:
            # The only slot of the worker is taken for a while, so the next cluster is accepted and has to wait.
            ahead = client.create(image=slow)
            with variant("dayfly/bare:latest", recipe="doomed") as image:
                cluster = client.create(image=image)
            end = client.get(cluster.id, wait="settled", timeout_seconds=120)
            assert end.phase == "failed"
            assert end.error is not None
            assert (end.error.code, end.error.step) == ("image_missing", "sandbox")
            for one in (ahead, cluster):
                client.delete(one.id)
                client.wait_deleted(one.id)
        assert not service.objects()


def test_no_port_is_left(tmp_path: Path) -> None:
    with (
        running_service(tmp_path, port_range="40111-40111", step_attempts="2", retry_backoff_seconds="0.5") as service,
    ):
        cluster, _ = failure(service, "bare")
    assert cluster.error is not None
    assert (cluster.error.code, cluster.error.step) == ("ports_exhausted", "sandbox")


def test_the_engine_is_away_for_a_moment(tmp_path: Path) -> None:
    with (
        cuttable_engine(tmp_path) as engine,
        running_service(tmp_path, docker_host=engine.url, retry_backoff_seconds="0.5") as service,
        Client(service.url) as client,
    ):
        cluster = client.create(image="bare")
        client.get(cluster.id)
        engine.cut()
        waiting = _await_waiting(client, cluster)
        assert "engine" in waiting
        engine.give_back()
        assert client.wait_ready(cluster.id, timeout_seconds=300).phase == "ready"
        client.delete(cluster.id)
        client.wait_deleted(cluster.id)
        assert not service.objects()


def test_the_engine_stays_away(tmp_path: Path) -> None:
    with (
        cuttable_engine(tmp_path) as engine,
        running_service(tmp_path, docker_host=engine.url, retry_backoff_seconds="0.5", step_attempts="1") as service,
        Client(service.url) as client,
    ):
        cluster = client.create(image="bare")
        _await_step(client, cluster)
        engine.cut()
        assert "engine" in _await_waiting(client, cluster)
        with pytest.raises(Exception, match="engine_unavailable"):
            client.create(image="bare")
        # Longer than any pause between two looks: time alone makes it no failure.
        time.sleep(8)
        still = client.get(cluster.id)
        assert (still.phase, still.error) == ("provisioning", None)
        engine.give_back()
        assert client.wait_ready(cluster.id, timeout_seconds=300).phase == "ready"
        engine.cut()
        time.sleep(2)
        assert client.get(cluster.id).phase == "ready", "what runs goes on running"
        client.delete(cluster.id)
        _await_event(client, cluster, lambda event: (event.type, event.step) == ("step.waiting", "teardown"))
        engine.give_back()
        client.wait_deleted(cluster.id, timeout_seconds=60)
        assert not service.objects()
        assert "Traceback" not in service.logs()


def _await_step(client: Client, cluster: Cluster) -> None:
    _await_event(client, cluster, lambda event: event.type == "step.started" and event.step == "boot")


def _await_waiting(client: Client, cluster: Cluster) -> str:
    return _await_event(client, cluster, lambda event: event.type == "step.waiting").message


def _await_event(client: Client, cluster: Cluster, wanted: Callable[[Event], bool]) -> Event:
    deadline = time.monotonic() + EVENT_SECONDS
    while time.monotonic() < deadline:
        for event in client.all_events(cluster.id):
            if wanted(event):
                return event
        time.sleep(0.1)
    raise AssertionError([(event.type, event.message) for event in client.all_events(cluster.id)])
