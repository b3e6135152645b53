"""Garbage collection on a real engine removes exactly the orphans, and no foreign object."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.store import Claim, NewCluster, Store
from tests.support.postgres import postgres_server
from tests.support.service import Service, docker, running_service
from tests.support.specs import make_spec
from tests.support.steps import BUSYBOX_IMAGE, busybox, images

__all__ = ["busybox", "images"]
pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("busybox")]

SWEEP_SECONDS = 30
_REMOVAL = {"container": ("rm", "-f", "-v"), "network": ("network", "rm"), "volume": ("volume", "rm", "-f")}


@dataclass
class Things:
    """Makes containers, networks and volumes on the engine, and knows which of them are still there."""

    word: str = field(default_factory=lambda: secrets.token_hex(4))
    made: set[tuple[str, str]] = field(default_factory=set)

    def container(self, name: str, **labels: str) -> str:
        docker("run", "-d", "--name", name, *_labels(labels), "-v", "/data", BUSYBOX_IMAGE, "sleep", "3600")
        return self._remember("container", name)

    def network(self, name: str, **labels: str) -> str:
        # Addresses are scarce: an engine has room for some thirty networks.
        docker("network", "create", "--internal", *_labels(labels), name)
        return self._remember("network", name)

    def volume(self, name: str, **labels: str) -> str:
        docker("volume", "create", *_labels(labels), name)
        return self._remember("volume", name)

    def one_of_each(self, name: str, **labels: str) -> set[str]:
        return {make(f"{name}-{self.word}", **labels) for make in (self.container, self.network, self.volume)}

    def present(self) -> set[str]:
        lists = {
            "container": docker("ps", "-a", "--format", "{{.Names}}").split(),
            "network": docker("network", "ls", "--format", "{{.Name}}").split(),
            "volume": docker("volume", "ls", "--format", "{{.Name}}").split(),
        }
        return {f"{kind} {name}" for kind, name in self.made if name in lists[kind]}

    def remove(self) -> None:
        for kind, argv in _REMOVAL.items():
            names = [one.split(" ")[1] for one in self.present() if one.startswith(kind)]
            if names:
                docker(*argv, *names)

    def _remember(self, kind: str, name: str) -> str:
        self.made.add((kind, name))
        return f"{kind} {name}"


@pytest.fixture
def things(service: Service) -> Iterator[Things]:
    made = Things()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def decoys(things: Things, service: Service) -> set[str]:
    """Decoys: objects that resemble Dayfly's and belong to others."""
    mine = service.instance
    return (
        things.one_of_each("dayfly-0123456789ab-node01")
        | things.one_of_each("dayfly-elsewhere", instance=f"{mine}-2", cluster="0123456789ab")
        | things.one_of_each("dayfly-shorter", instance=mine[:-1])
        | things.one_of_each("dayfly-anonymous", cluster="0123456789ab", role="node", node="node01")
        | {things.volume(f"dayfly-template-0123456789ab-{things.word}")}
        | {things.volume(f"theirs-{things.word}", instance=f"{mine}-2", template="0123456789ab")}
        | {things.volume(f"template-{things.word}", template="0123456789ab")}
        | {things.volume(f"{mine}-{things.word}"), things.network(f"dayfly.instance={mine}".replace("=", "."))}
    )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """An API without a worker, which would sweep by itself."""
    with (
        postgres_server() as server,
        server.database() as url,
        running_service(tmp_path, commands=("api",), database_url=url) as service,
    ):
        yield service


async def a_cluster(service: Service, phase: Phase) -> str:
    """The id of a cluster on record that has come as far as `phase`."""
    store = await Store.open(service.environment["DAYFLY_DATABASE_URL"])
    try:
        cluster, _ = await store.clusters.create(NewCluster(None, make_spec()))
        await store.admission.admit(lambda queue: queue.waiting)
        (claim,) = await store.leases.claim("test", lease_seconds=600, limit=1)
        await _to(store, claim, phase)
        return cluster.id
    finally:
        await store.close()


async def a_template(service: Service, *, retired: bool) -> str:
    """The id of a recorded template: one that is being built, or one that is retired."""
    store = await Store.open(service.environment["DAYFLY_DATABASE_URL"])
    try:
        template, _ = await store.templates.create(make_spec(), "default", f"retired={retired}")
        if retired:
            await store.templates.retire(template.id)
            for claim in await store.leases.claim("test", lease_seconds=600, limit=10):
                await _to(store, claim, Phase.DELETED)
            assert await store.templates.close() == (template.id,)
        return template.id
    finally:
        await store.close()


async def _to(store: Store, claim: Claim, phase: Phase) -> None:
    path = {Phase.PROVISIONING: [Phase.PROVISIONING], Phase.DELETED: [Phase.DELETING, Phase.DELETED]}
    for step in path[phase]:
        await store.status.set_phase(claim, step)


async def test_exactly_the_orphans_are_shown_and_removed(things: Things, decoys: set[str], service: Service) -> None:
    living = await a_cluster(service, Phase.PROVISIONING)
    gone = await a_cluster(service, Phase.DELETED)
    mine = service.instance
    owned = things.one_of_each("dayfly-living", instance=mine, cluster=living)
    reasons = {
        f"cluster {gone} is deleted": things.one_of_each("dayfly-gone", instance=mine, cluster=gone),
        "no cluster feedfeedfeed is on record": things.one_of_each("a", instance=mine, cluster="feedfeedfeed"),
        "it has no cluster": things.one_of_each("b", instance=mine),
    }
    a_retired, a_living = await a_template(service, retired=True), await a_template(service, retired=False)
    owned.add(things.volume(f"dayfly-template-{a_living}", instance=mine, template=a_living))
    reasons[f"template {a_retired} is retired"] = {
        things.volume(f"dayfly-template-{a_retired}", instance=mine, template=a_retired)
    }
    reasons["no template feedfeedfeed is on record"] = {
        things.volume(f"dayfly-template-feedfeedfeed-{things.word}", instance=mine, template="feedfeedfeed")
    }
    everything = things.present()
    nameless = {volume_of(f"{name}-{things.word}") for name in ("dayfly-gone", "a", "b")}

    shown = service.cli("gc", "--dry-run", "--json")
    assert shown.returncode == 0, shown.stderr
    listed = json.loads(shown.stdout)
    assert listed["dry_run"] is True
    for why, orphans in reasons.items():
        assert {f"{one['kind']} {one['name']}" for one in listed["orphans"] if one["why"] == why} == orphans
    assert len(listed["orphans"]) == sum(map(len, reasons.values()))
    assert things.present() == everything
    assert "WOULD BE REMOVED" in service.cli("gc", "--dry-run").stdout

    removed = service.cli("gc")
    assert removed.returncode == 0, removed.stderr
    assert things.present() == owned | decoys
    assert nameless.isdisjoint(docker("volume", "ls", "-q").split()), "a container's anonymous volumes go with it"
    assert service.cli("gc").stdout.strip() == "no orphans"


def test_what_cannot_be_removed_is_named_and_left(things: Things, service: Service) -> None:
    volume = things.volume(f"used-{things.word}", dayfly="1", instance=service.instance)
    user = f"user-{things.word}"
    docker("run", "-d", "--name", user, "-v", f"{volume.split(' ')[1]}:/data", BUSYBOX_IMAGE, "sleep", "3600")
    things.made.add(("container", user))
    tried = service.cli("gc", "--json")
    assert tried.returncode == 1
    (orphan,) = json.loads(tried.stdout)["orphans"]
    assert "in use" in orphan["error"]
    assert things.present() == {volume, f"container {user}"}


def test_a_worker_sweeps_by_itself(things: Things, decoys: set[str], service: Service) -> None:
    orphans = things.one_of_each("orphan", instance=service.instance, cluster="feedfeedfeed")
    worker = service.start("worker", orphan_grace_seconds="2", survey_seconds="0.5")
    seen = things.present()
    deadline = time.monotonic() + SWEEP_SECONDS
    while things.present() & orphans:
        assert time.monotonic() < deadline, worker.log.read_text()
        time.sleep(0.1)
    assert seen == decoys | orphans, "not before the grace period is over"
    assert things.present() == decoys
    for orphan in orphans:
        assert orphan.split(" ")[1] in worker.log.read_text(), "a person could have read of it beforehand"


def volume_of(container: str) -> str:
    """The name of a container's anonymous volume."""
    return docker("inspect", "--format", "{{(index .Mounts 0).Name}}", container).strip()


def _labels(labels: dict[str, str]) -> list[str]:
    return [argument for name, value in labels.items() for argument in ("--label", f"dayfly.{name}={value}")]
