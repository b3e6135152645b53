"""Kubernetes clusters that are forks of a saved one: ready much sooner, undisturbed, reset, put to sleep, aged.

One template for all, and one cluster at a time: two are too much for a small machine that emulates. The test that a
template of thirty days serves comes last; its worker is of another time (tests/support/later_worker.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from dayfly.client import Client, Template
from tests.e2e.lab import PATIENCE_SECONDS, Lab, living
from tests.support.guest import FINGERPRINT, JUNK, on_guest, ready_template, until
from tests.support.service import Service, running_service

pytestmark = pytest.mark.kubernetes

NODES = ("node01", "node02")
LATER_DAYS = 30
SOONER = 3.0
"""At least; how much sooner in fact is for tests/bench/template.py to say."""
_CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: junks.test.dayfly}
spec:
  group: test.dayfly
  scope: Namespaced
  names: {plural: junks, singular: junk, kind: Junk}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
_OBJECTS = """\
---
apiVersion: test.dayfly/v1
kind: Junk
metadata: {name: junk}
---
apiVersion: v1
kind: Namespace
metadata: {name: junk}
---
apiVersion: v1
kind: Pod
metadata: {name: junk}
spec:
  containers: [{name: junk, image: "dayfly.local/smoke:1", command: [/bin/sh, -c, ":"]}]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An API and a worker as processes; at the end nothing is left of what they made."""
    # To the worker of another time the template is older than one may be.
    settings = {"template_max_age_seconds": "1e8", "template_unused_seconds": "1e8", "survey_seconds": "5"}
    with running_service(tmp_path_factory.mktemp("templates"), commands=("api", "worker"), **settings) as service:
        yield service
        service.restart("api", "worker")
        with Client(service.url) as client:
            for template in client.templates():
                client.delete_template(template.id)
        deadline = time.monotonic() + 120
        while service.objects():
            assert time.monotonic() < deadline, service.objects()
            time.sleep(1)


@pytest.fixture(scope="module")
def template(service: Service) -> Template:
    with Client(service.url) as client:
        asked = client.create_template(image="k8s-debian", workers=1)
        made = ready_template(client, asked.id, seconds=2 * PATIENCE_SECONDS)
    assert made.ready_at is not None
    print(f"template: {(made.ready_at - made.created_at).total_seconds():.0f} s, {made.size_bytes >> 20} MiB")
    return made


@pytest.fixture
def resets(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--resets"))


@pytest.fixture(scope="class")
def fork(service: Service, template: Template) -> Iterator[Lab]:
    with living(service, "fork") as lab:
        yield lab


@pytest.fixture(scope="class")
def web(fork: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A Deployment of the fork's own: node → pod's address."""
    began = time.monotonic()
    web = fork.deploy_web(tmp_path_factory.mktemp("web"))
    print(f"two new pods run {time.monotonic() - began:.0f} s after they were asked for")
    return web


class TestFork:
    """One fork, and what befalls it."""

    def test_it_is_ready_much_sooner(self, fork: Lab, template: Template) -> None:
        assert_forked(fork, template)
        cold, sooner = nodes_ready(fork.client, template.parents.builder), nodes_ready(fork.client, fork.cluster.id)
        print(f"all nodes Ready after {sooner:.1f} s, from nothing {cold:.0f} s: {cold / sooner:.1f} times sooner")
        assert cold / sooner > SOONER

    def test_its_kubernetes_is_undisturbed(self, fork: Lab, web: dict[str, str]) -> None:
        assert web.keys() == set(NODES)
        for here, there in (NODES, NODES[::-1]):
            assert fork.fetch(here, f"{web[there]}:8080") == f"served on {there}"
        assert_undisturbed(fork)

    def test_it_goes_on_after_hibernation_and_a_restart_of_the_service(
        self, service: Service, fork: Lab, web: dict[str, str]
    ) -> None:
        before = containers_of(fork, "default")
        began = time.monotonic()
        fork.client.hibernate(fork.cluster.id)
        fork.client.wait_hibernated(fork.cluster.id)
        print(f"hibernated after {time.monotonic() - began:.0f} s")
        service.restart("api", "worker")
        began = time.monotonic()
        fork.client.resume(fork.cluster.id)
        fork.client.wait_ready(fork.cluster.id, timeout_seconds=PATIENCE_SECONDS)
        print(f"ready again {time.monotonic() - began:.0f} s after it was resumed")
        for here, there in (NODES, NODES[::-1]):
            assert fork.fetch(here, f"{web[there]}:8080") == f"served on {there}"
        assert containers_of(fork, "default") == before, "the same, and none was started again"
        assert_undisturbed(fork)

    def test_it_is_pristine_after_each_reset(self, fork: Lab, web: dict[str, str], resets: int) -> None:
        objects, looks = fork.service.objects(), set[str]()
        for number in range(1, resets + 1):
            # The second time where the API server does not serve the new kind at once.
            until("there is junk", lambda: fork.applies(_CRD + _OBJECTS) or None, seconds=120)
            for node in NODES:
                assert "not full" not in fork.on_node(node, JUNK)
            began = time.monotonic()
            fork.client.reset(fork.cluster.id)
            fork.client.wait_ready(fork.cluster.id, timeout_seconds=PATIENCE_SECONDS)
            print(f"reset {number}: ready again {time.monotonic() - began:.0f} s after it was asked for")
            # By the kubeconfig of before, which is that of now.
            assert fork.client.kubeconfig(fork.cluster.id) == fork.kubeconfig.read_text()
            for kind in ("crds", "pods", "deployments"):
                assert fork.kubectl("get", kind, "-o", "name") == "", kind
            found = "".join(fork.on_node(node, FINGERPRINT) for node in NODES)
            found += fork.kubectl("get", "namespaces,serviceaccounts,configmaps,services", "-A", "-o", "name")
            assert "junk" not in found
            looks.add(found)
            assert_undisturbed(fork)
        assert len(looks) == 1, looks
        assert fork.service.objects() == objects


def test_a_template_of_thirty_days_serves(
    service: Service, template: Template, tmp_path_factory: pytest.TempPathFactory
) -> None:
    service.processes[1].end()
    service.start_module("tests.support.later_worker", f"--days={LATER_DAYS}", name="later", stdin=None)
    with living(service, "later") as fork:
        assert_forked(fork, template)
        for node in NODES:
            guest = float(fork.on_node(node, "date +%s"))
            assert abs(guest - time.time() - timedelta(days=LATER_DAYS).total_seconds()) < 60
        began = time.monotonic()
        web = fork.deploy_web(tmp_path_factory.mktemp("later"))
        print(f"two new pods run {time.monotonic() - began:.0f} s after they were asked for")
        for here, there in (NODES, NODES[::-1]):
            assert fork.fetch(here, f"{web[there]}:8080") == f"served on {there}"
        assert_undisturbed(fork)


def assert_forked(fork: Lab, template: Template) -> None:
    events = fork.client.all_events(fork.cluster.id)
    assert fork.cluster.template == template.id, [(event.type, event.message) for event in events]
    assert "cluster.fallback" not in {event.type for event in events}


def assert_undisturbed(fork: Lab) -> None:
    """All nodes are Ready, and the pods of the template are those that run: none was evicted, none made anew.

    What stood still as it was saved goes on.
    """
    nodes = json.loads(fork.kubectl("get", "nodes", "-o", "json"))["items"]
    conditions = {
        node["metadata"]["name"]: {one["type"]: one["status"] for one in node["status"]["conditions"]} for node in nodes
    }
    assert {name: found["Ready"] for name, found in conditions.items()} == dict.fromkeys(NODES, "True")
    pods = json.loads(fork.kubectl("-n", "kube-system", "get", "pods", "-o", "json"))["items"]
    assert pods
    for pod in pods:
        made = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        assert made < fork.cluster.created_at, pod["metadata"]["name"]
        assert pod["status"]["phase"] == "Running", pod["status"]
    told = json.loads(fork.kubectl("get", "events", "--all-namespaces", "-o", "json"))["items"]
    assert not [one["message"] for one in told if one["reason"] in {"Evicted", "TaintManagerEviction"}]
    for node in NODES:
        stopped = "grep -l '^State:.T' /proc/[0-9]*/status || true"
        assert on_guest(fork.client, fork.cluster.id, stopped, node=node) == ""


def containers_of(fork: Lab, namespace: str) -> set[tuple[str, str, int]]:
    """Of each pod's containers: the pod, its id, and how often it was started again."""
    pods = json.loads(fork.kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    return {
        (pod["metadata"]["uid"], status["containerID"], status["restartCount"])
        for pod in pods
        for status in pod["status"]["containerStatuses"]
    }


def nodes_ready(client: Client, cluster: str) -> float:
    """Seconds from the request until all nodes were Ready for the first time."""
    found = next(e for e in client.all_events(cluster) if e.type == "step.done" and e.step == "ready")
    return (found.at - client.get(cluster).created_at).total_seconds()
