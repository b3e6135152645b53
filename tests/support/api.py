"""A real API over a real SQLite store, with small stand-ins for what lies outside, and an obedient worker."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from dayfly.api import ApiServices, HostCapacity, create_api
from dayfly.clock import SystemClock
from dayfly.domain.capacity import CapacityRules, Queue, Waiting, admissible
from dayfly.domain.cluster import Cluster, Endpoint, Fault, NewEvent, StepReport, StepState
from dayfly.domain.image import ImageManifest
from dayfly.domain.lifecycle import Phase
from dayfly.domain.secrets import new_secrets
from dayfly.domain.topology import published_ports
from dayfly.errors import DayflyError, ImageMissing, NotANodeImage
from dayfly.store import Claim, Store
from tests.support.specs import IMAGE_ID, make_manifest

HOST = HostCapacity(cpus=8, memory_mib=16384, disk_gib=205)
RULES = CapacityRules(
    cpu_overcommit=4, memory_overcommit=1, disk_overcommit=1, reserve_memory_mib=1024, reserve_disk_gib=5
)
OFFERED = RULES.offered(HOST.resources)
"""32 vCPUs, 15360 MiB and 200 GiB."""


@dataclass
class Images:
    """`dayfly/bare:latest`, `dayfly/k8s:latest`, and an image that Dayfly did not bake. `broken` is raised instead."""

    broken: Exception | None = None

    async def resolve(self, reference: str) -> tuple[str, ImageManifest]:
        if self.broken is not None:
            raise self.broken
        match reference:
            case "dayfly/bare:latest":
                return IMAGE_ID, make_manifest()
            case "dayfly/k8s:latest":
                return IMAGE_ID, make_manifest(kubernetes=True)
            case "dayfly/plain:latest":
                raise NotANodeImage("dayfly/plain:latest was not baked by Dayfly")
        raise ImageMissing(f"no image {reference}")


@dataclass
class Host:
    """`broken` is raised instead."""

    broken: Exception | None = None

    async def host(self) -> HostCapacity:
        if self.broken is not None:
            raise self.broken
        return HOST


@dataclass
class Diagnostics:
    """What is found in every cluster. `broken` is raised instead."""

    found: Mapping[str, str] = field(default_factory=lambda: {"node01/console": "login: ", "engine": "answers"})
    broken: Exception | None = None

    async def collect(self, cluster: Cluster) -> Mapping[str, str]:
        if self.broken is not None:
            raise self.broken
        return self.found


@dataclass
class Consoles:
    """What consoles printed, and will print."""

    printed: bytes = b"booting\xff\nlogin: "
    following: tuple[bytes, ...] = (b"caf\xc3", b"\xa9\n")

    async def read(self, cluster: Cluster, node: str, *, tail_bytes: int) -> bytes:
        return self.printed[-tail_bytes:]

    async def stream(self, cluster: Cluster, node: str) -> AsyncIterator[bytes]:
        for chunk in self.following:
            yield chunk


@dataclass
class Checks:
    """A readiness check that can be told to fail."""

    error: DayflyError | None = None

    async def __call__(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass
class Outside:
    """All stand-ins of one API."""

    images: Images = field(default_factory=Images)
    consoles: Consoles = field(default_factory=Consoles)
    engine: Checks = field(default_factory=Checks)
    host: Host = field(default_factory=Host)
    diagnostics: Diagnostics = field(default_factory=Diagnostics)

    def services(self, store: Store, **changes: Any) -> ApiServices:
        fields: dict[str, Any] = {
            "store": store,
            "images": self.images,
            "consoles": self.consoles,
            "host": self.host,
            "diagnostics": self.diagnostics,
            "rules": RULES,
            "clock": SystemClock(),
            "max_ttl_seconds": 86400,
            "max_hold_seconds": 7200,
            "checks": {"database": store.ping, "engine": self.engine},
        }
        return ApiServices(**{**fields, **changes})


@dataclass
class Worker:
    """Writes to the store what a worker would; looks at nothing."""

    store: Store

    async def admit(self) -> tuple[str, ...]:
        """Let all begin for whom there is room; their ids."""
        return await self.store.admit(lambda queue: admissible(queue, OFFERED))

    async def claim(self) -> Claim:
        """The one cluster that is due, once it is admitted."""
        await self.admit()
        (claim,) = await self.store.claim("worker", lease_seconds=60, limit=1)
        return claim

    async def publish(self, claim: Claim) -> None:
        """Begin, with secrets and endpoints: 40001 for the first published port, and so on."""
        spec = claim.cluster.spec
        await self.store.set_phase(claim, Phase.PROVISIONING)
        await self.store.save_secrets(claim, new_secrets(spec, datetime.now(UTC)))
        ports = enumerate(published_ports(spec), start=40001)
        await self.store.set_endpoints(claim, {inner: Endpoint("127.0.0.1", outer) for outer, inner in ports})
        began = datetime.now(UTC)
        for node in spec.nodes():
            report = StepReport("boot", node.name, StepState.DONE, 1, began, finished_at=began, detail="answers on SSH")
            await self.store.report_step(claim, report)
            event = NewEvent("step.done", "answers on SSH", step="boot", node=node.name, seconds=12.5)
            await self.store.append_event(claim, event)

    async def make(self) -> Cluster:
        """Claim, publish, and be ready."""
        claim = await self.claim()
        await self.publish(claim)
        ready = await self.store.set_phase(claim, Phase.READY)
        await self.store.release(claim, due_in_seconds=None)
        return ready

    async def fail(self, evidence: Mapping[str, str]) -> None:
        claim = await self.claim()
        await self.store.set_phase(claim, Phase.PROVISIONING)
        await self.store.save_evidence(claim, evidence)
        fault = Fault("vm_exited", "QEMU ended by itself", step="boot", node="node01", evidence=evidence)
        await self.store.set_phase(claim, Phase.FAILED, fault=fault)
        await self.store.release(claim, due_in_seconds=None)

    async def remove(self) -> None:
        claim = await self.claim()
        await self.store.set_phase(claim, Phase.DELETING)
        await self.store.set_phase(claim, Phase.DELETED)


def database_url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/dayfly.db"


@asynccontextmanager
async def http_client(services: ApiServices) -> AsyncIterator[httpx.AsyncClient]:
    """httpx, straight into the application."""
    transport = httpx.ASGITransport(create_api(services))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8700") as client:
        yield client


@contextmanager
def served(folder: Path, outside: Outside) -> Iterator[str]:
    """The API on a port of 127.0.0.1, in a thread with an event loop of its own, and a worker that makes what is
    asked for: clusters whose name starts with `bad` fail, those that start with `slow` stay pending. → its URL."""
    started = threading.Event()
    found: list[uvicorn.Server] = []
    thread = threading.Thread(target=_serve, args=(folder, outside, started, found), daemon=True)
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
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: threading.Event) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()


def _serve(folder: Path, outside: Outside, started: threading.Event, found: list[uvicorn.Server]) -> None:
    async def run() -> None:
        store = await Store.open(database_url(folder))
        config = uvicorn.Config(
            create_api(outside.services(store)),
            port=0,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        found.append(_Server(config, started))
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(_admit(store)), group.create_task(_work(store))]
                await found[0].serve()
                for task in running:
                    task.cancel()
        finally:
            await store.close()

    asyncio.run(run())


async def _admit(store: Store) -> None:
    with store.watch_queue() as watch:
        while True:
            page = await store.list_clusters(phases=[Phase.PENDING], limit=500)
            slow = {one.id for one in page.clusters if one.name.startswith("slow")}

            def decide(queue: Queue, slow: set[str] = slow) -> Sequence[Waiting]:
                quick = [waiting for waiting in queue.waiting if waiting.id not in slow]
                return admissible(Queue(quick, queue.held), OFFERED)

            await store.admit(decide)
            await watch.wait(1)


async def _work(store: Store) -> None:
    with store.watch_work() as watch:
        while True:
            for claim in await store.claim("worker", lease_seconds=60, limit=10):
                await _step(store, claim)
            await watch.wait(1)


async def _step(store: Store, claim: Claim) -> None:
    cluster, worker = claim.cluster, Worker(store)
    if cluster.desired == "absent":
        await store.set_phase(claim, Phase.DELETING)
        await store.set_phase(claim, Phase.DELETED)
        return
    if cluster.phase is Phase.PENDING:
        await worker.publish(claim)
        if cluster.name.startswith("bad"):
            await store.save_evidence(claim, {"node01/console": "Kernel panic"})
            fault = Fault("vm_exited", "QEMU ended by itself", step="boot", node="node01")
            await store.set_phase(claim, Phase.FAILED, fault=fault)
        else:
            await store.set_phase(claim, Phase.READY)
    await store.release(claim, due_in_seconds=None)
