"""An API on a real SQLite store, with fakes for engine, images and SSH, and a stand-in worker (obedience.py)."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import uvicorn
from sqlalchemy import insert

from dayfly.addon_manifests import assemble, sha256
from dayfly.api.app import create_api
from dayfly.api.authentication import Authentication
from dayfly.api.dependencies import ApiServices
from dayfly.api.token_authentication import TokenAuthenticator
from dayfly.app import deliverer_of
from dayfly.clock import SystemClock
from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.domain.addon import Addon, AddonDefinition
from dayfly.domain.cluster.model import Cluster, MachineMemory
from dayfly.domain.engine_resource import EngineResource, Orphan
from dayfly.domain.image import ImageManifest
from dayfly.domain.scheduling.resources import Resources
from dayfly.domain.security.oidc import Issuer
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.domain.security.team import Team
from dayfly.errors import AddonUnavailable, DayflyError, ImageMissing, NotANodeImage, VmExited
from dayfly.images.orders import check_order
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.store.db import ids
from dayfly.store.db.access_tables import teams
from dayfly.testing.fake_images import FakeImages
from tests.support.databases import KEYS, new_sqlite
from tests.support.held_responses import AnnouncedResponses
from tests.support.obedience import OFFERED, RULES, Worker, obedience, template_key_of
from tests.support.played_bakes import played_builder
from tests.support.pulled_addons import MANIFEST as JUICE
from tests.support.pulled_addons import make_juice
from tests.support.receiver import LOOPBACK
from tests.support.specs import IMAGE_ID, make_addon, make_manifest

# fmt: off
TEAMS = (
    "a", "alice", "async", "b", "bob", "ci", "me", "pools", "queue", "red", "saving", "t0", "t1", "t2", "team",
    "team-a", "templates", "them", "waiting", "warm", "x", "y", "you",
)
# fmt: on
HOST = Resources(vcpus=8, memory_mib=16384, disk_gib=205)


def _addon(name: str, recipe: str, *needs: str) -> AddonDefinition:
    content = dict(make_addon(name, needs=needs))
    return AddonDefinition(**content, description=f"{name.capitalize()} for all.", recipes=(recipe,))


ADDONS = {
    one.name: one for one in (_addon("tea", "k8s-test"), _addon("milk", "k8s-test", "tea"), _addon("far", "k8s-other"))
}

ADDONS["juice"] = make_juice()
"""It is not available: no server of tests has its manifest."""

__all__ = [
    "ADDONS",
    "HOST",
    "OFFERED",
    "RULES",
    "ApiHttp",
    "Infrastructure",
    "Worker",
    "database_url",
    "served",
    "template_key_of",
]


@dataclass
class Images:
    """`dayfly/bare:latest`, `dayfly/k8s:latest`, its layer `dayfly/layered:latest` with an add-on, and an image
    that Dayfly did not bake. `broken` is raised instead."""

    broken: Exception | None = None

    async def resolve(self, reference: str) -> tuple[str, ImageManifest]:
        if self.broken is not None:
            raise self.broken
        match reference:
            case "dayfly/bare:latest":
                return IMAGE_ID, make_manifest()
            case "dayfly/k8s:latest":
                return IMAGE_ID, make_manifest(kubernetes=True)
            case "dayfly/tested:latest":
                return IMAGE_ID, make_manifest(conformance=True)
            case "dayfly/layered:latest":
                parts = {"recipe": "k8s-layered", "parent_recipes": ("k8s-test",), "addons": (make_addon("baked"),)}
                return IMAGE_ID, make_manifest(kubernetes=True).model_copy(update=parts)
            case "dayfly/plain:latest":
                raise NotANodeImage("dayfly/plain:latest was not baked by Dayfly")
        raise ImageMissing(f"no image {reference}")


@dataclass
class Host:
    """`broken` is raised instead."""

    broken: Exception | None = None

    async def capacity(self) -> Resources:
        if self.broken is not None:
            raise self.broken
        return HOST


@dataclass
class Diagnostics:
    """The diagnostics of every cluster, or the exception `broken`."""

    found: Mapping[str, str] = field(default_factory=lambda: {"node01/console": "login: ", "engine": "answers"})
    broken: Exception | None = None

    async def collect(self, cluster: Cluster, secrets: ClusterSecrets | None) -> Mapping[str, str]:
        if self.broken is not None:
            raise self.broken
        return self.found


@dataclass
class Consoles:
    """The past and future output of consoles."""

    printed: bytes = b"booting\xff\nlogin: "
    following: tuple[bytes, ...] = (b"caf\xc3", b"\xa9\n")

    async def read(self, cluster_id: str, node: str, tail_bytes: int) -> bytes:
        return self.printed[-tail_bytes:]

    async def follow(self, cluster_id: str, node: str) -> AsyncIterator[bytes]:
        for chunk in self.following:
            yield chunk


@dataclass
class Memory:
    """Fake node status; `silent` nodes do not answer, `slow` nodes answer after an hour, `down` nodes do not run."""

    down: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    error: DayflyError = field(default_factory=lambda: VmExited("away"))

    async def read(self, container: str) -> MachineMemory:
        node = container.rpartition("-")[2]
        if node in self.slow:
            await asyncio.sleep(3600)
        if node in self.silent:
            raise self.error
        return MachineMemory(100 << 20, 30 << 20, 50 << 20)

    async def runs(self, cluster_id: str, node: str) -> bool:
        if node in self.silent:
            raise self.error
        return node not in self.down


@dataclass
class Orphans:
    """A volume that can be removed, and a `used` volume that cannot; or the exception `broken`."""

    broken: Exception | None = None

    async def find(self) -> tuple[Orphan, ...]:
        if self.broken is not None:
            raise self.broken
        return (
            Orphan(
                EngineResource("volume", "1", "gone-data", "0123456789ab"),
                "cluster 0123456789ab is deleted",
                on_record=True,
            ),
            Orphan(
                EngineResource("volume", "2", "used", "", template_id="feedfeedfeed"),
                "template feedfeedfeed is retired",
                on_record=True,
            ),
        )

    async def remove(self, orphans: Sequence[Orphan]) -> tuple[Orphan, ...]:
        used = "volume is in use"
        return tuple(replace(one, error=used) if one.resource.name == "used" else one for one in orphans)


@dataclass
class Checks:
    """A fake engine's readiness check and versions; tests can make them fail."""

    error: DayflyError | None = None

    async def __call__(self) -> None:
        if self.error is not None:
            raise self.error

    async def versions(self) -> Mapping[str, str]:
        await self()
        return {"name": "Docker", "version": "26.1", "api_version": "1.45", "kernel": "6.1", "image_store": "overlay2"}


@dataclass
class Infrastructure:
    """All fakes of one API."""

    images: Images = field(default_factory=Images)
    stored: FakeImages = field(default_factory=FakeImages)
    """The images of the catalog; `images` resolves references all the same."""
    consoles: Consoles = field(default_factory=Consoles)
    engine: Checks = field(default_factory=Checks)
    host: Host = field(default_factory=Host)
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    memory: Memory = field(default_factory=Memory)
    orphans: Orphans = field(default_factory=Orphans)
    no_juice: str | None = "run `dayfly addon fetch juice`"
    """Why the pulled add-on is not available."""
    login_issuers: tuple[Issuer, ...] = ()

    def complete_addon(self, addon: AddonDefinition) -> Addon:
        if addon.pulled is None:
            return addon.of_cluster()
        if self.no_juice is not None:
            raise AddonUnavailable(f"addons: {addon.name} is not available: {self.no_juice}")
        return assemble(addon, {sha256(JUICE): JUICE})

    def services(self, store: Store, settings: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> ApiServices:
        catalog = ImageCatalog(self.stored, store)
        fields: dict[str, Any] = {
            "store": store,
            "resolve_image": self.images.resolve,
            "present_images": catalog.present,
            "find_image": catalog.find,
            "keep_image": catalog.keep,
            "release_image": catalog.release,
            "base_of": {"k8s-test": "bookworm"}.get,
            "host_capacity": self.host.capacity,
            "engine_versions": self.engine.versions,
            "machine_memory": self.memory.read,
            "node_runs": self.memory.runs,
            "read_console": self.consoles.read,
            "follow_console": self.consoles.follow,
            "collect_diagnostics": self.diagnostics.collect,
            "find_orphans": self.orphans.find,
            "remove_orphans": self.orphans.remove,
            "template_key_of": template_key_of,
            "check_bake": check_order,
            "rules": RULES,
            "clock": SystemClock(),
            "settings": Settings(
                **{"max_ttl_seconds": 86400, "max_hold_seconds": 7200, "bakes": "separate", **settings}
            ),
            "addons": ADDONS,
            "why_addon_unavailable": lambda addon: None if addon.pulled is None else self.no_juice,
            "complete_addon": self.complete_addon,
            "login_issuers": lambda: self.login_issuers,
            "held": AnnouncedResponses(),
            "allowed_hosts": frozenset({"localhost", "127.0.0.1", "::1"}),
            "authentication": Authentication(loopback_is_operator=True),
            "checks": {"database": store.ping, "engine": self.engine},
        }
        return ApiServices(**{**fields, **changes})


def database_url(folder: Path) -> str:
    """A new database in the folder."""
    return new_sqlite(folder / "dayfly.db")


async def make_teams(store: Store) -> None:
    """The teams that tests name as owners."""
    async with store._database.write() as transaction:
        rows = [vars(Team(ids.new_id(), name, "", transaction.now)) for name in TEAMS]
        await transaction.execute(insert(teams), rows)


class ApiHttp(httpx.AsyncClient):
    """httpx, straight into the application."""

    def __init__(self, services: ApiServices) -> None:
        super().__init__(transport=httpx.ASGITransport(create_api(services)), base_url="http://127.0.0.1:8700")
        self._responses = services.held

    async def until_held(self) -> None:
        """Returns when the service holds one more response."""
        assert isinstance(self._responses, AnnouncedResponses)
        await self._responses.next()


@contextmanager
def served(folder: Path, infrastructure: Infrastructure) -> Iterator[str]:
    """Run the API on a port of 127.0.0.1, in a thread with its own event loop and a stand-in worker. → its URL.

    Clusters whose name starts with `bad` fail; those that start with `slow` stay pending. Bakes: played_bakes.py.
    Webhooks may call loopback addresses.
    """

    started = threading.Event()
    found: list[uvicorn.Server] = []
    thread = threading.Thread(target=_serve, args=(folder, infrastructure, started, found), daemon=True)
    thread.start()
    try:
        if not started.wait(20):
            raise RuntimeError("the server did not start")
        port = found[0].servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        if found:
            found[0].should_exit = True
        thread.join(20)
        if thread.is_alive():
            raise RuntimeError("the server did not end")


class _Server(uvicorn.Server):
    """A server that signals when it listens."""

    def __init__(self, config: uvicorn.Config, listening: threading.Event) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()


def _serve(folder: Path, infrastructure: Infrastructure, started: threading.Event, found: list[uvicorn.Server]) -> None:
    async def run() -> None:
        store = await Store.open(database_url(folder), KEYS)
        await make_teams(store)
        tokens = TokenAuthenticator(store, SystemClock())
        authentication = Authentication(authenticators=(tokens,), loopback_is_operator=True)
        config = uvicorn.Config(
            create_api(infrastructure.services(store, authentication=authentication)),
            port=0,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        found.append(_Server(config, started))
        try:
            async with asyncio.TaskGroup() as group:
                deliverer = deliverer_of(Settings(webhook_networks=LOOPBACK), store, SystemClock())
                jobs = [*obedience(store), played_builder(store).run(), deliverer.run()]
                running = [group.create_task(job) for job in jobs]
                await found[0].serve()
                for task in running:
                    task.cancel()
            await tokens.settle()
        finally:
            await store.close()

    asyncio.run(run())
