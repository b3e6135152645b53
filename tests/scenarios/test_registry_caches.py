"""The registry caches' container: one for all clusters, with their settings, gone with the option."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dayfly.controllers.registry_caches import CONFIGURATION_DIR, PROGRAM, RegistryCaches
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.naming import CACHES_OWNER
from dayfly.errors import EngineUnavailable, ImageMissing, RegistryRefused
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.testing.fake_images import FakeImages
from dayfly.testing.fakes import FakeContainer
from tests.support.specs import make_spec
from tests.support.world import World

NAME = "dayfly-registry-cache-default"
VOLUMES = {f"{NAME}-content", f"{NAME}-sockets"}
CONFIGURATION = f"{CONFIGURATION_DIR}/cache-docker.io.yml"


class Lab:
    """A world with caches, and the logins that `read_login` finds."""

    def __init__(self, store: Store) -> None:
        self.world = World(store, settings=Settings(registry_caches=("docker.io", "quay.io"), survey_seconds=60))
        self.images = FakeImages()
        self.images.add_node_image("dayfly/bare:latest", "{}")
        self.logins: dict[str, Mapping[str, str] | RegistryRefused] = {}

    def caches(self, **changes: object) -> RegistryCaches:
        settings = self.world.settings.model_copy(update=changes)
        return RegistryCaches(settings, self.world.engine, self.images, self._read, self.world.clock)

    @property
    def container(self) -> FakeContainer:
        return self.world.engine.containers[NAME]

    def proxy(self) -> dict[str, str]:
        proxy: dict[str, str] = yaml.safe_load(self.container.files[CONFIGURATION])["proxy"]
        return proxy

    def volumes(self) -> set[str]:
        return {name for name in self.world.engine.volumes if CACHES_OWNER in name}

    async def _read(self, registry: str, path: Path) -> Mapping[str, str] | None:
        found = self.logins.get(registry)
        if isinstance(found, RegistryRefused):
            raise found
        return found


@pytest.fixture
def lab(store: Store) -> Lab:
    return Lab(store)


async def test_one_container_serves_two_clusters_and_stays_when_they_go(lab: Lab) -> None:
    world = lab.world
    await lab.caches().look()
    async with world.working():
        clusters = [await world.create(make_spec()) for _ in range(2)]
        for cluster in clusters:
            await world.until(cluster, Phase.READY)
            registry = world.engine.containers[f"dayfly-{cluster.id}-registry"].spec
            assert f"{NAME}-sockets" in {volume.name for volume in registry.volumes}
        await lab.caches().look()
        assert world.engine.created.count(NAME) == 1
        for cluster in clusters:
            await world.store.lifecycle.delete(cluster.id)
            await world.until(cluster, Phase.DELETED)
    await world.collector().look()
    assert (lab.container.state, lab.container.starts) == ("running", 1)
    assert lab.volumes() == VOLUMES


async def test_it_has_no_rights_no_port_and_is_of_no_cluster(lab: Lab) -> None:
    await lab.caches().look()
    spec = lab.container.spec
    assert (spec.ports, spec.capabilities, spec.devices, spec.joins) == ((), (), (), None)
    assert spec.command == ("/bin/sh", PROGRAM, "docker.io", "quay.io")
    assert spec.environment["LIMIT_KIB"] == str(20 * 2**20)
    read = yaml.safe_load(lab.container.files[CONFIGURATION])
    assert read["http"] == {"net": "unix", "addr": "/run/dayfly-caches/docker.io.sock", "prefix": "/docker.io/"}
    assert read["proxy"] == {"remoteurl": "https://registry-1.docker.io"}
    assert lab.container.files[spec.environment["SSL_CERT_FILE"]].startswith((b"-----BEGIN", b"#", b"\n#"))


async def test_it_is_made_again_when_it_was_removed_and_started_when_it_ended(lab: Lab) -> None:
    caches = lab.caches()
    await caches.look()
    lab.world.engine.remove_by_hand(NAME)
    await caches.look()
    assert lab.container.state == "running"
    lab.world.engine.exit(NAME)
    await caches.look()
    assert (lab.container.state, lab.container.starts) == ("running", 2)


async def test_a_worker_that_dies_between_its_creation_and_its_start_is_followed_by_another(lab: Lab) -> None:
    await lab.caches().look()
    created = lab.container
    created.state, created.files = "created", {}
    await lab.caches().look()
    assert (lab.container.id, lab.container.state) == (created.id, "running")
    assert CONFIGURATION in lab.container.files, "the dead worker had not written its files"


@pytest.mark.parametrize(
    "changes",
    [
        {"registry_caches": ("docker.io",)},
        {"registry_caches": ("docker.io=https://mirror.example", "quay.io")},
        {"registry_cache_gib": 1},
    ],
)
async def test_other_settings_make_another_container_over_the_same_content(
    lab: Lab, changes: dict[str, object]
) -> None:
    await lab.caches().look()
    before = lab.container.id
    await lab.caches(**changes).look()
    assert lab.container.id != before
    assert lab.volumes() == VOLUMES
    assert not VOLUMES & set(lab.world.engine.removed)


async def test_a_newer_image_replaces_the_container_so_that_the_older_can_go(lab: Lab) -> None:
    await lab.caches().look()
    newer = lab.images.add_node_image("dayfly/k8s-debian:latest", "{}")
    await lab.caches().look()
    assert lab.container.spec.image == newer.id
    await lab.caches().look()
    assert lab.world.engine.created.count(NAME) == 2


async def test_a_login_reaches_its_cache_and_no_label_or_environment(lab: Lab) -> None:
    lab.logins["docker.io"] = {"username": "team", "password": "secret-1"}
    lab.logins["quay.io"] = {"identitytoken": "secret-2"}
    caches = lab.caches(registry_cache_logins=Path("logins.json"))
    await caches.look()
    assert lab.proxy() == {"remoteurl": "https://registry-1.docker.io", "username": "team", "password": "secret-1"}
    assert "secret" not in repr(lab.container.spec)
    first = lab.container.id
    lab.logins["docker.io"] = {"username": "team", "password": "secret-3"}
    await caches.look()
    assert lab.container.id != first
    assert lab.proxy()["password"] == "secret-3"


async def test_a_login_that_cannot_be_read_leaves_the_caches_without_it(lab: Lab) -> None:
    lab.logins["docker.io"] = RegistryRefused("logins.json cannot be read")
    await lab.caches(registry_cache_logins=Path("logins.json")).look()
    assert lab.proxy() == {"remoteurl": "https://registry-1.docker.io"}


async def test_caches_come_back_by_themselves_after_an_outage(lab: Lab) -> None:
    engine, caches = lab.world.engine, replace(lab.caches(), clock=lab.world.clock)
    engine.fail_next("list_containers", EngineUnavailable("Cannot connect to Docker Engine"))
    job = asyncio.create_task(caches.run())
    try:
        async with asyncio.timeout(10):
            while NAME not in engine.containers:
                await asyncio.sleep(0)
                lab.world.clock.advance(60)
    finally:
        job.cancel()
    lab.images.stored.clear()
    with pytest.raises(ImageMissing, match="dayfly image bake"):
        await lab.caches().look()


async def test_without_the_option_all_goes_but_what_living_clusters_use(lab: Lab) -> None:
    world = lab.world
    await lab.caches().look()
    async with world.working():
        cluster = await world.until(await world.create(make_spec()), Phase.READY)
        collector = world.collector(grace_seconds=600)
        assert await collector.orphans() == ()
        world.settings = Settings()
        collector = world.collector(grace_seconds=600)
        await collector.look()
        assert NAME not in world.engine.containers
        assert lab.volumes() == {f"{NAME}-sockets"}
        assert await collector.orphans() == (), "it cannot be removed yet: no warning at each look"
        await world.store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)
    await collector.look()
    assert lab.volumes() == set()


async def test_the_caches_of_another_installation_stay(lab: Lab) -> None:
    labels = {"dayfly.instance": "other", "dayfly.cluster": CACHES_OWNER}
    lab.world.engine.plant("container", "dayfly-registry-cache-other", labels)
    lab.world.settings = Settings()
    await lab.world.collector().look()
    assert "dayfly-registry-cache-other" in lab.world.engine.containers
