"""A fork of a Kubernetes cluster: ready much sooner, undisturbed, hibernated. Not here: resets (test_resets.py)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dayfly.client import Client, Template
from tests.e2e.lab import (
    NODES,
    PATIENCE_SECONDS,
    PROCESSES,
    Lab,
    assert_forked,
    assert_undisturbed,
    living,
    others_hibernate,
)
from tests.e2e.lookups import assert_followed
from tests.support.guest import filled_pool
from tests.support.service import Service

pytestmark = pytest.mark.kubernetes

SOONER = 3.0
"""A lower bound. Not here: the actual factor (tests/bench/template.py)."""


def test_it_is_ready_much_sooner(lab: Lab, template: Template) -> None:
    assert_forked(lab, template)
    cold, sooner = nodes_ready(lab.client, template.parents.builder), nodes_ready(lab.client, lab.cluster.id)
    print(f"all nodes Ready after {sooner:.1f} s, from nothing {cold:.0f} s: {cold / sooner:.1f} times sooner")
    assert cold / sooner > SOONER


def test_its_kubernetes_is_undisturbed(lab: Lab, web: dict[str, str]) -> None:
    assert web.keys() == set(NODES)
    for here, there in (NODES, NODES[::-1]):
        assert lab.fetch(here, f"{web[there]}:8080") == f"served on {there}"
    assert_undisturbed(lab)


def test_it_goes_on_after_hibernation_and_a_restart_of_the_service(
    service: Service, template: Template, lab: Lab, web: dict[str, str]
) -> None:
    """While it is hibernated, a member of a pool is claimed: a small machine emulates one cluster at a time."""
    before = containers_of(lab, "default")
    with others_hibernate(service):
        service.restart(*PROCESSES)
        with claimed(service, "twin") as twin:
            assert_forked(twin, template)
            assert twin.kubectl("get", "nodes", "-o", "name").split() == [f"node/{node}" for node in NODES]
            # Both API servers continued from the same memory.
            assert len(twin.first_names) == len(lab.first_names) == 5
            assert not twin.first_names & lab.first_names
    for here, there in (NODES, NODES[::-1]):
        assert lab.fetch(here, f"{web[there]}:8080") == f"served on {there}"
    assert containers_of(lab, "default") == before, "the same, and none was started again"
    assert_undisturbed(lab)
    assert_followed(lab)


@contextmanager
def claimed(service: Service, name: str) -> Iterator[Lab]:
    """A ready cluster that was a paused member of a pool."""
    with Client(service.url) as client:
        client.create_pool("warm", image="k8s-debian", workers=1, size=1)
        try:
            filled_pool(client, "warm", 1, seconds=PATIENCE_SECONDS)
            (member,) = (one for one in client.list(purposes=["pool_member"]) if one.phase == "ready")
            began = time.monotonic()
            with living(service, name, ports=()) as mine:
                print(f"claimed: ready after {time.monotonic() - began:.0f} s")
                assert mine.cluster.id == member.id
                yield mine
        finally:
            client.delete_pool("warm")


def containers_of(lab: Lab, namespace: str) -> set[tuple[str, str, int]]:
    """Of each pod's containers: the pod, its id, and how often it was started again."""
    pods = json.loads(lab.kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    return {
        (pod["metadata"]["uid"], status["containerID"], status["restartCount"])
        for pod in pods
        for status in pod["status"]["containerStatuses"]
    }


def nodes_ready(client: Client, cluster: str) -> float:
    """Seconds from the request until all nodes were Ready for the first time."""
    found = next(e for e in client.all_events(cluster) if e.type == "step.done" and e.step == "ready")
    return (found.at - client.get(cluster).created_at).total_seconds()
