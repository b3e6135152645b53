"""Clusters of real machines without a service: direct calls of the steps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dayfly.clock import SystemClock
from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.cluster.network import ssh_forward_port
from dayfly.domain.cluster.spec import ClusterSpec, Node
from dayfly.domain.cluster.timeouts import Accelerator, limits_for
from dayfly.domain.cluster.topology import Publication, Topology, compute_topology, machine_of
from dayfly.domain.image import ImageManifest
from dayfly.domain.security.secrets import ClusterSecrets, new_secrets
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.interfaces import Drivers, File, SshTarget
from dayfly.drivers.qemu.vm import QemuMachines
from dayfly.drivers.ssh import SshConnections
from dayfly.steps.guest.guest_seed import seed_file
from dayfly.steps.personalize import Personalize
from dayfly.steps.step import StepContext
from dayfly.testing.fakes import FakeKube
from tests.support.specs import make_cluster

ANSWER_SECONDS = 200.0

How = Callable[[qemu_cmdline.Machine], qemu_cmdline.Start]


async def real_spec(images: DockerImages, image: str, *, workers: int = 0) -> ClusterSpec:
    """Of `image` in its own sizes."""
    found = await images.inspect(image)
    manifest = ImageManifest.model_validate_json(found.labels[LABEL_IMAGE])
    return ClusterSpec(
        image=image,
        image_id=found.id,
        manifest=manifest,
        control_plane=manifest.control_plane,
        worker=manifest.worker,
        workers=workers,
    )


@dataclass
class RealMachines:
    """One cluster's machines on a real engine. `template`: whose volume they see; `makes_template`: may write."""

    engine: DockerEngine
    ssh: SshConnections
    spec: ClusterSpec
    cluster_id: str
    instance: str
    accelerator: Accelerator
    template: str | None = None
    makes_template: bool = False
    machines: QemuMachines = field(init=False)
    secrets: ClusterSecrets = field(init=False)

    def __post_init__(self) -> None:
        self.machines = QemuMachines(self.engine)
        self.secrets = new_secrets(self.spec, datetime.now(UTC))

    @property
    def topology(self) -> Topology:
        return compute_topology(
            self.cluster_id,
            self.spec,
            instance=self.instance,
            accelerator=self.accelerator,
            publication=Publication(),
            template_id=self.template,
            makes_template=self.makes_template,
        )

    @property
    def node(self) -> str:
        """The first node's container."""
        return self.topology.node(1).name

    async def start(self, how: How) -> None:
        """Run `how` for all machines, after the sandbox if it is missing."""
        await self.engine.ensure(self.topology.net)
        await self.engine.ensure(self.topology.registry)
        async with asyncio.TaskGroup() as group:
            for node in self.spec.nodes():
                group.create_task(self._start(node, how))

    async def fork(self) -> None:
        """As a fork of its template, to the moment at which callers may have it."""
        await self.start(lambda machine: qemu_cmdline.fork(machine, f"/template/{machine.name}"))
        async with asyncio.TaskGroup() as group:
            for node in self.spec.nodes():
                folder, name = f"/template/{node.name}", self.topology.node(node.index).name
                group.create_task(self.machines.load(name, folder, ram="shared", timeout=ANSWER_SECONDS))
        await self.resume()
        async with asyncio.TaskGroup() as group:
            for node in self.spec.nodes():
                group.create_task(self._identify(node))

    async def resume(self) -> None:
        """All machines, with their clocks set."""
        nodes = [node.name for node in self.topology.nodes]
        await asyncio.gather(*map(self.machines.resume, nodes))
        clock = SystemClock()
        await asyncio.gather(*(self.machines.set_clock(name, clock, timeout=ANSWER_SECONDS) for name in nodes))

    async def shell(self, command: str, node: int = 1) -> str:
        """The output of `command` on a node, over SSH."""
        result = await self.ssh.run(await self.target(node), command, timeout=ANSWER_SECONDS)
        assert result.exit_code == 0, result.stderr
        return result.stdout.strip()

    async def target(self, node: int = 1) -> SshTarget:
        where = (await self.engine.endpoints(self.cluster_id))[ssh_forward_port(node)]
        return SshTarget(where.host, where.port, self.secrets.user_key.private, self.secrets.host_key.public)

    async def answers(self) -> None:
        """All nodes let us in."""
        targets = [await self.target(node.index) for node in self.spec.nodes()]
        await asyncio.gather(*(self.ssh.wait(target, timeout=ANSWER_SECONDS) for target in targets))

    def context(self, node: Node) -> StepContext:
        return StepContext(
            cluster=make_cluster(self.spec, cluster_id=self.cluster_id),
            secrets=self.secrets,
            topology=self.topology,
            drivers=Drivers(self.engine, self.ssh, FakeKube(), self.machines),
            limits=limits_for(self.accelerator),
            accelerator=self.accelerator,
            clock=SystemClock(),
            progress=lambda sentence: None,
            node=node,
        )

    async def _start(self, node: Node, how: How) -> None:
        start = how(machine_of(self.spec, node, self.accelerator))
        files = [
            seed_file(self.cluster_id, node, self.secrets),
            File(qemu_cmdline.START_FILE, qemu_cmdline.start_file(start)),
        ]
        await self.engine.ensure(self.topology.node(node.index), files)

    async def _identify(self, node: Node) -> None:
        context = self.context(node)
        assert not await Personalize().check(context)
        await Personalize().apply(context)
        assert await Personalize().check(context)
