"""Workers are SIGKILLed at the steps of a cluster's life, and another continues; on SQLite, the service is.

Real machines, real processes, PostgreSQL. The matrix on fakes (tests/scenarios/matrix) kills before, within and after
every call; these tests show that an engine, machines and a database behave as the fakes do, mostly within a request or
a command. `--long`: at all points.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final, TypeVar

import pytest

from dayfly.client import Client
from tests.support.postgres import postgres_server
from tests.support.service import Process, Service, docker, running_service

pytestmark = pytest.mark.vm

T = TypeVar("T")

LEASE_SECONDS = "2"
KILL_SECONDS = 120
"""The time limit after a kill: the last worker's lease, and at most a whole boot."""


@dataclass(frozen=True)
class Life:
    """Where workers die while a cluster of `nodes` is made, and while it is removed."""

    nodes: int
    creation: tuple[str, ...]
    deletion: tuple[str, ...]


# Each point must still be ahead after the earlier deaths: requests that were sent complete after a death.
ALL_STEPS: Final = Life(
    nodes=2,
    creation=(
        "claim:after",
        "begin:before",
        "begin:after",
        "sandbox:before",
        "sandbox:within",
        "sandbox:after",
        "endpoints:before",
        "endpoints:after",
        "registry:within",
        "boot:node01:before",
        "boot:node01:within",
        "boot:node02:before",
        "boot:node02:within",
        "boot:node01:after",
        "boot:node02:after",
        "phase:ready:before",
        "phase:ready:after",
        "release:before",
    ),
    deletion=(
        "claim:after",
        "phase:deleting:before",
        "phase:deleting:after",
        "remove:before",
        "remove:within",
        "remove:after",
        "phase:deleted:before",
        "phase:deleted:after",
    ),
)
ALL_REQUESTS: Final = Life(
    nodes=1,
    creation=(
        "oneshot:within",
        "create:net:before",
        "create:net:within",
        "start:net:before",
        "start:net:within",
        "create:node01:within",
        "put:node01:before",
        "put:node01:within",
        "put:node01:after",
        "start:node01:before",
        "start:node01:after",
    ),
    deletion=(
        "delete:node01:before",
        "delete:node01:within",
        "delete:net:before",
        "delete:net:within",
    ),
)
# The registry's container is created concurrently with the machine's: the order of their requests is not fixed.
ALL_REQUESTS_OF_THE_REGISTRY: Final = Life(
    nodes=1,
    creation=("create:registry:before", "create:registry:after", "start:registry:after"),
    deletion=("delete:registry:before", "delete:registry:within"),
)
STEPS: Final = Life(
    nodes=2,
    creation=("sandbox:within", "registry:within", "boot:node01:within", "boot:node02:within", "phase:ready:before"),
    deletion=("remove:within",),
)
REQUESTS: Final = Life(
    nodes=1,
    creation=("oneshot:within", "create:net:within", "put:node01:within", "start:node01:after"),
    deletion=("delete:net:within",),
)


@dataclass(frozen=True)
class SavedLife:
    """Where workers die of what is saved. The point `restore` is the step; `load:node01` what it does to a machine."""

    template: tuple[str, ...]
    fork: tuple[str, ...]
    checkpoint: tuple[str, ...]
    hibernation: tuple[str, ...]
    resumption: tuple[str, ...]
    reset: tuple[str, ...]


ALL_SAVED: Final = SavedLife(
    template=(
        "save:node01:before",
        "save:node01:within",
        "save:node01:after",
        "template_saved:before",
        "template_saved:after",
        # From here on it is the trial that is worked on.
        "begin:before",
        "begin:after",
        "restore:before",
        "load:node01:within",
        "resume:node01:before",
        "resume:node01:after",
        "personalize:node01:within",
        "personalize:node01:after",
        "template_verified:before",
        "template_verified:after",
    ),
    fork=("begin:before", "begin:after", "load:node01:within", "resume:node01:before", "personalize:node01:before"),
    checkpoint=(
        "paused:before",
        "paused:after",
        "pause:node01:after",
        "save:node01:within",
        "checkpoint_made:before",
    ),
    hibernation=("pause:node01:before", "save:node01:within", "save:node01:after", "phase:hibernated:before"),
    resumption=("begin:after", "restore:within", "resume:node01:before", "resume:node01:after", "phase:ready:before"),
    reset=(
        "begin:before",
        "begin:after",
        "remove_stale:after",
        "restore:within",
        "personalize:node01:within",
        "phase:ready:before",
    ),
)
SAVED: Final = SavedLife(
    template=("save:node01:within", "load:node01:within", "personalize:node01:within"),
    fork=("load:node01:within",),
    checkpoint=("save:node01:within",),
    hibernation=("save:node01:within",),
    resumption=("restore:within",),
    reset=("restore:within",),
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """An API alone; which workers there are is the test's."""
    settings = {"lease_seconds": LEASE_SECONDS, "orphan_grace_seconds": "0", "survey_seconds": "5"}
    with (
        postgres_server() as server,
        server.database() as url,
        running_service(tmp_path, commands=("api",), database_url=url, **settings) as service,
    ):
        yield service


@pytest.mark.parametrize(
    "life",
    [
        STEPS,
        REQUESTS,
        pytest.param(ALL_STEPS, marks=pytest.mark.long),
        pytest.param(ALL_REQUESTS, marks=pytest.mark.long),
        pytest.param(ALL_REQUESTS_OF_THE_REGISTRY, marks=pytest.mark.long),
    ],
    ids=["steps", "requests", "all_steps", "all_requests", "all_requests_of_the_registry"],
)
def test_whoever_dies_another_goes_on(service: Service, life: Life) -> None:
    began = time.monotonic()
    with Client(service.url) as client:
        cluster = client.create("phoenix", image="bare", workers=life.nodes - 1)
        die_at(service, cluster.id, life.creation)
        last = service.start("worker")
        ready = client.wait_ready(cluster.id, timeout_seconds=300)
        assert ready.error is None
        for index in range(life.nodes):
            assert service.on_node("phoenix", f"node{index + 1:02d}", "hostname") == f"node{index + 1:02d}"
        names = [name for name in service.objects() if cluster.id in name]
        assert len(names) == 2 + life.nodes + 1, "nothing was made twice; one is the volume"
        last.end()

        client.delete(cluster.id)
        die_at(service, cluster.id, life.deletion)
        service.start("worker")
        client.wait_deleted(cluster.id, timeout_seconds=60)
    kills = len(life.creation) + len(life.deletion)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s, nothing left")
    assert service.objects() == set()


@pytest.mark.parametrize("life", [SAVED, pytest.param(ALL_SAVED, marks=pytest.mark.long)], ids=["some", "all"])
def test_what_is_saved_outlives_whoever_saves_it(service: Service, life: SavedLife) -> None:
    """A template, its trial, a fork, a checkpoint, hibernation, resumption, a reset: each over dead workers."""
    began = time.monotonic()
    with Client(service.url) as client:
        template = client.create_template(image="bare")
        die_at(service, None, life.template)
        over_the_dead(service, lambda: until(lambda: client.template(template.id).phase == "ready"))

        cluster = client.create("phoenix", image="bare")
        die_at(service, cluster.id, life.fork)
        ready = over_the_dead(service, lambda: client.wait_ready(cluster.id, timeout_seconds=120))
        assert ready.template == template.id
        assert not [event for event in client.all_events(cluster.id) if event.type == "cluster.fallback"]
        service.on_node("phoenix", "node01", "echo kept > /root/kept")
        machine_id = service.on_node("phoenix", "node01", "cat /etc/machine-id")

        client.create_checkpoint(cluster.id, "kept")
        die_at(service, cluster.id, life.checkpoint)
        over_the_dead(service, lambda: until(lambda: client.checkpoint(cluster.id, "kept").phase == "ready"))

        client.hibernate(cluster.id)
        die_at(service, cluster.id, life.hibernation)
        over_the_dead(service, lambda: until(lambda: not running(service, cluster.id)))
        assert client.get(cluster.id).phase == "hibernated"
        client.resume(cluster.id)
        die_at(service, cluster.id, life.resumption)
        over_the_dead(service, lambda: client.wait_ready(cluster.id, timeout_seconds=120))
        assert service.on_node("phoenix", "node01", "cat /root/kept /etc/machine-id") == f"kept\n{machine_id}"

        client.reset(cluster.id)
        die_at(service, cluster.id, life.reset)
        over_the_dead(service, lambda: client.wait_ready(cluster.id, timeout_seconds=120))
        assert service.on_node("phoenix", "node01", "ls -A /root | grep -c kept || true") == "0"
        client.reset(cluster.id, checkpoint="kept")
        over_the_dead(service, lambda: client.wait_ready(cluster.id, timeout_seconds=120))
        assert service.on_node("phoenix", "node01", "cat /root/kept") == "kept"

        last = service.start("worker")
        client.delete(cluster.id)
        client.wait_deleted(cluster.id, timeout_seconds=60)
        client.delete_template(template.id)
        until(lambda: client.template(template.id).phase == "retired")
        until(lambda: service.objects() == set())
        last.end()
    kills = sum(map(len, astuple(life)))
    print(f"{kills} kills in {time.monotonic() - began:.0f} s, nothing left")


def test_a_service_on_sqlite_that_is_killed_goes_on_after_its_start(tmp_path: Path) -> None:
    with running_service(tmp_path, lease_seconds=LEASE_SECONDS) as service, Client(service.url) as client:
        cluster = client.create("phoenix", image="bare")
        boot = next(e for e in client.follow(cluster.id) if e.type == "step.started" and e.step == "boot")
        assert (tmp_path / "dayfly.db.lock").read_text() == str(service.processes[0].popen.pid)
        # SIGKILL, then a start on the same file: the lock of the dead process is free.
        service.restart("serve")
        again = next(e for e in client.follow(cluster.id, after=boot.id) if e.type == "step.started" and not e.node)
        assert again.step == "sandbox", "from the first step on, by looking"
        assert client.wait_ready(cluster.id, timeout_seconds=300).error is None
        assert service.on_node("phoenix", "node01", "hostname") == "node01"
        names = [name for name in service.objects() if cluster.id in name]
        assert len(names) == 3 + 1, "nothing was made twice; one is the volume"
        client.delete(cluster.id)
        client.wait_deleted(cluster.id, timeout_seconds=60)
        assert service.objects() == set()


def over_the_dead(service: Service, wait: Callable[[], T]) -> T:
    """The result of `wait`, while a further worker runs that is not killed."""
    last = service.start("worker")
    try:
        return wait()
    finally:
        last.end()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + KILL_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it does not become so"
        time.sleep(0.2)


def running(service: Service, cluster_id: str) -> list[str]:
    return [name for name in docker("ps", "--format", "{{.Names}}").split() if cluster_id in name]


def die_at(service: Service, cluster_id: str | None, points: Sequence[str]) -> None:
    """Workers in turn, each killed at its point, with the cluster that it holds if one is named."""
    following = waiting_worker(service, points[0])
    for index, point in enumerate(points):
        worker = following
        begin(worker)
        if index + 1 < len(points):
            # Start the next process while this one works: its start is not part of the test.
            following = waiting_worker(service, points[index + 1])
        try:
            code = worker.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"nobody came to {point}:\n{service.logs()}") from None
        log = worker.log.read_text()
        assert code == -signal.SIGKILL, log
        assert f"dies {point.rpartition(':')[2]} {point.rpartition(':')[0]}" in log
        assert cluster_id is None or f"claimed {cluster_id}" in log or point.startswith("oneshot"), log


def waiting_worker(service: Service, kill: str) -> Process:
    name = kill.replace(":", "-")
    return service.start_module("tests.support.mortal_worker", f"--kill={kill}", name=name, stdin=subprocess.PIPE)


def begin(worker: Process) -> None:
    assert worker.popen.stdin is not None
    worker.popen.stdin.write(b"go\n")
    worker.popen.stdin.close()
