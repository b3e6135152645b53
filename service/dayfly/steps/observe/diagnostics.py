"""Diagnostics of a cluster, collected before anything is removed, or on request.

Every text is bounded and without secrets; in place of a missing text is the reason. Not here: where texts are kept
(store, api).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.domain.cluster import naming, network, qemu_cmdline
from dayfly.domain.cluster.model import Cluster, Endpoint
from dayfly.domain.cluster.topology import ContainerSpec, Publication, Topology, compute_topology
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.drivers.interfaces import Drivers, PressureGauge, SshTarget
from dayfly.drivers.qemu.qmp import qmp
from dayfly.drivers.ssh import SshConnections
from dayfly.errors import ContainerExited, DayflyError
from dayfly.steps.kubernetes_access import kube_access
from dayfly.steps.observe.exit_guard import is_running
from dayfly.steps.step import ssh_target

_log = structlog.get_logger(__name__)

TEXT_BYTES: Final = 64 * 1024
"""The length of each text: its end is kept."""
LOOK_SECONDS: Final = 30.0
"""Enough for a slow engine or an emulated node. All looks run in parallel: also the limit of the whole."""
_KUBERNETES_SECONDS: Final = 25.0
"""Shorter than LOOK_SECONDS: what the API server said by then is kept."""
_LOG_LINES: Final = 1000
_JOURNAL_LINES: Final = 400

Look = Callable[[], Awaitable[str | Mapping[str, str]]]
"""One text, or several by their names below the look's name; may raise."""


async def collect(
    drivers: Drivers,
    topology: Topology,
    secrets: ClusterSecrets | None,
    gauge: PressureGauge,
    clock: Clock,
) -> Mapping[str, str]:
    """Short name → text of at most TEXT_BYTES. Never raises: in place of a missing text is the reason.

    Takes at most LOOK_SECONDS. Without `secrets` (not made yet) no node is logged in to.
    """
    looks = _Collector(drivers, topology, secrets, clock).looks()
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(_text(name, look)) for name, look in looks.items()}
    pressure = gauge.read()
    texts = dict(pair for name, task in tasks.items() for pair in _named(name, task.result()))
    texts["pressure"] = f"{pressure.percent:.1f} % ({pressure.source})\n"
    return {name: _shown(text, secrets) for name, text in texts.items()}


async def collect_now(
    drivers: Drivers,
    instance: str,
    gauge: PressureGauge,
    clock: Clock,
    cluster: Cluster,
    secrets: ClusterSecrets | None,
) -> Mapping[str, str]:
    """collect() of a cluster that goes on: its own connections to the nodes end with it.

    Kept alive they would count as use of the cluster (traffic.py), and nobody else could close them.
    """
    # Only the containers' names matter, and these are the same with any accelerator and publication.
    topology = compute_topology(
        cluster.id, cluster.spec, instance=instance, accelerator="tcg", publication=Publication()
    )
    ssh = SshConnections()
    try:
        return await collect(replace(drivers, ssh=ssh), topology, secrets, gauge, clock)
    finally:
        await ssh.close()


async def _text(name: str, look: Look) -> str | Mapping[str, str]:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await look()
    except TimeoutError:
        return f"not available: no answer within {LOOK_SECONDS:g} s"
    except DayflyError as error:
        return f"not available: {error.code}: {error.message}"
    except Exception as error:
        # A defect here must not prevent the end of a cluster.
        _log.exception("a defect while collecting", text=name)
        return f"not available: {type(error).__name__} in Dayfly itself; the server's log has the traceback"


def _named(name: str, found: str | Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if isinstance(found, str):
        yield name, found
    else:
        yield from ((f"{name}/{part}", text) for part, text in found.items())


def _shown(text: str, secrets: ClusterSecrets | None) -> str:
    """The end of `text`, from a whole line on: half a line of a key would not be recognised and redacted."""
    # Redacted before it is cut, for the same reason.
    whole = (secrets.redact(text) if secrets is not None else text).encode(errors="replace")
    if len(whole) <= TEXT_BYTES:
        return whole.decode()
    return whole[-TEXT_BYTES:].partition(b"\n")[2].decode(errors="replace")


@dataclass(frozen=True)
class _Collector:
    """One cluster and the drivers to observe it."""

    drivers: Drivers
    topology: Topology
    secrets: ClusterSecrets | None
    clock: Clock

    def looks(self) -> dict[str, Look]:
        """Name → look, of every possible text."""
        topology = self.topology
        looks: dict[str, Look] = {"containers.json": self._containers, "engine.json": self._engine}
        for container in (topology.net, topology.registry, *topology.nodes):
            looks[f"{container.node or container.role}/log"] = self._log_of(container)
        looks["net/leases"] = self._file_of(topology.net, network.LEASES)
        if self._kubernetes and self.secrets is not None:
            looks["kubernetes"] = self._api_server(self.secrets)
        for index, node in enumerate(topology.nodes, start=1):
            looks[f"{node.node}/console"] = self._file_of(node, qemu_cmdline.CONSOLE_LOG)
            looks[f"{node.node}/qmp.json"] = self._qmp(node)
            if self.secrets is not None:
                looks |= self._journals(index, node, self.secrets)
        return looks

    @property
    def _kubernetes(self) -> bool:
        return network.API_PORT in self.topology.net.ports

    @property
    def _cluster_id(self) -> str:
        return self.topology.net.labels[naming.LABEL_CLUSTER]

    async def _containers(self) -> str:
        seen = await self.drivers.engine.list_containers(self._cluster_id)
        about = [
            {
                "name": status.name,
                "state": status.state,
                "exit_code": status.exit_code,
                "started_at": None if status.started_at is None else status.started_at.isoformat(),
                "image": status.image,
            }
            for status in seen
        ]
        wanted = {self.topology.net.name, self.topology.registry.name, *(node.name for node in self.topology.nodes)}
        missing = sorted(wanted - {status.name for status in seen})
        return _json({"collected_at": self.clock.now().isoformat(), "containers": about, "missing": missing})

    async def _engine(self) -> str:
        return _json(asdict(await self.drivers.engine.info()))

    def _log_of(self, container: ContainerSpec) -> Look:
        return partial(self.drivers.engine.logs, container.name, tail_lines=_LOG_LINES)

    def _file_of(self, container: ContainerSpec, path: str) -> Look:
        async def look() -> str:
            content = await self.drivers.engine.read_file(container.name, path, tail_bytes=TEXT_BYTES)
            return content.decode(errors="replace")

        return look

    def _qmp(self, node: ContainerSpec) -> Look:
        async def look() -> str:
            async with qmp(self.drivers.engine, node.name, timeout=LOOK_SECONDS) as session:
                return _json(await session.execute("query-status"))

        return look

    def _api_server(self, secrets: ClusterSecrets) -> Look:
        async def look() -> Mapping[str, str]:
            access = kube_access(secrets, await self._endpoint(network.API_PORT))
            return await self.drivers.kube.report(access, timeout=_KUBERNETES_SECONDS)

        return look

    def _journals(self, index: int, node: ContainerSpec, secrets: ClusterSecrets) -> dict[str, Look]:
        units = (
            {"kubelet": "--unit kubelet ", "containerd": "--unit containerd "} if self._kubernetes else {"journal": ""}
        )

        def look_at(selection: str) -> Look:
            async def look() -> str:
                target = await self._ssh_target(index, node, secrets)
                command = f"journalctl {selection}--no-pager --lines {_JOURNAL_LINES} --output short-iso"
                result = await self.drivers.ssh.run(target, command, timeout=LOOK_SECONDS)
                return result.stdout + result.stderr

            return look

        return {f"{node.node}/{unit}.log": look_at(selection) for unit, selection in units.items()}

    async def _ssh_target(self, index: int, node: ContainerSpec, secrets: ClusterSecrets) -> SshTarget:
        # A machine that is down is reported at once, not after a time-out.
        if not await is_running(self.drivers.engine, self._cluster_id, node):
            raise ContainerExited(f"{node.name} is not running")
        return ssh_target(secrets, await self._endpoint(network.ssh_forward_port(index)))

    async def _endpoint(self, port: int) -> Endpoint:
        found = (await self.drivers.engine.endpoints(self._cluster_id)).get(port)
        if found is None:
            raise ContainerExited(f"{self.topology.net.name} publishes no port {port}: it is not running")
        return found


def _json(value: object) -> str:
    return json.dumps(value, indent=2)
